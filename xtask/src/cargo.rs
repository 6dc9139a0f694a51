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

/// Whole runs build all of it, and mostly for the first time: what would make a second build or a
/// backtrace better takes a third of that time. The alias in `.cargo/config.toml` says the same, in
/// cargo's words.
const BUILT_AT_ONCE: [(&str, &str); 2] = [
    ("CARGO_INCREMENTAL", "0"),
    ("CARGO_PROFILE_DEV_DEBUG", "false"),
];

/// A cargo command in the workspace; nothing waits for input.
pub fn command(args: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace())
        .args(args)
        .envs(BUILT_AT_ONCE)
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
    folders_in(&text)
}

/// The test binaries that cargo's messages name. The programs that it builds beside them are none.
fn folders_in(messages: &str) -> Result<BTreeMap<PathBuf, PathBuf>> {
    let messages = messages.lines().map(serde_json::from_str::<Value>);
    let row = |message: Value| {
        let is_test = message["profile"]["test"].as_bool()?;
        let binary = message["executable"].as_str().filter(|_| is_test)?;
        let manifest = Path::new(message["manifest_path"].as_str()?);
        Some((binary.into(), manifest.parent()?.to_owned()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_built_for_its_tests_is_no_test() {
        let messages = r#"
            {"manifest_path": "/w/moctl/Cargo.toml", "profile": {"test": false}, "executable": "/t/moctl"}
            {"manifest_path": "/w/moctl/Cargo.toml", "profile": {"test": true}, "executable": "/t/deps/moctl-1"}
            {"manifest_path": "/w/core/Cargo.toml", "profile": {"test": false}, "executable": null}
            {"reason": "build-finished", "success": true}"#;
        let found = folders_in(messages.trim_start()).unwrap();
        let expected = ("/t/deps/moctl-1".into(), "/w/moctl".into());
        assert_eq!(found, BTreeMap::from([expected]));
    }
}
