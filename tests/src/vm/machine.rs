// SPDX-License-Identifier: MIT OR Apache-2.0
//! A running copy of the template.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::disk::{self, Disk, Disks};
use super::job::Job;
use super::payload::Payload;
use super::qemu::Qemu;
use super::qmp::Control;
use super::template::Template;
use super::watchdog::Watchdog;
use crate::shell;

/// How many bytes of the kernel's log are shown: its end.
const LOG_SHOWN: usize = 8 << 10;

/// Where the kernel's log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Console {
    /// To a file, to be shown when something went wrong.
    File,
    /// To the terminal of this process, which can also be typed at.
    Terminal,
}

/// What a machine is started with.
#[derive(Debug)]
pub struct Setup<'a> {
    /// What it is to do.
    pub job: Job,
    /// Files of this machine for it.
    pub payload: Option<&'a Payload>,
    /// Its disk; without one it has a blank one that nobody sees again.
    pub disk: Option<&'a Disk>,
    /// Where the kernel's log goes.
    pub console: Console,
    /// Whether stderr is shown on this process's own.
    pub shown: bool,
    /// How long it may take in all.
    pub limit: Duration,
}

impl Setup<'_> {
    /// A job, with a quarter of an hour for it.
    pub fn new(job: Job) -> Self {
        Self {
            job,
            payload: None,
            disk: None,
            console: Console::File,
            shown: false,
            limit: Duration::from_secs(900),
        }
    }
}

/// How a machine's job ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit status, as a shell gives it: 128 and more for a signal.
    pub status: i32,
    /// The lines of its stdout that were not read before.
    pub stdout: Vec<String>,
    /// All of its stderr.
    pub stderr: String,
    /// The kernel's warnings and errors.
    pub kernel_log: String,
}

/// One machine. It ends with its job, at once: what the job has not unmounted is as it would be
/// after a power cut. Dropped, it is killed.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    limit: Duration,
    watchdog: Watchdog,
    stdout: BufReader<ChildStdout>,
    stderr: Option<JoinHandle<String>>,
    // As long as QEMU runs.
    control: Control,
    folder: TempDir,
}

impl Machine {
    /// Starts a copy of the template. It is killed when the thread that does this ends.
    ///
    /// # Errors
    /// It did not start.
    pub fn start(template: &Template, setup: &Setup) -> Result<Self> {
        let folder = super::own_folder("machine")?;
        let at = |name: &str| folder.path().join(name);
        let disks = disks(setup, folder.path())?;
        let linked = template.link_into(folder.path())?;
        let mut qemu = Qemu::new(&linked.memory, &disks, &at("status"));
        match setup.console {
            Console::File => qemu.console_to(&at("console")),
            Console::Terminal => qemu.console_on_terminal(),
        }
        qemu.await_state();
        let (mut child, control) = qemu.start()?;
        let watchdog = Watchdog::new(&child, setup.limit).inspect_err(|_| {
            // Nobody else would.
            let _ = (child.kill(), child.wait());
        })?;
        let stdout = child.stdout.take().context("stdout is a pipe")?;
        let stderr = child.stderr.take().context("stderr is a pipe")?;
        let shown = setup.shown;
        let mut machine = Self {
            child,
            limit: setup.limit,
            watchdog,
            stdout: BufReader::new(stdout),
            stderr: Some(std::thread::spawn(move || collect(stderr, shown))),
            folder,
            control,
        };
        if let Err(error) = machine.control.restore(&linked.state) {
            let _ = machine.child.kill();
            let said = machine.end().map(|ended| ended.stderr);
            let said = said.unwrap_or_else(|error| format!("{error:#}"));
            return Err(error.context(format!("the machine did not start; {said}")));
        }
        Ok(machine)
    }

    /// The next line that its job writes to stdout; `None`: the machine has ended.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn next_line(&mut self) -> Result<Option<String>> {
        let mut line = Vec::new();
        if self.stdout.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&line);
        Ok(Some(line.trim_end_matches('\n').to_owned()))
    }

    /// Reads lines up to one that the condition holds for, and gives it.
    ///
    /// # Errors
    /// The machine ended before; with what it said.
    pub fn await_line(&mut self, mut condition: impl FnMut(&str) -> bool) -> Result<String> {
        while let Some(line) = self.next_line()? {
            if condition(&line) {
                return Ok(line);
            }
        }
        let ended = self.end()?;
        bail!("it ended too early: {ended:?}")
    }

    /// Copies its stdout as it comes, until it ends.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn copy_stdout(&mut self, to: &mut impl Write) -> Result<()> {
        loop {
            let bytes = self.stdout.fill_buf()?;
            if bytes.is_empty() {
                return Ok(());
            }
            to.write_all(bytes)?;
            to.flush()?;
            let count = bytes.len();
            self.stdout.consume(count);
        }
    }

    /// Cuts the power: QEMU is killed. What was sent to the [`Disk`] is in its file, what the
    /// kernel inside still had in memory is lost. Gives the lines that had not been read.
    ///
    /// # Errors
    /// It had ended before; with what it said.
    pub fn cut(mut self) -> Result<Vec<String>> {
        if self.child.try_wait()?.is_some() {
            let ended = self.end()?;
            bail!("it ended before the power was cut: {ended:?}");
        }
        self.child.kill()?;
        self.child.wait()?;
        self.rest()
    }

    /// Waits for the end of its job.
    ///
    /// # Errors
    /// It did not end in time; its kernel panicked. With the kernel's log.
    pub fn wait(mut self) -> Result<Ended> {
        self.end()
    }

    fn end(&mut self) -> Result<Ended> {
        let stdout = self.rest()?;
        let status = self.child.wait()?;
        let stderr = self.stderr.take().map(JoinHandle::join);
        let stderr = stderr.and_then(Result::ok).unwrap_or_default();
        let kernel_log = end_of(&self.folder.path().join("console"));
        if self.watchdog.has_killed() {
            bail!(
                "killed after {:?}; {}",
                self.limit,
                told(&kernel_log, &stderr)
            );
        }
        match fs::read_to_string(self.folder.path().join("status")) {
            Ok(text) if text.ends_with('\n') => Ok(Ended {
                status: text.trim().parse().context("no exit status")?,
                stdout,
                stderr,
                kernel_log,
            }),
            _ => bail!(
                "the machine ended before its job ({status}); {}",
                told(&kernel_log, &stderr)
            ),
        }
    }

    fn rest(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        while let Some(line) = self.next_line()? {
            lines.push(line);
        }
        Ok(lines)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It has ended already as a rule.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn disks(setup: &Setup, folder: &Path) -> Result<Disks> {
    let at = |name: &str| folder.join(name);
    setup.job.write(&at("job"), setup.payload)?;
    let payload = match setup.payload {
        Some(payload) => payload.image(),
        None => {
            disk::sparse(&at("payload"), disk::PAYLOAD_SIZE)?;
            at("payload")
        }
    };
    let disk = match setup.disk {
        Some(disk) => disk.clone(),
        None => Disk::create(&at("disk"))?,
    };
    disk::sparse(&at("scratch"), disk::SCRATCH_SIZE)?;
    let mut words = ["-q", "-K", "-m", "reflink=1"].map(PathBuf::from).to_vec();
    words.push(at("scratch"));
    shell::run("mkfs.xfs", &words)?;
    Ok(Disks {
        job: at("job"),
        payload,
        scratch: at("scratch"),
        disk,
    })
}

/// Reads a stream to its end, so that its writer is never held up.
fn collect(mut stream: ChildStderr, shown: bool) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        all.extend_from_slice(&buffer[..count]);
        if shown {
            // Nobody may listen any more.
            let _ = std::io::stderr().write_all(&buffer[..count]);
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// The end of the kernel's log, or nothing.
pub(super) fn end_of(console: &Path) -> String {
    let bytes = fs::read(console).unwrap_or_default();
    let start = bytes.len().saturating_sub(LOG_SHOWN);
    let text = String::from_utf8_lossy(&bytes[start..]);
    text.replace('\r', "").trim().to_owned()
}

fn told(kernel_log: &str, stderr: &str) -> String {
    format!(
        "the kernel's log:\n{kernel_log}\nstderr:\n{}",
        stderr.trim()
    )
}
