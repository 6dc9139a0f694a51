// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which program is taken, and which is not.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::sync::Arc;

use mosaic_core::host_services::Silent;
use mosaic_tests::{Scratch, requires_root};

use super::*;

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A folder with a program, both of which only the owner can change.
fn folder(label: &str) -> (Scratch, PathBuf) {
    let scratch = Scratch::new(label).unwrap();
    let program = scratch.path().join(PROGRAM);
    std::fs::write(&program, "").unwrap();
    set_mode(&program, 0o755);
    set_mode(scratch.path(), 0o755);
    (scratch, program)
}

#[test]
fn this_code_is_in_this_program() {
    let ours = our_file().unwrap();
    assert_eq!(ours.path, std::env::current_exe().unwrap());
}

#[test]
fn a_server_is_not_looked_for_behind_a_link() {
    let (scratch, program) = folder("server-link");
    std::fs::rename(&program, scratch.path().join("elsewhere")).unwrap();
    assert!(
        Program::open(scratch.path(), Trusted::default())
            .unwrap()
            .is_none()
    );
    symlink("elsewhere", &program).unwrap();
    let refused = Program::open(scratch.path(), Trusted::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(refused.chain().contains("not a regular file"), "{refused}");
}

#[test]
fn root_runs_no_server_that_others_can_change() {
    if !requires_root() {
        return;
    }
    let (scratch, program) = folder("server-owner");
    let opened = |trusted| Program::open(scratch.path(), trusted);
    let refused = |at_fault: &Path, remedy: &str| {
        let error = opened(Trusted::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permission);
        let text = error.chain();
        assert!(text.starts_with(&format!("{at_fault:?} ")), "{text}");
        assert!(text.ends_with(&format!("{remedy} {at_fault:?}")), "{text}");
    };
    assert!(opened(Trusted::default()).unwrap().is_some());
    for path in [scratch.path(), &program] {
        set_mode(path, 0o775);
        refused(path, "chmod go-w");
        set_mode(path, 0o755);
        chown(path, Some(12345), None).unwrap();
        refused(path, "chown root");
        // The driver that runs is his.
        let driver = scratch.path().join("driver");
        std::fs::write(&driver, "").unwrap();
        chown(&driver, Some(12345), None).unwrap();
        assert!(opened(Trusted::writers_of(&driver)).unwrap().is_some());
        chown(path, Some(0), None).unwrap();
    }
}

/// What stands in its place by then is not what was checked.
#[test]
fn the_server_that_is_run_is_the_one_that_was_opened() {
    let (scratch, program) = folder("server-swap");
    std::fs::write(&program, "#!/bin/sh\nexit 0\n").unwrap();
    let opened = Program::open(scratch.path(), Trusted::default())
        .unwrap()
        .unwrap();
    let other = scratch.path().join("other");
    std::fs::write(&other, "#!/bin/sh\nexit 7\n").unwrap();
    set_mode(&other, 0o755);
    std::fs::rename(&other, &program).unwrap();
    let launched = |program: &Program| {
        let (_ours, theirs) = crate::server::handover::pair().unwrap();
        let host = mosaic_core::Host::new(Arc::new(Silent));
        mosaic_core::command::launch_server(&host, program.as_fd(), program.path(), theirs)
    };
    launched(&opened).unwrap();
    let new = Program::open(scratch.path(), Trusted::default())
        .unwrap()
        .unwrap();
    let failed = launched(&new).unwrap_err();
    assert!(failed.chain().contains("exit status: 7"), "{failed}");
}
