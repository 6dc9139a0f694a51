// SPDX-License-Identifier: MIT OR Apache-2.0
//! The second half of `cargo xtask test`: what was skipped because of this kernel runs in the
//! virtual machine, by the same binaries.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use anyhow::{Context, Result};
use mosaic_tests::vm::PROGRAMS;

use crate::cargo;
use crate::lines;
use crate::packages;
use crate::tally::Tally;
use crate::test::{Settings, TEST};
use crate::vm;

/// A test binary, and what of it is to run.
struct Task {
    binary: PathBuf,
    tests: Vec<String>,
}

/// How it went.
struct Done {
    task: Task,
    lines: Vec<String>,
    success: Result<bool>,
}

/// Runs them; the tally then has what came of them there.
///
/// # Errors
/// The test binaries cannot be found.
pub fn run(root: bool, settings: &Settings, tally: &mut Tally) -> Result<()> {
    // These would be skipped there as well.
    let missing = |reason: &str| reason == "needs root" || reason.starts_with("needs the program");
    let skipped = tally.skipped_because(|reason| !missing(reason));
    if skipped.is_empty() || !is_possible(root) {
        return Ok(());
    }
    let folders = cargo::test_folders(&TEST)?;
    let mut queue: Vec<Task> = skipped
        .into_iter()
        .map(|(binary, tests)| Task { binary, tests })
        .collect();
    // The longest first, taken from the end.
    queue.sort_by_key(|task| task.tests.len());
    let tests: usize = queue.iter().map(|task| task.tests.len()).sum();
    let binaries = queue.len();
    println!(
        "\n# In the virtual machine: {tests} tests of {binaries} binaries, in a copy for each."
    );
    let queue = Mutex::new(queue);
    let (results, received) = channel();
    std::thread::scope(|scope| {
        for _ in 0..at_once().min(binaries) {
            let results = results.clone();
            let (queue, folders) = (&queue, &folders);
            scope.spawn(move || {
                while let Some(task) = queue.lock().ok().and_then(|mut queue| queue.pop()) {
                    // Nobody but us receives them.
                    let _ = results.send(run_one(task, folders, settings));
                }
            });
        }
        drop(results);
        received.into_iter().for_each(|done| count(done, tally));
    });
    Ok(())
}

/// Each machine has one processor.
fn at_once() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(4))
}

/// Without root nothing has been installed, and that is no failure.
fn is_possible(root: bool) -> bool {
    if !cfg!(target_arch = "x86_64") {
        println!("left out: the virtual machine, which is for x86-64");
        return false;
    }
    let missing = PROGRAMS.iter().find(|program| !packages::is_here(program));
    if let Some(program) = missing
        && !root
    {
        println!("left out: the virtual machine: {program} is not installed");
        return false;
    }
    true
}

fn run_one(task: Task, folders: &BTreeMap<PathBuf, PathBuf>, settings: &Settings) -> Done {
    let mut lines = Vec::new();
    let success = command(&task, folders).and_then(|mut command| {
        settings.give_to(&mut command);
        lines::of(&mut command, |line| lines.push(line))
    });
    Done {
        task,
        lines,
        success,
    }
}

fn command(task: &Task, folders: &BTreeMap<PathBuf, PathBuf>) -> Result<Command> {
    let path = cargo::workspace().join(&task.binary);
    let folder = folders.get(&path).map(Path::new);
    let folder = folder.with_context(|| format!("cargo did not build {}", path.display()))?;
    let mut command = vm::runner(&path);
    command.current_dir(folder).arg("--exact").args(&task.tests);
    Ok(command)
}

fn count(done: Done, tally: &mut Tally) {
    let Task { binary, tests } = &done.task;
    println!("\n$ cargo xtask vm run {} --exact ...", binary.display());
    tally.start_again(binary, tests);
    let (failed, ran) = (tally.failed(), tally.ran());
    for line in &done.lines {
        println!("{line}");
        tally.read(line);
    }
    if let Err(error) = &done.success {
        println!("{error:#}");
    }
    let ran = tally.ran() - ran;
    if tally.failed() == failed && !(matches!(done.success, Ok(true)) && ran == tests.len()) {
        let (binary, all) = (binary.display(), tests.len());
        tally.add_failure(&format!(
            "{binary} in the virtual machine, where {ran} of {all} ran"
        ));
    }
}
