// SPDX-License-Identifier: MIT OR Apache-2.0
//! How volumes are reached: mounts, devices, and who is told what.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use mosaic_tests::{Site, is_mountpoint};

use super::{SIZE, Subject};

/// The mount options of a mountpoint, as the kernel shows them.
fn options_at(at: &Path) -> String {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table
        .lines()
        .find(|line| line.split(' ').nth(4) == at.to_str());
    let line = line.unwrap_or_else(|| panic!("nothing is mounted at {}", at.display()));
    line.to_owned()
}

pub fn root_mounts_are_what_the_options_say(subject: &Subject) {
    let site = &subject.site;
    subject.new_fs("a");
    let at = site.mountpoint("at");
    let path = at.to_str().unwrap();
    site.ok(&["mount", "a", path]);
    let line = options_at(&at);
    let options: Vec<&str> = line.split(' ').nth(5).unwrap().split(',').collect();
    assert!(options.contains(&"rw"), "{line}");
    assert!(
        options.contains(&"nosuid") && options.contains(&"nodev"),
        "{line}"
    );
    assert!(!line.contains(" shared:"), "the mount is private: {line}");
    fs::write(at.join("file"), "x").unwrap();
    site.ok(&["umount", "a", path]);
    for words in [
        ["mount", "a", path, "-o", "ro,noexec"],
        ["mount", "-o", "ro,noexec", "a", path],
    ] {
        site.ok(&words);
        let line = options_at(&at);
        let options: Vec<&str> = line.split(' ').nth(5).unwrap().split(',').collect();
        assert!(
            options.contains(&"ro") && options.contains(&"noexec"),
            "{line}"
        );
        assert_eq!(fs::read_to_string(at.join("file")).unwrap(), "x");
        assert!(fs::write(at.join("file"), "y").is_err());
        site.ok(&["umount", "a", path]);
    }
    let output = site.expect(2, &["mount", "a", path, "-o", "ro,noexecc"]);
    assert!(output.stderr.contains("noexec"), "{}", output.stderr);
    assert!(!is_mountpoint(&at));
}

pub fn root_umount_first_proves_its_target(subject: &Subject) {
    let site = &subject.site;
    subject.new_fs("a");
    subject.new_fs("b");
    let (at, other) = (site.mountpoint("at"), site.mountpoint("other"));
    let (path, other) = (at.to_str().unwrap(), other.to_str().unwrap());
    site.ok(&["mount", "a", path]);
    for words in [
        ["umount", "b", path],
        ["umount", "a", other],
        ["umount", "-", path],
    ] {
        let output = site.run(&words);
        assert!([2, 3].contains(&output.status), "{words:?}: {output:?}");
        assert!(is_mountpoint(&at));
    }
    site.ok(&["umount", "a", path]);
    assert!(!is_mountpoint(&at));
}

pub fn root_what_is_in_use_is_not_dropped(subject: &Subject) {
    let site = &subject.site;
    subject.new_fs("a");
    let at = site.mountpoint("at");
    let path = at.to_str().unwrap();
    site.ok(&["mount", "a", path]);
    assert_eq!(site.state()[0]["state"], "mounted");
    let output = site.expect(5, &["drop", "a"]);
    assert!(output.stderr.contains(path), "{}", output.stderr);
    // Not mounted twice at one place.
    site.expect(5, &["mount", "a", path]);
    let file = fs::File::create(at.join("open")).unwrap();
    let output = site.expect(5, &["umount", "a", path]);
    let pid = std::process::id().to_string();
    assert!(
        output.stderr.contains(&pid),
        "names who has it open: {}",
        output.stderr
    );
    drop(file);
    site.ok(&["umount", "a", path]);
    site.ok(&["drop", "a"]);
    assert_eq!(site.entries(), ["meta"]);
}

pub fn root_attach_shows_one_device_until_detach(subject: &Subject) {
    let site = &subject.site;
    subject.new_fs("a");
    if let Some(reason) = subject.refusal(Some("a"), "bdev") {
        subject.as_capable(Some(&reason), &["attach", "a"]);
        subject.as_capable(Some(&reason), &["detach", "a"]);
        return;
    }
    let said = site.ok(&["attach", "a"]);
    let device = said.strip_prefix("Device: ").unwrap().trim_end();
    assert!(fs::metadata(device).unwrap().file_type().is_block_device());
    assert_eq!(site.state()[0]["state"], "attached");
    let output = site.expect(5, &["attach", "a"]);
    assert!(output.stderr.contains(device), "{}", output.stderr);
    let again = site.json(&["attach", "a", "--exist-ok"]);
    assert_eq!(
        (&again["changed"], &again["attachment"]["device"]),
        (&false.into(), &device.into())
    );
    site.expect(5, &["drop", "a"]);
    let holder = fs::File::open(device).unwrap();
    let output = site.expect(5, &["detach", "a"]);
    let pid = std::process::id().to_string();
    assert!(output.stderr.contains(&pid), "{}", output.stderr);
    drop(holder);
    site.ok(&["detach", "a"]);
    site.assert_idle();
    site.expect(3, &["detach", "a"]);
    site.ok(&["detach", "a", "--missing-ok"]);
    let said = site.ok(&["attach", "a", "--ro"]);
    let device = said.strip_prefix("Device: ").unwrap().trim_end();
    // The kernel lets root open it for writing, and refuses the write.
    assert!(fs::write(device, [0; 512]).is_err());
    site.ok(&["detach", "a"]);
}

pub fn root_the_metadata_is_mounted_and_never_dropped(subject: &Subject) {
    let site = &subject.site;
    if site.pool().is_some() {
        return the_metadata_of_a_pool_is_mounted(site);
    }
    fs::write(site.location().join("meta/config"), "m").unwrap();
    let at = site.mountpoint("at");
    let path = at.to_str().unwrap();
    site.ok(&["mount", "-", path]);
    assert_eq!(fs::read_to_string(at.join("config")).unwrap(), "m");
    site.ok(&["umount", "-", path]);
    for words in [
        &["drop", "meta"][..],
        &["rename", "meta", "x"],
        &["new", "fs", "meta", SIZE],
    ] {
        assert_ne!(site.run(words).status, 0, "{words:?}");
    }
    assert!(site.location().join("meta/config").is_file());
    assert_eq!(site.names(), [""; 0], "the metadata is no volume");
}

/// It is a file system of its own, and no volume of any name.
fn the_metadata_of_a_pool_is_mounted(site: &Site) {
    let at = site.mountpoint("at");
    let path = at.to_str().unwrap();
    site.ok(&["mount", "-", path]);
    fs::write(at.join("config"), "m").unwrap();
    site.expect(
        2,
        &["umount", "-", site.mountpoint("other").to_str().unwrap()],
    );
    site.ok(&["umount", "-", path]);
    site.assert_idle();
    for words in [&["drop", "metadata"][..], &["rename", "metadata", "x"]] {
        site.expect(3, words);
    }
    site.ok(&["mount", "-", path, "-o", "ro"]);
    assert_eq!(fs::read_to_string(at.join("config")).unwrap(), "m");
    assert!(fs::write(at.join("config"), "x").is_err());
    site.ok(&["umount", "-", path]);
    assert_eq!(site.names(), [""; 0], "the metadata is no volume");
}

/// Device mapper is root's alone: who is not is told that by every verb.
fn a_pool_is_roots(site: &Site, user: u32) {
    let moctl = site.moctl_of(user).unwrap();
    for words in [
        &["m", "list"][..],
        &["m", "info"],
        &["m", "check"],
        &["m", "new", "fs", "a", SIZE],
        &["m", "drop", "a"],
    ] {
        let output = moctl.expect(9, words);
        assert!(output.stderr.contains("root"), "{}", output.stderr);
    }
}

pub fn root_an_owner_without_root_can_do_the_rest(subject: &Subject) {
    const NOBODY: u32 = 65534;
    if subject.site.pool().is_some() {
        return a_pool_is_roots(&subject.site, NOBODY);
    }
    let site = Site::of_user_on(NOBODY, subject.fs, subject.driver, subject.config).unwrap();
    site.ok(&["new", "fs", "a", SIZE]);
    assert_eq!(site.names(), ["a"]);
    site.ok(&["info", "a"]);
    site.ok(&["info"]);
    site.ok(&["check"]);
    assert!(site.ok(&["have", "a"]).ends_with("yes\n"));
    let at = site.mountpoint("at");
    // What needs root says so before it touches anything.
    let output = site.expect(9, &["mount", "a", at.to_str().unwrap()]);
    assert!(output.stderr.contains("root"), "{}", output.stderr);
    site.assert_idle();
    site.ok(&["rename", "a", "b"]);
    if subject.refusal(None, "clone").is_none() {
        owner_clones(subject, &site);
    }
    if !matches!(subject.driver, "loop" | "ploop") {
        fs::write(site.location().join("b/file"), "x").unwrap();
    }
    site.ok(&["drop", "b"]);
    assert_eq!(site.entries(), [""; 0]);
    assert!(site.leftovers().is_empty());
}

fn owner_clones(subject: &Subject, site: &Site) {
    let words = ["clone", "b", "c", "--size", "64M"];
    if subject.fs == "btrfs+full" {
        // A limit that differs from the origin's is root's to give.
        let refused = site.expect(9, &words).stderr;
        assert!(refused.contains("root"), "{refused}");
        assert_eq!(site.names(), ["b"]);
        site.ok(&words[..3]);
    } else if subject.driver == "ploop" {
        // The file system in it needs a device for a UUID of its own.
        let refused = site.expect(9, &words).stderr;
        assert!(refused.contains("root"), "{refused}");
        assert_eq!(site.names(), ["b"]);
        site.ok(&["new", "disk", "d", SIZE]);
        site.ok(&["clone", "d", "c", "--size", "64M"]);
        site.ok(&["drop", "d"]);
    } else {
        site.ok(&words);
        let size = site.json(&["info", "c"])["volume"]["size"].as_u64();
        assert_eq!(size, subject.as_bound(64 << 20));
    }
    site.ok(&["drop", "c"]);
}
