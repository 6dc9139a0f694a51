// SPDX-License-Identifier: MIT OR Apache-2.0
//! A partition that is shown grows with its disk while somebody writes to it.

use std::time::Instant;

use mosaic_ploop::attachment::How;
use mosaic_ploop::format::disk::Kind;
use mosaic_ploop::format::header::Version;
use mosaic_ploop::format::units::{DiskOffset, Sectors};
use mosaic_ploop::partition;
use mosaic_tests::{eventually, requires_root, requires_time, run, stdout_of};

use crate::at_work::Kills;
use crate::fio::{Fio, requires_fio};
use crate::online::requires_resend;
use crate::site::{HOW, MIB, Site};

fn show(site: &Site) -> std::path::PathBuf {
    let how = How {
        partition: Some(MIB),
        ..HOW
    };
    site.attach_how(&how).path()
}

/// Bytes of the partition, as the disk's table has it.
fn partition_of(site: &Site) -> u64 {
    let disk = site.disk();
    let chain = disk.read(disk.descriptor().top()).unwrap();
    let found = partition::find(&chain).unwrap().unwrap().partition();
    assert_eq!(found.at, MIB);
    found.bytes
}

fn shown(device: &std::path::Path) -> u64 {
    let said = stdout_of("blockdev", &["--getsize64".as_ref(), device.as_os_str()]).unwrap();
    said.trim().parse().unwrap()
}

#[test]
fn root_a_partition_grows_under_writes_of_versions_1_and_2_and_raw() {
    if !requires_time() || !requires_root() || !requires_fio() {
        return;
    }
    let kinds = [
        Kind::Expanded(Version::V1),
        Kind::Expanded(Version::V2),
        Kind::Raw,
    ];
    for kind in kinds {
        let site = Site::with("partition", 64, kind, 2048);
        site.partition();
        let device = show(&site);
        let attached = site.find().unwrap();
        assert!(!attached.is_raw);
        let mut fio = Fio::start(&device, 62, 300, 1);
        for mib in [65, 128, 128, 1024] {
            fio.await_writes(attached.number);
            let size = Sectors(mib * MIB / 512);
            attached.grow(&site.host, &site.place(), size).unwrap();
            assert_eq!(shown(&device), (mib - 2) * MIB);
            assert_eq!(partition_of(&site), (mib - 2) * MIB);
        }
        fio.assert_running();
        fio.assert_well();
        // All of the room can be written, and nothing behind it.
        let device = device.to_str().unwrap();
        let last = format!("seek={}", 1022 * MIB / 512 - 1);
        let words = |count| ["if=/dev/zero", "bs=512", count, "oflag=direct", &last];
        let to = format!("of={device}");
        let dd = |count| run("dd", &[&words(count)[..], &[to.as_str()]].concat());
        dd("count=1").unwrap();
        assert!(dd("count=2").is_err());
        site.detach();
        site.assert_nothing_left();
        assert_eq!(partition_of(&site), 1022 * MIB);
        let report = site.disk().check(None).unwrap();
        assert!(report.is_clean(), "{report:?}");
    }
}

#[test]
fn root_a_worker_killed_while_a_partition_grows_is_followed_by_one_that_ends_it() {
    if !requires_time() || !requires_root() || !requires_fio() || !requires_resend() {
        return;
    }
    let site = Site::new("partition-killed", 64);
    site.partition();
    let device = show(&site);
    let attached = site.find().unwrap();
    let grow = |mib: u64| {
        let size = Sectors(mib * MIB / 512);
        attached.grow(&site.host, &site.place(), size)
    };
    let mut fio = Fio::start(&device, 62, 1200, 5);
    fio.await_writes(attached.number);
    let start = Instant::now();
    grow(72).unwrap();
    let mut kills = Kills::new(start.elapsed());
    let mut mib = 72;
    while kills.are_due(10) {
        assert!(eventually(|| site.servers().len() == 2));
        fio.await_writes(attached.number);
        mib += 8;
        kills.kill(site.servers()[1], || grow(mib).unwrap());
        assert_eq!(shown(&device), (mib - 2) * MIB);
        assert_eq!(partition_of(&site), (mib - 2) * MIB);
        fio.assert_running();
    }
    fio.assert_well();
    site.detach();
    site.assert_nothing_left();
    let report = site.disk().check(None).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn root_what_is_asked_of_a_partition_at_once_goes_to_the_partition() {
    if !requires_root() || !requires_fio() {
        return;
    }
    for kind in [Kind::Expanded(Version::V2), Kind::Raw] {
        let site = Site::with("partition-full", 64, kind, 2048);
        site.partition();
        let before = all_of(&site);
        let device = show(&site);
        Fio::start(&device, 62, 200, 1).assert_well();
        // The worker makes its queues when it finds several requests at once (fs/aio.c, Linux 6.1: each
        // is a file "[aio]" in memory).
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", site.servers()[1]));
        assert!(maps.unwrap().contains("[aio]"), "{kind:?}: one by one");
        // Many blocks of it at once, past the page cache.
        let copy = site.volume().with_file_name("copy");
        let [from, to] = [("if", &device), ("of", &copy)].map(|(what, path)| {
            let path = path.display();
            format!("{what}={path}")
        });
        run("dd", &[from.as_str(), &to, "bs=4M", "iflag=direct"]).unwrap();
        site.detach();
        let after = all_of(&site);
        let [start, end] = [MIB, 63 * MIB].map(|at| usize::try_from(at).unwrap());
        assert!(after[..start] == before[..start], "{kind:?}");
        assert!(after[end..] == before[end..], "{kind:?}");
        assert!(
            after[start..end] == std::fs::read(&copy).unwrap(),
            "{kind:?}"
        );
        assert!(after[start..end] != before[start..end], "{kind:?}");
        site.assert_nothing_left();
    }
}

/// The bytes of the disk, which nobody has open.
fn all_of(site: &Site) -> Vec<u8> {
    let disk = site.disk();
    let chain = disk.read(disk.descriptor().top()).unwrap();
    let mut bytes = vec![0; usize::try_from(chain.size().bytes()).unwrap()];
    chain.read(&mut bytes, DiskOffset(0)).unwrap();
    bytes
}
