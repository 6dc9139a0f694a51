// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first half of `cargo xtask test --quick`: the binaries that `cargo test` would run one after
//! the other, several at once, since they wait for their disks half of the time.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::at_once;
use crate::cargo;
use crate::lines;
use crate::tally::Tally;
use crate::test::{Settings, TEST};

/// A test binary, and the folder of its package.
type Task = (PathBuf, PathBuf);

/// Runs them all but the tests in doc comments, which have no binary.
///
/// # Errors
/// The test binaries cannot be found.
pub fn run(filter: &[String], settings: &Settings, tally: &mut Tally) -> Result<()> {
    let tasks = in_order(cargo::test_folders(&TEST)?.into_iter().collect());
    println!("\n# {} test binaries, some at once.", tasks.len());
    let mut tasks = tasks.into_iter();
    at_once::each(
        || tasks.next(),
        |(binary, folder)| {
            let mut lines = Vec::new();
            let mut command = Command::new(&binary);
            // As cargo starts it.
            command.current_dir(&folder).args(filter);
            command.env("CARGO_MANIFEST_DIR", folder);
            settings.give_to(&mut command);
            let success = lines::of(&mut command, |line| lines.push(line));
            (binary, lines, success)
        },
        |(binary, lines, success)| {
            println!("\n$ {}", binary.display());
            tally.start(&binary);
            let failed = tally.failed();
            for line in lines {
                println!("{line}");
                tally.read(&line);
            }
            if let Err(error) = &success {
                println!("{error:#}");
            }
            if !matches!(success, Ok(true)) && tally.failed() == failed {
                tally.add_failure(&format!("{}, which crashed", binary.display()));
            }
        },
    );
    Ok(())
}

/// Those of all drivers first: at the end none shall be at work alone for long.
fn in_order(mut tasks: Vec<Task>) -> Vec<Task> {
    tasks.sort_by_key(|(binary, folder)| {
        (!folder.ends_with("tests"), folder.clone(), binary.clone())
    });
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_come_first() {
        let task = |binary: &str, folder: &str| -> Task { (binary.into(), folder.into()) };
        let tasks = vec![task("a", "/core"), task("c", "/tests"), task("b", "/tests")];
        let names = in_order(tasks).into_iter().map(|(binary, _)| binary);
        assert!(names.eq(["b", "c", "a"].map(PathBuf::from)));
    }
}
