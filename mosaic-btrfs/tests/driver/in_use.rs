// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes that somebody uses are not dropped, and the user is told who uses them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::{MIB, Quotas, Site, site};
use mosaic_core::ErrorKind;
use mosaic_tests::{eventually, requires, requires_program, run, run_status};

/// Everything that has a path in the volume, and that it is all there.
fn inventory(site: &Site) -> Vec<String> {
    let mut found = site.subvolumes();
    let files = mosaic_tests::stdout_of("find", &[site.path.as_os_str()]).unwrap();
    // The folder of unfinished things comes with the first one.
    let lines = files.lines().filter(|line| !line.contains("/.mosaic"));
    found.extend(lines.map(str::to_owned));
    found
}

/// The volume is kept, whole, and the error says why.
#[track_caller]
fn is_kept(site: &Site, words: &[&str]) {
    let before = inventory(site);
    let error = site.take_away("v").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{}", error.chain());
    for word in words {
        assert!(error.chain().contains(word), "{word}: {}", error.chain());
    }
    assert_eq!(inventory(site), before);
    site.empty_trash().unwrap();
    assert_eq!(inventory(site), before);
}

/// A volume `v` with a folder and a subvolume in it.
fn site_with_volume() -> Option<Site> {
    let site = site(Quotas::Off)?;
    site.subvolume("v");
    std::fs::create_dir(site.at("v/folder")).unwrap();
    site.subvolume("v/folder/nested");
    std::fs::create_dir(site.at("v/folder/nested/deep")).unwrap();
    Some(site)
}

struct Mounted(PathBuf);

impl Mounted {
    fn new(site: &Site, words: &[&str]) -> Self {
        let at = site.fs.folder_beside("at").unwrap();
        let mut words = words.to_vec();
        words.push(at.to_str().unwrap());
        run("mount", &words).unwrap();
        Self(at)
    }

    fn word(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = run("umount", &["-R".as_ref(), self.0.as_os_str()]);
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn root_what_is_mounted_by_any_way_is_in_use() {
    let Some(site) = site_with_volume() else {
        return;
    };
    let device = site.fs.device().to_str().unwrap().to_owned();
    for part in ["v", "v/folder", "v/folder/nested", "v/folder/nested/deep"] {
        let bound = Mounted::new(&site, &["--bind", site.at(part).to_str().unwrap()]);
        is_kept(&site, &["mounted at", bound.word()]);
    }
    for part in ["v", "v/folder/nested"] {
        let by_name = format!("subvol=ct/{part}");
        let by_id = format!("subvolid={}", site.id(part));
        for option in [by_name, by_id] {
            let mounted = Mounted::new(&site, &["-o", &option, &device]);
            is_kept(&site, &["mounted at", mounted.word()]);
        }
    }
    // A mount of more than the volume does not hold it.
    let _all = Mounted::new(&site, &["-o", "subvol=/", &device]);
    site.drop_volume("v").unwrap();
    assert_eq!(site.subvolumes(), [""; 0]);
}

#[test]
fn root_what_lies_on_a_folder_in_it_keeps_it() {
    let Some(site) = site_with_volume() else {
        return;
    };
    for part in ["v/folder", "v/folder/nested/deep"] {
        let at = site.at(part);
        let at = at.to_str().unwrap();
        run("mount", &["-t", "tmpfs", "none", at]).unwrap();
        is_kept(&site, &["mounted at", at]);
        run("umount", &[at]).unwrap();
    }
    site.drop_volume("v").unwrap();
    assert_eq!(site.subvolumes(), [""; 0]);
}

/// A process that has said that it is ready, and waits until it is dropped.
struct Waiting(Child);

impl Waiting {
    fn new(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut waiting = Self(child.unwrap());
        let out = waiting.0.stdout.as_mut().unwrap();
        out.read_exact(&mut [0]).unwrap();
        waiting
    }

    fn words(&self, command: &str) -> String {
        format!("pid {} ({command})", self.0.id())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn root_a_mount_in_another_namespace_keeps_it() {
    let Some(site) = site_with_volume() else {
        return;
    };
    if !requires_program("unshare") {
        return;
    }
    // Other tests' mounts go from the namespace, so that it does not keep their devices.
    let script = r#"set -e
        while read -r id parent device root at rest; do
            case "$at" in
                "$0"*) ;;
                */mosaic-test-*) umount --lazy "$at" 2>/dev/null || true ;;
            esac
        done </proc/self/mountinfo
        mkdir "$0/far"; mount --bind "$1" "$0/far"; echo; read x"#;
    let beside = site.fs.folder_beside("beside").unwrap();
    let keep = beside.parent().unwrap();
    let other = |part: &str| {
        let mut command = Command::new("unshare");
        let words = ["--mount", "sh", "-c", script];
        Waiting::new(command.args(words).arg(keep).arg(site.at(part)))
    };
    for part in ["v", "v/folder/nested"] {
        let other = other(part);
        let far = keep.join("far");
        let words = [far.to_str().unwrap(), &other.words("sh")];
        is_kept(&site, &words);
        std::mem::drop(other);
        std::fs::remove_dir(far).unwrap();
    }
    site.drop_volume("v").unwrap();
}

/// `btrfs send` of a subvolume, stopped by a pipe that nobody reads.
fn sender(at: &Path) -> Waiting {
    Waiting::new(
        Command::new("btrfs")
            .arg("send")
            .arg(at)
            .stderr(Stdio::null()),
    )
}

#[test]
fn root_what_is_being_sent_is_in_use() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.subvolume("v");
    site.write("v/file", 4 * MIB);
    site.set_read_only("v", true);
    let sending = sender(&site.at("v"));
    is_kept(&site, &["being sent", &sending.words("btrfs")]);
    std::mem::drop(sending);
    site.set_read_only("v", false);
    site.subvolume("v/nested");
    site.write("v/nested/file", 4 * MIB);
    site.set_read_only("v/nested", true);
    // Nothing of it goes, although the kernel would let the outer one be renamed.
    let sending = sender(&site.at("v/nested"));
    is_kept(&site, &["being sent", &sending.words("btrfs")]);
    std::mem::drop(sending);
    // Read-only at the top: the kernel does not let it be made writable.
    site.set_read_only("v", true);
    let sending = sender(&site.at("v"));
    is_kept(&site, &["being sent", &sending.words("btrfs")]);
    assert!(mosaic_btrfs::ioctl::is_read_only(crate::common::open(&site.at("v"))).unwrap());
    std::mem::drop(sending);
    // A program that another test starts has our descriptor of it until it is what it is to be.
    assert!(eventually(|| site.drop_volume("v").is_ok()));
    assert_eq!(site.subvolumes(), [""; 0]);
}

#[test]
fn root_what_is_mounted_by_default_is_kept() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    let set_default = |id: u64| {
        let at = site.fs.path().to_str().unwrap();
        run("btrfs", &["subvolume", "set-default", &id.to_string(), at]).unwrap();
    };
    let id = site.subvolume("v");
    set_default(id);
    is_kept(&site, &["it is what", "by default", "set-default"]);
    let nested = site.subvolume("v/nested");
    is_kept(&site, &["it is what", "by default", "set-default"]);
    set_default(nested);
    is_kept(&site, &[&format!("subvolume {nested} in it"), "by default"]);
    set_default(5);
    site.drop_volume("v").unwrap();
    assert_eq!(site.subvolumes(), [""; 0]);
    // One that has come to the trash already, with nothing within it.
    let id = site.subvolume("v");
    std::fs::rename(site.at("v"), site.in_trash()).unwrap();
    set_default(id);
    let error = site.empty_trash().unwrap_err().chain();
    assert!(error.contains("mounts by default"), "{error}");
    set_default(5);
    site.empty_trash().unwrap();
}

/// A swap file in use, until it is dropped.
struct Swap(PathBuf);

impl Swap {
    /// `None`: the kernel takes none here.
    fn new(at: PathBuf) -> Option<Self> {
        let script = r#"truncate -s 0 "$0" && chattr +C "$0" && fallocate -l 16M "$0" &&
            chmod 600 "$0" && mkswap "$0""#;
        run("sh", &["-c".as_ref(), script.as_ref(), at.as_os_str()]).unwrap();
        let taken = run_status("swapon", &[&at]).unwrap() == Some(0);
        taken.then_some(Self(at))
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        let _ = run("swapoff", &[&self.0]);
    }
}

#[test]
fn root_an_active_swap_file_keeps_it() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    if !requires_program("mkswap") || !requires_program("swapon") {
        return;
    }
    site.subvolume("v");
    let swap = Swap::new(site.at("v/swap file"));
    if !requires(swap.is_some(), "this kernel takes no swap file here") {
        return;
    }
    is_kept(&site, &["it holds the active swap file", "v/swap file"]);
    site.subvolume("v/nested");
    is_kept(&site, &["it holds the active swap file", "v/swap file"]);
    std::mem::drop(swap);
    let swap = Swap::new(site.at("v/nested/swap"));
    is_kept(&site, &["in it holds the active swap file", "nested/swap"]);
    std::mem::drop(swap);
    site.drop_volume("v").unwrap();
    assert_eq!(site.subvolumes(), [""; 0]);
}
