// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where in the command line the cursor is, by the clap definitions.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};

use super::Candidate;
use crate::{arguments, cli};

/// Which volumes fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Any.
    Any,
    /// Attached ones.
    Attached,
    /// Any, and the metadata.
    OrMetadata,
    /// Mounted ones, and the metadata.
    Mounted,
}

/// What stands at the cursor.
#[derive(Debug, PartialEq, Eq)]
pub enum Slot {
    /// Something that only the user knows.
    Nothing,
    /// A folder.
    Folders,
    /// Mount options, with commas between them.
    MountOptions,
    /// An option.
    Options,
    /// A mosaic, or a word that needs none.
    Mosaic,
    /// A verb.
    Verb,
    /// One of few.
    Choice(Vec<Candidate>),
    /// A driver's type.
    Driver,
    /// A word that there is help on.
    Word,
    /// A volume.
    Volume(Wanted),
    /// Where the volume is mounted.
    Mountpoint,
}

/// The words before the cursor, understood.
#[derive(Debug)]
pub struct Position<'w> {
    /// The mosaic.
    pub mosaic: Option<&'w OsStr>,
    /// The command whose arguments come: of the verb, else the one of verbs or of top words.
    pub command: Command,
    /// What stands at its positional arguments.
    pub values: Vec<&'w OsStr>,
    /// The values of `--driver-dir`.
    pub driver_dirs: Vec<PathBuf>,
    /// The option whose value comes next.
    pending: Option<Arg>,
    /// `--` was there: no more options.
    words_only: bool,
}

impl<'w> Position<'w> {
    /// Reads the words before the cursor; `None` if they make no sense.
    pub fn find(before: &'w [OsString]) -> Option<Self> {
        let mut command = cli::top_level();
        command.build();
        let mut position = Self {
            mosaic: None,
            command,
            values: Vec::new(),
            driver_dirs: Vec::new(),
            pending: None,
            words_only: false,
        };
        for word in before {
            position.read(word)?;
        }
        Some(position)
    }

    fn read(&mut self, word: &'w OsStr) -> Option<()> {
        if let Some(option) = self.pending.take() {
            if option.get_id() == "driver_dir" {
                self.driver_dirs.push(word.into());
            }
        } else if !self.words_only && word == "--" {
            self.words_only = true;
        } else if !self.words_only && is_option(word) {
            self.read_option(word);
        } else if !self.command.has_subcommands() {
            self.values.push(word);
        } else if self.mosaic.is_some() {
            let verb = arguments::full_verb(&mut self.command, word).ok()?;
            self.command = self.command.find_subcommand(&verb)?.clone();
        } else if arguments::is_top_word(word) {
            self.command = self.command.find_subcommand(word)?.clone();
        } else {
            self.mosaic = Some(word);
            self.command = cli::verbs();
            self.command.build();
            self.words_only = false;
        }
        Some(())
    }

    fn read_option(&mut self, word: &OsStr) {
        let text = word.to_string_lossy();
        if let Some(folder) = text.strip_prefix("--driver-dir=") {
            self.driver_dirs.push(folder.into());
        }
        let wants_value = |arg: &&Arg| {
            let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
            let long = arg
                .get_long()
                .is_some_and(|long| text == format!("--{long}"));
            let short = arg
                .get_short()
                .is_some_and(|short| text == format!("-{short}"));
            takes && (long || short)
        };
        self.pending = self.command.get_arguments().find(wants_value).cloned();
    }

    /// What the word at the cursor is to be.
    pub fn slot(&self, current: &str) -> Slot {
        if let Some(option) = &self.pending {
            return option_value(option);
        }
        if !self.words_only && current.starts_with('-') && current != "-" {
            return match current.split_once('=') {
                None => Slot::Options,
                Some(("--driver-dir" | "--to", _)) => Slot::Folders,
                Some(_) => Slot::Nothing,
            };
        }
        if self.command.has_subcommands() {
            return if self.mosaic.is_some() {
                Slot::Verb
            } else {
                Slot::Mosaic
            };
        }
        let visible = |arg: &&Arg| !arg.is_hide_set();
        let mut positionals = self.command.get_positionals().filter(visible);
        match positionals.nth(self.values.len()) {
            Some(arg) => positional(&self.command, arg),
            None => Slot::Nothing,
        }
    }
}

fn is_option(word: &OsStr) -> bool {
    word.len() > 1 && word.as_encoded_bytes().first() == Some(&b'-')
}

fn option_value(option: &Arg) -> Slot {
    match option.get_id().as_str() {
        "driver_dir" | "to" => Slot::Folders,
        "options" => Slot::MountOptions,
        _ => choice(option),
    }
}

fn positional(command: &Command, arg: &Arg) -> Slot {
    match (command.get_name(), arg.get_id().as_str()) {
        ("new", "volume") => Slot::Nothing,
        ("detach", "volume") => Slot::Volume(Wanted::Attached),
        ("mount", "volume") => Slot::Volume(Wanted::OrMetadata),
        ("umount", "volume") => Slot::Volume(Wanted::Mounted),
        ("umount", "path") => Slot::Mountpoint,
        (_, "volume" | "from") => Slot::Volume(Wanted::Any),
        (_, "path") => Slot::Folders,
        (_, "driver_type") => Slot::Driver,
        (_, "word") => Slot::Word,
        _ => choice(arg),
    }
}

fn choice(arg: &Arg) -> Slot {
    let values = arg.get_possible_values();
    let candidate = |value: &clap::builder::PossibleValue| Candidate {
        value: value.get_name().to_owned(),
        about: value
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default(),
    };
    match values.as_slice() {
        [] => Slot::Nothing,
        values => Slot::Choice(values.iter().map(candidate).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(line: &str) -> Slot {
        let (before, current) = line.rsplit_once(' ').unwrap_or(("", line));
        let words: Vec<OsString> = before.split_whitespace().map(Into::into).collect();
        match Position::find(&words) {
            Some(position) => position.slot(current),
            None => Slot::Nothing,
        }
    }

    #[test]
    fn few_choices_come_from_the_definitions() {
        for (line, words) in [
            ("web new ", ["fs", "disk"].as_slice()),
            ("completions ", &["bash", "zsh", "fish"]),
            ("web init --quota ", &["simple", "full"]),
        ] {
            let Slot::Choice(found) = slot(line) else {
                panic!("{line}");
            };
            let found: Vec<_> = found.iter().map(|c| c.value.as_str()).collect();
            assert_eq!(found, words);
        }
    }

    #[test]
    fn each_place_of_a_line_is_known() {
        for (line, expected) in [
            ("", Slot::Mosaic),
            ("--json ", Slot::Mosaic),
            ("--driver-dir ", Slot::Folders),
            ("--driver-dir=/a", Slot::Folders),
            ("--lock-timeout ", Slot::Nothing),
            ("drivers ", Slot::Driver),
            ("help ", Slot::Word),
            ("man --to ", Slot::Folders),
            ("web ", Slot::Verb),
            ("web -v ", Slot::Verb),
            ("web drop ", Slot::Volume(Wanted::Any)),
            ("web drop --missing-ok ", Slot::Volume(Wanted::Any)),
            ("web drop a ", Slot::Nothing),
            ("web drop --", Slot::Options),
            ("web drop -- --", Slot::Volume(Wanted::Any)),
            ("web new fs ", Slot::Nothing),
            ("web create fs ", Slot::Nothing),
            ("web cl ", Slot::Volume(Wanted::Any)),
            ("web clone a ", Slot::Nothing),
            ("web clone a b --size ", Slot::Nothing),
            ("web mount ", Slot::Volume(Wanted::OrMetadata)),
            ("web mount -o ", Slot::MountOptions),
            ("web mount -o ro v ", Slot::Folders),
            ("web umount ", Slot::Volume(Wanted::Mounted)),
            ("web umount -", Slot::Volume(Wanted::Mounted)),
            ("web umount v ", Slot::Mountpoint),
            ("web detach ", Slot::Volume(Wanted::Attached)),
            ("web dr ", Slot::Nothing),
            ("web nonsense ", Slot::Nothing),
        ] {
            assert_eq!(slot(line), expected, "{line}");
        }
    }
}
