// SPDX-License-Identifier: MIT OR Apache-2.0
//! What only the dmthin driver promises, through the real `moctl` and held against dmsetup and
//! thin-provisioning-tools.

mod checked;
mod cloned;
mod failing;
mod foreign;
mod full;
mod full_metadata;
mod out_of_sight;
mod parallel;
mod resize;
mod shown;
mod udev;

use std::collections::BTreeSet;

use mosaic_tests::{Site, ThinPool, requires_thin_pools, run};
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// A fresh mosaic on a pool with so much data and metadata. None where there are no thin pools to be
/// had: that was said.
fn site(data: u64, metadata: u64, more: &str) -> Option<Site> {
    requires_thin_pools().then(|| {
        let pool = ThinPool::new(data, metadata).unwrap();
        Site::on_pool(pool, "dmthin", more).unwrap()
    })
}

/// Lines of a config for volumes with this file system, and a size that it can have.
fn with_fs(fs: &str) -> (String, &'static str) {
    let size = match fs {
        "xfs" => "300M",
        // The kernel resizes none to less than this.
        "btrfs" => "256M",
        _ => "48M",
    };
    (format!("default_fs: {fs}\nmetadata_size: {size}\n"), size)
}

/// A fresh mosaic with space for whatever a test does.
fn roomy_site() -> Option<Site> {
    site(512 * MIB, 4 * MIB, "")
}

/// Runs the commands that a message says to run, each as it stands there.
///
/// # Panics
/// There are none; one of them fails.
#[track_caller]
fn run_printed_commands(message: &str) {
    let programs = ["umount ", "dmsetup ", "thin_check "];
    let commands: Vec<&str> = message
        .split(';')
        .map(|part| part.split(" (if it fails").next().unwrap_or(part).trim())
        .filter(|part| programs.iter().any(|program| part.starts_with(program)))
        .collect();
    assert!(commands.len() > 1, "{message}");
    for command in commands {
        run("sh", &["-c", command]).unwrap();
    }
}

/// `check` finds nothing, and by a look from outside pool and catalog have the same thin ids, and
/// the metadata are whole. Nothing may be in use any more.
#[track_caller]
fn assert_sound(site: &Site) {
    let checked = site.ok(&["check"]);
    assert!(checked.contains("no faults"), "{checked}");
    assert_eq!(ids_of_pool(site), ids_of_catalog(site));
    site.assert_idle();
    let pool = site.pool().unwrap();
    pool.deactivate().unwrap();
    pool.check().unwrap();
}

/// The thin ids of the volumes, by thin_ls.
fn ids_of_pool(site: &Site) -> BTreeSet<String> {
    let entries = site.entries().into_iter();
    let ids = entries.filter_map(|id| id.strip_prefix("thin id ").map(str::to_owned));
    ids.collect()
}

/// The thin ids of the volumes, by `list`.
fn ids_of_catalog(site: &Site) -> BTreeSet<String> {
    let list = site.json(&["list"]);
    let volumes = list["volumes"].as_array().unwrap();
    let id = |volume: &Value| volume["facts"]["thin id"].as_str().map(str::to_owned);
    volumes.iter().filter_map(id).collect()
}
