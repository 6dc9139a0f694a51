// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first half of `cargo xtask test --quick`: the binaries that `cargo test` would run one after
//! the other, several at once, since they wait for their disks half of the time.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::at_once;
use crate::cargo;
use crate::lines;
use crate::tally::Tally;
use crate::test::{self, Settings, TEST};

/// A test binary, and the folder of its package.
type Binary = (PathBuf, PathBuf);

/// What is run beside others.
struct Task {
    /// As it is shown.
    name: String,
    /// None for the tests in doc comments: the program that rustdoc makes of them is nowhere after.
    binary: Option<PathBuf>,
    command: Command,
}

/// Runs them all.
///
/// # Errors
/// The test binaries cannot be found.
pub fn run(filter: &[String], settings: &Settings, tally: &mut Tally) -> Result<()> {
    let binaries = in_order(cargo::test_folders(&TEST)?.into_iter().collect());
    println!("\n# {} test binaries, some at once.", binaries.len());
    let mut words = TEST.to_vec();
    words.push("--doc");
    // rustdoc reads one package after the other.
    let docs = Task {
        name: format!("cargo {}", words.join(" ")),
        binary: None,
        command: test::cargo(&words, filter),
    };
    let binaries = binaries.into_iter().map(|binary| of_binary(binary, filter));
    let mut tasks = std::iter::once(docs).chain(binaries);
    at_once::each(
        || tasks.next(),
        |mut task| {
            let mut lines = Vec::new();
            settings.give_to(&mut task.command);
            let success = lines::of(&mut task.command, |line| lines.push(line));
            (task, lines, success)
        },
        |(task, lines, success)| {
            println!("\n$ {}", task.name);
            tally.start(task.binary.as_deref().unwrap_or(Path::new("")));
            let failed = tally.failed();
            for line in lines {
                println!("{line}");
                tally.read(&line);
            }
            if let Err(error) = &success {
                println!("{error:#}");
            }
            if !matches!(success, Ok(true)) && tally.failed() == failed {
                tally.add_failure(&format!("{}, which crashed", task.name));
            }
        },
    );
    Ok(())
}

/// As cargo starts it.
fn of_binary((binary, folder): Binary, filter: &[String]) -> Task {
    let mut command = Command::new(&binary);
    command.current_dir(&folder).args(filter);
    command.env("CARGO_MANIFEST_DIR", folder);
    Task {
        name: binary.display().to_string(),
        binary: Some(binary),
        command,
    }
}

/// Packages whose tests take longest, these first: at the end none shall be at work alone for long.
const LONGEST: [&str; 3] = ["tests", "mosaic-ploop", "mosaic-btrfs"];

fn in_order(mut binaries: Vec<Binary>) -> Vec<Binary> {
    let place = |folder: &Path| LONGEST.iter().position(|name| folder.ends_with(name));
    binaries.sort_by_key(|(binary, folder)| {
        let place = place(folder).unwrap_or(LONGEST.len());
        (place, folder.clone(), binary.clone())
    });
    binaries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_come_first() {
        let binary = |name: &str, folder: &str| -> Binary { (name.into(), folder.into()) };
        let binaries = vec![
            binary("a", "/core"),
            binary("d", "/mosaic-ploop"),
            binary("c", "/tests"),
            binary("b", "/tests"),
        ];
        let names = in_order(binaries).into_iter().map(|(name, _)| name);
        assert!(names.eq(["b", "c", "d", "a"].map(PathBuf::from)));
    }
}
