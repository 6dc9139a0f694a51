// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots, growth and kills while somebody writes: nothing is lost, nothing is mixed up.

use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::storage::Folder;
use mosaic_ploop::format::units::Sectors;
use mosaic_tests::{eventually, requires_root, run};

use crate::fio::{Fio, requires_fio};
use crate::site::{MIB, Site};

fn guid(site: &Site) -> Guid {
    Guid::from_random(site.disk().folder().random().unwrap())
}

#[test]
fn root_writes_survive_snapshots_and_growth_under_way() {
    if !requires_root() || !requires_fio() {
        return;
    }
    let site = Site::new("online", 256);
    let device = site.attach();
    let attached = site.find().unwrap();
    for seed in 0..3 {
        let mut fio = Fio::start(&device, 256, 100, seed);
        assert!(eventually(
            || allocated(&site) > seed + 8 || !fio.is_running()
        ));
        let new = guid(&site);
        assert_eq!(attached.freeze(&site.place(), new).unwrap(), new);
        let size = Sectors((256 + (seed + 1) * 64) * MIB / 512);
        attached.grow(&site.place(), size).unwrap();
        assert!(fio.is_running(), "there was nothing under way");
        fio.assert_well();
    }
    assert_eq!(site.disk().descriptor().shots().len(), 4);
    let found = std::fs::read_to_string(format!("/sys/block/loop{}/size", attached.number));
    assert_eq!(found.unwrap().trim(), ((256 + 192) * 2048).to_string());
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

/// MiB of all images.
fn allocated(site: &Site) -> u64 {
    let files = site.volume().read_dir().unwrap().flatten();
    files.map(|file| file.metadata().unwrap().len() / MIB).sum()
}

#[test]
fn root_a_killed_worker_is_followed_by_another_and_nobody_notices() {
    if !requires_root() || !requires_fio() {
        return;
    }
    let site = Site::new("resend", 256);
    let device = site.attach();
    let mut fio = Fio::start(&device, 256, 400, 7);
    for kill in 0..5 {
        let workers = || site.servers();
        assert!(eventually(|| workers().len() == 2), "{:?}", workers());
        let before = allocated(&site);
        assert!(eventually(|| kill > 1 || allocated(&site) > before));
        assert!(fio.is_running(), "there was nothing under way");
        let worker = *workers().last().unwrap();
        run("kill", &["-KILL", &worker.to_string()]).unwrap();
        assert!(eventually(|| !workers().contains(&worker)));
    }
    fio.assert_well();
    assert_eq!(site.servers().len(), 2);
    let before = checksum(&device);
    site.detach();
    site.assert_nothing_left();
    let device = site.attach();
    assert_eq!(checksum(&device), before);
}
