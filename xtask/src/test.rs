// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test`: everything, and a closing line that can be believed.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::cargo;
use crate::packages;
use crate::tally::Tally;

/// How much to test.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Under five minutes on two cores: long tests take a sample, and say what they left out.
    #[arg(long, conflicts_with = "long")]
    quick: bool,
    /// Long tests leave nothing out at all, such as system calls that change nothing.
    #[arg(long)]
    long: bool,
    /// Only tests whose name holds this.
    filter: Vec<String>,
}

const BUILD: [&str; 4] = ["build", "--workspace", "--all-features", "--all-targets"];
const TEST: [&str; 4] = ["test", "--workspace", "--all-features", "--no-fail-fast"];

/// Installs, builds, tests; the last line is `N passed, N failed, N skipped`.
///
/// # Errors
/// A test failed, or was skipped although it could have run.
pub fn run(options: &Options) -> Result<()> {
    let start = Instant::now();
    let mut tally = Tally::default();
    let root = rustix::process::geteuid().is_root();
    if let Err(error) = packages::install(&packages::for_tests()) {
        // The tests that need them say which ones.
        println!("{error:#}");
    }
    match cargo::run(&BUILD, &[]) {
        Ok(()) => test(options, root, &mut tally)?,
        Err(_) => tally.add_failure("the build"),
    }
    println!();
    for line in tally.details() {
        println!("{line}");
    }
    if !root {
        println!("root tests were skipped: run as root for all of them");
    }
    println!("{} s", start.elapsed().as_secs());
    println!("{tally}");
    if tally.failed() > 0 {
        bail!("tests failed");
    }
    if tally.ignored() > 0 {
        bail!("tests marked #[ignore] could have run");
    }
    Ok(())
}

fn test(options: &Options, root: bool, tally: &mut Tally) -> Result<()> {
    let mut command = cargo::command(&TEST);
    command.env("MOSAIC_TEST_BUILT", "1");
    for (set, variable) in [
        (root, "MOSAIC_TEST_REQUIRED"),
        (options.quick, "MOSAIC_QUICK"),
        (options.long, "MOSAIC_LONG"),
    ] {
        match set {
            true => command.env(variable, "1"),
            false => command.env_remove(variable),
        };
    }
    if !options.filter.is_empty() {
        command.arg("--").args(&options.filter);
    }
    println!("$ cargo {}", TEST.join(" "));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let (lines, received) = channel();
    forward(child.stdout.take(), lines.clone());
    forward(child.stderr.take(), lines);
    for line in received {
        println!("{line}");
        tally.read(&line);
    }
    let status = child.wait()?;
    if !status.success() && tally.failed() == 0 {
        tally.add_failure("cargo test, without a failed test: a test binary crashed");
    }
    Ok(())
}

/// Both streams come line by line, so that they do not end up within each other's lines.
fn forward(stream: Option<impl Read + Send + 'static>, lines: Sender<String>) {
    let Some(stream) = stream else {
        return;
    };
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let text = String::from_utf8_lossy(&line).into_owned();
            if lines.send(text).is_err() {
                return;
            }
        }
    });
}
