// SPDX-License-Identifier: MIT OR Apache-2.0
//! Removal of trees with btrfs subvolumes in them, as a container engine in a container makes them.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use mosaic_core::host_services::Silent;
use mosaic_core::{ErrorKind, Host, Result, tree};
use mosaic_tests::{MountedFs, requires_program, requires_root, run, stdout_of};
use rustix::fs::{Mode, OFlags, mkdirat, openat};

/// A btrfs with a tree `t` in it.
struct Tree(MountedFs);

impl Tree {
    fn new() -> Option<Self> {
        if !requires_root() || !requires_program("mkfs.btrfs") || !requires_program("btrfs") {
            return None;
        }
        let mounted = MountedFs::new("btrfs").unwrap();
        fs::create_dir(mounted.path().join("t")).unwrap();
        Some(Self(mounted))
    }

    fn path(&self, beneath: &str) -> PathBuf {
        self.0.path().join("t").join(beneath)
    }

    fn remove(&self) -> Result<()> {
        let dir = File::open(self.0.path()).unwrap();
        tree::remove(dir.as_fd(), "t", &Host::new(Arc::new(Silent)))
    }

    fn assert_removed(&self) {
        assert!(!self.0.path().join("t").exists());
        let subvolumes = stdout_of("btrfs", &["subvolume", "list", text(self.0.path())]).unwrap();
        assert_eq!(subvolumes, "");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn subvolume(at: &Path) {
    run("btrfs", &["-q", "subvolume", "create", text(at)]).unwrap();
    fs::write(at.join("file"), "x").unwrap();
}

fn freeze(subvolume: &Path) {
    run(
        "btrfs",
        &["property", "set", "-ts", text(subvolume), "ro", "true"],
    )
    .unwrap();
}

/// Makes `depth` directories below each other.
fn dig(top: &Path, depth: usize) {
    let mut dir: OwnedFd = File::open(top).unwrap().into();
    for _ in 0..depth {
        mkdirat(&dir, "d", Mode::RWXU).unwrap();
        dir = openat(&dir, "d", OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
}

#[test]
fn root_nested_full_and_read_only_subvolumes_go_with_the_tree() {
    let Some(tree) = Tree::new() else {
        return;
    };
    for path in ["a", "a/nested", "a/nested/deepest", "b"] {
        subvolume(&tree.path(path));
    }
    // A snapshot has an empty stub where the source had another subvolume.
    let (from, to) = (tree.path("a"), tree.path("snapshot"));
    run(
        "btrfs",
        &["-q", "subvolume", "snapshot", "-r", text(&from), text(&to)],
    )
    .unwrap();
    for path in ["a/nested/deepest", "a/nested", "b"] {
        freeze(&tree.path(path));
    }
    tree.remove().unwrap();
    tree.assert_removed();
}

#[test]
fn root_depth_in_and_of_subvolumes_is_no_obstacle() {
    let Some(tree) = Tree::new() else {
        return;
    };
    subvolume(&tree.path("s"));
    dig(&tree.path("s"), 3000);
    dig(&tree.path(""), 40);
    let mut at = tree.path("d");
    for _ in 0..39 {
        at.push("d");
    }
    // Deeper than directories are held open, the last one with depth of its own.
    for _ in 0..70 {
        at.push("v");
        subvolume(&at);
    }
    dig(&at, 200);
    tree.remove().unwrap();
    tree.assert_removed();
}

/// `btrfs send`, whose reader has read no more than the first byte.
struct Sending(Child);

impl Sending {
    fn start(subvolume: &Path) -> Self {
        let mut send = Command::new("btrfs");
        send.args(["-q", "send"]).arg(subvolume);
        let mut send = send.stdout(Stdio::piped()).spawn().unwrap();
        let mut first = [0];
        send.stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut first)
            .unwrap();
        Self(send)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn root_a_subvolume_that_is_being_sent_stays_and_is_named() {
    let Some(tree) = Tree::new() else {
        return;
    };
    let sent = tree.path("sent");
    subvolume(&sent);
    fs::write(sent.join("more"), vec![1; 4 << 20]).unwrap();
    freeze(&sent);
    let sending = Sending::start(&sent);
    let error = tree.remove().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission, "{}", error.chain());
    let said = error.chain();
    assert!(said.contains("\"t/sent/"), "{said}");
    assert!(said.contains("read-only subvolume"), "{said}");
    drop(sending);
    tree.remove().unwrap();
    tree.assert_removed();
}
