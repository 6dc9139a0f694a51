// SPDX-License-Identifier: MIT OR Apache-2.0
//! Limits that change while a volume is there, and in use.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::changes::{StopAtEnd, fill, fill_to_the_brim};
use crate::common::{ALL_QUOTAS, MIB, Quotas, site, site_with};
use mosaic_core::{Bytes, ErrorKind, Settings};
use rustix::io::Errno;

#[test]
fn root_a_limit_binds_as_it_is_now() {
    for quotas in [Quotas::Simple, Quotas::Full] {
        let Some(site) = site(quotas) else { return };
        site.new_volume("a", 8 * MIB).unwrap();
        assert_eq!(fill(&site.at("a/file"), 16 * MIB), Some(Errno::DQUOT));
        site.resize("a", 32 * MIB).unwrap();
        assert_eq!(fill(&site.at("a/file"), 12 * MIB), None, "{quotas:?}");
        site.resize("a", 24 * MIB).unwrap();
        assert_eq!(fill(&site.at("a/file"), 16 * MIB), Some(Errno::DQUOT));
        assert_eq!(site.found("a").size, Some(Bytes(24 * MIB)));
        // One that had none.
        site.subvolume("b");
        site.resize("b", 8 * MIB).unwrap();
        assert_eq!(fill(&site.at("b/file"), 16 * MIB), Some(Errno::DQUOT));
        assert_eq!(site.said.take(), [""; 0]);
    }
}

#[test]
fn root_a_volume_that_is_full_to_the_brim_is_resized() {
    for quotas in [Quotas::Simple, Quotas::Full] {
        let Some(site) = site(quotas) else { return };
        site.new_volume("a", 8 * MIB).unwrap();
        fill_to_the_brim(&site.at("a"));
        site.resize("a", 16 * MIB).unwrap();
        fs::create_dir(site.at("a/more")).unwrap();
        assert_eq!(fill(&site.at("a/more/file"), 4 * MIB), None);
    }
}

#[test]
fn root_a_resize_costs_one_commit() {
    for quotas in [Quotas::Simple, Quotas::Full] {
        let Some(site) = site(quotas) else { return };
        site.new_volume("a", 8 * MIB).unwrap();
        assert_eq!(site.commits(|| site.resize("a", 16 * MIB).unwrap()), 1);
        assert_eq!(site.commits(|| site.resize("a", 4 * MIB).unwrap()), 1);
        site.resize("a", 4 * MIB).unwrap();
    }
}

/// Also what is only in memory counts: nothing here is synced.
#[test]
fn root_a_limit_below_what_is_in_the_volume_is_refused() {
    for quotas in [Quotas::Simple, Quotas::Full] {
        let Some(site) = site(quotas) else { return };
        site.new_volume("a", 64 * MIB).unwrap();
        fs::write(site.at("a/file"), vec![7; 16 << 20]).unwrap();
        let error = site.resize("a", 8 * MIB).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{quotas:?}");
        let said = error.chain();
        assert!(said.contains("are in it, more than 8 MiB"), "{said}");
        assert_eq!(site.found("a").size, Some(Bytes(64 * MIB)));
        let error = site.resize("a", 64 << 10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        site.commit();
        let error = site.resize("a", 8 * MIB).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{quotas:?}");
        // What was refused left no trace, and what can be done is.
        assert_eq!(fill(&site.at("a/more"), 16 * MIB), None);
        site.resize("a", 48 * MIB).unwrap();
    }
}

/// A writer that is at work all the time never finds its volume over the limit.
#[test]
fn root_a_limit_that_a_writer_overtakes_is_put_back() {
    for quotas in [Quotas::Simple, Quotas::Full] {
        let Some(site) = site(quotas) else { return };
        site.new_volume("a", 512 * MIB).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let path = site.at("a/file");
                    // Refused while the limit is the smaller one.
                    let _ = fs::write(&path, vec![7; 32 << 20]);
                    fs::remove_file(&path).unwrap();
                }
            });
            let _stop = StopAtEnd(&stop);
            let (mut done, mut refused) = (0, 0);
            for _ in 0..20 {
                match site.resize("a", 24 * MIB) {
                    Ok(()) => {
                        done += 1;
                        assert_eq!(site.found("a").size, Some(Bytes(24 * MIB)));
                        site.resize("a", 512 * MIB).unwrap();
                    }
                    Err(error) => {
                        refused += 1;
                        assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.chain());
                        assert_eq!(site.found("a").size, Some(Bytes(512 * MIB)));
                    }
                }
            }
            assert_eq!(done + refused, 20);
        });
    }
}

#[test]
fn root_without_quotas_a_resize_is_refused_with_the_reason() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.subvolume("a");
    let error = site.resize("a", 8 * MIB).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let said = error.chain();
    assert!(said.contains("init --quota simple"), "{said}");
    let off = |settings: &mut Settings| settings.set("quota", "off");
    let Some(site) = site_with(Quotas::Full, off) else {
        return;
    };
    site.subvolume("a");
    let error = site.resize("a", 8 * MIB).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.chain().contains("quota: off"), "{}", error.chain());
}

#[test]
fn root_a_missing_volume_has_no_size() {
    for quotas in ALL_QUOTAS {
        let Some(site) = site(quotas) else { return };
        let error = site.resize("a", 8 * MIB).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
