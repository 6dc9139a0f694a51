// SPDX-License-Identifier: MIT OR Apache-2.0
//! From words to an [`Action`]: which of the two commands reads them, and shortened verbs.
//!
//! The first word that is no option is a word of [`cli::TopAction`], or the mosaic. Options before
//! the verb are moved behind it, where options given twice add up as everywhere.

use std::ffi::{OsStr, OsString};

use clap::error::ErrorKind;
use clap::{ArgAction, Command, CommandFactory, FromArgMatches};

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
    TopLevel::command()
        .get_subcommands()
        .any(|command| word == command.get_name())
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
        let known = GlobalOptions(Verbs::command());
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

/// The whole verb for one that may be shortened. An unknown one stays: clap has a word for it.
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
        ([], []) => Ok(word.to_owned()),
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
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn parsed(line: &str) -> Request {
        parse(&words(line)).unwrap_or_else(|e| panic!("{line}: {e}"))
    }

    fn refused(line: &str) -> String {
        match parse(&words(line)) {
            Ok(request) => panic!("{line}: {request:?}"),
            Err(error) => error.render().to_string(),
        }
    }

    #[test]
    fn definitions_are_sound() {
        cli::top_level().debug_assert();
        cli::verbs().debug_assert();
    }

    #[test]
    fn a_top_word_has_options_of_its_own() {
        for line in ["man --to folder", "-q man --to folder", "man --to=folder"] {
            match parsed(line).action {
                Action::Top(TopAction::Man { to, .. }) => assert_eq!(to, Some("folder".into())),
                other => panic!("{line}: {other:?}"),
            }
        }
        assert!(refused("man --nonsense").contains("--nonsense"));
    }

    #[test]
    fn the_first_word_is_a_top_word_only_if_written_in_full() {
        assert!(matches!(
            parsed("drivers").action,
            Action::Top(TopAction::Drivers { .. })
        ));
        assert!(matches!(
            parsed("--json mosaics").action,
            Action::Top(TopAction::Mosaics)
        ));
        let Action::Mosaic(name, Verb::Info(info)) = parsed("l info").action else {
            panic!("not info");
        };
        assert_eq!((name, info.volume), ("l".into(), None));
        let Action::Mosaic(name, Verb::Info(info)) = parsed("info info list").action else {
            panic!("not info");
        };
        assert_eq!(
            (name, info.volume.as_deref()),
            ("info".into(), Some("list"))
        );
        for line in [
            "driver list",
            "mosaic list",
            "hel list",
            "completion list",
            "ma list",
        ] {
            assert!(
                matches!(parsed(line).action, Action::Mosaic(_, Verb::List)),
                "{line}"
            );
        }
        let Action::Mosaic(name, Verb::List) = parsed("./drivers list").action else {
            panic!("not list");
        };
        assert_eq!(name, "./drivers");
    }

    #[test]
    fn global_options_stand_before_the_mosaic_before_the_verb_and_behind_it() {
        for line in [
            "--json -v --lock-timeout 0.5 --driver-dir=/a web list --driver-dir /b -v",
            "web --json -vv --driver-dir /a list --lock-timeout=0.5 --driver-dir /b",
            "-v --driver-dir /a web --driver-dir /b list --json -v --lock-timeout 0.5",
        ] {
            let global = parsed(line).global;
            assert!(global.json && !global.quiet, "{line}");
            assert_eq!(global.verbose, 2, "{line}");
            assert_eq!(global.lock_timeout.as_millis(), 500, "{line}");
            assert_eq!(
                global.driver_dir,
                ["/a", "/b"].map(std::path::PathBuf::from),
                "{line}"
            );
        }
        let global = parsed("-v --driver-dir /a drivers --json").global;
        assert!(global.json && global.verbose == 1 && global.driver_dir.len() == 1);
    }

    #[test]
    fn verbs_are_shortened_where_unambiguous_and_never_the_destroying_ones() {
        for (line, verb) in [
            ("m i", "Info"),
            ("m l", "List"),
            ("m h v", "Have"),
            ("m n fs v 1G", "New"),
            ("m cr fs v 1G", "New"),
            ("m create fs v 1G", "New"),
            ("m cl a b", "Clone"),
            ("m ren a b", "Rename"),
            ("m res a 1G", "Resize"),
            ("m a v", "Attach"),
            ("m u v /p", "Umount"),
            ("m che", "Check"),
        ] {
            let Action::Mosaic(_, found) = parsed(line).action else {
                panic!("{line}: no verb");
            };
            assert!(format!("{found:?}").starts_with(verb), "{line}: {found:?}");
        }
        for line in [
            "m d v", "m de v", "m dr v", "m dro v", "m det v", "m ini", "m init0",
        ] {
            let text = refused(line);
            assert!(
                text.contains("not known") || text.contains("unrecognized"),
                "{line}: {text}"
            );
        }
        assert!(refused("m d v").contains("drop, detach"));
        let text = refused("m re a 1G");
        assert!(text.contains("ambiguous: rename, resize"), "{text}");
        assert!(refused("m c a").contains("ambiguous: create, clone, check"));
    }

    #[test]
    fn mount_takes_its_options_in_any_place() {
        for line in [
            "m mount v /p -o ro,noexec",
            "m mount -o ro,noexec v /p",
            "m mount v -o ro,noexec /p",
        ] {
            let Action::Mosaic(_, Verb::Mount(mount)) = parsed(line).action else {
                panic!("{line}");
            };
            assert_eq!(
                (mount.volume.as_str(), mount.path.to_str()),
                ("v", Some("/p"))
            );
            assert_eq!(mount.options, ["ro,noexec"]);
        }
        let Action::Mosaic(_, Verb::Mount(mount)) = parsed("m mount - /p").action else {
            panic!("no mount");
        };
        assert_eq!(mount.volume, "-");
    }

    #[test]
    fn a_negative_size_reaches_the_verb() {
        for line in [
            "m resize v -5G",
            "m resize v -5G --shrink",
            "m resize --shrink v -5G",
            "m resize v -- -5G",
        ] {
            let Action::Mosaic(_, Verb::Resize(resize)) = parsed(line).action else {
                panic!("{line}");
            };
            assert_eq!(
                (resize.volume.as_str(), resize.size.as_str()),
                ("v", "-5G"),
                "{line}"
            );
            assert_eq!(resize.shrink, line.contains("--shrink"));
        }
        let Action::Mosaic(_, Verb::New(new)) = parsed("m new fs v -5G --exist-ok").action else {
            panic!("no new");
        };
        assert_eq!((new.size.as_str(), new.exist_ok), ("-5G", true));
        let Action::Mosaic(_, Verb::Clone(clone)) = parsed("m clone a b --size -5G").action else {
            panic!("no clone");
        };
        assert_eq!(clone.size.as_deref(), Some("-5G"));
    }

    #[test]
    fn misspelt_options_are_refused_by_their_name() {
        assert!(refused("m new fs v --exists-ok 1G").contains("--exists-ok"));
        assert!(refused("m resize v --shrunk 1G").contains("--shrunk"));
        assert!(refused("m new fs -n 1G").contains("-n"));
        assert!(refused("--exist-ok m new fs v 1G").contains("--exist-ok"));
        assert!(refused("--lock-timeout nan m list").contains("seconds"));
        assert!(refused("--lock-timeout -1 m list").contains("-1"));
        assert!(refused("m list extra").contains("extra"));
    }

    #[test]
    fn a_word_behind_two_dashes_is_no_option() {
        let Action::Mosaic(name, Verb::Drop(drop)) = parsed("-- -m drop -- -v").action else {
            panic!("no drop");
        };
        assert_eq!((name, drop.volume.as_str()), ("-m".into(), "-v"));
    }
}
