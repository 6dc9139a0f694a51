// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask vm`: tests in the virtual machine (`tests/src/vm`), and a look into it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result};
use mosaic_tests::is_long;
use mosaic_tests::vm::{Console, Job, Machine, Payload, Setup, Template};

use crate::cargo;
use crate::packages;
use crate::terminal::Terminal;

/// What to run there.
#[derive(Debug, clap::Subcommand)]
pub enum Task {
    /// Runs tests there: everything after it goes to `cargo test --workspace --all-features`.
    #[command(disable_help_flag = true)]
    Test {
        /// For example `--test quota root_a_writer`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Runs one program that cargo built, as cargo's `runner` does: output and exit status are
    /// the program's own.
    Run {
        /// After so many minutes it is killed.
        #[arg(long, value_name = "N", default_value_t = if is_long() { 180 } else { 20 })]
        minutes: u64,
        /// Its path.
        program: PathBuf,
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// A shell there, with `moctl` and the drivers.
    Shell,
}

/// Does it; the exit status is that of what ran.
///
/// # Errors
/// There is no virtual machine; it did not end by itself.
pub fn run(task: &Task) -> Result<ExitCode> {
    match task {
        Task::Test { words } => test(words),
        Task::Run {
            minutes,
            program,
            words,
        } => run_program(program, words, Duration::from_secs(60 * minutes)),
        Task::Shell => shell(),
    }
}

/// Makes the template where it is missing or stale, if everything for that is installed.
///
/// # Errors
/// It cannot be made.
pub fn prepare() -> Result<()> {
    let is_here = |program: &&str| packages::is_here(program);
    if cfg!(target_arch = "x86_64") && mosaic_tests::vm::PROGRAMS.iter().all(is_here) {
        Template::ready()?;
    }
    Ok(())
}

/// A command that runs a program there, like [`Task::Run`], in a process of its own. A long run takes
/// nine times as long.
pub fn runner(program: &Path, limit: Duration) -> Command {
    let minutes = limit.as_secs() / 60 * if is_long() { 9 } else { 1 };
    let mut command = Command::new(cargo::target().join("debug/xtask"));
    command.args(["vm", "run", &format!("--minutes={minutes}")]);
    command.arg(program);
    command
}

fn test(words: &[String]) -> Result<ExitCode> {
    packages::install(&mosaic_tests::vm::PROGRAMS)?;
    // What a test starts is not always what cargo builds for it.
    cargo::run(&["build", "--workspace", "--all-features"], &[])?;
    // That may just have built this program again.
    let ours = cargo::target().join("debug/xtask");
    let ours = ours.to_str().context("a path that is no text")?;
    let runner = serde_json::json!([ours, "vm", "run"]);
    let config = format!("target.'cfg(all())'.runner={runner}");
    let mut all = vec!["--config", &config, "test", "--workspace", "--all-features"];
    all.extend(words.iter().map(String::as_str));
    let status = cargo::command(&all).status().context("cannot run cargo")?;
    Ok(match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Runs a program that cargo built there, with `moctl` and the drivers that were built beside it, and
/// kills it after a while.
///
/// # Errors
/// There is no virtual machine; it did not end by itself.
pub fn run_program(program: &Path, words: &[String], limit: Duration) -> Result<ExitCode> {
    let template = Template::ready()?;
    let program = program
        .canonicalize()
        .with_context(|| format!("cannot find {}", program.display()))?;
    let payload = Payload::new(&template, &program)?;
    let job = Job::program(&program, words)
        .in_folder(&std::env::current_dir()?)
        .with_own_environment();
    let setup = Setup {
        payload: Some(&payload),
        shown: true,
        limit,
        ..Setup::new(job)
    };
    let mut machine = Machine::start(&template, &setup)?;
    machine.copy_stdout(&mut std::io::stdout())?;
    let ended = machine.wait()?;
    if ended.status != 0 && !ended.kernel_log.is_empty() {
        let log = ended.kernel_log;
        writeln!(
            std::io::stderr(),
            "the virtual machine's kernel said:\n{log}"
        )?;
    }
    Ok(status(ended.status))
}

fn shell() -> Result<ExitCode> {
    packages::install(&mosaic_tests::vm::PROGRAMS)?;
    cargo::run(&["build", "--workspace", "--all-features"], &[])?;
    let template = Template::ready()?;
    let moctl = cargo::target().join("debug/moctl").canonicalize()?;
    let payload = Payload::new(&template, &moctl)?;
    let beside = moctl.parent().context("moctl has a folder")?;
    let path = format!(
        "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        beside.display()
    );
    let job = Job::interactive().env("PATH", path).with_own_environment();
    let setup = Setup {
        payload: Some(&payload),
        console: Console::Terminal,
        limit: Duration::from_secs(24 * 60 * 60),
        ..Setup::new(job)
    };
    println!("a machine of its own: nothing of this one can be harmed; `exit` ends it");
    // QEMU takes the terminal as it likes it, and does not give it back.
    let _terminal = Terminal::keep()?;
    Ok(status(Machine::start(&template, &setup)?.wait()?.status))
}

fn status(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX))
}
