// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a user without privilege gets to see, and is told of the rest.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use mosaic_tests::{Scratch, copy_of_own_program, requires_program, requires_root, stdout_of};

use super::Running;
use crate::busy::{Lease, LeaseOutcome, mounts_of_directory, openers_of_file};
use crate::mounts::{MountOptions, mount_directory, open_target, umount};

/// Names the folder for the helper below.
const FOLDER: &str = "MOSAIC_TEST_BUSY_FOLDER";

/// Not a test: what the test below runs as another user. Prints a line for each answer.
#[test]
#[ignore = "a helper of other tests"]
#[expect(
    clippy::print_stdout,
    reason = "its answers are read by the test below"
)]
fn helper_looks_around() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let volume = File::open(folder.join("a")).unwrap();
    let found = mounts_of_directory(volume.as_fd()).unwrap();
    println!("mounts: {} unseen {}", found.describe(), found.unseen);
    let image = File::open(folder.join("image")).unwrap();
    let found = openers_of_file(image.as_fd()).unwrap();
    println!("openers: {} unseen {}", found.uses.len(), found.unseen > 0);
    println!("description: {}", found.describe());
    let outcome = Lease::take(image.as_fd()).unwrap();
    println!("lease: {}", matches!(outcome, LeaseOutcome::Unsupported));
    let target = open_target(&folder.join("at")).unwrap();
    let error = mount_directory(volume.as_fd(), &target, &MountOptions::new()).unwrap_err();
    println!("mount: {}: {error}", error.kind().name());
    let error = umount(Path::new("/proc")).unwrap_err();
    println!("umount: {}: {error}", error.kind().name());
}

#[test]
fn root_another_user_sees_mounts_and_is_told_how_many_processes_not() {
    if !requires_root() || !requires_program("setpriv") || !requires_program("unshare") {
        return;
    }
    let scratch = Scratch::new("unprivileged").unwrap();
    let folder = scratch.path();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    scratch.folder("a").unwrap();
    scratch.folder("at").unwrap();
    fs::write(folder.join("image"), "").unwrap();
    let helper = copy_of_own_program(folder);
    let process = Running::in_namespace(
        folder,
        &format!(
            "mount --bind {0}/a {0}/at; exec 7<{0}/image",
            folder.display()
        ),
    );
    let variable = format!("{FOLDER}={}", folder.display());
    let arguments = [
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "env",
        &variable,
        helper.to_str().unwrap(),
        "--exact",
        "busy::tests::unprivileged::helper_looks_around",
        "--ignored",
        "--nocapture",
    ];
    let text = stdout_of("setpriv", &arguments).unwrap();
    let line = |start: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(start));
        found.unwrap_or_else(|| panic!("no {start:?} in {text}"))
    };
    let at = folder.join("at");
    assert_eq!(
        line("mounts: "),
        format!(
            "in use: mounted at {} in the mount namespace of pid {} (sh) unseen 0",
            at.display(),
            process.pid()
        )
    );
    assert_eq!(line("openers: "), "0 unseen true");
    assert!(line("description: ").ends_with(" could not be looked at without privilege"));
    assert_eq!(line("lease: "), "true");
    assert!(
        line("mount: ").starts_with("permission: ") && text.contains("needs root"),
        "{text}"
    );
    assert!(line("umount: ").starts_with("permission: "), "{text}");
}
