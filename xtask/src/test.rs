// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test`: everything, and a closing line that can be believed.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::cargo;
use crate::lines;
use crate::packages;
use crate::tally::Tally;
use crate::test_here;
use crate::test_in_vm;
use crate::vm;

/// How much to test.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Some minutes on two cores: long tests take a sample, and say what they left out.
    #[arg(long, conflicts_with = "long")]
    quick: bool,
    /// Long tests leave nothing out at all, such as system calls that change nothing.
    #[arg(long)]
    long: bool,
    /// Only tests whose name holds this.
    filter: Vec<String>,
}

const BUILD: [&str; 4] = ["build", "--workspace", "--all-features", "--all-targets"];
/// The words for cargo that run all tests.
pub const TEST: [&str; 4] = ["test", "--workspace", "--all-features", "--no-fail-fast"];

/// Installs, builds, tests; the last line is `N passed, N failed, N skipped`, and with `--quick` how
/// many tests were left out.
///
/// # Errors
/// A test failed, or was skipped although it could have run: as root, where there is the virtual
/// machine, each can.
pub fn run(options: &Options) -> Result<()> {
    let start = Instant::now();
    let mut tally = Tally::default();
    let root = rustix::process::geteuid().is_root();
    if let Err(error) = packages::install(&packages::for_tests()) {
        // The tests that need them say which ones.
        println!("{error:#}");
    }
    // The virtual machine's first start takes one processor, the build's last steps leave one.
    let prepared = std::thread::spawn(vm::prepare);
    let built = cargo::run(&BUILD, &[]);
    if let Ok(Err(error)) = prepared.join() {
        // The tests that need it fail or say so.
        println!("{error:#}");
    }
    match built {
        Ok(()) => {
            let settings = Settings::new(options, root);
            test(options, &settings, &mut tally)?;
            test_in_vm::run(root, &settings, &mut tally)?;
        }
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
    if tally.skipped() > 0 && root && test_in_vm::is_here() {
        bail!("tests were skipped that could have run here or in the virtual machine");
    }
    Ok(())
}

/// Variables that tests look at; false is unset.
#[derive(Debug, Clone, Copy)]
pub struct Settings([(&'static str, bool); 5]);

impl Settings {
    fn new(options: &Options, root: bool) -> Self {
        Self([
            ("MOSAIC_TEST_BUILT", true),
            ("MOSAIC_TEST_REQUIRED", root),
            ("MOSAIC_QUICK", options.quick),
            ("MOSAIC_LONG", options.long),
            // Or the lines that we read would have colours.
            ("CARGO_TERM_COLOR", false),
        ])
    }

    /// Whether long tests take a sample.
    pub fn is_quick(&self) -> bool {
        self.0.contains(&("MOSAIC_QUICK", true))
    }

    /// Sets them for a command.
    pub fn give_to(&self, command: &mut Command) {
        for (name, set) in self.0 {
            match set {
                true => command.env(name, "1"),
                false => command.env_remove(name),
            };
        }
    }
}

fn test(options: &Options, settings: &Settings, tally: &mut Tally) -> Result<()> {
    if settings.is_quick() {
        return test_here::run(&options.filter, settings, tally);
    }
    println!("$ cargo {}", TEST.join(" "));
    let failed = tally.failed();
    let mut command = cargo(&TEST, &options.filter);
    let success = run_and_read(&mut command, settings, tally)?;
    if !success && tally.failed() == failed {
        tally.add_failure("cargo test, without a failed test: a test binary crashed");
    }
    Ok(())
}

/// `cargo test`, of the tests whose name holds one of these words.
pub fn cargo(words: &[&str], filter: &[String]) -> Command {
    let mut command = cargo::command(words);
    if !filter.is_empty() {
        command.arg("--").args(filter);
    }
    command
}

/// Shows what a command writes, counts what tests say in it, gives whether it succeeded.
fn run_and_read(command: &mut Command, settings: &Settings, tally: &mut Tally) -> Result<bool> {
    settings.give_to(command);
    lines::of(command, |line| {
        println!("{line}");
        tally.read(&line);
    })
}
