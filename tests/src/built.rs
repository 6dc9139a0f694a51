// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs and drivers under test, as cargo puts them beside the test binaries.
//!
//! Cargo builds a package's program for the tests of that package only. So the first fixture that
//! needs one builds them, unless `MOSAIC_TEST_BUILT=1` says that it was done.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

use crate::requires::is_set;

/// What tests run: `moctl` and every driver.
const PACKAGES: [&str; 6] = [
    "moctl",
    "mosaic-btrfs",
    "mosaic-dmthin",
    "mosaic-loop",
    "mosaic-ploop",
    "mosaic-plain",
];

/// `target/debug`, or whatever folder the running test was built into.
///
/// # Errors
/// The test was not started from where cargo built it.
pub fn target_folder() -> Result<PathBuf> {
    target_folder_of(&std::env::current_exe()?)
}

/// The same for another program that cargo built.
///
/// # Errors
/// It has no folder.
pub(crate) fn target_folder_of(program: &Path) -> Result<PathBuf> {
    let deps = program.parent().context("a test binary has a folder")?;
    if deps.file_name().is_some_and(|name| name == "deps") {
        Ok(deps.parent().context("deps has a folder")?.to_owned())
    } else {
        Ok(deps.to_owned())
    }
}

/// The path of a program under test; the first call builds it and the drivers.
///
/// # Errors
/// The build failed; the program is not there.
pub fn built_program(name: &str) -> Result<PathBuf> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    let folder = target_folder()?;
    let built = BUILT.get_or_init(|| build(&[]).map_err(|e| format!("{e:#}")));
    ensure!(
        built.is_ok(),
        "{}",
        built.as_ref().err().map_or("", String::as_str)
    );
    let program = folder.join(name);
    ensure!(program.is_file(), "{} is not built", program.display());
    Ok(program)
}

/// Builds the same, and packages that few tests need.
///
/// # Errors
/// The build failed.
pub fn build(more: &[&str]) -> Result<()> {
    if is_set("MOSAIC_TEST_BUILT") {
        return Ok(());
    }
    let folder = target_folder()?;
    let target = folder.parent().context("no target folder")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--target-dir"])
        .arg(target);
    for package in PACKAGES.iter().chain(more) {
        cargo.args(["--package", package]);
    }
    if folder.file_name().is_some_and(|name| name == "release") {
        cargo.arg("--release");
    }
    let output = cargo.output().context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "cannot build what is to be tested: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
