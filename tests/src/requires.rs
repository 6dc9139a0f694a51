// SPDX-License-Identifier: MIT OR Apache-2.0
//! Skipping that is never silent, and never happens where the test could have run.
//!
//! The line goes to file descriptor 2 itself: libtest captures only what the print macros write,
//! and throws it away when the test passes. `cargo xtask test` counts these lines.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Where programs of the system are, root's included.
const DIRECTORIES: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// True for root; otherwise says that the test is skipped.
///
/// # Panics
/// With `MOSAIC_TEST_REQUIRED=1`.
pub fn requires_root() -> bool {
    rustix::process::geteuid().is_root() || could_run("needs root")
}

/// True if the system has the program; otherwise says that the test is skipped.
///
/// # Panics
/// With `MOSAIC_TEST_REQUIRED=1`.
pub fn requires_program(name: &str) -> bool {
    find_program(name).is_some() || could_run(&format!("needs the program {name}"))
}

/// True in the project's virtual machine; otherwise says that the test is skipped, and
/// `cargo xtask test` runs it there.
pub fn requires_vm() -> bool {
    requires(is_in_vm(), "needs the virtual machine")
}

/// True where a test can start a virtual machine by itself; otherwise says that the test is
/// skipped.
///
/// # Panics
/// With `MOSAIC_TEST_REQUIRED=1`, outside of the virtual machine.
pub fn requires_qemu() -> bool {
    let can = cfg!(target_arch = "x86_64") && !is_in_vm();
    let why = "virtual machines are started on x86-64, and not within one";
    requires(can, why)
        && crate::vm::PROGRAMS.into_iter().all(requires_program)
        && match crate::vm::Template::ready() {
            Ok(_) => true,
            Err(error) => could_run(&format!("{error:#}").replace('\n', "; ")),
        }
}

/// Whether this is the project's virtual machine.
pub fn is_in_vm() -> bool {
    is_set("MOSAIC_VM")
}

/// For what no installation can give, such as an ability of this kernel: passes `possible` on and
/// says that the test is skipped if it is false.
pub fn requires(possible: bool, reason: &str) -> bool {
    if !possible {
        skip(reason);
    }
    possible
}

/// Whether `cargo xtask test --quick` runs: long tests then take a sample and say so.
pub fn is_quick() -> bool {
    is_set("MOSAIC_QUICK")
}

/// Whether `cargo xtask test --long` runs: nothing is left out, however little it can show.
pub fn is_long() -> bool {
    is_set("MOSAIC_LONG")
}

/// For a test that takes long and of which no sample says anything: whether it runs, which it does not
/// in a quick run.
pub fn requires_time() -> bool {
    if is_quick() {
        left_out("all of it");
    }
    !is_quick()
}

/// Says what a quick run did not do.
pub fn left_out(what: &str) {
    say("left out", what);
}

/// Says how much a test did, where that may differ from run to run.
pub fn did(what: &str) {
    say("did", what);
}

/// Says that the running test is skipped, and why.
pub fn skip(reason: &str) {
    say("skipped", reason);
}

/// Where the system has a program.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let paths = DIRECTORIES.map(|folder| Path::new(folder).join(name));
    paths.into_iter().find(|path| path.is_file())
}

fn could_run(reason: &str) -> bool {
    assert!(
        !is_set("MOSAIC_TEST_REQUIRED"),
        "{} {reason}, and MOSAIC_TEST_REQUIRED=1 allows no skipping",
        test_name()
    );
    skip(reason);
    false
}

pub(crate) fn say(word: &str, what: &str) {
    let line = format!("{word}: {}: {what}\n", test_name());
    // A test whose stderr is closed still tests.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn test_name() -> String {
    std::thread::current().name().unwrap_or("?").to_owned()
}

pub(crate) fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty() && value != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_the_system_is_found_and_another_is_not() {
        assert!(requires_program("sh"));
        assert!(
            !DIRECTORIES
                .iter()
                .any(|d| Path::new(d).join("mkfs.nonesuch").exists())
        );
    }

    #[test]
    fn the_name_of_the_running_test_is_known() {
        assert!(test_name().ends_with("the_name_of_the_running_test_is_known"));
    }
}
