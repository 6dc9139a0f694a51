// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locations that the historic Mosaic filled are used as they are: no `.mosaic`, no labels.

use std::fs;

use mosaic_tests::{Site, requires_program, requires_root, run};

const MAP: &str = "volumeMap: ^\\(.\\)\\(.\\)\\(.*\\)$ \\1/\\2/\\1\\2\\3\n";

#[test]
fn plain_folders_are_volumes() {
    let site = Site::in_folder("plain", "layout:\n  fs: meta\n").unwrap();
    for name in ["meta", "ct1", "ct2"] {
        fs::create_dir(site.location().join(name)).unwrap();
    }
    fs::write(site.location().join("ct1/file"), "kept").unwrap();
    assert_eq!(site.names(), ["ct1", "ct2"]);
    assert!(
        !site.location().join(".mosaic").exists(),
        "reading changes nothing"
    );
    assert!(site.ok(&["have", "ct1"]).contains("ct1 exists: yes"));
    assert!(site.ok(&["have", "ct3"]).contains("ct3 exists: no"));
    site.expect(4, &["new", "fs", "ct1", "1M"]);
    assert_eq!(
        fs::read_to_string(site.location().join("ct1/file")).unwrap(),
        "kept"
    );
    site.ok(&["drop", "ct2"]);
    assert_eq!(site.entries(), ["ct1", "meta"]);
}

#[test]
fn folders_nested_by_a_volume_map_are_volumes() {
    let site = Site::in_folder("plain", MAP).unwrap();
    fs::create_dir_all(site.location().join("1/0/101")).unwrap();
    fs::create_dir_all(site.location().join("2/0/200")).unwrap();
    // A map cannot be turned round, and nothing here carries the user's name.
    assert_eq!(site.names(), ["1/0/101", "2/0/200"]);
    assert!(site.ok(&["have", "101"]).contains("101 exists: yes"));
    site.ok(&["drop", "101"]);
    assert!(!site.location().join("1/0/101").exists());
    site.ok(&["new", "fs", "201", "1M"]);
    assert!(site.location().join("2/0/201").is_dir());
    assert_eq!(
        site.names(),
        ["2/0/200", "201"],
        "a volume of ours carries its name"
    );
}

#[test]
fn images_without_a_label_are_shown_as_assumed_file_systems() {
    let site = Site::in_folder("fsimg", "default_fs: ext4\n").unwrap();
    fs::File::create(site.location().join("ct1"))
        .and_then(|image| image.set_len(16 << 20))
        .unwrap();
    assert_eq!(site.names(), ["ct1"]);
    let volume = &site.json(&["info", "ct1"])["volume"];
    assert_eq!(volume["kind"], "fs");
    assert_eq!(volume["size"], 16 << 20);
    assert!(site.ok(&["list"]).contains("fs?"), "{}", site.ok(&["list"]));
    site.ok(&["drop", "ct1"]);
    assert_eq!(site.entries(), [""; 0]);
}

#[test]
fn root_a_historic_image_is_mounted_attached_and_dropped() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    let site = Site::in_folder("fsimg", &format!("default_fs: ext4\n{MAP}")).unwrap();
    fs::create_dir_all(site.location().join("1/0")).unwrap();
    let image = site.location().join("1/0/101");
    fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
    run("mkfs.ext4", &["-q".as_ref(), image.as_path()]).unwrap();
    let at = site.mountpoint("at");
    let path = at.to_str().unwrap();
    site.ok(&["mount", "101", path]);
    fs::write(at.join("file"), "x").unwrap();
    site.expect(5, &["drop", "101"]);
    site.ok(&["umount", "101", path]);
    let device = site.ok(&["attach", "101"]);
    assert!(device.starts_with("Device: /dev/loop"), "{device}");
    site.ok(&["detach", "101"]);
    site.ok(&["rename", "101", "102"]);
    site.ok(&["mount", "102", path, "-o", "ro"]);
    assert_eq!(fs::read_to_string(at.join("file")).unwrap(), "x");
    assert!(fs::write(at.join("file"), "y").is_err());
    site.ok(&["umount", "102", path]);
    site.ok(&["drop", "102"]);
    assert_eq!(site.entries(), [""; 0]);
    site.assert_idle();
}

#[test]
fn root_historic_subvolumes_are_volumes() {
    if !requires_root() || !requires_program("mkfs.btrfs") {
        return;
    }
    let site = Site::on("btrfs", "btrfs", MAP).unwrap();
    fs::create_dir_all(site.location().join("1/0")).unwrap();
    site.subvolume("1/0/101");
    fs::write(site.location().join("1/0/101/file"), "kept").unwrap();
    assert_eq!(site.names(), ["1/0/101"]);
    assert!(site.ok(&["have", "101"]).contains("101 exists: yes"));
    assert!(
        !site.location().join(".mosaic").exists(),
        "reading changes nothing"
    );
    site.expect(4, &["new", "fs", "101", "16M"]);
    let at = site.mountpoint("at");
    let path = at.to_str().unwrap();
    site.ok(&["mount", "101", path]);
    assert_eq!(fs::read_to_string(at.join("file")).unwrap(), "kept");
    site.expect(5, &["drop", "101"]);
    site.ok(&["umount", "101", path]);
    site.ok(&["clone", "101", "102"]);
    // What is ours carries its name.
    assert_eq!(site.names(), ["1/0/101", "102"]);
    site.ok(&["rename", "101", "201"]);
    assert_eq!(site.names(), ["102", "201"]);
    site.ok(&["drop", "102"]);
    site.ok(&["drop", "201"]);
    assert_eq!(site.entries(), [""; 0]);
    site.assert_sound();
}
