// SPDX-License-Identifier: MIT OR Apache-2.0
//! The standard tools that tests set things up with and check ours against.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Runs a program to its end.
///
/// # Errors
/// It cannot be run, or fails; with what it wrote to stderr.
pub fn run<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Result<()> {
    stdout_of(program, args).map(drop)
}

/// Runs a program and gives its exit status; `None`: a signal ended it.
///
/// # Errors
/// It cannot be run.
pub fn run_status<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Result<Option<i32>> {
    Ok(output_of(program, args)?.status.code())
}

/// Runs a program and gives what it wrote to stdout.
///
/// # Errors
/// It cannot be run, or fails; with what it wrote to stderr.
pub fn stdout_of<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Result<String> {
    let output = output_of(program, args)?;
    let words: Vec<_> = args.iter().map(|a| a.as_ref().to_string_lossy()).collect();
    ensure!(
        output.status.success(),
        "{program} {} failed with {}: {}",
        words.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A path as a word of a command.
///
/// # Panics
/// It is not UTF-8; what tests make is.
#[track_caller]
pub fn word(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

fn output_of<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Result<std::process::Output> {
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new(program)
        .args(args)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))
}
