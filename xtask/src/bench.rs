// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench`: each verb's whole process beside a floor program and the usual tool.
//!
//! All three do the same thing to an image of their own, one after the other in each round, so that
//! whatever else the machine does meets them alike. Medians, and ratios of medians.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mosaic_tests::{MountedFs, loop_devices_beneath};

use crate::cargo;
use crate::interrupt::Interrupt;
use crate::packages;

/// How long to measure.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// How many rounds.
    #[arg(long, default_value_t = 31)]
    rounds: usize,
}

/// Who does it: `moctl`, the floor program, the usual tool.
const SIDES: [&str; 3] = ["moctl", "floor", "tool"];

/// A verb and the three ways to do it. `L` is the location, `A` a mountpoint, `D` the tool's or
/// the floor's device.
struct Case {
    verb: &'static str,
    lines: [&'static str; 3],
}

/// In this order in each round: what the first makes the last takes away.
const ROUND: [Case; 14] = [
    case("have", "have base", "have L/base", "test -e L/base"),
    case("info V", "info base", "have L/base", "stat L/base"),
    case("list, 100 volumes", "list", "list L", "ls -l L"),
    case(
        "new disk",
        "new disk m 1G",
        "new L/f 1073741824",
        "truncate --size 1G L/t",
    ),
    case(
        "clone disk",
        "clone m mc",
        "clone L/f L/fc",
        "cp --reflink=always L/t L/tc",
    ),
    case("drop clone", "drop mc", "drop L/fc", "rm L/tc"),
    case("rename", "rename m m2", "rename L/f L/f2", "mv -n L/t L/t2"),
    case(
        "resize",
        "resize m2 2G",
        "resize L/f2 2147483648",
        "truncate --size 2G L/t2",
    ),
    case(
        "attach",
        "attach m2",
        "attach L/f2",
        "losetup --find --direct-io=on L/t2",
    ),
    case("detach", "detach m2", "detach D", "losetup --detach D"),
    case("drop", "drop m2", "drop L/f2", "rm L/t2"),
    case(
        "new fs (ext4)",
        "new fs mf 64M",
        "new-fs L/ff 67108864",
        "mkfs.ext4 -q -F L/tf 64M",
    ),
    case(
        "mount",
        "mount mf A",
        "mount L/ff A",
        "mount -o loop L/tf A",
    ),
    case("umount", "umount mf A", "umount A", "umount A"),
];

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

/// Builds for release, measures on an xfs of its own, prints the table.
///
/// # Errors
/// Not root; something failed.
pub fn run(options: &Options) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "loop devices and mounts need root"
    );
    let interrupt = Interrupt::catch()?;
    packages::install(packages::FOR_DEMO)?;
    cargo::run(
        &[
            "build",
            "--release",
            "--package",
            "moctl",
            "--package",
            "mosaic-loop",
            "--package",
            "xtask",
        ],
        &[],
    )?;
    let bench = Bench::new()?;
    let mut times = Times::new();
    for round in 0..=options.rounds {
        for (at, case) in ROUND.iter().enumerate() {
            for side in 0..SIDES.len() {
                let time = bench.time(case, side)?;
                // The first round fills caches.
                if round > 0 {
                    times.entry((at, side)).or_default().push(time);
                }
                if interrupt.is_raised() {
                    bail!("interrupted");
                }
            }
        }
        bench.tidy()?;
    }
    print(&mut times);
    Ok(())
}

type Times = BTreeMap<(usize, usize), Vec<Duration>>;

struct Bench {
    location: PathBuf,
    folder: PathBuf,
    programs: PathBuf,
    // Goes last.
    _fs: MountedFs,
}

impl Bench {
    fn new() -> Result<Self> {
        let fs = MountedFs::with_size("xfs", 16 << 30)?;
        let folder = fs.folder_beside("bench")?;
        let bench = Self {
            location: fs.path().to_owned(),
            programs: cargo::target().join("release"),
            folder,
            _fs: fs,
        };
        for at in ["A0", "A1", "A2"] {
            std::fs::create_dir(bench.folder.join(at))?;
        }
        let config = format!(
            "type: loop\nlocation: {}\ndefault_fs: ext4\n",
            bench.location.display()
        );
        std::fs::write(bench.folder.join("bench.mos"), config)?;
        let names = (0..99)
            .map(|at| format!("volume{at}"))
            .chain(["base".to_owned()]);
        for name in names {
            bench.run(0, &format!("new disk {name} 1G"))?;
        }
        Ok(bench)
    }

    fn time(&self, case: &Case, side: usize) -> Result<Duration> {
        self.run(side, case.lines[side])
            .with_context(|| format!("{} by {}", case.verb, SIDES[side]))
    }

    fn run(&self, side: usize, line: &str) -> Result<Duration> {
        let mut words = line.split(' ').map(|word| self.word(word, side));
        let mut command = match side {
            0 => {
                let mut moctl = Command::new(self.programs.join("moctl"));
                moctl.arg("bench").env("MOSAIC_CONFIG_DIR", &self.folder);
                moctl
            }
            1 => Command::new(self.programs.join("floor")),
            _ => Command::new(words.next().context("no tool")??),
        };
        let args = words.collect::<Result<Vec<_>>>()?;
        command.args(args).stdin(Stdio::null());
        let start = Instant::now();
        let output = command.output().context("cannot be run")?;
        let time = start.elapsed();
        ensure!(
            output.status.success(),
            "{line} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(time)
    }

    fn word(&self, word: &str, side: usize) -> Result<PathBuf> {
        if word == "A" {
            return Ok(self.folder.join(format!("A{side}")));
        }
        if word == "D" {
            let image = self.location.join(["m2", "f2", "t2"][side]);
            let devices = loop_devices_beneath(&image);
            return devices.into_iter().next().context("no device on the image");
        }
        Ok(match word.strip_prefix("L") {
            Some("") => self.location.clone(),
            Some(name) if name.starts_with('/') => self.location.join(&name[1..]),
            _ => Path::new(word).to_owned(),
        })
    }

    /// What no case takes away.
    fn tidy(&self) -> Result<()> {
        self.run(0, "drop mf")?;
        self.run(2, "rm L/ff L/tf")?;
        Ok(())
    }
}

fn print(times: &mut Times) {
    println!("\nmedians of whole processes, ms; ratios to moctl's");
    println!(
        "{:<20} {:>8} {:>8} {:>7} {:>8} {:>7}",
        "verb", "moctl", "floor", "ratio", "tool", "ratio"
    );
    for (at, case) in ROUND.iter().enumerate() {
        let [moctl, floor, tool] = [0, 1, 2].map(|side| median(times.get_mut(&(at, side))));
        let tool_name = case.lines[2].split(' ').next().unwrap_or_default();
        println!(
            "{:<20} {moctl:>8.2} {floor:>8.2} {:>7.2} {tool:>8.2} {:>7.2}  {tool_name}",
            case.verb,
            moctl / floor,
            moctl / tool,
        );
    }
}

/// Milliseconds.
fn median(times: Option<&mut Vec<Duration>>) -> f64 {
    let Some(times) = times else {
        return f64::NAN;
    };
    times.sort_unstable();
    times
        .get(times.len() / 2)
        .map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        let mut times = [9, 1, 2].map(Duration::from_millis).to_vec();
        assert!((median(Some(&mut times)) - 2.0).abs() < 1e-9);
        assert!(median(None).is_nan());
    }
}
