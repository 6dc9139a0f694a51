// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench`: each verb's whole process beside a floor program and the usual tool.
//!
//! All three do the same thing to a volume of their own, one after the other in each round, so that
//! whatever else the machine does meets them alike. Medians, and ratios of medians.

mod ground;
mod images;
mod subvolumes;
mod table;

use anyhow::{Result, bail, ensure};

use crate::cargo;
use crate::interrupt::Interrupt;
use crate::packages;
use ground::Ground;
use subvolumes::Quota;
use table::Table;

/// What to measure, and how long.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Which drivers; all of them if none is named.
    drivers: Vec<Measured>,
    /// How many rounds.
    #[arg(long, default_value_t = 21)]
    rounds: usize,
    /// btrfs: among how many volumes, such as 0,1000.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1_000, 10_000])]
    volumes: Vec<u32>,
    /// btrfs: with which kinds of quota.
    #[arg(long, value_delimiter = ',', default_values = ["off", "simple"])]
    quota: Vec<Quota>,
}

/// The drivers that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Measured {
    Loop,
    Btrfs,
}

/// Who does it: `moctl`, the floor program, the usual tool.
const SIDES: [&str; 3] = ["moctl", "floor", "tool"];

/// A verb and the three ways to do it. `L` is the location, `A` a mountpoint of each side's own,
/// `D/NAME` the loop device that shows the file NAME in the location; the tool's line can be
/// programs with `&&` between them.
struct Case {
    verb: &'static str,
    lines: [&'static str; 3],
}

const fn case(
    verb: &'static str,
    moctl: &'static str,
    floor: &'static str,
    tool: &'static str,
) -> Case {
    Case {
        verb,
        lines: [moctl, floor, tool],
    }
}

/// Builds for release, measures on a file system of its own, prints the table.
///
/// # Errors
/// Not root; something failed.
pub fn run(options: &Options) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "loop devices and mounts need root"
    );
    let interrupt = Interrupt::catch()?;
    packages::install(packages::FOR_BENCH)?;
    cargo::run(
        &[
            "build",
            "--release",
            "--package",
            "moctl",
            "--package",
            "mosaic-loop",
            "--package",
            "mosaic-btrfs",
            "--package",
            "xtask",
        ],
        &[],
    )?;
    let is_asked = |driver| options.drivers.is_empty() || options.drivers.contains(&driver);
    if is_asked(Measured::Loop) {
        images::measure(options, &interrupt)?;
    }
    if is_asked(Measured::Btrfs) {
        subvolumes::measure(options, &interrupt)?;
    }
    Ok(())
}

/// Runs the cases in their order, round by round, each by all three; `tidy` ends a round.
fn rounds(
    ground: &Ground,
    cases: &[Case],
    rounds: usize,
    interrupt: &Interrupt,
    tidy: impl Fn(&Ground) -> Result<()>,
) -> Result<Table> {
    let mut table = Table::default();
    for round in 0..=rounds {
        for (at, case) in cases.iter().enumerate() {
            for side in 0..SIDES.len() {
                let time = ground.time(case, side)?;
                // The first round fills caches.
                if round > 0 {
                    table.add(at, side, time);
                }
                if interrupt.is_raised() {
                    bail!("interrupted");
                }
            }
        }
        tidy(ground)?;
    }
    Ok(table)
}
