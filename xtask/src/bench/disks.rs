// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver `ploop`: what its block server makes of a disk, beside a plain loop device with direct
//! I/O on a raw file of the same folder. The two take turns in each round.
//!
//! The ratio is of what the machine does besides as well. What the server takes of the processor for
//! a block or a MiB is not, and is what can be compared from one day to the next.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mosaic_tests::{Scratch, block_servers_beneath, run, stdout_of};

use super::Options;
use super::fio::{End, Job, Unit};
use crate::cargo;
use crate::interrupt::Interrupt;

/// Bytes of both disks.
const SIZE: u64 = 1 << 30;
/// Seconds of a job, and how many rounds are enough for it.
const SECONDS: u32 = 3;
const ROUNDS: usize = 5;
/// Blocks of a job that uses up what it measures.
const BLOCKS: u32 = 600;

/// On clusters that are there.
const JOBS: [Job; 6] = [
    job("write 1M", "write", "1M", 4, Unit::Mib),
    job("read 1M", "read", "1M", 4, Unit::Mib),
    job("randwrite 4k", "randwrite", "4k", 32, Unit::Blocks),
    job("randread 4k", "randread", "4k", 32, Unit::Blocks),
    job("randwrite 4k, 1", "randwrite", "4k", 1, Unit::Blocks),
    job("randread 4k, 1", "randread", "4k", 1, Unit::Blocks),
];
/// On clusters that are not there yet, or below.
const FILL: Job = job("first 1M", "write", "1M", 4, Unit::Mib);
const FIRST: Job = job("first rand 4k", "randwrite", "4k", 16, Unit::Blocks);
const COPY: Job = job("copied rand 4k", "randwrite", "4k", 16, Unit::Blocks);

const fn job(
    name: &'static str,
    rw: &'static str,
    block: &'static str,
    depth: u32,
    unit: Unit,
) -> Job {
    Job {
        name,
        rw,
        block,
        depth,
        unit,
    }
}

/// A mosaic of ploop disks on the disk that has temporary files, and a raw file beside it.
struct Bench {
    scratch: Scratch,
    moctl: PathBuf,
}

impl Bench {
    fn new() -> Result<Self> {
        let scratch = Scratch::new("bench")?;
        let location = scratch.folder("location")?;
        let config = format!("type: ploop\nlocation: {}\n", location.display());
        std::fs::write(scratch.path().join("bench.mos"), config)?;
        let moctl = cargo::target().join("release/moctl");
        Ok(Self { scratch, moctl })
    }

    fn moctl(&self, line: &str) -> Result<String> {
        let mut moctl = Command::new(&self.moctl);
        moctl
            .arg("bench")
            .env("MOSAIC_CONFIG_DIR", self.scratch.path());
        let output = moctl.args(line.split(' ')).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{line} failed: {}", said.trim());
        Ok(String::from_utf8(output.stdout)?)
    }

    fn time(&self, line: &str) -> Result<Duration> {
        let start = Instant::now();
        self.moctl(line)?;
        Ok(start.elapsed())
    }

    /// A device on a disk.
    fn attach(&self, disk: &str) -> Result<PathBuf> {
        let said = self.moctl(&format!("attach {disk}"))?;
        let mut lines = said.lines();
        let device = lines.find_map(|line| line.strip_prefix("Device: "));
        Ok(device.context("attach said no device")?.into())
    }

    /// A loop device on a new raw file, which is sparse.
    fn raw(&self, name: &str) -> Result<PathBuf> {
        let path = self.scratch.path().join(name);
        std::fs::File::create(&path)?.set_len(SIZE)?;
        let path = path.to_str().context("an odd path")?;
        let device = stdout_of("losetup", &["--find", "--show", "--direct-io=on", path])?;
        Ok(device.trim().into())
    }
}

/// Measures, and prints.
///
/// # Errors
/// Something failed.
pub fn measure(options: &Options, interrupt: &Interrupt) -> Result<()> {
    let bench = Bench::new()?;
    let rounds = options.rounds.clamp(1, ROUNDS);
    println!(
        "\nploop: rates by fio, beside a loop device on a raw file; 4k in blocks/s, 1M in MiB/s"
    );
    println!(
        "{:<16} {:>9} {:>9} {:>6} {:>10}",
        "job", "ploop", "loop", "ratio", "server us"
    );
    let mut ratios = Ratios {
        location: bench.scratch.path(),
        name: "",
        rates: Default::default(),
        costs: Vec::new(),
    };
    let raw = bench.raw("raw")?;
    bench.moctl("new disk full 1G")?;
    let device = bench.attach("full")?;
    let whole = u32::try_from(SIZE >> 20)?;
    ratios.take(&FILL, &device, &raw, End::Blocks(whole))?;
    ratios.print();
    for job in JOBS {
        for _ in 0..rounds {
            ratios.take(&job, &device, &raw, End::Seconds(SECONDS))?;
            if interrupt.is_raised() {
                bail!("interrupted");
            }
        }
        ratios.print();
    }
    let sparse = bench.raw("sparse")?;
    bench.moctl("new disk empty 1G")?;
    let empty = bench.attach("empty")?;
    ratios.take(&FIRST, &empty, &sparse, End::Blocks(BLOCKS))?;
    ratios.print();
    // From now on what is in the first disk is beneath its top.
    bench.moctl("clone full clone")?;
    ratios.take(&COPY, &device, &raw, End::Blocks(BLOCKS))?;
    ratios.print();
    for disk in ["full", "empty"] {
        bench.moctl(&format!("detach {disk}"))?;
    }
    print_times(&bench, options.rounds)?;
    for device in [raw, sparse] {
        run("losetup", &[Path::new("--detach"), &device])?;
    }
    Ok(())
}

fn print_times(bench: &Bench, rounds: usize) -> Result<()> {
    for verb in ["attach", "detach"] {
        let other = if verb == "attach" { "detach" } else { "attach" };
        if verb == "detach" {
            bench.moctl("attach empty")?;
        }
        let mut times = Vec::with_capacity(rounds);
        for _ in 0..rounds.max(1) {
            times.push(bench.time(&format!("{verb} empty"))?);
            bench.moctl(&format!("{other} empty"))?;
        }
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        println!("{verb:<16} {:>6.1} ms", median.as_secs_f64() * 1000.0);
        if verb == "detach" {
            bench.moctl("detach empty")?;
        }
    }
    Ok(())
}

/// What one job gave on both.
struct Ratios<'b> {
    location: &'b Path,
    name: &'static str,
    rates: [Vec<f64>; 2],
    /// Microseconds of the processor that servers took, for each unit.
    costs: Vec<f64>,
}

impl Ratios<'_> {
    fn take(&mut self, job: &Job, ploop: &Path, raw: &Path, end: End) -> Result<()> {
        self.name = job.name;
        let before = served_for(self.location)?;
        let outcome = job.run(ploop, SIZE, end)?;
        let taken = served_for(self.location)?.saturating_sub(before);
        self.costs
            .push(taken.as_secs_f64() * 1e6 / outcome.units.max(1.0));
        self.rates[0].push(outcome.rate);
        self.rates[1].push(job.run(raw, SIZE, end)?.rate);
        Ok(())
    }

    /// Prints the medians, and begins anew.
    fn print(&mut self) {
        let [ploop, raw] = self.rates.each_mut().map(median);
        let cost = median(&mut self.costs);
        println!(
            "{:<16} {ploop:>9.0} {raw:>9.0} {:>6.2} {cost:>10.1}",
            self.name,
            ploop / raw
        );
    }
}

/// Takes the median of what was measured, and all of it away.
fn median(measured: &mut Vec<f64>) -> f64 {
    measured.sort_unstable_by(f64::total_cmp);
    let median = measured.get(measured.len() / 2).copied();
    measured.clear();
    median.unwrap_or(f64::NAN)
}

/// What the block servers of this mosaic have taken of the processor so far.
///
/// proc_pid_stat(5): `utime` and `stime`, in ticks.
fn served_for(location: &Path) -> Result<Duration> {
    let mut ticks = 0;
    for pid in block_servers_beneath(location) {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name before is in parentheses and may have blanks in it.
        let (_, stat) = stat.rsplit_once(')').context("an odd stat")?;
        let fields = stat.split_whitespace().skip(11).take(2);
        ticks += fields
            .filter_map(|field| field.parse::<u64>().ok())
            .sum::<u64>();
    }
    let a_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_nanos(ticks * 1_000_000_000 / a_second))
}
