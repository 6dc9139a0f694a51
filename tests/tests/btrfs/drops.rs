// SPDX-License-Identifier: MIT OR Apache-2.0
//! How volumes go: with all that is within them, not while somebody needs them, and until their
//! space is back.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mosaic_tests::{Output, Site, eventually, fill, run, stdout_of, subvolumes, word};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{KINDS, MIB, WITH_QUOTAS, on_each, site};

/// Subvolumes that have no name any more and are being cleaned.
fn dead(site: &Site) -> usize {
    let top = site.fs().unwrap().path();
    let words = ["subvolume", "list", "-d"].map(Path::new);
    let text = stdout_of("btrfs", &[&words[..], &[top]].concat()).unwrap();
    text.lines().count()
}

/// A volume of 24 MiB, a third of it in subvolumes within it.
fn big(site: &Site, name: &str) {
    site.ok(&["new", "fs", name, "64M"]);
    site.subvolume(&format!("{name}/within"));
    site.subvolume(&format!("{name}/within/deeper"));
    for folder in [
        name,
        &format!("{name}/within"),
        &format!("{name}/within/deeper"),
    ] {
        fill(&site.location().join(folder).join("file"), 8).unwrap();
    }
}

#[test]
fn root_drop_with_wait_returns_when_the_space_is_back() {
    on_each(&KINDS, "", |kind, site| {
        big(site, "a");
        let used = || {
            let space = site.json(&["info"])["space"].clone();
            let data = space
                .as_array()
                .unwrap()
                .iter()
                .find(|s| s["class"] == "data")
                .cloned();
            data.unwrap()["used"].as_u64().unwrap()
        };
        // What is written counts from the next commit on.
        run("btrfs", &["filesystem", "sync", word(site.location())]).unwrap();
        assert!(used() >= 24 * MIB, "{kind}: {}", used());
        let said = site.json(&["drop", "--wait", "a"]);
        assert_eq!(dead(site), 0, "{kind}");
        assert_eq!(said["pending"], serde_json::json!([]), "{kind}");
        assert!(used() < 8 * MIB, "{kind}: {}", used());
        // There is nothing to wait for the second time.
        site.expect(3, &["drop", "--wait", "a"]);
        site.ok(&["drop", "--wait", "--missing-ok", "a"]);
    });
}

#[test]
fn root_drop_without_wait_says_what_is_still_to_come_back() {
    let Some(site) = site("btrfs", "") else {
        return;
    };
    big(&site, "a");
    // The cleaner may have been faster than the answer.
    let said = site.json(&["drop", "a"]);
    assert!(!site.entries().contains(&"a".to_owned()));
    let pending = said["pending"].as_array().unwrap();
    assert!(pending.len() <= 3, "{said}");
    assert!(
        pending
            .iter()
            .all(|p| p.as_str().unwrap().starts_with("subvolume ")),
        "{said}"
    );
    // Each commit wakes the kernel's cleaner.
    assert!(eventually(|| {
        run("btrfs", &["filesystem", "sync", word(site.location())]).unwrap();
        dead(&site) == 0
    }));
    assert_eq!(subvolumes(site.location()).unwrap().len(), 0);
    site.assert_sound();
}

#[test]
fn root_quota_groups_of_what_was_dropped_go_too() {
    on_each(&WITH_QUOTAS, "", |kind, site| {
        for _ in 0..2 {
            big(site, "a");
            site.ok(&["clone", "a", "b"]);
            // With simple quotas the origin's group keeps what the clone shares.
            site.ok(&["drop", "--wait", "a"]);
            site.ok(&["drop", "--wait", "b"]);
        }
        // What reads 0 only now is swept by the next changing command.
        site.ok(&["new", "fs", "c", "8M"]);
        site.ok(&["new", "fs", "d", "8M"]);
        assert_eq!(site.dead_qgroups(), [], "{kind}");
        assert!(site.ok(&["check"]).contains("no faults"), "{kind}");
    });
}

#[test]
fn root_what_is_mounted_anywhere_is_not_dropped() {
    on_each(&["btrfs"], "", |_, site| {
        site.ok(&["new", "fs", "a", "8M"]);
        site.subvolume("a/within");
        let at = site.mountpoint("at");
        let device = word(site.fs().unwrap().device()).to_owned();
        for subvolume in ["location/a", "location/a/within"] {
            let options = format!("subvol=/{subvolume}");
            run("mount", &["-o", &options, &device, word(&at)]).unwrap();
            let refused = site.expect(5, &["drop", "a"]);
            run("umount", &[&at]).unwrap();
            assert!(refused.stderr.contains(word(&at)), "{}", refused.stderr);
        }
        assert!(site.location().join("a/within").is_dir());
        assert_eq!(site.subvolumes().len(), 2);
        site.ok(&["drop", "a"]);
    });
}

/// A `btrfs send` of more than pipes hold, which nobody reads on: it stays in the kernel.
struct Sender(Child);

impl Sender {
    fn new(of: &Path) -> Self {
        let child = Command::new("btrfs")
            .args(["send", "-q"])
            .arg(of)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut sender = Self(child.unwrap());
        // The stream comes from the kernel, which has counted the send before it writes the header:
        // btrfs_ioctl_send() in fs/btrfs/send.c, Linux 6.1.
        let stream = sender.0.stdout.as_mut().unwrap();
        stream.read_exact(&mut [0]).unwrap();
        sender
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn root_what_is_being_sent_is_not_dropped() {
    on_each(&["btrfs"], "", |_, site| {
        site.ok(&["new", "fs", "a", "64M"]);
        fill(&site.location().join("a/file"), 8).unwrap();
        let sent = site.read_only_snapshot("a", "sent");
        let sender = Sender::new(&sent);
        let pid = sender.0.id().to_string();
        let refused = site.expect(5, &["drop", "sent"]).stderr;
        assert!(refused.contains(&pid), "{refused} does not name {pid}");
        drop(sender);
        assert!(site.entries().contains(&"sent".to_owned()));
        site.ok(&["drop", "sent"]);
    });
}

#[test]
fn root_the_default_subvolume_is_not_dropped() {
    on_each(&["btrfs"], "", |_, site| {
        site.ok(&["new", "fs", "a", "8M"]);
        site.subvolume("a/within");
        for default in ["a", "a/within"] {
            let path = site.location().join(default);
            run("btrfs", &["subvolume", "set-default", word(&path)]).unwrap();
            let refused = site.run(&["drop", "a"]);
            assert_ne!(refused.status, 0, "{default}");
            assert!(refused.stderr.contains("default"), "{}", refused.stderr);
            assert!(path.is_dir(), "{default}");
            assert_eq!(site.names(), ["a"], "{default}");
        }
        let top = word(site.fs().unwrap().path());
        run("btrfs", &["subvolume", "set-default", "5", top]).unwrap();
        site.ok(&["drop", "a"]);
    });
}

/// `moctl m drop --wait NAME`, which goes on.
fn waiting_drop(site: &Site, name: &str) -> Child {
    let mut command = site.command(&["drop", "--wait", name]);
    command.stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn root_a_wait_lasts_as_long_as_somebody_has_a_file_open() {
    on_each(&["btrfs+simple"], "", |_, site| {
        for name in ["a", "b"] {
            site.ok(&["new", "fs", name, "64M"]);
            fill(&site.location().join(name).join("file"), 8).unwrap();
        }
        let open = File::open(site.location().join("a/file")).unwrap();
        let mut waiting = waiting_drop(site, "a");
        assert!(eventually(|| site.names() == ["b"]));
        let note = || site.json(&["info"])["notes"].to_string();
        assert!(
            eventually(|| note().contains("being cleaned")),
            "{}",
            note()
        );
        // It holds no lock, and what others drop does not wait for it.
        site.ok(&["new", "fs", "a", "8M"]);
        site.ok(&["drop", "--wait", "b"]);
        assert!(waiting.try_wait().unwrap().is_none());
        drop(open);
        assert!(waiting.wait().unwrap().success());
        assert_eq!(dead(site), 0);
        assert!(!note().contains("being cleaned"), "{}", note());
    });
}

#[test]
fn root_a_wait_that_is_interrupted_leaves_the_volume_dropped() {
    on_each(&["btrfs"], "", |_, site| {
        site.ok(&["new", "fs", "a", "64M"]);
        fill(&site.location().join("a/file"), 8).unwrap();
        let open = File::open(site.location().join("a/file")).unwrap();
        let waiting = waiting_drop(site, "a");
        assert!(eventually(|| site.names().is_empty()));
        assert!(eventually(|| dead(site) == 1));
        let pid = Pid::from_raw(i32::try_from(waiting.id()).unwrap());
        // Not SIGINT, which a shell has its background jobs ignore.
        kill(pid, Signal::SIGTERM).unwrap();
        let output = Output::from(waiting.wait_with_output().unwrap());
        assert_eq!(output.status, 11, "{}", output.stderr);
        assert!(output.stderr.contains("is dropped"), "{}", output.stderr);
        drop(open);
    });
}

#[test]
fn root_an_ordinary_drop_leaves_no_fault() {
    on_each(&KINDS, "", |kind, site| {
        big(site, "a");
        site.ok(&["drop", "a"]);
        assert!(site.ok(&["check"]).contains("no faults"), "{kind}");
        assert!(eventually(|| {
            run("btrfs", &["filesystem", "sync", word(site.location())]).unwrap();
            dead(site) == 0
        }));
        assert!(site.ok(&["check"]).contains("no faults"), "{kind}");
    });
}

/// A process in a mount namespace of its own.
struct Elsewhere(Child);

impl Elsewhere {
    /// Mounts the subvolume there and stays.
    fn mounting(device: &Path, subvolume: &str, at: &Path) -> Self {
        let script = r#"mount -o "$1" "$2" "$3" && echo done && exec cat"#;
        let mut child = Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                script,
                "sh",
            ])
            .arg(format!("subvol=/{subvolume}"))
            .args([device, at])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "done\n");
        Self(child)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn root_what_is_mounted_in_another_namespace_is_not_dropped() {
    on_each(&["btrfs"], "", |_, site| {
        site.ok(&["new", "fs", "a", "8M"]);
        site.subvolume("a/within");
        let at = site.mountpoint("at");
        let device = site.fs().unwrap().device();
        for subvolume in ["location/a", "location/a/within"] {
            let elsewhere = Elsewhere::mounting(device, subvolume, &at);
            let refused = site.expect(5, &["drop", "a"]).stderr;
            let pid = elsewhere.0.id().to_string();
            assert!(refused.contains(&pid), "{refused} does not name {pid}");
        }
        assert_eq!(site.subvolumes().len(), 2);
        site.ok(&["drop", "a"]);
    });
}
