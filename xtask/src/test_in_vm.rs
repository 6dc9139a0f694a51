// SPDX-License-Identifier: MIT OR Apache-2.0
//! The second half of `cargo xtask test`: what was skipped because of this kernel runs in the
//! virtual machine, by the same binaries.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use mosaic_tests::vm::PROGRAMS;

use crate::at_once;
use crate::cargo;
use crate::lines;
use crate::packages;
use crate::tally::Tally;
use crate::test::{Settings, TEST};
use crate::vm;

/// So few tests are not worth a machine of their own: that takes as long as some of them.
const PIECE_LEAST: usize = 2;

/// A test binary, and what of it is to run.
#[derive(Debug, PartialEq, Eq)]
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
    // A program that is not here is not there. A test that this kernel can run and that only lacks root
    // is to be run here.
    let missing = |reason: &str| reason == "needs root" || reason.starts_with("needs the program");
    let skipped = tally.skipped_because(|reason| !missing(reason));
    if skipped.is_empty() || !is_possible(root, tally) {
        return Ok(());
    }
    let skipped = match settings.is_quick() {
        true => sample(skipped, tally),
        false => skipped,
    };
    let folders = cargo::test_folders(&TEST)?;
    // Each machine has one processor.
    let (binaries, machines) = (skipped.len(), at_once::number());
    let mut queue = Queue::new(skipped, machines);
    println!(
        "\n# In the virtual machine: {} tests of {binaries} binaries, {machines} copies at once.",
        queue.left()
    );
    at_once::each(
        || queue.take(),
        |task| run_one(task, &folders, settings),
        |done| count(done, tally),
    );
    Ok(())
}

/// One test of each binary: they are those that take long, a processor is emulated.
fn sample(
    mut tests: BTreeMap<PathBuf, Vec<String>>,
    tally: &mut Tally,
) -> BTreeMap<PathBuf, Vec<String>> {
    let count =
        |tests: &BTreeMap<PathBuf, Vec<String>>| -> usize { tests.values().map(Vec::len).sum() };
    let all = count(&tests);
    for (binary, tests) in &mut tests {
        tally.leave_out(binary, &tests.split_off(tests.len().min(1)));
    }
    let left_out = all - count(&tests);
    if left_out > 0 {
        leave_out(
            &format!("{left_out} of {all} tests in the virtual machine"),
            tally,
        );
    }
    tests
}

/// What has not been begun.
struct Queue {
    /// The longest last.
    tasks: Vec<Task>,
    machines: usize,
}

impl Queue {
    fn new(tests: BTreeMap<PathBuf, Vec<String>>, machines: usize) -> Self {
        let tasks = tests.into_iter();
        let mut tasks: Vec<Task> = tasks
            .map(|(binary, tests)| Task { binary, tests })
            .collect();
        tasks.sort_by_key(|task| task.tests.len());
        Self { tasks, machines }
    }

    fn left(&self) -> usize {
        self.tasks.iter().map(|task| task.tests.len()).sum()
    }

    /// The next: a binary, or a part of it, which is small when little is left. Nobody knows how long
    /// a test takes, and at the end no machine shall be at work alone for long.
    fn take(&mut self) -> Option<Task> {
        let piece = self.left().div_ceil(2 * self.machines).max(PIECE_LEAST);
        let task = self.tasks.last_mut()?;
        // A rest that is not worth a machine goes with it.
        if task.tests.len() < piece + PIECE_LEAST {
            return self.tasks.pop();
        }
        Some(Task {
            binary: task.binary.clone(),
            tests: task.tests.drain(..piece).collect(),
        })
    }
}

/// Whether this machine can run it.
pub fn is_here() -> bool {
    cfg!(target_arch = "x86_64") && missing_program().is_none()
}

fn missing_program() -> Option<&'static str> {
    PROGRAMS
        .into_iter()
        .find(|program| !packages::is_here(program))
}

/// Without root nothing has been installed, and that is no failure.
fn is_possible(root: bool, tally: &mut Tally) -> bool {
    if !cfg!(target_arch = "x86_64") {
        leave_out("the virtual machine, which is for x86-64", tally);
        return false;
    }
    if let Some(program) = missing_program()
        && !root
    {
        let what = format!("the virtual machine: {program} is not installed");
        leave_out(&what, tally);
        return false;
    }
    true
}

fn leave_out(what: &str, tally: &mut Tally) {
    let line = format!("left out: {what}");
    println!("{line}");
    tally.read(&line);
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

/// How long so many tests may take: some are minutes long on a busy machine.
fn limit(tests: usize) -> Duration {
    Duration::from_secs(20 * 60 + 3 * 60 * tests as u64)
}

fn command(task: &Task, folders: &BTreeMap<PathBuf, PathBuf>) -> Result<Command> {
    let path = cargo::workspace().join(&task.binary);
    let folder = folders.get(&path).map(Path::new);
    let folder = folder.with_context(|| format!("cargo did not build {}", path.display()))?;
    let mut command = vm::runner(&path, limit(task.tests.len()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_is_taken_once_and_the_last_pieces_are_small() {
        let names = |count: usize| (0..count).map(|n| format!("t{n}")).collect();
        let all: BTreeMap<PathBuf, Vec<String>> = [("a", 60), ("b", 13), ("c", 11), ("d", 1)]
            .into_iter()
            .map(|(binary, count)| (binary.into(), names(count)))
            .collect();
        let mut queue = Queue::new(all.clone(), 2);
        let mut taken: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        let mut sizes = Vec::new();
        while let Some(task) = queue.take() {
            sizes.push(task.tests.len());
            taken.entry(task.binary).or_default().extend(task.tests);
        }
        assert_eq!(taken, all);
        assert_eq!(sizes[..3], [22, 16, 12]);
        assert!(
            sizes[sizes.len() - 3..].iter().all(|size| *size <= 4),
            "{sizes:?}"
        );
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn a_quick_run_takes_one_of_each_and_says_how_many_it_did_not() {
        let names = |count: usize| (0..count).map(|n| format!("t{n}")).collect();
        let all = |counts: [usize; 2]| -> BTreeMap<PathBuf, Vec<String>> {
            ["a", "b"]
                .iter()
                .map(PathBuf::from)
                .zip(counts.map(names))
                .collect()
        };
        let mut tally = Tally::default();
        assert_eq!(sample(all([60, 1]), &mut tally), all([1, 1]));
        let said = tally.details();
        assert_eq!(said, ["left out: 59 of 61 tests in the virtual machine"]);
        let mut tally = Tally::default();
        assert_eq!(sample(all([1, 1]), &mut tally), all([1, 1]));
        assert!(tally.details().is_empty());
    }
}
