// SPDX-License-Identifier: MIT OR Apache-2.0
//! Leases on real files.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mosaic_tests::{LoopFile, MountedFs, Scratch, requires_program, requires_root};

use super::Running;
use crate::busy::{Lease, LeaseOutcome};

fn image(folder: &Path) -> (PathBuf, File) {
    let path = folder.join("image");
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    (path, file)
}

fn is_granted(file: &File) -> bool {
    matches!(Lease::take(file.as_fd()).unwrap(), LeaseOutcome::Granted(_))
}

fn is_in_use(file: &File) -> bool {
    matches!(Lease::take(file.as_fd()).unwrap(), LeaseOutcome::InUse)
}

#[test]
fn a_file_that_another_has_open_is_in_use() {
    let scratch = Scratch::new("lease").unwrap();
    let (path, file) = image(scratch.path());
    assert!(is_granted(&file));
    let script = format!("exec 7<{}; echo; read x", path.display());
    let process = Running::start("sh", &["-c", &script]);
    assert!(is_in_use(&file));
    drop(process);
    assert!(is_granted(&file));
    // A duplicate is the same open file; a second open of our own is not.
    let duplicate = file.try_clone().unwrap();
    assert!(is_granted(&file));
    drop(duplicate);
    let _second = File::open(&path).unwrap();
    assert!(is_in_use(&file));
}

#[test]
fn an_opener_waits_until_the_lease_is_released_and_we_live() {
    let scratch = Scratch::new("lease").unwrap();
    let (path, file) = image(scratch.path());
    let LeaseOutcome::Granted(lease) = Lease::take(file.as_fd()).unwrap() else {
        panic!("nobody else has it open");
    };
    let mut opener = Command::new("sh")
        .args(["-c", "echo; exec 7<\"$0\"; echo", path.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = opener.stdout.take().unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    // It stands in the kernel's open; a signal to us would have come by now.
    let state = format!("/proc/{}/wchan", opener.id());
    let waits = || std::fs::read_to_string(&state).is_ok_and(|at| at.contains("lease"));
    assert!(
        mosaic_tests::eventually(waits),
        "{:?}",
        std::fs::read_to_string(&state)
    );
    assert!(opener.try_wait().unwrap().is_none());
    drop(lease);
    stdout.read_exact(&mut [0]).unwrap();
    assert!(opener.wait().unwrap().success());
}

#[test]
fn what_is_no_plain_file_is_no_answer() {
    for path in ["/dev/null", "/proc"] {
        let file = File::open(path).unwrap();
        let outcome = Lease::take(file.as_fd()).unwrap();
        assert!(matches!(outcome, LeaseOutcome::Unsupported), "{outcome:?}");
    }
}

#[test]
fn root_the_file_systems_of_locations_grant_leases_and_see_loop_devices() {
    for fs in ["ext4", "xfs", "btrfs"] {
        if !requires_root() || !requires_program(&format!("mkfs.{fs}")) {
            return;
        }
        let mounted = MountedFs::new(fs).unwrap();
        let (path, file) = image(mounted.path());
        file.set_len(1 << 20).unwrap();
        assert!(is_granted(&file), "{fs}");
        let text = mosaic_tests::stdout_of(
            "losetup",
            &["--find".as_ref(), "--show".as_ref(), path.as_os_str()],
        )
        .unwrap();
        assert!(is_in_use(&file), "{fs}");
        mosaic_tests::run("losetup", &["--detach", text.trim()]).unwrap();
        assert!(mosaic_tests::eventually(|| is_granted(&file)), "{fs}");
    }
    let file = LoopFile::new(1 << 20).unwrap();
    let image = File::options()
        .read(true)
        .write(true)
        .open(file.image())
        .unwrap();
    assert!(is_in_use(&image));
}
