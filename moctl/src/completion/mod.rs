// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can stand at the cursor: the words of `moctl`, names of mosaics and of volumes.
//!
//! A shell asks at every press of a key, so this is quick and says nothing of errors: where there
//! is nothing to say there are no candidates. The shells' own scripts are in `completions/`.

pub mod bash_line;
mod position;
mod sources;

use std::ffi::{OsStr, OsString};

use clap::Command;
use mosaic_core::mounts::MountOptions;

use self::position::{Position, Slot};
use self::sources::Sources;
use crate::cmd::Context;

/// What a shell is to offer.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// These words.
    Words(Vec<Candidate>),
    /// Names of files, which the shell knows best.
    Files,
    /// Names of folders.
    Folders,
}

/// A word, and what it means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// The word.
    pub value: String,
    /// One line, may be empty.
    pub about: String,
}

impl Candidate {
    pub(crate) fn plain(value: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            about: String::new(),
        }
    }

    fn of_command(command: &Command) -> Self {
        let about = command.get_about().map(ToString::to_string);
        Self {
            value: command.get_name().to_owned(),
            about: about.unwrap_or_default(),
        }
    }
}

/// What can stand at the last of these words, which come without the program's name.
pub fn complete(context: &Context, words: &[OsString]) -> Answer {
    let none = OsString::new();
    let (current, before) = words.split_last().unwrap_or((&none, &[]));
    let Some(current) = current.to_str() else {
        return Answer::Words(Vec::new());
    };
    let Some(position) = Position::find(before) else {
        return Answer::Words(Vec::new());
    };
    let candidates = match candidates(context, &position, current) {
        Answer::Words(candidates) => candidates,
        other => return other,
    };
    let fits = |candidate: &Candidate| {
        candidate.value.starts_with(current) && !candidate.value.chars().any(char::is_control)
    };
    Answer::Words(candidates.into_iter().filter(fits).collect())
}

fn candidates(context: &Context, position: &Position<'_>, current: &str) -> Answer {
    let slot = position.slot(current);
    let sources = || Sources::new(context, position);
    let words = match slot {
        Slot::Nothing => Vec::new(),
        Slot::Folders => return Answer::Folders,
        Slot::MountOptions => mount_options(current),
        Slot::Options => options(&position.command),
        Slot::Mosaic if current.starts_with(['.', '~']) || current.contains('/') => {
            return Answer::Files;
        }
        Slot::Mosaic => {
            let mut words = sources().mosaics();
            words.extend(
                position
                    .command
                    .get_subcommands()
                    .map(Candidate::of_command),
            );
            words
        }
        Slot::Verb => position
            .command
            .get_subcommands()
            .map(Candidate::of_command)
            .collect(),
        Slot::Choice(values) => values,
        Slot::Driver => sources().drivers(),
        Slot::Word => crate::manual::words()
            .iter()
            .map(Candidate::of_command)
            .collect(),
        Slot::Volume(wanted) => sources().volumes(wanted),
        Slot::Mountpoint => sources().mountpoints(),
    };
    Answer::Words(words)
}

fn options(command: &Command) -> Vec<Candidate> {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    shown
        .filter_map(|arg| {
            Some(Candidate {
                value: format!("--{}", arg.get_long()?),
                about: arg.get_help().map(ToString::to_string).unwrap_or_default(),
            })
        })
        .collect()
}

/// Each word behind those that are there already.
fn mount_options(current: &str) -> Vec<Candidate> {
    let before = current.rfind(',').map_or("", |comma| &current[..=comma]);
    MountOptions::words()
        .map(|word| Candidate::plain(format!("{before}{word}")))
        .collect()
}

/// The mosaic's name with the user's `~` written out, which no shell has done before completion.
fn expanded(name: &OsStr, home: Option<&std::path::Path>) -> OsString {
    match (name.to_str().and_then(|text| text.strip_prefix("~/")), home) {
        (Some(rest), Some(home)) => home.join(rest).into_os_string(),
        _ => name.to_owned(),
    }
}
