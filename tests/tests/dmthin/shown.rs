// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `info` and `mosaics` show of a pool, held against the manual.

use std::io::Write;

use mosaic_tests::{Moctl, Part, ThinPool, requires_thin_pools, run};
use serde_json::Value;

use super::{MIB, roomy_site};

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

/// What the driver's manual has in its lines of code, all white space alike.
fn manual() -> String {
    let manual = include_str!("../../../mosaic-dmthin/README.md");
    let words: Vec<&str> = manual.split_whitespace().collect();
    words.join(" ")
}

#[test]
fn root_the_manual_quotes_what_is_said() {
    if !requires_thin_pools() {
        return;
    }
    let pool = ThinPool::new(64 * MIB, 4 * MIB).unwrap();
    let moctl = Moctl::new().unwrap();
    let name = pool.name().to_owned();
    let devices = [pool.data_device(), pool.metadata_device()];
    let (manual, mut quoted) = (manual(), 0);
    // As if the devices were those of the manual.
    let mut expect = |said: &str| {
        let said = said.replace(&name, "web");
        let said = said.replace(devices[0].to_str().unwrap(), "/dev/sdb");
        let said = said.replace(devices[1].to_str().unwrap(), "/dev/sdc");
        for line in said.lines() {
            let (_, line) = line.split_once("mosaic \"web\": ").unwrap_or(("", line));
            let line = line.trim_start_matches("moctl: ");
            assert!(manual.contains(line), "the manual should have: {line}");
            quoted += 1;
        }
    };
    let alone = format!("type: dmthin\nlocation: {name}\n");
    moctl.config("web", &alone).unwrap();
    let said = moctl.expect(3, &["web", "list"]).stderr;
    expect(said.split(';').next().unwrap());
    moctl
        .config("web", &format!("{alone}{}", pool.config()))
        .unwrap();
    let data = pool.data_device();
    run("mkfs.ext4", &["-q", data.to_str().unwrap()]).unwrap();
    expect(&moctl.expect(4, &["web", "init"]).stderr);
    run("wipefs", &["-aq", data.to_str().unwrap()]).unwrap();
    std::fs::write(&data, vec![0; 1 << 20]).unwrap();
    expect(&moctl.ok(&["web", "init"]));
    expect(&moctl.expect(4, &["web", "init"]).stderr);
    moctl.ok(&["web", "new", "disk", "b", "96M"]);
    let attached = moctl.ok(&["web", "attach", "b"]);
    let device = attached.trim().strip_prefix("Device: ").unwrap();
    let written = std::fs::OpenOptions::new().write(true).open(device);
    let mut written = written.unwrap();
    let full = written
        .write_all(&vec![1; 96 << 20])
        .and_then(|()| written.sync_all());
    assert!(full.is_err(), "the pool is full");
    drop(written);
    expect(&moctl.expect(7, &["web", "new", "disk", "c", "1M"]).stderr);
    pool.enlarge(Part::Data, 128 * MIB).unwrap();
    expect(&moctl.ok(&["web", "check", "--repair"]));
    moctl.ok(&["web", "detach", "b"]);
    pool.deactivate().unwrap();
    let sectors = 128 * MIB / 512;
    let table = format!(
        "0 {sectors} thin-pool {} {} 128 0",
        devices[1].display(),
        devices[0].display()
    );
    let others = format!("{name}-vg-pool-tpool");
    let words = ["create", &others, "-u", "LVM-abc-tpool", "--table", &table];
    run("dmsetup", &words).unwrap();
    moctl
        .config("web", &format!("type: dmthin\nlocation: {others}\n"))
        .unwrap();
    let said = moctl.expect(6, &["web", "list"]).stderr;
    run("dmsetup", &["remove", "--retry", &others]).unwrap();
    expect(&said.replace(&others, "vg-pool-tpool"));
    assert!(quoted >= 8, "{quoted}");
}
