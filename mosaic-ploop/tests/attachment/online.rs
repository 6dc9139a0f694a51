// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots, growth and kills while somebody writes: nothing is lost, nothing is mixed up.

use std::time::Instant;

use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::storage::Folder;
use mosaic_ploop::format::units::Sectors;
use mosaic_tests::{eventually, left_out, requires_program, requires_root, requires_time, run};

use crate::at_work::{Kills, kill_at_work};
use crate::fio::{Fio, requires_fio};
use crate::site::{MIB, Site};

/// Whether the kernel sends requests again that a killed worker has not answered: Linux 6.9.
pub fn resends() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map(|part| part.parse().unwrap_or(0));
    let version: [u32; 2] = std::array::from_fn(|_| numbers.next().unwrap_or(0));
    version >= [6, 9]
}

/// The same; says where it does not, which no virtual machine need be better at.
pub fn requires_resend() -> bool {
    let can = resends();
    if !can {
        left_out("this kernel sends no request again");
    }
    can
}

fn guid(site: &Site) -> Guid {
    Guid::from_random(site.disk().folder().random().unwrap())
}

#[test]
fn root_writes_survive_snapshots_and_growth_under_way() {
    if !requires_time() || !requires_root() || !requires_fio() {
        return;
    }
    let site = Site::new("online", 128);
    let device = site.attach();
    let attached = site.find().unwrap();
    for seed in 0..3 {
        let mut fio = Fio::start(&device, 128, 100, seed);
        fio.await_writes(attached.number);
        let new = guid(&site);
        assert_eq!(
            attached.freeze(&site.host, &site.place(), new).unwrap(),
            new
        );
        fio.await_writes(attached.number);
        let size = Sectors((128 + (seed + 1) * 64) * MIB / 512);
        attached.grow(&site.host, &site.place(), size).unwrap();
        fio.await_writes(attached.number);
        fio.assert_well();
    }
    assert_eq!(site.disk().descriptor().shots().len(), 4);
    let found = std::fs::read_to_string(format!("/sys/block/loop{}/size", attached.number));
    assert_eq!(found.unwrap().trim(), ((128 + 192) * 2048).to_string());
    let before = checksum(&device);
    site.detach();
    let device = site.attach();
    assert_eq!(checksum(&device), before);
    site.detach();
    site.assert_nothing_left();
}

/// The disk's bytes, all of them.
fn checksum(device: &std::path::Path) -> String {
    mosaic_tests::stdout_of("sha256sum", &[device]).unwrap()[..64].to_owned()
}

#[test]
fn root_a_killed_worker_is_followed_by_another_and_nobody_notices() {
    if !requires_root() || !requires_fio() || !requires_resend() {
        return;
    }
    let site = Site::new("resend", 128);
    let device = site.attach();
    let mut fio = Fio::start(&device, 128, 400, 7);
    let number = site.find().unwrap().number;
    for _ in 0..5 {
        let workers = || site.servers();
        assert!(eventually(|| workers().len() == 2), "{:?}", workers());
        fio.await_writes(number);
        let worker = *workers().last().unwrap();
        kill_at_work(worker);
        assert!(eventually(|| !workers().contains(&worker)));
    }
    fio.await_writes(number);
    fio.assert_well();
    assert_eq!(site.servers().len(), 2);
    let before = checksum(&device);
    site.detach();
    site.assert_nothing_left();
    let device = site.attach();
    assert_eq!(checksum(&device), before);
}

#[test]
fn root_a_worker_killed_while_it_freezes_or_grows_loses_nothing() {
    if !requires_time() || !requires_root() || !requires_fio() || !requires_resend() {
        return;
    }
    let site = Site::new("killed-online", 128);
    let device = site.attach();
    let attached = site.find().unwrap();
    let mut fio = Fio::start(&device, 128, 500, 11);
    fio.await_writes(attached.number);
    let start = Instant::now();
    attached
        .freeze(&site.host, &site.place(), guid(&site))
        .unwrap();
    let mut kills = Kills::new(start.elapsed());
    let (mut mib, mut most) = (128, 2);
    while kills.are_due(8) {
        assert!(eventually(|| site.servers().len() == 2));
        fio.await_writes(attached.number);
        let new = guid(&site);
        let (place, size) = (site.place(), Sectors(mib * MIB / 512));
        kills.kill(site.servers()[1], || {
            attached.freeze(&site.host, &place, new).unwrap();
            attached.grow(&site.host, &place, size).unwrap();
        });
        mib += 8;
        let shots = site.disk();
        let shots = shots.descriptor();
        assert!(shots.shot(new).is_some() || shots.shots().len() <= most);
        most += 1;
        assert_eq!(shots.size(), size);
        fio.assert_running();
    }
    fio.assert_well();
    let before = checksum(&device);
    site.detach();
    site.assert_nothing_left();
    let report = site.disk().check(None).unwrap();
    assert!(report.is_clean(), "{report:?}");
    let device = site.attach();
    assert_eq!(checksum(&device), before);
}

/// The disk as its owner sees it, and as QEMU reads the same images: a chain of three at first, of four
/// in the end.
#[test]
fn root_three_deltas_under_a_file_system_read_as_qemu_reads_them() {
    if !requires_time() {
        return;
    }
    let possible = requires_root() && requires_fio() && requires_program("qemu-img");
    if !possible || !requires_program("mkfs.ext4") {
        return;
    }
    let site = Site::new("qemu-compare", 128);
    let device = site.attach();
    let attached = site.find().unwrap();
    let raw = site.volume().with_file_name("raw");
    let at = site.volume().with_file_name("mounted");
    std::fs::create_dir(&at).unwrap();
    let [node, mountpoint] = [&device, &at].map(|path| path.to_str().unwrap());
    run("mkfs.ext4", &["-q", node]).unwrap();
    run("mount", &["-o", "discard", node, mountpoint]).unwrap();
    for name in ["removed", "kept"] {
        std::fs::write(at.join(name), vec![7; 12 << 20]).unwrap();
        run("sync", &["-f", mountpoint]).unwrap();
        attached
            .freeze(&site.host, &site.place(), guid(&site))
            .unwrap();
    }
    std::fs::remove_file(at.join("removed")).unwrap();
    assert_eq!(site.disk().descriptor().shots().len(), 3);
    let mut fio = Fio::start(&at.join("file"), 24, 600, 5);
    fio.await_writes(attached.number);
    attached
        .freeze(&site.host, &site.place(), guid(&site))
        .unwrap();
    fio.await_writes(attached.number);
    let size = Sectors(160 * MIB / 512);
    attached.grow(&site.host, &site.place(), size).unwrap();
    fio.await_writes(attached.number);
    fio.assert_well();
    run("umount", &[mountpoint]).unwrap();
    run("e2fsck", &["-fn", node]).unwrap();
    run("cp", &[node, raw.to_str().unwrap()]).unwrap();
    site.detach();
    let disk = site.disk();
    let descriptor = disk.descriptor();
    assert_eq!((descriptor.shots().len(), descriptor.size()), (4, size));
    let files = descriptor.chain(descriptor.top());
    let files = files.into_iter().map(|shot| descriptor.file(shot).unwrap());
    let chain = files.fold(None, |below: Option<String>, file| {
        let path = site.volume().join(file);
        let backing = below.map_or(String::new(), |below| format!(r#","backing":{below}"#));
        Some(format!(
            r#"{{"driver":"parallels","file":{{"driver":"file","filename":"{}"}}{backing}}}"#,
            path.display()
        ))
    });
    let chain = format!("json:{}", chain.unwrap());
    run(
        "qemu-img",
        &["compare", "-F", "raw", &chain, raw.to_str().unwrap()],
    )
    .unwrap();
}
