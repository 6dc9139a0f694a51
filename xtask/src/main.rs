// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask`: the only entry points to building, testing and showing Mosaic. CI calls them too.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program talks to a person"
)]

mod at_once;
mod bench;
mod cargo;
mod demo;
mod guard;
mod install;
mod interrupt;
mod lines;
mod lint;
mod man;
mod packages;
mod show;
mod tally;
mod terminal;
mod test;
mod test_here;
mod test_in_vm;
mod tree_rules;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, tests and shows Mosaic.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Shows what Mosaic does, in a temporary mosaic that leaves nothing.
    Demo,
    /// Runs every test; as root on Debian and Ubuntu it first installs what they need.
    Test(test::Options),
    /// Looks for what is not in order: format, clippy, rustdoc, the habits of this tree.
    Lint,
    /// Measures each verb beside a floor program and the usual tool.
    Bench(bench::Options),
    /// Runs something in the virtual machine that tests of other kernels' abilities run in.
    #[command(subcommand)]
    Vm(vm::Task),
    /// Writes the manual pages of moctl's verbs and of the C library's functions to target/man.
    Man,
    /// Installs moctl, the drivers, the C library and the manual pages.
    Install(install::Options),
}

fn main() -> ExitCode {
    let task = Arguments::parse().task;
    if let Task::Test(_) | Task::Bench(_) | Task::Vm(_) = task {
        match guard::guarded() {
            Ok(None) => {}
            Ok(Some(status)) => return status,
            Err(error) => return answer(Err(error)),
        }
    }
    let done = match task {
        Task::Demo => demo::run(),
        Task::Test(options) => test::run(&options),
        Task::Lint => lint::run(),
        Task::Bench(options) => return answer(bench::run(&options)),
        Task::Vm(task) => return answer(vm::run(&task)),
        Task::Man => man::run(),
        Task::Install(options) => install::run(&options),
    };
    answer(done.map(|()| ExitCode::SUCCESS))
}

fn answer(done: anyhow::Result<ExitCode>) -> ExitCode {
    match done {
        Ok(status) => status,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
