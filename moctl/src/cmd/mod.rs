// SPDX-License-Identifier: MIT OR Apache-2.0
//! One file per word of the command line: arguments, one call of the core, a report.

pub mod attach;
pub mod check;
pub mod clone;
pub mod completions;
pub mod create;
pub mod drivers;
pub mod drop;
pub mod have;
pub mod help;
pub mod info;
pub mod init;
pub mod list;
pub mod man;
pub mod mosaics;
pub mod mount;
pub mod rename;
pub mod resize;

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use mosaic_core::Services;
use mosaic_core::loader::{Beside, SearchPath};
use mosaic_core::mosaic::{Changed, Environment, Mosaic};
use serde::Serialize;

use crate::cli::{Global, TopAction, Verb};
use crate::output::Report;
use crate::output::table::Table;
use crate::services::Terminal;
use crate::surroundings::Surroundings;

/// What every command gets.
#[derive(Debug)]
pub struct Context {
    /// The environment's wishes.
    pub surroundings: Surroundings,
    /// The options of every action.
    pub global: Global,
    /// Log, progress, the wish to stop.
    pub terminal: Arc<Terminal>,
}

/// `MOSAIC_ABI_DEBUG`: hundreds of lines, so not in the error.
fn print_report(report: &str) {
    // Nothing better can be done where stderr cannot be written.
    let _ = std::io::stderr().write_all(report.as_bytes());
}

impl Context {
    /// Where drivers are looked for.
    pub fn search(&self) -> SearchPath {
        self.search_with(&self.global.driver_dir)
    }

    /// Where drivers are looked for, with these folders first.
    pub fn search_with(&self, explicit: &[PathBuf]) -> SearchPath {
        let places = &self.surroundings.places;
        places.search(explicit.to_vec(), Beside::Program, print_report)
    }

    /// What the core gets.
    pub fn environment(&self) -> Environment {
        self.environment_with(self.search(), self.terminal.clone())
    }

    /// What the core gets, with other drivers and services.
    pub fn environment_with(&self, search: SearchPath, services: Arc<dyn Services>) -> Environment {
        Environment {
            config_dir: self.surroundings.places.config_dir.clone(),
            search,
            lock_timeout: self.global.lock_timeout,
            services,
        }
    }

    /// A table as standard output shows it.
    pub fn table(&self, table: &Table) -> String {
        table.render(self.surroundings.columns, self.surroundings.color)
    }

    /// A line that only says how it went: not with `--quiet`.
    pub fn remark(&self, report: Report, line: &str) -> Report {
        match self.global.quiet {
            true => report,
            false => report.line(line),
        }
    }

    /// The report of a verb that may have had nothing to do.
    pub fn report_change(&self, fields: impl Serialize, changed: Changed) -> Report {
        let report = Report::new(fields);
        match changed {
            Changed::Yes => report,
            Changed::Unchanged => self.remark(report, "unchanged"),
        }
    }
}

/// Does what needs no mosaic.
///
/// # Errors
/// The command's.
pub fn run_top(context: &Context, action: &TopAction) -> anyhow::Result<Report> {
    match action {
        TopAction::Drivers { driver_type } => drivers::run(context, driver_type.as_deref()),
        TopAction::Mosaics => mosaics::run(context),
        TopAction::Completions(arguments) => Ok(completions::run(context, arguments)),
        TopAction::Help { word } => help::run(word.as_deref()),
        TopAction::Man { word, to } => man::run(word.as_deref(), to.as_deref()),
    }
}

/// Works on a mosaic.
///
/// # Errors
/// The command's.
pub fn run_verb(context: &Context, mosaic: &OsStr, verb: &Verb) -> anyhow::Result<Report> {
    match verb {
        Verb::Info(arguments) => info::run(context, mosaic, arguments),
        Verb::List => list::run(context, mosaic),
        Verb::Have(arguments) => have::run(context, mosaic, arguments),
        Verb::New(arguments) => create::run(context, mosaic, arguments),
        Verb::Clone(arguments) => clone::run(context, mosaic, arguments),
        Verb::Drop(arguments) => drop::run(context, mosaic, arguments),
        Verb::Rename(arguments) => rename::run(context, mosaic, arguments),
        Verb::Init(arguments) => init::run(context, mosaic, arguments),
        Verb::Mount(arguments) => mount::run(context, mosaic, arguments),
        Verb::Umount(arguments) => mount::run_umount(context, mosaic, arguments),
        Verb::Attach(arguments) => attach::run(context, mosaic, arguments),
        Verb::Detach(arguments) => attach::run_detach(context, mosaic, arguments),
        Verb::Resize(arguments) => resize::run(context, mosaic, arguments),
        Verb::Check(arguments) => check::run(context, mosaic, arguments),
    }
}

/// The JSON object of a verb that changes one volume.
#[derive(Debug, Serialize)]
pub struct ChangeJson<'a> {
    action: &'static str,
    mosaic: &'a str,
    volume: &'a str,
    changed: bool,
}

impl<'a> ChangeJson<'a> {
    /// What a verb did to a volume.
    pub fn new(
        action: &'static str,
        mosaic: &'a Mosaic,
        volume: &'a str,
        changed: Changed,
    ) -> Self {
        Self {
            action,
            mosaic: &mosaic.config().name,
            volume,
            changed: changed == Changed::Yes,
        }
    }
}
