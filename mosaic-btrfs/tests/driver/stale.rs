// SPDX-License-Identifier: MIT OR Apache-2.0
//! Quota groups that outlive their subvolumes, and their removal.

use std::os::fd::AsFd;

use crate::common::{MIB, Quotas, Site, site, site_with};
use mosaic_btrfs::ioctl;
use mosaic_btrfs::stale::{self, Candidates};
use mosaic_core::{Bytes, Driver, Settings};
use mosaic_tests::eventually;

/// The dead groups' ids, with what they count.
fn dead(site: &Site) -> Vec<(u64, u64)> {
    let groups = stale::dead_groups(site.dir().as_fd()).unwrap();
    let pairs = groups.iter().map(|g| (g.id, g.usage.referenced));
    pairs.collect()
}

/// A look, a commit and a sweep, as every changing command has them; gives the number removed.
fn change(site: &Site) -> usize {
    let candidates = Candidates::before(&site.driver);
    site.commit();
    candidates.sweep(&site.driver)
}

/// Leaves a dead group that counts nothing behind, of the subvolume whose id it gives: one whose
/// data lived on in a clone.
fn make_dead(site: &Site) -> u64 {
    let origin = site.subvolume("origin");
    site.write("origin/file", MIB);
    site.snapshot("origin", "clone", false);
    assert_eq!(dead(site), []);
    site.btrfs(&["subvolume", "delete"], "origin");
    site.commit();
    assert!(eventually(|| dead(site) == [(origin, MIB)]));
    assert_eq!(change(site), 0, "it still counts");
    site.btrfs(&["subvolume", "delete"], "clone");
    assert!(eventually(|| {
        site.commit();
        dead(site) == [(origin, 0)]
    }));
    origin
}

#[test]
fn root_a_group_goes_when_no_clone_has_its_data_any_more() {
    let Some(site) = site(Quotas::Simple) else {
        return;
    };
    make_dead(&site);
    assert_eq!(change(&site), 1);
    assert_eq!(dead(&site), []);
}

#[test]
fn root_among_many_groups_a_dead_one_is_met_in_time() {
    let Some(site) = site(Quotas::Simple) else {
        return;
    };
    let dir = site.dir();
    // More than one look shows, before and after the dead one.
    let make = |from: u32| {
        for number in from..from + 1500 {
            ioctl::create(dir.as_fd(), format!("n{number}"), None).unwrap();
        }
    };
    make(0);
    make_dead(&site);
    make(1500);
    let all = Candidates::all_before(&site.driver);
    let met = (0..1000).any(|_| change(&site) == 1);
    assert!(met);
    assert_eq!(dead(&site), []);
    assert_eq!(all.sweep(&site.driver), 0, "it is gone already");
}

#[test]
fn root_groups_of_subvolumes_that_are_there_stay() {
    for quotas in [Quotas::Simple, Quotas::Full] {
        let Some(site) = site(quotas) else { return };
        let made = site.subvolume("made");
        // In the transaction that is still running: its group counts nothing yet.
        let candidates = Candidates::before(&site.driver);
        let fresh = site.subvolume("fresh");
        let late = Candidates::before(&site.driver);
        assert_eq!(candidates.sweep(&site.driver), 0);
        assert_eq!(late.sweep(&site.driver), 0);
        site.commit();
        let limit = |id| mosaic_btrfs::ioctl::limit(site.dir(), id, Some(1 << 20));
        assert_eq!([limit(made), limit(fresh)], [Ok(()); 2]);
    }
}

/// All that was there before simple quotas counts nothing: none of it is a candidate, which each
/// command would have to look at again, and none is removed.
#[test]
fn root_what_is_older_than_the_quotas_is_not_looked_at_one_by_one() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    let old = ["a", "b", "c"].map(|name| site.subvolume(name));
    crate::common::enable(&site.fs, Quotas::Simple);
    site.commit();
    let origin = make_dead(&site);
    let candidates = Candidates::before(&site.driver);
    assert_eq!(format!("{candidates:?}"), format!("Candidates([{origin}])"));
    assert_eq!(change(&site), 1);
    for (name, id) in ["a", "b", "c"].iter().zip(old) {
        let listed = site.driver.list().unwrap();
        let listed = listed.into_iter().find(|v| v.stored == *name).unwrap();
        assert_eq!(listed.used, Some(Bytes(0)));
        assert_eq!(site.found(name).used, listed.used);
        mosaic_btrfs::ioctl::limit(site.dir(), id, Some(MIB)).unwrap();
    }
}

#[test]
fn root_without_quotas_nothing_is_done() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.subvolume("made");
    assert_eq!(change(&site), 0);
    assert_eq!(dead(&site), []);
}

#[test]
fn root_groups_are_left_alone_where_the_config_says_so() {
    let off = |settings: &mut Settings| settings.set("quota", "off");
    let Some(site) = site_with(Quotas::Simple, off) else {
        return;
    };
    let origin = make_dead(&site);
    assert_eq!(change(&site), 0);
    assert_eq!(dead(&site), [(origin, 0)]);
}
