// SPDX-License-Identifier: MIT OR Apache-2.0
//! Many volumes: each is listed with all that is known of it, in one pass.

use std::time::{Duration, Instant};

use mosaic_tests::{is_long, make_subvolumes, word};
use serde_json::Value;

use crate::{KINDS, site};

#[test]
fn root_many_volumes_are_listed_with_all_that_is_known() {
    let (number, limit) = match is_long() {
        true => (10_000, Duration::from_secs(5)),
        false => (400, Duration::from_secs(3)),
    };
    for kind in KINDS {
        let Some(site) = site(kind, "") else {
            return;
        };
        let names: Vec<String> = (0..number).map(|n| format!("v{n:05}")).collect();
        make_subvolumes(site.location(), &names).unwrap();
        site.ok(&["clone", "v00007", "clone"]);
        site.subvolume("v00003/within");
        site.read_only_snapshot("v00005", "w");
        let at = site.mountpoint("at");
        site.ok(&["mount", "v00009", word(&at)]);
        let before = Instant::now();
        let list = site.json(&["list"]);
        let took = before.elapsed();
        assert!(took < limit, "{kind}: {number} volumes in {took:?}");
        let volumes = list["volumes"].as_array().unwrap();
        assert_eq!(volumes.len(), number + 2, "{kind}");
        let of = |name: &str| volumes.iter().find(|v| v["name"] == name).unwrap().clone();
        assert_eq!(of("clone")["origin"], "v00007", "{kind}");
        assert_eq!(
            (&of("w")["origin"], &of("w")["read_only"]),
            (&"v00005".into(), &true.into())
        );
        assert_eq!(
            of("v00009")["mounted"],
            serde_json::json!([word(&at)]),
            "{kind}"
        );
        assert_eq!(of("v00009")["state"], "mounted");
        assert_eq!(of("v00003")["facts"]["nested"], "1", "{kind}");
        let idle = |volume: &&Value| volume["state"] == "idle";
        assert_eq!(volumes.iter().filter(idle).count(), number + 1, "{kind}");
        // One by one they are the same.
        for name in ["clone", "w", "v00003", "v00009"] {
            assert_eq!(
                differing(&site.json(&["info", name])["volume"], &of(name)),
                "",
                "{kind} {name}"
            );
        }
        site.ok(&["umount", "v00009", word(&at)]);
        site.assert_listed_as_btrfs_has_them();
    }
}

/// The fields in which `info` and `list` differ. Sentences are for one volume only.
fn differing(info: &Value, list: &Value) -> String {
    let (Value::Object(info), Value::Object(list)) = (info, list) else {
        return "no objects".to_owned();
    };
    let fields = list
        .iter()
        .filter(|(name, value)| *name != "notes" && info.get(*name) != Some(value));
    let fields = fields.map(|(name, value)| format!("{name}: {value}, {:?}; ", info.get(name)));
    fields.collect()
}
