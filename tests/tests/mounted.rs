// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where `list` says that directories are mounted, however they came there.

use std::path::Path;

use mosaic_tests::{Site, requires_program, requires_root, run, run_status};
use serde_json::{Value, json};

/// Mounts something, and unmounts it when a test ends, however it ends.
struct Mount<'m>(&'m str);

impl<'m> Mount<'m> {
    fn new(options: &[&str], at: &'m str) -> Self {
        run("mount", &[options, &[at]].concat()).unwrap();
        Self(at)
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = run_status("umount", &[self.0]);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Where `list` has each volume mounted, and `info` has to agree.
fn mounted(site: &Site) -> Vec<(String, Value)> {
    let list = site.json(&["list"]);
    let volumes = list["volumes"].as_array().unwrap().iter();
    let mounted = volumes.map(|volume| {
        let name = volume["name"].as_str().unwrap();
        let info = site.json(&["info", name]);
        assert_eq!(info["volume"]["mounted"], volume["mounted"], "{name}");
        (name.to_owned(), volume["mounted"].clone())
    });
    mounted.filter(|(_, at)| *at != json!([])).collect()
}

#[test]
fn root_only_mounts_of_just_the_volume_count() {
    if !requires_root() {
        return;
    }
    let site = Site::in_folder("plain", "").unwrap();
    for name in ["a", "b", "c", "cd"] {
        site.ok(&["new", "fs", name, "1M", "-q"]);
    }
    assert_eq!(mounted(&site), []);
    let (one, two, three) = (
        site.mountpoint("one"),
        site.mountpoint("two"),
        site.mountpoint("three"),
    );
    site.ok(&["mount", "b", text(&one)]);
    site.ok(&["mount", "b", text(&two), "-o", "ro"]);
    let in_b = [("b".to_owned(), json!([text(&one), text(&two)]))];
    assert_eq!(mounted(&site), in_b);

    // The location, a folder in a volume, another file system in one: none of them is the volume.
    let inside = site.location().join("c/inside");
    std::fs::create_dir(&inside).unwrap();
    let whole = Mount::new(&["--bind", text(site.location())], text(&three));
    assert_eq!(mounted(&site), in_b);
    drop(whole);
    let part = Mount::new(&["--bind", text(&inside)], text(&three));
    assert_eq!(mounted(&site), in_b);
    drop(part);
    let beneath = Mount::new(&["-t", "tmpfs", "none"], text(&inside));
    assert_eq!(mounted(&site), in_b);
    drop(beneath);
    site.ok(&["umount", "b", text(&one)]);
    site.ok(&["umount", "b", text(&two)]);

    // What is mounted over a volume is what its name leads to.
    let at = site.location().join("c");
    let over = Mount::new(&["-t", "tmpfs", "none"], text(&at));
    assert_eq!(mounted(&site), [("c".to_owned(), json!([text(&at)]))]);
    drop(over);
    assert_eq!(mounted(&site), []);
}

#[test]
fn root_a_mount_over_a_folder_of_volumes_is_seen_through() {
    if !requires_root() {
        return;
    }
    let map = "volumeMap: '\\(.\\)\\(.*\\) \\1/\\2'";
    let site = Site::in_folder("plain", map).unwrap();
    site.ok(&["new", "fs", "ab", "1M", "-q"]);
    let other = site.mountpoint("other");
    std::fs::create_dir(other.join("b")).unwrap();
    let (folder, at) = (site.location().join("a"), site.mountpoint("at"));
    let _over = Mount::new(&["--bind", text(&other)], text(&folder));
    let _volume = Mount::new(&["--bind", text(&other.join("b"))], text(&at));
    let list = site.json(&["list"]);
    assert_eq!(list["volumes"][0]["stored"], "a/b");
    assert_eq!(list["volumes"][0]["mounted"], json!([text(&at)]));
}

#[test]
fn root_a_subvolume_counts_however_it_was_mounted() {
    if !requires_root() || !requires_program("mkfs.btrfs") || !requires_program("btrfs") {
        return;
    }
    let site = Site::on("btrfs", "plain", "").unwrap();
    site.ok(&["new", "fs", "a", "1M", "-q"]);
    let subvolume = site.location().join("s");
    run("btrfs", &["-q", "subvolume", "create", text(&subvolume)]).unwrap();
    let device = site.fs().unwrap().device();
    let (by_option, by_bind) = (site.mountpoint("option"), site.mountpoint("bind"));
    let _option = Mount::new(&["-o", "subvol=location/s", text(device)], text(&by_option));
    let _bind = Mount::new(&["--bind", text(&subvolume)], text(&by_bind));
    let both = json!([text(&by_option), text(&by_bind)]);
    assert_eq!(mounted(&site), [("s".to_owned(), both)]);
}
