// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `check` finds, and what it mends.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use mosaic_core::finding::{Finding, Repair};
use mosaic_core::{Driver as _, ErrorKind};
use mosaic_ploop::format::descriptor::{Base, Descriptor};
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::units::{ClusterSize, DiskOffset, Sectors};

use mosaic_tests::{eventually, requires_root};

use super::common::{Disks, MIB, disks, volume};

/// The class of each finding, and whether it was mended.
fn classes(findings: &[Finding]) -> Vec<(Option<&str>, bool)> {
    let class = |finding: &Finding| finding.remedy.as_ref().map(|r| r.class.clone());
    let each = findings.iter().map(|finding| {
        let word = class(finding).map(|class| match class.as_str() {
            "images" => "images",
            "lost-clusters" => "lost-clusters",
            "deltas" => "deltas",
            "modes" => "modes",
            "sizes" => "sizes",
            "snapshots" => "snapshots",
            "holes" => "holes",
            other => panic!("{other}"),
        });
        (word, finding.repaired)
    });
    each.collect()
}

fn named(class: &str) -> Repair {
    Repair::classes(&[class.to_owned()]).unwrap()
}

fn patch(disks: &Disks, file: &str, at: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new()
        .write(true)
        .open(disks.file(file))
        .unwrap();
    file.write_all_at(bytes, at).unwrap();
}

#[test]
fn a_disk_whose_writer_died_is_mended_without_being_named() {
    let (_scratch, disks) = disks("mark", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    disks.write("a", 0, b"data");
    patch(&disks, "a/root.hds", 44, b"Ynot");
    assert_eq!(
        classes(&disks.check(&Repair::Nothing)),
        [(Some("images"), false)]
    );
    assert_eq!(
        classes(&disks.check(&named("modes"))),
        [(Some("images"), false)]
    );
    assert_eq!(
        classes(&disks.check(&Repair::Usual)),
        [(Some("images"), true)]
    );
    assert_eq!(disks.check(&Repair::Nothing), []);
    assert_eq!(disks.read("a", 0, 4), b"data");
    disks.resize("a", 8 * MIB).unwrap();
}

#[test]
fn the_next_change_puts_in_order_what_a_killed_one_left() {
    let (_scratch, disks) = disks("killed", &[]);
    for verb in ["resize", "clone"] {
        disks.create_disk("a", 4 * MIB).unwrap();
        disks.write("a", 0, b"data");
        // Killed in a snapshot: a descriptor to be, with an empty delta. And in a write.
        disks.disk("a").snapshot(guid()).unwrap();
        let (old, new) = (
            disks.file("a/DiskDescriptor.xml"),
            disks.file("a/DiskDescriptor.xml.tmp"),
        );
        fs::rename(&old, &new).unwrap();
        let before = Descriptor::new(
            Sectors(8192),
            ClusterSize::DEFAULT,
            Base::Expanded,
            "root.hds",
        );
        fs::write(&old, before.unwrap().to_string()).unwrap();
        patch(&disks, "a/root.hds", 44, b"Ynot");
        assert_eq!(disks.read("a", 0, 4), b"data");
        let findings = disks.check(&Repair::Nothing);
        let classes = findings
            .iter()
            .map(|f| f.remedy.as_ref().unwrap().class.as_str());
        assert_eq!(classes.collect::<Vec<_>>(), ["leftovers", "images"]);
        match verb {
            "resize" => disks.resize("a", 8 * MIB).unwrap(),
            _ => {
                disks.clone("a", "b", None).unwrap();
                disks.drop("b").unwrap();
            }
        }
        assert_eq!(disks.check(&Repair::Nothing), []);
        assert_eq!(disks.read("a", 0, 4), b"data");
        disks.drop("a").unwrap();
    }
}

fn guid() -> Guid {
    "{11111111-2222-4333-8444-555555555555}".parse().unwrap()
}

#[test]
fn what_would_lose_data_is_only_done_by_name() {
    let (_scratch, disks) = disks("hard", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    disks.write("a", 0, b"data");
    // Entry 1: far beyond the end of the file.
    patch(&disks, "a/root.hds", 68, &[0, 0, 1, 0]);
    let lost = [(Some("lost-clusters"), false)];
    assert_eq!(classes(&disks.check(&Repair::Nothing)), lost);
    assert_eq!(classes(&disks.check(&Repair::Usual)), lost);
    assert_eq!(
        classes(&disks.check(&named("lost-clusters"))),
        [(lost[0].0, true)]
    );
    assert_eq!(disks.check(&Repair::Nothing), []);
    assert_eq!(disks.read("a", 0, 4), b"data");
    assert_eq!(disks.read("a", MIB, 4), [0; 4]);
}

#[test]
fn a_stray_delta_is_only_deleted_by_name() {
    let (_scratch, disks) = disks("stray", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    let stray = disks.file("a/root.hds.{11111111-2222-4333-8444-555555555555}");
    fs::copy(disks.file("a/root.hds"), &stray).unwrap();
    fs::write(disks.file("a/Snapshots.xml"), "theirs").unwrap();
    assert_eq!(
        classes(&disks.check(&Repair::Usual)),
        [(Some("deltas"), false)]
    );
    assert!(stray.exists());
    assert_eq!(
        classes(&disks.check(&named("deltas"))),
        [(Some("deltas"), true)]
    );
    assert!(!stray.exists());
    assert_eq!(disks.check(&Repair::Nothing), []);
}

#[test]
fn modes_and_sizes_are_put_in_order() {
    let (_scratch, disks) = disks("modes", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    let image = disks.file("a/root.hds");
    fs::set_permissions(&image, fs::Permissions::from_mode(0o666)).unwrap();
    // As a resize leaves it that is killed before the descriptor.
    let path = disks.file("a/DiskDescriptor.xml");
    let old = fs::read_to_string(&path).unwrap();
    disks.resize("a", 8 * MIB).unwrap();
    fs::write(&path, old).unwrap();
    assert_eq!(disks.size("a"), 8 * MIB);
    let found = [(Some("modes"), false), (Some("sizes"), false)];
    assert_eq!(classes(&disks.check(&Repair::Nothing)), found);
    let mended = found.map(|(class, _)| (class, true));
    assert_eq!(classes(&disks.check(&Repair::Usual)), mended);
    assert_eq!(disks.check(&Repair::Nothing), []);
    assert_eq!(
        image.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn what_a_clone_has_too_is_not_mended() {
    let (_scratch, disks) = disks("shared", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    fs::create_dir(disks.file("b")).unwrap();
    fs::copy(
        disks.file("a/DiskDescriptor.xml"),
        disks.file("b/DiskDescriptor.xml"),
    )
    .unwrap();
    fs::hard_link(disks.file("a/root.hds"), disks.file("b/root.hds")).unwrap();
    patch(&disks, "a/root.hds", 44, b"Ynot");
    assert_eq!(classes(&disks.check(&Repair::Usual)), [(None, false); 2]);
    assert_eq!(
        fs::read(disks.file("b/root.hds")).unwrap()[44..48],
        *b"Ynot"
    );
}

#[test]
fn looking_changes_nothing() {
    let (_scratch, disks) = disks("look", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    disks.check(&Repair::Nothing);
    disks.names();
    let mut files: Vec<_> = fs::read_dir(disks.file("a"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    files.sort();
    assert_eq!(files, ["DiskDescriptor.xml", "root.hds"]);
}

#[test]
fn strangers_are_told() {
    let (_scratch, disks) = disks("strangers", &[]);
    fs::write(disks.file("file"), "").unwrap();
    fs::create_dir_all(disks.file("folder/empty")).unwrap();
    let findings = disks.check(&Repair::Usual);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].fault.contains("file"));
}

#[test]
fn a_snapshot_that_another_program_did_not_end_costs_no_data() {
    let (_scratch, disks) = disks("ended", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    disks.write("a", 0, b"old");
    // ploop was killed when the kernel had the new delta and the disk not yet its new descriptor:
    // what was written from then on is in the new delta.
    let descriptor = disks.file("a/DiskDescriptor.xml");
    let old = fs::read(&descriptor).unwrap();
    disks
        .disk("a")
        .snapshot(Guid::from_random([7; 16]))
        .unwrap();
    disks.write("a", 0, b"new");
    let disk = disks.disk("a");
    let top = disk.descriptor().file(disk.descriptor().top()).unwrap();
    patch(&disks, &format!("a/{top}"), 44, b"Ynot");
    fs::rename(&descriptor, disks.file("a/DiskDescriptor.xml.tmp")).unwrap();
    fs::write(&descriptor, old).unwrap();
    let corrupt = |done: mosaic_core::Result<()>| {
        let error = done.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.chain());
        assert!(error.chain().contains(top), "{}", error.chain());
    };
    corrupt(disks.resize("a", 8 * MIB));
    corrupt(disks.clone("a", "b", None));
    for read_only in [false, true] {
        let attached = disks.driver.attach(&volume("a"), read_only);
        corrupt(attached.map(drop));
    }
    assert!(disks.find("a").unwrap().notes[0].contains(top));
    for repair in [Repair::Nothing, Repair::Usual, named("deltas")] {
        let found = disks.check(&repair);
        assert_eq!(classes(&found), [(Some("snapshots"), false)], "{found:?}");
    }
    let found = disks.check(&named("snapshots"));
    let ended = [(Some("snapshots"), true), (Some("images"), false)];
    assert_eq!(classes(&found), ended);
    assert_eq!(
        classes(&disks.check(&Repair::Usual)),
        [(Some("images"), true)]
    );
    assert_eq!(disks.check(&Repair::Nothing), []);
    assert_eq!(disks.read("a", 0, 3), b"new");
    assert_eq!(disks.fact("a", "deltas"), "2");
    disks.resize("a", 8 * MIB).unwrap();
}

/// Makes a hole within the first cluster.
fn punch(disks: &Disks, name: &str) {
    let mut chain = disks.disk(name).write().unwrap();
    let (at, bytes) = (DiskOffset(100 << 10), 200 << 10);
    chain.write_zeroes(at, bytes).unwrap();
    chain.close().unwrap();
}

#[test]
fn holes_are_filled_where_that_is_asked_for() {
    let (_scratch, disks) = disks("holes", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    disks.write("a", 0, &[7; 1 << 20]);
    punch(&disks, "a");
    let image = disks.file("a/root.hds");
    let before = fs::read(&image).unwrap();
    for repair in [Repair::Nothing, Repair::Usual] {
        assert_eq!(disks.check(&repair), []);
    }
    let found = disks.check(&named("holes"));
    assert_eq!(classes(&found), [(Some("holes"), true)], "{found:?}");
    let stat = image.metadata().unwrap();
    assert!(stat.blocks() * 512 >= stat.len(), "{stat:?}");
    assert_eq!(fs::read(&image).unwrap(), before);
    assert_eq!(disks.check(&named("holes")), []);
    // What a clone has too is not written to, not even zeros where there are zeros.
    punch(&disks, "a");
    fs::hard_link(&image, disks.file("other")).unwrap();
    let found = disks.check(&named("holes"));
    let strangers = found.iter().filter(|it| it.volume.is_none()).count();
    assert_eq!((found.len(), strangers), (2, 1), "{found:?}");
    assert!(found.iter().all(|it| !it.repaired), "{found:?}");
}

#[test]
fn root_what_ploop_was_merging_is_known_before_the_disk_is_shown() {
    if !requires_root() {
        return;
    }
    let (_scratch, disks) = disks("merging", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    disks.write("a", 0, &[1; 1000]);
    let guid = Guid::from_random([7; 16]);
    disks.disk("a").snapshot(guid).unwrap();
    disks.write("a", 500, &[2; 1000]);
    // ploop was killed when it had merged the top and not yet renamed its descriptor.
    let disk = disks.disk("a");
    let [base, top] = [guid, disk.descriptor().top()]
        .map(|shot| disks.file("a").join(disk.descriptor().file(shot).unwrap()));
    let descriptor = disks.file("a/DiskDescriptor.xml");
    let old = fs::read(&descriptor).unwrap();
    let upper = fs::read(&top).unwrap();
    disks.disk("a").delete(guid).unwrap();
    assert!(!top.exists() && base.exists());
    fs::write(&top, upper).unwrap();
    fs::rename(&descriptor, disks.file("a/DiskDescriptor.xml.tmp")).unwrap();
    fs::write(&descriptor, old).unwrap();
    // Then the disk is shown and written.
    let attached = disks.driver.attach(&volume("a"), false).unwrap();
    let device = fs::OpenOptions::new().write(true).open(attached.device);
    let device = device.unwrap();
    device.write_all_at(&[3; 512], 512).unwrap();
    device.sync_all().unwrap();
    drop(device);
    assert!(eventually(|| disks.driver.detach(&volume("a")).is_ok()));
    disks.clone("a", "b", None).unwrap();
    // Its snapshot would have parts of what came later.
    assert!(disks.disk("a").descriptor().shot(guid).is_none());
    let expected = [&[1; 500][..], &[2; 12], &[3; 512], &[2; 476]].concat();
    for name in ["a", "b"] {
        assert_eq!(disks.read(name, 0, 1500), expected, "{name}");
    }
    assert_eq!(disks.check(&Repair::Nothing), []);
}
