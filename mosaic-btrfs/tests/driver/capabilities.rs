// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be done, and the reasons for the rest.

use std::collections::BTreeMap;

use crate::common::{ALL_QUOTAS, Quotas, enable, site, site_with, volume};
use mosaic_btrfs::{Btrfs, ioctl};
use mosaic_core::{Driver, ErrorKind};
use mosaic_tests::{requires_program, requires_root, run};

const USER: u32 = 54321;

/// The reason against each; empty: it can be done.
fn refusals(driver: &Btrfs, name: Option<&str>) -> BTreeMap<String, String> {
    let name = name.map(volume);
    let list = driver.capabilities(name.as_ref()).unwrap();
    list.into_iter()
        .map(|c| (c.name, c.refusal.unwrap_or_default()))
        .collect()
}

#[test]
fn root_sizes_bind_where_quotas_are_on() {
    for quotas in ALL_QUOTAS {
        let Some(site) = site(quotas) else {
            return;
        };
        site.subvolume("vol");
        for name in [None, Some("vol")] {
            let refusals = refusals(&site.driver, name);
            for can in ["clone", "fs", "rename"] {
                assert_eq!(refusals[can], "");
            }
            for cannot in ["bdev", "disk"] {
                assert!(refusals[cannot].contains("no block device; types dmthin and loop"));
            }
            for size in ["volsize", "grow", "shrink"] {
                let refusal = &refusals[size];
                match quotas {
                    Quotas::Off => assert!(
                        refusal.starts_with("size is not enforced: quotas are off on the btrfs at")
                            && refusal.contains("init --quota simple"),
                        "{refusal}"
                    ),
                    _ => assert_eq!(refusal, ""),
                }
            }
        }
        let missing = site.driver.capabilities(Some(&volume("missing")));
        assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
        let about = site.driver.about().unwrap();
        let word = match quotas {
            Quotas::Off => "off",
            Quotas::Simple => "simple",
            Quotas::Full => "full",
        };
        assert_eq!(about.facts, [("quotas".to_owned(), word.to_owned())]);
        assert_eq!(about.notes.is_empty(), quotas == Quotas::Full);
    }
}

#[test]
fn root_the_config_says_what_quotas_are_for() {
    let Some(site) = site_with(Quotas::Off, |s| s.set("quota", "required")) else {
        return;
    };
    site.subvolume("vol");
    let required = refusals(&site.driver, Some("vol"));
    for cannot in ["fs", "clone"] {
        let refusal = &required[cannot];
        assert!(
            refusal.ends_with("and the config says quota: required"),
            "{refusal}"
        );
    }
    assert_eq!(required["rename"], "");
    enable(&site.fs, Quotas::Simple);
    assert_eq!(refusals(&site.driver, None)["fs"], "");
    let off = site.driver_at(&site.path, |s| s.set("quota", "off"));
    let off = refusals(&off, Some("vol"));
    for size in ["volsize", "grow", "shrink"] {
        assert_eq!(
            off[size],
            "size is not enforced: the config says quota: off"
        );
    }
    assert_eq!(off["fs"], "");
}

#[test]
fn root_nothing_is_changed_where_nothing_can_be_written() {
    let Some(site) = site(Quotas::Simple) else {
        return;
    };
    site.subvolume("vol");
    let within = site.driver_at(&site.at("vol"), |_| {});
    site.subvolume("vol/nested");
    ioctl::set_read_only(crate::common::open(&site.at("vol")), true).unwrap();
    let at = site.fs.path().to_str().unwrap();
    let refused = |driver: &Btrfs, name: &str, why: &str| {
        let refusals = refusals(driver, Some(name));
        for cannot in ["clone", "fs", "grow", "shrink", "rename"] {
            assert!(
                refusals[cannot].contains(why),
                "{cannot}: {}",
                refusals[cannot]
            );
        }
        assert_eq!(refusals["volsize"], "");
    };
    refused(&within, "nested", "is in is read-only");
    assert_eq!(refusals(&site.driver, Some("vol"))["grow"], "");
    run("mount", &["-o", "remount,ro", at]).unwrap();
    refused(&site.driver, "vol", "is mounted read-only");
}

#[test]
fn root_who_may_not_change_a_size_is_told() {
    if !requires_root() || !requires_program("mkfs.btrfs") {
        return;
    }
    let site = mosaic_tests::Site::of_user_on(USER, "btrfs", "btrfs", "").unwrap();
    enable(site.fs().unwrap(), Quotas::Full);
    let info = site.json(&["info"]);
    let features = info["features"].as_array().unwrap();
    let feature = |name: &str| features.iter().find(|f| f["name"] == name).unwrap();
    for name in ["grow", "shrink"] {
        let reason = feature(name)["reason"].as_str().unwrap();
        assert!(
            reason.contains("root") && reason.contains("CAP_SYS_ADMIN"),
            "{reason}"
        );
    }
    for name in ["volsize", "fs", "clone", "rename"] {
        assert_eq!(feature(name)["can"], true, "{name}");
    }
    let classes = info["space"].as_array().unwrap();
    assert_eq!(classes.len(), 2, "{classes:?}");
    assert_eq!(info["facts"]["quotas"], "full");
}
