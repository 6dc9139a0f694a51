// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench`: each verb's whole process beside a floor program and the usual tool.
//!
//! All three do the same thing to a volume of their own, one after the other in each round, so that
//! whatever else the machine does meets them alike. Medians, and ratios of medians.

mod disks;
mod fio;
mod ground;
mod images;
mod subvolumes;
mod table;
mod thin_volumes;

use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use mosaic_tests::{has_device_mapper, is_in_vm};

use crate::cargo;
use crate::interrupt::Interrupt;
use crate::packages;
use crate::vm;
use ground::Ground;
use subvolumes::Quota;
use table::Table;

/// What to measure, and how long.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Which drivers; if none is named all that this kernel has what they need for.
    drivers: Vec<Measured>,
    /// In the virtual machine, which has what dmthin needs; that alone if none is named.
    #[arg(long)]
    vm: bool,
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
    Dmthin,
    Ploop,
}

/// What is built for it, and run.
const BUILD: [&str; 14] = [
    "build",
    "--release",
    "--package",
    "moctl",
    "--package",
    "mosaic-loop",
    "--package",
    "mosaic-btrfs",
    "--package",
    "mosaic-dmthin",
    "--package",
    "mosaic-ploop",
    "--package",
    "xtask",
];

/// Who does it: `moctl`, the floor program, the usual tool.
const SIDES: [&str; 3] = ["moctl", "floor", "tool"];

/// A verb and the three ways to do it. `A` is a mountpoint of each side's own; other words that stand
/// for something are the place's. The tool's line can be programs with `&&` between them; it is empty
/// where the tool knows no such thing.
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

/// Builds for release, measures on devices of its own, prints the table.
///
/// # Errors
/// Not root; something failed.
pub fn run(options: &Options) -> Result<ExitCode> {
    if options.vm {
        return run_in_vm(options);
    }
    ensure!(
        rustix::process::geteuid().is_root(),
        "loop devices and mounts need root"
    );
    let interrupt = Interrupt::catch()?;
    if !is_in_vm() {
        packages::install(packages::FOR_BENCH)?;
        cargo::run(&BUILD, &[])?;
    }
    let is_asked = |driver| options.drivers.is_empty() || options.drivers.contains(&driver);
    if is_asked(Measured::Loop) {
        images::measure(options, &interrupt)?;
    }
    if is_asked(Measured::Btrfs) {
        subvolumes::measure(options, &interrupt)?;
    }
    if is_asked(Measured::Ploop) {
        disks::measure(options, &interrupt)?;
    }
    if is_asked(Measured::Dmthin) {
        let elsewhere = "this kernel has no device-mapper for dmthin: cargo xtask bench --vm";
        match has_device_mapper() {
            true => thin_volumes::measure(options, &interrupt)?,
            false if options.drivers.is_empty() => println!("\n{elsewhere}"),
            false => bail!(elsewhere),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The same within the virtual machine, by the programs that were built here.
fn run_in_vm(options: &Options) -> Result<ExitCode> {
    packages::install(&mosaic_tests::vm::PROGRAMS)?;
    packages::install(packages::FOR_BENCH)?;
    cargo::run(&BUILD, &[])?;
    let named = |driver: &Measured| format!("{driver:?}").to_lowercase();
    let mut words = vec!["bench".to_owned(), format!("--rounds={}", options.rounds)];
    match options.drivers.as_slice() {
        [] => words.push(named(&Measured::Dmthin)),
        drivers => words.extend(drivers.iter().map(named)),
    }
    let quotas = options.quota.iter().map(|quota| format!("{quota:?}"));
    words.extend(quotas.map(|quota| format!("--quota={}", quota.to_lowercase())));
    words.extend(
        options
            .volumes
            .iter()
            .map(|many| format!("--volumes={many}")),
    );
    // As many rounds as anybody asks for.
    let limit = std::time::Duration::from_secs(12 * 60 * 60);
    vm::run_program(&cargo::target().join("release/xtask"), &words, limit)
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
                if let Some(time) = time.filter(|_| round > 0) {
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
