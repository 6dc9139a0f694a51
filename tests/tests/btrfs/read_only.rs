// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes that refuse writes: snapshots of others, and what `btrfs receive` made.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use mosaic_tests::{Site, word};

use crate::{MAP, on_each};

/// Sends a read-only snapshot of the volume `a` and receives it as the volume `name`.
fn receive(site: &Site, name: &str) {
    let elsewhere = site.fs().unwrap().path().join("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    let snapshot = elsewhere.join(name);
    mosaic_tests::run(
        "btrfs",
        &[
            Path::new("subvolume"),
            Path::new("snapshot"),
            Path::new("-r"),
            &site.location().join("a"),
            &snapshot,
        ],
    )
    .unwrap();
    let mut sender = Command::new("btrfs")
        .args(["send", "-q"])
        .arg(&snapshot)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stream = sender.stdout.take().unwrap();
    let receiver = Command::new("btrfs")
        .args(["receive", "-q"])
        .arg(site.location())
        .stdin(Stdio::from(stream))
        .status();
    assert!(sender.wait().unwrap().success() && receiver.unwrap().success());
}

#[test]
fn root_a_received_volume_is_mounted_read_only_or_not_at_all() {
    on_each(&["btrfs", "btrfs+full"], "", |kind, site| {
        site.ok(&["new", "fs", "a", "8M"]);
        fs::write(site.location().join("a/file"), "sent").unwrap();
        receive(site, "received");
        let at = site.mountpoint("at");
        let mount = ["mount", "received", word(&at)];
        let refused = site.expect(2, &mount);
        assert!(
            refused.stderr.contains("-o ro"),
            "{kind}: {}",
            refused.stderr
        );
        assert!(site.mounts().is_empty());
        site.ok(&[&mount[..], &["-o", "ro"]].concat());
        assert_eq!(fs::read_to_string(at.join("file")).unwrap(), "sent");
        site.ok(&["umount", "received", word(&at)]);
        let volume = site.json(&["info", "received"])["volume"].clone();
        assert_eq!(volume["read_only"], true, "{kind}: {volume}");
        assert!(
            volume["facts"]["received uuid"].is_string(),
            "{kind}: {volume}"
        );
        // A clone of it is an ordinary volume.
        site.ok(&["clone", "received", "b"]);
        let clone = site.json(&["info", "b"])["volume"].clone();
        assert_eq!(
            (&clone["read_only"], &clone["origin"]),
            (&false.into(), &"received".into())
        );
        assert!(clone["facts"]["received uuid"].is_null(), "{kind}: {clone}");
        fs::write(site.location().join("b/file"), "b").unwrap();
        site.ok(&["drop", "received"]);
        assert_eq!(site.names(), ["a", "b"]);
    });
}

#[test]
fn root_read_only_volumes_are_renamed_in_their_folder_only() {
    on_each(&["btrfs"], "", |_, site| {
        site.ok(&["new", "fs", "a", "8M"]);
        site.read_only_snapshot("a", "kept");
        site.ok(&["rename", "kept", "still-kept"]);
        assert_eq!(site.names(), ["a", "still-kept"]);
    });
    on_each(&["btrfs"], MAP, |_, site| {
        site.ok(&["new", "fs", "11", "8M"]);
        site.read_only_snapshot("1/11", "1/12");
        let before = site.names();
        // The kernel lets no directory go elsewhere that it could not write `..` to.
        let refused = site.run(&["rename", "12", "22"]);
        assert_ne!(refused.status, 0);
        assert!(refused.stderr.contains("read-only"), "{}", refused.stderr);
        assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
        assert_eq!(site.names(), before);
        assert!(!site.location().join("2").exists(), "a folder was left");
    });
}

#[test]
fn root_read_only_subvolumes_within_stay_so_in_a_clone_and_go_with_their_volume() {
    on_each(
        &["btrfs", "btrfs+simple", "btrfs+full"],
        "",
        |kind, site| {
            site.ok(&["new", "fs", "a", "8M"]);
            site.subvolume("a/within");
            site.subvolume("a/within/deeper");
            fs::write(site.location().join("a/within/deeper/file"), "x").unwrap();
            site.read_only_snapshot("a/within", "a/kept");
            // One that is read-only and has another one within it.
            let path = site.location().join("a/within");
            let words = ["property", "set", "-ts"].map(Path::new);
            let more = [path.as_path(), Path::new("ro"), Path::new("true")];
            mosaic_tests::run("btrfs", &[&words[..], &more].concat()).unwrap();
            site.ok(&["clone", "a", "b"]);
            let within = |volume: &str| {
                let mut found: Vec<_> = site
                    .subvolumes()
                    .into_iter()
                    .filter_map(|s| {
                        Some((s.path.strip_prefix(volume).ok()?.to_owned(), s.read_only))
                    })
                    .collect();
                found.sort();
                found
            };
            assert_eq!(within("b"), within("a"), "{kind}");
            assert_eq!(within("b").len(), 4, "{kind}");
            let copied = fs::read_to_string(site.location().join("b/within/deeper/file"));
            assert_eq!(copied.unwrap(), "x", "{kind}");
            assert!(
                fs::write(site.location().join("b/within/file"), "x").is_err(),
                "{kind}"
            );
            site.ok(&["drop", "a"]);
            assert_eq!(within("b").len(), 4, "{kind}");
            site.ok(&["drop", "b"]);
            assert_eq!(site.subvolumes(), [], "{kind}");
        },
    );
}
