// SPDX-License-Identifier: MIT OR Apache-2.0
//! How volumes come, change and go.

use std::fs;
use std::path::Path;

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use serde_json::Value;

use super::{SIZE, Subject};

pub fn root_new_makes_what_was_asked_for(subject: &Subject) {
    let site = &subject.site;
    for kind in ["fs", "disk"] {
        let refusal = subject.refusal(None, kind);
        subject.as_capable(refusal.as_deref(), &["new", kind, kind, SIZE]);
        if refusal.is_some() {
            assert!(!site.names().contains(&kind.to_owned()));
            continue;
        }
        let info = site.json(&["info", kind]);
        assert_eq!(info["volume"]["name"], kind);
        assert_eq!(info["volume"]["kind"], kind);
        let size = info["volume"]["size"].as_u64();
        assert_eq!(size, subject.as_bound(32 << 20), "{info}");
        assert!(site.names().contains(&kind.to_owned()));
        assert_eq!(site.ok(&["have", kind]), format!("{kind} exists: yes\n"));
        site.ok(&["drop", kind]);
        assert_eq!(site.ok(&["have", kind]), format!("{kind} exists: no\n"));
    }
    assert_eq!(site.names(), [""; 0]);
    assert_eq!(site.entries(), ["meta"]);
    assert!(site.leftovers().is_empty());
}

pub fn root_an_existing_name_is_never_given_twice(subject: &Subject) {
    let site = &subject.site;
    subject.new_fs("a");
    subject.new_fs("b");
    site.expect(4, &["new", "fs", "a", SIZE]);
    site.expect(4, &["rename", "a", "b"]);
    if subject.refusal(Some("a"), "clone").is_none() {
        site.expect(4, &["clone", "a", "b"]);
        site.expect(2, &["clone", "a", "a"]);
    }
    let before = site.state();
    let said = site.json(&["new", "fs", "a", SIZE, "--exist-ok"]);
    assert_eq!(said["changed"], false, "{said}");
    if subject.refusal(None, "disk").is_none() {
        site.expect(4, &["new", "disk", "a", SIZE, "--exist-ok"]);
    }
    if subject.refusal(Some("a"), "volsize").is_none() {
        site.expect(4, &["new", "fs", "a", "64M", "--exist-ok"]);
    }
    assert_eq!(site.state(), before);
}

pub fn root_what_is_missing_is_not_found(subject: &Subject) {
    let site = &subject.site;
    let at = site.mountpoint("at");
    let at = at.to_str().unwrap();
    for words in [
        &["info", "a"][..],
        &["drop", "a"],
        &["rename", "a", "b"],
        &["mount", "a", at],
        &["umount", "a", at],
    ] {
        let output = site.expect(3, words);
        assert!(output.stderr.contains("\"a\""), "{}", output.stderr);
    }
    site.expect(3, &["have", "a", "--exit-code"]);
    let said = site.json(&["drop", "a", "--missing-ok"]);
    assert_eq!(said["changed"], false, "{said}");
    for (capability, words) in [
        ("clone", &["clone", "a", "b"][..]),
        ("bdev", &["attach", "a"]),
        ("bdev", &["detach", "a"]),
        ("grow", &["resize", "a", "64M"]),
    ] {
        let status = if subject.refusal(None, capability).is_none() {
            3
        } else {
            6
        };
        let found = site.run(words).status;
        assert!(found == status || found == 3, "{words:?}: {found}");
    }
    subject.new_fs("a");
    site.expect(3, &["mount", "a", "/nonesuch/folder"]);
}

pub fn root_capabilities_say_what_the_verbs_do(subject: &Subject) {
    let site = &subject.site;
    subject.new_fs("a");
    let may = |capability: &str| subject.refusal(Some("a"), capability);
    subject.as_capable(may("clone").as_deref(), &["clone", "a", "b"]);
    subject.as_capable(may("bdev").as_deref(), &["attach", "a"]);
    subject.as_capable(may("bdev").as_deref(), &["detach", "a"]);
    subject.as_capable(may("grow").as_deref(), &["resize", "a", "64M"]);
    subject.as_capable(may("shrink").as_deref(), &["resize", "a", SIZE, "--shrink"]);
    subject.as_capable(may("rename").as_deref(), &["rename", "a", "c"]);
    assert_eq!(
        site.names().contains(&"b".to_owned()),
        subject.refusal(None, "clone").is_none()
    );
    // The line that scripts know has exactly the words of what can be done.
    let info = site.json(&["info"]);
    let can: Vec<&str> = info["features"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["can"] == true)
        .filter_map(|row| row["name"].as_str())
        .collect();
    let text = site.ok(&["info"]);
    let line = text
        .lines()
        .find(|line| line.starts_with("features:"))
        .unwrap();
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    assert_eq!(words, can);
}

pub fn root_a_clone_is_a_volume_of_its_own(subject: &Subject) {
    let site = &subject.site;
    subject.new_fs("a");
    if let Some(reason) = subject.refusal(Some("a"), "clone") {
        subject.as_capable(Some(&reason), &["clone", "a", "b"]);
        assert_eq!(site.names(), ["a"]);
        assert!(site.leftovers().is_empty());
        return;
    }
    let (at_a, at_b) = (site.mountpoint("at-a"), site.mountpoint("at-b"));
    let (path_a, path_b) = (at_a.to_str().unwrap(), at_b.to_str().unwrap());
    site.ok(&["mount", "a", path_a]);
    fs::write(at_a.join("file"), "written before").unwrap();
    site.ok(&["clone", "a", "b", "--size", "64M"]);
    let size = site.json(&["info", "b"])["volume"]["size"].as_u64();
    assert_eq!(size, subject.as_bound(64 << 20));
    // Both at once: the clone's file system has a UUID of its own.
    site.ok(&["mount", "b", path_b]);
    assert_eq!(
        fs::read_to_string(at_b.join("file")).unwrap(),
        "written before"
    );
    fs::write(at_b.join("file"), "b").unwrap();
    fs::write(at_a.join("file"), "a").unwrap();
    assert_eq!(fs::read_to_string(at_b.join("file")).unwrap(), "b");
    // Of what a volume is a clone counts where the location knows that.
    site.ok(&["clone", "a", "c"]);
    let same = site.json(&["clone", "a", "c", "--exist-ok"]);
    assert_eq!(same["changed"], false, "{same}");
    site.ok(&["clone", "c", "d"]);
    let origin = &site.json(&["info", "d"])["volume"]["origin"];
    let is_known = ["btrfs", "dmthin"].contains(&subject.driver);
    assert_eq!(*origin == "c", is_known, "{origin}");
    let status = if is_known { 4 } else { 0 };
    site.expect(status, &["clone", "a", "d", "--exist-ok"]);
    site.ok(&["drop", "d"]);
    site.ok(&["drop", "c"]);
    if subject.as_bound(1).is_some() {
        site.expect(2, &["clone", "a", "c", "--size", "16M"]);
        // Without a size asked for it has its origin's.
        site.ok(&["clone", "a", "c"]);
        assert_eq!(site.json(&["info", "c"])["volume"]["size"], 32 << 20);
        site.ok(&["drop", "c"]);
    }
    site.ok(&["umount", "a", path_a]);
    site.ok(&["drop", "a"]);
    assert_eq!(fs::read_to_string(at_b.join("file")).unwrap(), "b");
    site.ok(&["umount", "b", path_b]);
    assert_eq!(site.names(), ["b"]);
}

pub fn root_rename_moves_the_volume_with_its_data(subject: &Subject) {
    let site = &subject.site;
    if subject.refusal(None, "rename").is_some() {
        return;
    }
    subject.new_fs("a");
    let at = site.mountpoint("at");
    let path = at.to_str().unwrap();
    site.ok(&["mount", "a", path]);
    fs::write(at.join("file"), "x").unwrap();
    site.ok(&["umount", "a", path]);
    site.ok(&["rename", "a", "b"]);
    assert_eq!(site.names(), ["b"]);
    site.ok(&["mount", "b", path]);
    assert_eq!(fs::read_to_string(at.join("file")).unwrap(), "x");
    site.ok(&["umount", "b", path]);
}

pub fn root_sizes_change_as_asked(subject: &Subject) {
    let site = &subject.site;
    subject.new_fs("a");
    if let Some(reason) = subject.refusal(Some("a"), "grow") {
        subject.as_capable(Some(&reason), &["resize", "a", "64M"]);
        return;
    }
    let size = || site.json(&["info", "a"])["volume"]["size"].as_u64();
    let changed = |words: &[&str]| site.json(words)["changed"].as_bool();
    assert_eq!(changed(&["resize", "a", SIZE]), Some(false));
    assert_eq!(changed(&["resize", "a", "+32M"]), Some(true));
    assert_eq!(size(), Some(64 << 20));
    assert_eq!(changed(&["resize", "a", "64M"]), Some(false));
    site.expect(2, &["resize", "a", "-32M"]);
    assert_eq!(size(), Some(64 << 20));
    let refusal = subject.refusal(Some("a"), "shrink");
    subject.as_capable(refusal.as_deref(), &["resize", "--shrink", "a", "-32M"]);
    assert_eq!(
        size(),
        Some(if refusal.is_none() {
            32 << 20
        } else {
            64 << 20
        })
    );
}

pub fn root_a_size_binds_or_is_said_not_to(subject: &Subject) {
    let site = &subject.site;
    let said = site.expect(0, &["new", "fs", "a", SIZE]).stderr;
    let at = site.mountpoint("at");
    let path = at.to_str().unwrap();
    site.ok(&["mount", "a", path]);
    let written = write_bound(&at.join("file"), 48 << 20);
    site.ok(&["umount", "a", path]);
    match subject.refusal(Some("a"), "volsize") {
        None => {
            assert!(written.is_err(), "more was written than the volume's size");
            assert_eq!(said, "");
        }
        Some(reason) => {
            assert!(written.is_ok());
            assert!(said.contains("not enforced"), "{said}");
            assert!(
                said.contains(&reason),
                "{said} does not give the reason {reason}"
            );
        }
    }
}

/// Writes a file without `CAP_SYS_RESOURCE`, whose owners a quota on ext4 does not bind.
/// Capabilities are a thread's own.
fn write_bound(path: &Path, size: usize) -> std::io::Result<()> {
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut sets = capabilities(None)?;
            sets.effective.remove(CapabilitySet::SYS_RESOURCE);
            set_capabilities(None, sets)?;
            fs::write(path, vec![7; size])
        });
        writer.join().unwrap()
    })
}

pub fn root_reading_verbs_change_nothing(subject: &Subject) {
    let site = &subject.site;
    let words = [&["info"][..], &["list"], &["have", "a"], &["check"]];
    for words in words {
        site.ok(words);
        site.json(words);
    }
    site.expect(3, &["info", "a"]);
    assert!(!site.location().join(".mosaic").exists());
    let empty: Value = site.json(&["list"]);
    assert_eq!(empty["volumes"], serde_json::json!([]));
}
