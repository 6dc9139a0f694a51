// SPDX-License-Identifier: MIT OR Apache-2.0
//! Running cargo in this workspace, with the very cargo that runs us.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The folder with the workspace's `Cargo.toml`.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where cargo builds to: `target` in the workspace unless it was told otherwise.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => workspace().join(folder),
        None => workspace().join("target"),
    }
}

/// A cargo command in the workspace; nothing waits for input.
pub fn command(args: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace())
        .args(args)
        .stdin(Stdio::null());
    command
}

/// The test binaries of a `cargo test` that was run before, each with the folder of its package,
/// where cargo starts it.
///
/// # Errors
/// It cannot be run, or fails.
pub fn test_folders(args: &[&str]) -> Result<BTreeMap<PathBuf, PathBuf>> {
    let output = command(args)
        .args(["--no-run", "--message-format=json", "--quiet"])
        .output()
        .context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "cargo {} --no-run failed",
        args.join(" ")
    );
    let text = String::from_utf8(output.stdout)?;
    let messages = text.lines().map(serde_json::from_str::<Value>);
    let row = |message: Value| {
        let manifest = Path::new(message["manifest_path"].as_str()?);
        let folder = manifest.parent()?.to_owned();
        Some((message["executable"].as_str()?.into(), folder))
    };
    messages
        .filter_map(|message| message.map(row).transpose())
        .map(|row| Ok(row?))
        .collect()
}

/// Runs cargo, says so, and shows what it writes.
///
/// # Errors
/// It cannot be run, or fails.
pub fn run(args: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    println!("$ cargo {}", args.join(" "));
    let status = command(args)
        .envs(environment.iter().copied())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "cargo {} failed", args.join(" "));
    Ok(())
}
