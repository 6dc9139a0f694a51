// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packages of the distribution, where it is Debian or one that descends from it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Runs `apt-get`, which asks nothing and puts what it downloads into the folder.
///
/// # Errors
/// It cannot be run, or fails; with what it wrote to stderr.
pub fn apt_get<S: AsRef<OsStr>>(folder: &Path, words: &[S]) -> Result<()> {
    let output = Command::new("apt-get")
        .arg("--quiet")
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .context("cannot run apt-get")?;
    let words: Vec<_> = words.iter().map(|w| w.as_ref().to_string_lossy()).collect();
    ensure!(
        output.status.success(),
        "apt-get {} failed: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
