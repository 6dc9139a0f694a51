// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `info` and `mosaics` show of a pool, held against the manual.

use serde_json::Value;

use super::roomy_site;

/// The names in the manual's table of a pool's facts.
fn facts_in_the_manual() -> Vec<String> {
    let manual = include_str!("../../../doc/json.md");
    let (_, table) = manual.split_once("| fact | such as |").unwrap();
    let (_, rows) = table.split_once('\n').unwrap();
    let rows = rows.lines().skip(1).take_while(|row| row.starts_with('|'));
    let mut names = Vec::new();
    for row in rows {
        let cell = row.split('|').nth(1).unwrap();
        names.extend(cell.split('`').skip(1).step_by(2).map(str::to_owned));
    }
    names.sort();
    names
}

fn names(facts: &Value) -> Vec<String> {
    facts.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn root_info_says_what_the_manual_says_that_it_does() {
    let Some(site) = roomy_site() else {
        return;
    };
    site.ok(&["new", "disk", "a", "1M"]);
    let info = site.json(&["info"]);
    assert_eq!(names(&info["facts"]), facts_in_the_manual());
    let volume = site.json(&["info", "a"]);
    assert_eq!(names(&volume["volume"]["facts"]), ["created", "thin id"]);
}

#[test]
fn root_a_pool_is_shown_by_its_name_and_its_metadata_where_they_are_mounted() {
    let Some(site) = roomy_site() else {
        return;
    };
    let pool = site.pool().unwrap().name().to_owned();
    let info = site.json(&["info"]);
    assert_eq!(info["location"], pool);
    assert_eq!(info["metadata_mounted"], serde_json::json!([]));
    let at = site.mountpoint("meta");
    site.ok(&["mount", "-", at.to_str().unwrap()]);
    let info = site.json(&["info"]);
    assert_eq!(
        info["metadata_mounted"],
        serde_json::json!([at.to_str().unwrap()])
    );
    site.ok(&["umount", "-", at.to_str().unwrap()]);
}
