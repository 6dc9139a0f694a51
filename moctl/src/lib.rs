// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program `moctl`: [`run`] from words to exit status.
//!
//! [`arguments`] reads the words by the definitions in [`cli`], [`cmd`] makes one call of the core
//! and a report of it, [`output`] prints that. It is a library so that manual pages can be made
//! from the same definitions ([`manual`]).

pub mod arguments;
pub mod cli;
pub mod cmd;
pub mod completion;
pub mod manual;
pub mod output;
pub mod question;
pub mod services;
pub mod signals;
pub mod surroundings;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::error::ErrorKind as UsageKind;
use mosaic_core::foreign::without_size_signal;
use mosaic_core::{Level, Services};

use crate::arguments::{Action, Request};
use crate::cli::TopAction;
use crate::output::failure::Failure;
use crate::output::{Report, json};
use crate::services::{Terminal, write_stderr};
use crate::surroundings::Surroundings;

/// Does what the words behind the program's name say.
pub fn run(words: Vec<OsString>) -> ExitCode {
    let surroundings = Surroundings::look();
    without_size_signal(|| match arguments::parse(&words) {
        Ok(request) => answer(surroundings, request),
        Err(error) => answer_usage(&surroundings, &words, &error),
    })
}

fn answer(surroundings: Surroundings, request: Request) -> ExitCode {
    let color = surroundings.color_stderr;
    let as_json = request.global.json;
    let (result, warnings) = act(surroundings, request);
    let printed = match &result {
        Ok(report) if as_json => output::print(&json::success(&report.fields, &warnings)),
        Ok(report) => output::print(&report.text),
        Err(error) => {
            let failure = Failure::from(error);
            report_failure(&failure, as_json, color, &warnings);
            return failure.exit_status().into();
        }
    };
    match printed.context("cannot write to standard output") {
        Ok(()) => result.map_or(1, |report| report.exit_status).into(),
        Err(error) => {
            let failure = Failure::from(&error);
            write_stderr(&failure.text(color));
            failure.exit_status().into()
        }
    }
}

/// Runs the command; its result, and the warnings that came with it.
fn act(surroundings: Surroundings, request: Request) -> (anyhow::Result<Report>, Vec<String>) {
    let stop = match signals::stop_flag().context("cannot handle signals") {
        Ok(stop) => stop,
        Err(error) => return (Err(error), Vec::new()),
    };
    let terminal = Arc::new(Terminal::new(&request.global, stop));
    let context = cmd::Context {
        surroundings,
        global: request.global,
        terminal: Arc::clone(&terminal),
    };
    // Who completes a word has not asked for anything yet.
    if !matches!(request.action, Action::Top(TopAction::Completions(_))) {
        for warning in context.surroundings.places.ignored(false) {
            terminal.log(Level::Warning, &warning);
        }
    }
    let command = || match &request.action {
        Action::Top(action) => cmd::run_top(&context, action),
        Action::Mosaic(mosaic, verb) => cmd::run_verb(&context, mosaic, verb),
    };
    // A bug of ours is still one error and one object; the panic's own lines are on stderr.
    let result = catch_unwind(AssertUnwindSafe(command))
        .unwrap_or_else(|_| Err(anyhow::anyhow!("moctl has a bug and gave up")));
    terminal.finish();
    (result, terminal.warnings())
}

fn report_failure(failure: &Failure, as_json: bool, color: bool, warnings: &[String]) {
    if as_json {
        // Nothing more can be done about a reader that is gone; the exit status stays the failure's.
        let _ = output::print(&json::failure(failure, warnings));
    } else {
        write_stderr(&failure.text(color));
    }
}

/// A usage error, or help and version, which clap gives as errors too.
fn answer_usage(surroundings: &Surroundings, words: &[OsString], error: &clap::Error) -> ExitCode {
    let text = error.render();
    match error.kind() {
        UsageKind::DisplayHelp | UsageKind::DisplayVersion => {
            let text = match surroundings.color {
                true => text.ansi().to_string(),
                false => text.to_string(),
            };
            ExitCode::from(u8::from(output::print(&text).is_err()))
        }
        UsageKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            write_stderr(&text.to_string());
            ExitCode::from(2)
        }
        _ => {
            let failure = Failure::from(error);
            let as_json = words
                .iter()
                .take_while(|w| *w != "--")
                .any(|w| w == "--json");
            report_failure(&failure, as_json, surroundings.color_stderr, &[]);
            failure.exit_status().into()
        }
    }
}
