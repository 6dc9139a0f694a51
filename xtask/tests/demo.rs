// SPDX-License-Identifier: MIT OR Apache-2.0
//! The demo shows what it promises, as root and without, and leaves nothing.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use mosaic_tests::{
    eventually, eventually_within, loop_devices_beneath, mountpoints_beneath, requires_root,
};

fn demo(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("demo").env("TMPDIR", folder);
    command
}

fn temporary() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    (folder, path)
}

#[track_caller]
fn assert_nothing_left(folder: &Path) {
    let left: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(mountpoints_beneath(folder).is_empty());
    assert!(eventually(|| loop_devices_beneath(folder).is_empty()));
}

#[track_caller]
fn stdout_of(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    stdout
}

#[test]
fn root_the_demo_shows_the_main_job_and_leaves_nothing() {
    if !requires_root() {
        return;
    }
    let (_owner, folder) = temporary();
    let shown = stdout_of(&demo(&folder).output().unwrap());
    for line in [
        "moctl demo new fs web1 512M",
        "moctl demo clone web1 web2",
        "identical",
        "$ moctl demo resize web2 +512M",
        "in use",
        "(exit status 5)",
        "Device: /dev/loop",
        "moctl trees clone ct1 ct2",
        "Disk quota exceeded",
        "moctl trees drop ct2 --wait",
    ] {
        assert!(shown.contains(line), "no {line:?} in:\n{shown}");
    }
    assert_nothing_left(&folder);
}

#[test]
fn root_a_demo_that_is_interrupted_leaves_nothing() {
    if !requires_root() {
        return;
    }
    let (_owner, folder) = temporary();
    let child = demo(&folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut guard = Guard(child);
    // It may have to build first.
    let limit = Duration::from_secs(600);
    assert!(eventually_within(limit, || !mountpoints_beneath(&folder).is_empty()));
    let pid = rustix::process::Pid::from_child(&guard.0);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(!guard.0.wait().unwrap().success());
    assert_nothing_left(&folder);
}

/// Kills what a failed assertion would leave running.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
