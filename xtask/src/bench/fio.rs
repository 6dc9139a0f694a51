// SPDX-License-Identifier: MIT OR Apache-2.0
//! What fio makes of a block device.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// How a device is read or written.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// What a line of the table is called.
    pub name: &'static str,
    /// fio's `rw`.
    pub rw: &'static str,
    /// Bytes of a block, as fio has it.
    pub block: &'static str,
    /// Blocks under way.
    pub depth: u32,
    /// What of it is shown.
    pub unit: Unit,
}

/// What is counted in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Blocks.
    Blocks,
    /// MiB.
    Mib,
}

/// What a job gave.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Units in a second.
    pub rate: f64,
    /// Units in all.
    pub units: f64,
}

/// When a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// After so many seconds.
    Seconds(u32),
    /// After so many blocks, or the whole device.
    Blocks(u32),
}

impl Job {
    /// Runs it, past the page cache.
    ///
    /// # Errors
    /// fio failed.
    pub fn run(&self, device: &Path, size: u64, end: End) -> Result<Outcome> {
        let mut fio = Command::new("fio");
        fio.args(["--name=bench", "--output-format=json", "--direct=1"])
            .args(["--ioengine=libaio", "--randrepeat=0", "--eta=never"])
            .arg(format!("--filename={}", device.display()))
            .arg(format!("--size={size}"))
            .arg(format!("--rw={}", self.rw))
            .arg(format!("--bs={}", self.block))
            .arg(format!("--iodepth={}", self.depth));
        match end {
            End::Seconds(seconds) => fio.args(["--time_based", &format!("--runtime={seconds}")]),
            End::Blocks(blocks) => fio.arg(format!("--number_ios={blocks}")),
        };
        let output = fio
            .stdin(Stdio::null())
            .output()
            .context("cannot run fio")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "fio failed: {}", said.trim());
        let answer: Value = serde_json::from_slice(&output.stdout).context("fio said no JSON")?;
        let side = if self.rw.ends_with("read") {
            "read"
        } else {
            "write"
        };
        let counted = &answer["jobs"][0][side];
        let number = |key: &str| counted[key].as_f64().context("fio said no rate");
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        Ok(match self.unit {
            Unit::Blocks => Outcome {
                rate: number("iops")?,
                units: number("total_ios")?,
            },
            Unit::Mib => Outcome {
                rate: mib(number("bw_bytes")?),
                units: mib(number("io_bytes")?),
            },
        })
    }
}
