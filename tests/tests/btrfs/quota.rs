// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sizes are limits of quota groups: they bind where quotas are on, and are never silently ignored.

use std::fs;
use std::path::Path;

use mosaic_tests::{Quota, Site, fill, qgroups, quota, word};
use nix::libc::EDQUOT;

use crate::{KINDS, MIB, WITH_QUOTAS, on_each, site};

fn size_of(site: &Site, volume: &str) -> Option<u64> {
    site.json(&["info", volume])["volume"]["size"].as_u64()
}

/// How many more MiB can be written in the folder.
fn room(folder: &Path) -> usize {
    let before = fs::read_dir(folder).unwrap().count();
    let mut written = 0;
    let refused = loop {
        match fill(&folder.join(format!("file-{}", before + written)), 1) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 64, "nothing stops the writer");
    };
    assert_eq!(refused.raw_os_error(), Some(EDQUOT), "{refused}");
    written
}

#[test]
fn root_a_limit_stops_its_writer_until_the_volume_grows() {
    on_each(&WITH_QUOTAS, "", |kind, site| {
        let at = site.mountpoint("at");
        site.ok(&["new", "fs", "a", "8M"]);
        site.ok(&["mount", "a", word(&at)]);
        let first = room(&at);
        assert!((6..8).contains(&first), "{kind}: {first}");
        // Also past Mosaic's mount.
        let direct = fill(&site.location().join("a/more"), 2).unwrap_err();
        assert_eq!(direct.raw_os_error(), Some(EDQUOT), "{kind}");
        site.ok(&["resize", "a", "16M"]);
        let grown = room(&at) + first;
        assert!((14..16).contains(&grown), "{kind}: {grown}");
        site.ok(&["umount", "a", word(&at)]);
        let used = site.json(&["info", "a"])["volume"]["used"].as_u64();
        assert!(
            used.is_some_and(|used| (14 * MIB..=16 * MIB).contains(&used)),
            "{kind}: {used:?}"
        );
    });
}

#[test]
fn root_a_clones_limit_is_the_one_asked_for_or_its_sources() {
    on_each(&WITH_QUOTAS, "", |kind, site| {
        site.ok(&["new", "fs", "a", "8M"]);
        site.subvolume("a/within");
        site.ok(&["clone", "a", "same"]);
        site.ok(&["clone", "a", "more", "--size", "16M"]);
        assert_eq!(size_of(site, "same"), Some(8 * MIB), "{kind}");
        assert_eq!(size_of(site, "more"), Some(16 * MIB), "{kind}");
        assert_eq!(size_of(site, "a"), Some(8 * MIB), "{kind}");
        let at = site.mountpoint("at");
        for (clone, least) in [("same", 6), ("more", 14)] {
            site.ok(&["mount", clone, word(&at)]);
            let room = room(&at);
            assert!(
                (least..least + 2).contains(&room),
                "{kind}: {clone}: {room}"
            );
            site.ok(&["umount", clone, word(&at)]);
        }
    });
}

#[test]
fn root_a_subvolume_without_a_limit_is_a_volume_without_a_size() {
    on_each(&WITH_QUOTAS, "", |kind, site| {
        site.subvolume("a");
        assert_eq!(size_of(site, "a"), None, "{kind}");
        site.ok(&["clone", "a", "b"]);
        assert_eq!(size_of(site, "b"), None, "{kind}");
        site.ok(&["clone", "a", "c", "--size", "8M"]);
        assert_eq!(size_of(site, "c"), Some(8 * MIB), "{kind}");
        // There is nothing to add to.
        site.expect(2, &["resize", "a", "+8M"]);
        site.ok(&["resize", "a", "8M"]);
        assert_eq!(size_of(site, "a"), Some(8 * MIB), "{kind}");
        assert_eq!(size_of(site, "b"), None, "{kind}");
    });
}

#[test]
fn root_a_volume_is_not_resized_below_what_is_in_it() {
    on_each(&WITH_QUOTAS, "", |kind, site| {
        site.ok(&["new", "fs", "a", "16M"]);
        fill(&site.location().join("a/file"), 8).unwrap();
        let output = site.expect(2, &["resize", "--shrink", "a", "4M"]);
        assert!(output.stderr.contains("4 MiB"), "{kind}: {}", output.stderr);
        assert_eq!(size_of(site, "a"), Some(16 * MIB), "{kind}");
        site.ok(&["resize", "--shrink", "a", "12M"]);
        assert_eq!(size_of(site, "a"), Some(12 * MIB), "{kind}");
        // It can be emptied all the same.
        fs::remove_file(site.location().join("a/file")).unwrap();
    });
}

#[test]
fn root_nothing_but_init_switches_quotas_on() {
    let kinds = [None, Some(Quota::Simple), Some(Quota::Full)];
    for (kind, before) in KINDS.into_iter().zip(kinds) {
        let Some(site) = site(kind, "") else {
            return;
        };
        let on = || quota(site.location()).unwrap();
        site.ok(&["new", "fs", "a", "8M"]);
        site.ok(&["clone", "a", "b"]);
        site.run(&["resize", "b", "16M"]);
        site.ok(&["info"]);
        site.ok(&["check", "--repair"]);
        site.ok(&["drop", "--wait", "a"]);
        assert_eq!(on(), before, "{kind}");
        let (same, other) = match before {
            Some(Quota::Full) => ("full", "simple"),
            _ => ("simple", "full"),
        };
        let done = site.run(&["init", "--quota", same]);
        // All of it is there: as with any other location.
        assert_eq!(
            done.status,
            if before.is_none() { 0 } else { 4 },
            "{kind}: {}",
            done.stderr
        );
        let after = before.or(Some(Quota::Simple));
        assert_eq!(on(), after, "{kind}");
        let refused = site.expect(6, &["init", "--quota", other]);
        assert!(refused.stderr.contains(same), "{kind}: {}", refused.stderr);
        assert_eq!(on(), after, "{kind}");
        site.expect(2, &["init", "--quota", "some"]);
        let said = site.expect(0, &["new", "fs", "c", "8M"]).stderr;
        assert_eq!(said, "", "{kind}");
        assert_eq!(size_of(&site, "c"), Some(8 * MIB), "{kind}");
        site.assert_sound();
    }
}

#[test]
fn root_init_makes_a_location_and_switches_quotas_on() {
    let Some(site) = site("btrfs", "") else {
        return;
    };
    let fresh = site.fs().unwrap().path().join("fresh");
    site.moctl()
        .mosaic("fresh", "btrfs", &fresh, "quota: required\n")
        .unwrap();
    let made = site.moctl().json(&["fresh", "init", "--quota", "simple"]);
    assert_eq!(made["changed"], true, "{made}");
    assert_eq!(made["made"].as_array().unwrap().len(), 2, "{made}");
    assert_eq!(quota(&fresh).unwrap(), Some(Quota::Simple));
    site.moctl().ok(&["fresh", "new", "fs", "a", "8M"]);
    // The other location of that file system has them too.
    site.ok(&["new", "fs", "a", "8M"]);
    assert_eq!(size_of(&site, "a"), Some(8 * MIB));
}

#[test]
fn root_required_quotas_that_are_off_refuse_what_would_have_a_size() {
    let Some(site) = site("btrfs", "quota: required\n") else {
        return;
    };
    site.subvolume("a");
    for words in [
        &["new", "fs", "b", "8M"][..],
        &["clone", "a", "b"],
        &["clone", "a", "b", "--size", "8M"],
        &["resize", "a", "8M"],
    ] {
        let output = site.expect(6, words);
        let way_out = "init --quota simple";
        assert!(
            output.stderr.contains(way_out),
            "{words:?}: {}",
            output.stderr
        );
        assert_eq!(
            output.stderr.lines().count(),
            1,
            "{words:?}: {}",
            output.stderr
        );
    }
    assert_eq!(site.entries(), ["a"]);
    // What has no size is not kept from anybody.
    let at = site.mountpoint("at");
    site.ok(&["mount", "a", word(&at)]);
    site.ok(&["umount", "a", word(&at)]);
    site.ok(&["rename", "a", "b"]);
    site.ok(&["drop", "b"]);
    site.ok(&["init", "--quota", "simple"]);
    site.ok(&["new", "fs", "b", "8M"]);
    site.assert_sound();
}

#[test]
fn root_quotas_that_are_not_to_be_used_are_left_alone() {
    on_each(&WITH_QUOTAS, "quota: off\n", |kind, site| {
        let said = site.expect(0, &["new", "fs", "a", "8M"]).stderr;
        assert!(
            said.contains("not enforced") && said.contains("quota: off"),
            "{kind}: {said}"
        );
        let said = site.expect(0, &["clone", "a", "b", "--size", "16M"]).stderr;
        assert!(said.contains("not enforced"), "{kind}: {said}");
        let refused = site.expect(6, &["resize", "a", "16M"]).stderr;
        assert!(refused.contains("quota: off"), "{kind}: {refused}");
        let limits = qgroups(site.location()).unwrap();
        assert!(
            limits.iter().all(|group| group.limit.is_none()),
            "{kind}: {limits:?}"
        );
        assert_eq!(size_of(site, "a"), None, "{kind}");
        let note = site.json(&["info"])["notes"].to_string();
        assert!(note.contains("quota: off"), "{kind}: {note}");
        site.ok(&["drop", "a"]);
        site.ok(&["drop", "b"]);
    });
}
