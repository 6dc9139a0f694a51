// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a command that ended with 0 has changed survives a power cut right after it.

use std::fs;

use mosaic_tests::{Site, qgroups, requires_time, subvolumes};
use serde_json::json;

use crate::{KINDS, MAP, on_each};

/// The state before a command, the command, and what has to be there after it and the cut.
fn survives(site: &Site, words: &[&str]) {
    let seen = || {
        let state: Vec<_> = site
            .subvolumes()
            .into_iter()
            .filter(|subvolume| !subvolume.path.starts_with(".mosaic"))
            .map(|subvolume| {
                json!([
                    subvolume.path,
                    subvolume.read_only,
                    subvolume.uuid,
                    limit(site, subvolume.id)
                ])
            })
            .collect();
        (site.state(), state)
    };
    let before = seen();
    site.ok(words);
    let after = seen();
    assert_ne!(before, after, "{words:?} changes nothing");
    site.fs().unwrap().cut_power().unwrap();
    assert_eq!(seen(), after, "{words:?}");
}

fn limit(site: &Site, id: u64) -> Option<u64> {
    let groups = qgroups(site.location()).unwrap();
    groups
        .iter()
        .find(|group| group.id == format!("0/{id}"))?
        .limit
}

#[test]
fn root_every_acknowledged_change_survives() {
    if !requires_time() {
        return;
    }
    on_each(&KINDS, MAP, |kind, site| {
        survives(site, &["new", "fs", "11", "8M"]);
        fs::write(site.location().join("1/11/file"), "durable").unwrap();
        survives(site, &["clone", "11", "12"]);
        // Also what was written before it, though nobody synced.
        let copied = fs::read_to_string(site.location().join("1/12/file"));
        assert_eq!(copied.unwrap(), "durable", "{kind}");
        survives(site, &["clone", "11", "21", "--size", "16M"]);
        survives(site, &["rename", "21", "31"]);
        if kind != "btrfs" {
            survives(site, &["resize", "31", "32M"]);
        }
        site.subvolume("1/12/within");
        site.subvolume("1/12/within/deeper");
        survives(site, &["clone", "12", "41"]);
        survives(site, &["drop", "11"]);
        survives(site, &["drop", "41"]);
        survives(site, &["drop", "12"]);
        survives(site, &["drop", "31"]);
        // What a drop of nested ones left in the trash goes with the next command.
        site.ok(&["new", "fs", "11", "8M"]);
        site.ok(&["drop", "--wait", "11"]);
        assert_eq!(subvolumes(site.location()).unwrap(), [], "{kind}");
        // A folder of the map goes after its last volume, and can be back.
        for folder in site.entries() {
            fs::remove_dir(site.location().join(folder)).unwrap();
        }
    });
}
