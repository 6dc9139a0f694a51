// SPDX-License-Identifier: MIT OR Apache-2.0
//! Growth for which the table of an image needs the place of data, while somebody writes: what was
//! there is moved, and nothing is lost.

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use mosaic_ploop::files::DiskFile;
use mosaic_ploop::format::delta::Delta;
use mosaic_ploop::format::disk::Kind;
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::header::Version;
use mosaic_ploop::format::units::Sectors;
use mosaic_tests::{eventually, requires_root, requires_time, run, stdout_of};

use crate::at_work::Kills;
use crate::fio::{Fio, requires_fio};
use crate::online::requires_resend;
use crate::site::{MIB, Site};

/// Sectors of a cluster: a table of one has the entries of 256 MiB.
const CLUSTER: u32 = 64;
/// MiB that are written to.
const WRITTEN: u64 = 96;

fn size(mib: u64) -> Sectors {
    Sectors(mib * MIB / 512)
}

/// Puts data in the clusters of the file right behind the table.
fn fill(site: &Site, device: &Path) {
    let to = format!("of={}", device.display());
    let how = ["if=/dev/urandom", "bs=1M", "count=8", "oflag=direct"];
    run("dd", &[&how[..], &[&to, "conv=fsync"]].concat()).unwrap();
    let (table, taken) = table_and_data(site);
    let right_behind = taken.iter().take(128).copied();
    assert!(right_behind.eq(table..table + 128), "{table}: {taken:?}");
}

/// How many clusters the table has, and which hold data, as the image says.
fn table_and_data(site: &Site) -> (u32, Vec<u32>) {
    let disk = site.disk();
    let file = disk.descriptor().file(Guid::TOP).unwrap();
    let file = File::open(site.volume().join(file)).unwrap();
    let delta = Delta::open("top", DiskFile::opened(file.into())).unwrap();
    let places = delta.allocated();
    let size = delta.header().cluster.bytes();
    let place = |cluster| delta.locate(cluster).unwrap().unwrap().0 / size;
    let places = places.map(|cluster| u32::try_from(place(cluster)).unwrap());
    let mut places: Vec<_> = places.collect();
    places.sort_unstable();
    (delta.header().table_clusters(), places)
}

/// All that was written.
fn written(device: &Path) -> String {
    let count = format!("count={WRITTEN}");
    let from = format!("if={}", device.display());
    let sum = format!("dd {from} bs=1M {count} iflag=direct status=none | sha256sum");
    stdout_of("sh", &["-c", &sum]).unwrap()
}

/// The disk is shown again and has the same in it, which is as much larger as it should.
fn assert_kept(site: &Site, device: &Path, size: Sectors) {
    let before = written(device);
    site.detach();
    site.assert_nothing_left();
    let report = site.disk().check(None).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(site.disk().descriptor().size(), size);
    let (table, taken) = table_and_data(site);
    assert!(taken.first().is_some_and(|first| *first >= table));
    let device = site.attach();
    assert!(written(&device) == before);
    site.detach();
    site.assert_nothing_left();
}

#[test]
fn root_growth_moves_data_from_under_who_writes_it() {
    if !requires_time() || !requires_root() || !requires_fio() {
        return;
    }
    for version in [Version::V1, Version::V2] {
        let site = Site::with("moves", 200, Kind::Expanded(version), CLUSTER);
        let device = site.attach();
        let attached = site.find().unwrap();
        fill(&site, &device);
        let (mut table, _) = table_and_data(&site);
        let mut fio = Fio::start(&device, WRITTEN, 300, 3);
        for mib in [400, 2048, 8192] {
            fio.await_writes(attached.number);
            attached.grow(&site.host, &site.place(), size(mib)).unwrap();
            fio.await_writes(attached.number);
            // Where there was data is the table.
            let (now, _) = table_and_data(&site);
            assert!(now > table, "{table} {now}");
            table = now;
        }
        assert!(table >= 32, "{table}");
        fio.assert_well();
        assert_kept(&site, &device, size(8192));
    }
}

#[test]
fn root_a_worker_killed_while_it_moves_data_loses_nothing() {
    if !requires_time() || !requires_root() || !requires_fio() || !requires_resend() {
        return;
    }
    for version in [Version::V1, Version::V2] {
        let site = Site::with("killed-moves", 200, Kind::Expanded(version), CLUSTER);
        let device = site.attach();
        let attached = site.find().unwrap();
        fill(&site, &device);
        let mut fio = Fio::start(&device, WRITTEN, 800, 13);
        fio.await_writes(attached.number);
        let start = Instant::now();
        attached
            .grow(&site.host, &site.place(), size(4096))
            .unwrap();
        let mut kills = Kills::new(start.elapsed());
        let mut mib = 4096;
        while kills.are_due(8) {
            assert!(eventually(|| site.servers().len() == 2));
            fio.await_writes(attached.number);
            mib += 4096;
            let (place, to) = (site.place(), size(mib));
            let grow = || attached.grow(&site.host, &place, to).unwrap();
            kills.kill(site.servers()[1], grow);
            assert_eq!(site.disk().descriptor().size(), to);
            fio.assert_running();
        }
        fio.assert_well();
        // 128 of the clusters of the table were data when it began.
        let (table, _) = table_and_data(&site);
        assert!(table >= 128, "{table}");
        assert_kept(&site, &device, size(mib));
    }
}
