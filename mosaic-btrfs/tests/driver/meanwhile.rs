// SPDX-License-Identifier: MIT OR Apache-2.0
//! What somebody else does between two steps of a clone. The driver says each step before it takes
//! it, which is when they do it.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::changes::as_owner;
use crate::common::{ALL_QUOTAS, MIB, Quotas, Site, open, site, volume};
use mosaic_btrfs::{Btrfs, ioctl};
use mosaic_core::volume::CloneOptions;
use mosaic_core::{Driver, ErrorKind, Host, Level, Result, ScratchName, Services, Settings};

/// Makes a subvolume in a volume right before the snapshot of it.
struct Tenant {
    volume: PathBuf,
    /// Asks the driver to stop then.
    calls_off: bool,
    done: AtomicBool,
}

impl Services for Tenant {
    fn log(&self, _: Level, message: &str) {
        if message.contains("SNAP_CREATE") && !self.done.swap(true, Ordering::Relaxed) {
            ioctl::create(open(&self.volume).as_fd(), "late", None).unwrap();
        }
    }
    fn progress(&self, _: u64, _: u64, _: &str) {}
    fn cancelled(&self) -> bool {
        self.calls_off && self.done.load(Ordering::Relaxed)
    }
}

/// Clones `a` to `1/b`.
fn clone_with_tenant(site: &Site, calls_off: bool) -> Result<()> {
    let tenant = Tenant {
        volume: site.at("a"),
        calls_off,
        done: AtomicBool::new(false),
    };
    let driver = Btrfs::open(Host::new(Arc::new(tenant)), &Settings::new(&site.path)).unwrap();
    let how = CloneOptions {
        size: None,
        scratch: ScratchName::from_random(1),
    };
    driver.clone_volume(&volume("a"), &volume("1/b"), &how)
}

#[test]
fn root_a_subvolume_that_comes_right_before_the_snapshot_is_in_the_clone() {
    for quotas in ALL_QUOTAS {
        let Some(site) = site(quotas) else { return };
        site.new_volume("a", 16 * MIB).unwrap();
        site.write("a/file", MIB);
        clone_with_tenant(&site, false).unwrap();
        assert!(site.at("1/b/file").is_file());
        let within = site.driver.volume(&volume("1/b")).unwrap();
        assert_eq!(within.children().unwrap().len(), 1, "{quotas:?}");
        assert_eq!(site.leftovers(), [""; 0]);
    }
}

#[test]
fn root_a_clone_that_is_taken_back_does_not_come_again_with_the_power() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.new_volume("a", MIB).unwrap();
    let error = clone_with_tenant(&site, true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{}", error.chain());
    assert_eq!(site.entries(), ["a"]);
    assert_eq!(site.leftovers(), [""; 0]);
    let Site {
        fs, driver, path, ..
    } = site;
    std::mem::drop(driver);
    fs.cut_power().unwrap();
    assert!(path.join("a").is_dir());
    assert!(!path.join("1").join("b").exists());
}

/// Who may make snapshots need not be allowed to destroy them.
#[test]
fn root_an_owner_takes_a_clone_back_too() {
    let Some(site) = site(Quotas::Simple) else {
        return;
    };
    site.give_to_owner();
    as_owner(|| {
        site.new_volume("a", 16 * MIB).unwrap();
        site.write("a/file", MIB);
        let error = clone_with_tenant(&site, true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted, "{}", error.chain());
        assert_eq!(site.entries(), ["a"]);
    });
}
