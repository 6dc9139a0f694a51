// SPDX-License-Identifier: MIT OR Apache-2.0
//! From words to an [`Action`]: which of the two commands reads them, and shortened verbs.
//!
//! The first word that is no option is a word of [`cli::TopAction`], or the mosaic. Options before
//! the verb are moved behind it, where options given twice add up as everywhere.

use std::ffi::{OsStr, OsString};

use clap::error::ErrorKind;
use clap::{ArgAction, Args, Command, FromArgMatches, Subcommand};

use crate::cli::{self, Global, NEVER_SHORTENED, TopAction, TopLevel, Verb, Verbs};

/// What a command line asks for.
#[derive(Debug)]
pub struct Request {
    /// Options of every action.
    pub global: Global,
    /// What to do.
    pub action: Action,
}

/// What to do.
#[derive(Debug)]
pub enum Action {
    /// Something that needs no mosaic.
    Top(TopAction),
    /// Something with this mosaic.
    Mosaic(OsString, Verb),
}

/// Reads the words behind the program's name.
///
/// # Errors
/// A usage error, or the help or version that was asked for.
pub fn parse(words: &[OsString]) -> Result<Request, clap::Error> {
    let split = Split::new(words);
    match (split.name, split.unknown) {
        (Some(name), Some(option)) if !is_top_word(name) => {
            // Clap has the words for an option that nobody knows; -V is no mistake.
            parse_top(&[option.to_owned()])
        }
        (Some(name), None) if !is_top_word(name) => parse_verb(&split, name),
        _ => parse_top(words),
    }
}

/// Whether a word is never a mosaic's name.
pub fn is_top_word(word: &OsStr) -> bool {
    word.to_str().is_some_and(TopAction::has_subcommand)
}

fn parse_top(words: &[OsString]) -> Result<Request, clap::Error> {
    let mut matches = cli::top_level().try_get_matches_from(with_program(words))?;
    let parsed = TopLevel::from_arg_matches_mut(&mut matches)?;
    Ok(Request {
        global: parsed.global,
        action: Action::Top(parsed.action),
    })
}

fn parse_verb(split: &Split<'_>, mosaic: &OsStr) -> Result<Request, clap::Error> {
    let mut command = cli::verbs();
    let mut words = Vec::new();
    if let Some(verb) = split.verb {
        words.push(full_verb(&mut command, verb)?);
    }
    words.extend(split.options.iter().map(|word| (*word).to_owned()));
    words.extend_from_slice(split.rest);
    if split.rest.iter().any(|word| is_negative_size(word)) {
        command = command.mut_subcommands(|verb| {
            let has_size = verb.get_positionals().any(|arg| arg.get_id() == "size");
            let take = |arg: clap::Arg| arg.allow_hyphen_values(true);
            if has_size {
                verb.mut_arg("size", take)
            } else {
                verb
            }
        });
    }
    let mut matches = command.try_get_matches_from(with_program(&words))?;
    let parsed = Verbs::from_arg_matches_mut(&mut matches)?;
    Ok(Request {
        global: parsed.global,
        action: Action::Mosaic(mosaic.to_owned(), parsed.verb),
    })
}

fn with_program(words: &[OsString]) -> impl Iterator<Item = OsString> + '_ {
    std::iter::once("moctl".into()).chain(words.iter().cloned())
}

/// `-5G`: no option of ours is a digit, so this can only be a size.
fn is_negative_size(word: &OsStr) -> bool {
    let bytes = word.as_encoded_bytes();
    bytes.first() == Some(&b'-') && bytes.get(1).is_some_and(u8::is_ascii_digit)
}

/// Command-line words, cut at the mosaic and the verb.
#[derive(Debug)]
struct Split<'w> {
    /// The first word that is no option.
    name: Option<&'w OsStr>,
    /// The second one.
    verb: Option<&'w OsStr>,
    /// The options before the verb with their values.
    options: Vec<&'w OsStr>,
    /// The first option before the verb that is none of [`Global`].
    unknown: Option<&'w OsStr>,
    /// What is behind the verb.
    rest: &'w [OsString],
}

impl<'w> Split<'w> {
    fn new(words: &'w [OsString]) -> Self {
        let known = GlobalOptions::new();
        let mut split = Self {
            name: None,
            verb: None,
            options: Vec::new(),
            unknown: None,
            rest: &[],
        };
        let mut words_only = false;
        let mut at = 0;
        while let Some(word) = words.get(at) {
            at += 1;
            let is_option = !words_only && word.len() > 1 && starts_with_dash(word);
            if is_option && word == "--" {
                words_only = true;
            } else if is_option {
                split.options.push(word);
                if !known.has(word) {
                    split.unknown = split.unknown.or(Some(word));
                } else if known.wants_next(word) {
                    split.options.extend(words.get(at).map(OsString::as_os_str));
                    at += 1;
                }
            } else if split.name.is_none() {
                split.name = Some(word);
                words_only = false;
            } else {
                split.verb = Some(word);
                split.rest = words.get(at..).unwrap_or_default();
                break;
            }
        }
        split
    }
}

fn starts_with_dash(word: &OsStr) -> bool {
    word.as_encoded_bytes().first() == Some(&b'-')
}

/// The options that may stand before the verb.
struct GlobalOptions(Command);

impl GlobalOptions {
    fn new() -> Self {
        Self(Global::augment_args(Command::new("moctl")))
    }

    /// Whether a word starting with `-` is such an option, or several short ones.
    fn has(&self, word: &OsStr) -> bool {
        let text = word.to_string_lossy();
        let Some(long) = text.strip_prefix("--") else {
            let is_short =
                |c| c == 'h' || self.0.get_arguments().any(|arg| arg.get_short() == Some(c));
            return text.chars().skip(1).all(is_short);
        };
        let name = long.split_once('=').map_or(long, |(name, _)| name);
        name == "help" || self.long(name).is_some()
    }

    /// `--lock-timeout` and the like: the next word is theirs.
    fn wants_next(&self, word: &OsStr) -> bool {
        let long = word.to_str().and_then(|text| text.strip_prefix("--"));
        long.and_then(|long| self.long(long))
            .is_some_and(|arg| matches!(arg.get_action(), ArgAction::Set | ArgAction::Append))
    }

    fn long(&self, name: &str) -> Option<&clap::Arg> {
        self.0
            .get_arguments()
            .find(|arg| arg.get_long() == Some(name))
    }
}

/// The whole verb for one that may be shortened. One that is no text stays: clap has a word for it.
pub(crate) fn full_verb(command: &mut Command, word: &OsStr) -> Result<OsString, clap::Error> {
    let Some(text) = word.to_str().filter(|text| !text.is_empty()) else {
        return Ok(word.to_owned());
    };
    let names = |verb: &Command| -> Vec<String> {
        let names = std::iter::once(verb.get_name()).chain(verb.get_all_aliases());
        names.map(str::to_owned).collect()
    };
    if command
        .get_subcommands()
        .any(|verb| names(verb).iter().any(|name| name == text))
    {
        return Ok(word.to_owned());
    }
    let (long_only, candidates): (Vec<_>, Vec<_>) = command
        .get_subcommands()
        .flat_map(|verb| {
            names(verb)
                .into_iter()
                .map(|name| (name, verb.get_name().to_owned()))
        })
        .filter(|(name, _)| name.starts_with(text))
        .partition(|(name, _)| NEVER_SHORTENED.contains(&name.as_str()));
    let list = |found: &[(String, String)]| {
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        names.join(", ")
    };
    let refuse = |message: String| command.clone().error(ErrorKind::InvalidSubcommand, message);
    match (candidates.as_slice(), long_only.as_slice()) {
        ([], []) => {
            let known: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
            Err(refuse(format!(
                "action '{text}' is not known; the actions are: {}",
                known.join(", ")
            )))
        }
        ([], full) => Err(refuse(format!(
            "action '{text}' is not known; written in full only: {}",
            list(full)
        ))),
        ([(_, verb), same @ ..], _) if same.iter().all(|(_, other)| other == verb) => {
            Ok(verb.into())
        }
        (several, _) => Err(refuse(format!(
            "action '{text}' is ambiguous: {}",
            list(several)
        ))),
    }
}

#[cfg(test)]
mod tests;
