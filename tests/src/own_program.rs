// SPDX-License-Identifier: MIT OR Apache-2.0
//! The test program itself, to be run again as another user.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::await_condition::eventually;

/// Copies this test program to where another user can reach and run it: the build folder may be
/// closed to others. The folder is for the caller to open.
///
/// What another test starts meanwhile holds the copy open for writing for a moment, and until then
/// it cannot be run (`ETXTBSY`): that is over when this returns.
///
/// # Panics
/// It cannot be copied or run.
pub fn copy_of_own_program(folder: &Path) -> PathBuf {
    let copy = folder.join("helper");
    let program = std::env::current_exe().expect("a test runs from a file");
    fs::copy(program, &copy).expect("there is room for the program");
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).expect("it is ours");
    let runs = || {
        let mut list = Command::new(&copy);
        list.arg("--list").stdout(Stdio::null());
        list.status().is_ok_and(|status| status.success())
    };
    assert!(eventually(runs), "{copy:?} cannot be run");
    copy
}
