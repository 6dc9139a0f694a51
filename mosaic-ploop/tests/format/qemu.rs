// SPDX-License-Identifier: MIT OR Apache-2.0
//! What QEMU makes of our images, and we of QEMU's.

use std::process::Command;

use mosaic_ploop::format::check::Repair;
use mosaic_ploop::format::descriptor::{Base, Descriptor};
use mosaic_ploop::format::disk::Kind;
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::header::Version;
use mosaic_ploop::format::units::{ClusterSize, DiskOffset, Sectors};
use mosaic_tests::requires_program;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use tempfile::TempDir;

use crate::disk::{MIB, RealDisk, V1, V2, guid};
use crate::model::sequences;

/// Whether there is a QEMU to ask.
fn has_qemu() -> bool {
    requires_program("qemu-img") && requires_program("qemu-io")
}

/// Runs a program, which must have nothing to complain of.
fn run(program: &str, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).output().unwrap();
    assert!(done.status.success(), "{program} {arguments:?}: {done:?}");
}

/// How QEMU is told of a chain, from the base up.
fn node(disk: &RealDisk, shot: Guid) -> String {
    let mut node = None;
    for guid in disk.disk.descriptor().chain(shot) {
        let is_raw = node.is_none() && disk.disk.descriptor().base() == Base::Raw;
        let driver = if is_raw { "raw" } else { "parallels" };
        let path = disk.path(disk.disk.descriptor().file(guid).unwrap());
        let backing = node.map_or(String::new(), |node| format!(r#","backing":{node}"#));
        node = Some(format!(
            r#"{{"driver":"{driver}","file":{{"driver":"file","filename":"{}"}}{backing}}}"#,
            path.display()
        ));
    }
    format!("json:{}", node.unwrap())
}

/// Asserts that QEMU finds nothing wrong with any image.
fn assert_qemu_is_content(disk: &RealDisk) {
    for guid in disk.disk.descriptor().chain(disk.disk.descriptor().top()) {
        let is_base = disk.disk.descriptor().chain(guid).len() == 1;
        if is_base && disk.disk.descriptor().base() == Base::Raw {
            continue;
        }
        let path = disk.path(disk.disk.descriptor().file(guid).unwrap());
        let path = path.to_str().unwrap();
        run("qemu-img", &["check", "-f", "parallels", path]);
    }
}

/// Asserts that QEMU reads of a shot what should be there.
fn assert_qemu_reads(disk: &RealDisk, shot: Guid, data: &[u8]) {
    let raw = disk.path("expected.raw");
    std::fs::write(&raw, data).unwrap();
    let raw = format!(
        r#"json:{{"driver":"raw","file":{{"driver":"file","filename":"{}"}}}}"#,
        raw.display()
    );
    run("qemu-img", &["compare", &node(disk, shot), &raw]);
}

fn read(disk: &RealDisk, shot: Guid) -> Vec<u8> {
    let chain = disk.disk.read(shot).unwrap();
    let mut data = vec![0; usize::try_from(chain.size().bytes()).unwrap()];
    chain.read(&mut data, DiskOffset(0)).unwrap();
    data
}

fn fill(disk: &RealDisk, data: &mut [u8], at: u64, bytes: u64, byte: u8) {
    let start = usize::try_from(at).unwrap();
    let part = &mut data[start..start + usize::try_from(bytes).unwrap()];
    part.fill(byte);
    let mut chain = disk.disk.write().unwrap();
    chain.write(part, DiskOffset(at)).unwrap();
    chain.close().unwrap();
}

/// Lets QEMU write to the top of our chain.
fn qemu_fills(disk: &RealDisk, data: &mut [u8], at: u64, bytes: u64, byte: u8) {
    let start = usize::try_from(at).unwrap();
    data[start..start + usize::try_from(bytes).unwrap()].fill(byte);
    let write = format!("write -P {byte} {at} {bytes}");
    let node = node(disk, disk.disk.descriptor().top());
    run("qemu-io", &["-c", &write, &node]);
}

/// Writes by us and by QEMU into each delta of a chain of three.
fn chain_of_three(kind: Kind, cluster: ClusterSize) {
    let mut disk = RealDisk::new(kind, cluster, Sectors(8 * MIB / 512));
    let mut data = vec![0; 8 << 20];
    let mut snapshots = Vec::new();
    for number in 1..=3 {
        let byte = 16 * number;
        let start = u64::from(number) * 700 * 1024;
        fill(&disk, &mut data, start, 3 * MIB, byte);
        qemu_fills(&disk, &mut data, start + 5120, 4096, byte + 1);
        qemu_fills(&disk, &mut data, 7 * MIB, 512 * 1024, byte + 2);
        fill(&disk, &mut data, 7 * MIB + 1000, 99, byte + 3);
        if number < 3 {
            disk.disk.snapshot(guid(number)).unwrap();
            snapshots.push((guid(number), data.clone()));
        }
    }
    snapshots.push((Guid::TOP, data));
    for (shot, data) in &snapshots {
        assert!(read(&disk, *shot) == *data, "{shot}");
        assert_qemu_reads(&disk, *shot, data);
    }
    assert_qemu_is_content(&disk);
    let report = disk.disk.check(None).unwrap();
    assert!(report.is_clean(), "{report:?}");
    let (_, data) = snapshots.pop().unwrap();
    disk.disk.delete(guid(1)).unwrap();
    assert_qemu_is_content(&disk);
    assert_qemu_reads(&disk, Guid::TOP, &data);
}

#[test]
fn chains_are_written_by_both_and_read_by_both() {
    if !has_qemu() {
        return;
    }
    for kind in [V1, V2, Kind::Preallocated(Version::V2), Kind::Raw] {
        for cluster in [64, 2048] {
            chain_of_three(kind, ClusterSize::new(cluster).unwrap());
        }
    }
}

#[test]
fn our_deltas_upon_images_of_qemu() {
    if !has_qemu() {
        return;
    }
    for cluster in ["64k", "1M"] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("root.hds");
        let path = path.to_str().unwrap();
        let option = format!("cluster_size={cluster}");
        let create = ["create", "-f", "parallels", "-o", &option, path, "8M"];
        run("qemu-img", &create);
        let sectors = if cluster == "1M" { 2048 } else { 128 };
        let descriptor = Descriptor::new(
            Sectors(8 * MIB / 512),
            ClusterSize::new(sectors).unwrap(),
            Base::Expanded,
            "root.hds",
        );
        let text = descriptor.unwrap().to_string();
        std::fs::write(folder.path().join("DiskDescriptor.xml"), text).unwrap();
        let mut disk = RealDisk::open(folder);
        let mut data = vec![0; 8 << 20];
        qemu_fills(&disk, &mut data, 0, 3 * MIB, 1);
        disk.disk.snapshot(guid(1)).unwrap();
        let old = data.clone();
        fill(&disk, &mut data, MIB + 7, 3 * MIB, 2);
        assert_qemu_reads(&disk, Guid::TOP, &data);
        assert_qemu_reads(&disk, guid(1), &old);
        disk.disk.grow(Sectors(9 * MIB / 512)).unwrap();
        data.resize(9 << 20, 0);
        disk.disk.delete(guid(1)).unwrap();
        for version in [Version::V1, Version::V2] {
            disk.disk.convert(version).unwrap();
            disk.disk.compact().unwrap();
            assert_qemu_reads(&disk, Guid::TOP, &data);
            assert_qemu_is_content(&disk);
        }
    }
}

#[test]
fn an_image_that_qemu_left_open_is_repaired_by_us_and_ours_by_qemu() {
    if !has_qemu() {
        return;
    }
    for is_ours in [false, true] {
        let mut disk = RealDisk::new(V2, ClusterSize::DEFAULT, Sectors(8 * MIB / 512));
        let mut data = vec![0; 8 << 20];
        if is_ours {
            let mut chain = disk.disk.write().unwrap();
            data[..5].fill(7);
            chain.write(&data[..5], DiskOffset(0)).unwrap();
            chain.flush().unwrap();
            drop(chain);
            let path = disk.path("root.hds");
            let repair = [
                "check",
                "-r",
                "all",
                "-f",
                "parallels",
                path.to_str().unwrap(),
            ];
            run("qemu-img", &repair);
        } else {
            data[..512].fill(7);
            let kill = ["-c", "write -P 7 0 512", "-c", "flush", "-c", "sigraise 9"];
            let node = node(&disk, Guid::TOP);
            let mut killed = Command::new("qemu-io");
            let status = killed.args(kill).arg(node).output().unwrap().status;
            assert_eq!(status.code(), None);
            let report = disk.disk.check(Some(Repair::Safe)).unwrap();
            assert!(!report.files[0].faults.is_empty() && report.is_clean());
        }
        let report = disk.disk.check(None).unwrap();
        assert!(report.is_clean(), "{report:?}");
        assert!(read(&disk, Guid::TOP) == data);
        assert_qemu_reads(&disk, Guid::TOP, &data);
        assert_qemu_is_content(&disk);
    }
}

#[test]
fn whatever_we_did_qemu_reads_it() {
    if !has_qemu() {
        return;
    }
    let mut runner = TestRunner::deterministic();
    let sequences = (
        sequences::kind(),
        proptest::collection::vec(sequences::change(), 8..24),
    );
    for _ in 0..24 {
        let (kind, changes) = sequences.new_tree(&mut runner).unwrap().current();
        let mut pair = sequences::small(kind);
        for change in &changes {
            pair.change(change);
        }
        pair.compare();
        let folder = TempDir::new().unwrap();
        for name in pair.disk.folder().names() {
            let bytes = pair.disk.folder().bytes(&name);
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let disk = RealDisk::open(folder);
        assert_qemu_is_content(&disk);
        assert_qemu_reads(&disk, Guid::TOP, &pair.top.whole());
        for (guid, data) in &pair.snapshots {
            assert_qemu_reads(&disk, *guid, &data.whole());
        }
    }
}
