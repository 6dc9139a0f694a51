// SPDX-License-Identifier: MIT OR Apache-2.0
//! Help and manual pages, made from the clap definitions so that they cannot disagree with them.

use std::io;

use clap::Command;
use clap_mangen::Man;
use mosaic_core::ErrorKind;

use crate::cli;

/// One manual page.
#[derive(Debug)]
pub struct Page {
    /// `moctl.1`, `moctl-new.1`.
    pub file: String,
    /// roff.
    pub text: String,
}

/// All pages: of moctl, of each verb, of each word that needs no mosaic.
///
/// # Errors
/// None in practice: pages are written to memory.
pub fn pages() -> io::Result<Vec<Page>> {
    let mut pages = vec![page("moctl", &top())?];
    for command in words() {
        pages.push(page(&format!("moctl-{}", command.get_name()), &command)?);
    }
    Ok(pages)
}

/// The command of a verb or another word; also by another name of it.
pub fn find(word: &str) -> Option<Command> {
    words().into_iter().find(|command| {
        command.get_name() == word || command.get_all_aliases().any(|alias| alias == word)
    })
}

/// The commands of all words, with the options of every action.
pub fn words() -> Vec<Command> {
    let mut all = Vec::new();
    for mut command in [cli::verbs(), cli::top_level()] {
        command.build();
        all.extend(command.get_subcommands().cloned());
    }
    all
}

fn top() -> Command {
    let mut command = cli::top_level();
    command.build();
    command
}

fn page(name: &str, command: &Command) -> io::Result<Page> {
    let command = command.clone().display_name(name.to_owned());
    let man = Man::new(command.clone())
        .title(name)
        .section("1")
        .manual("Mosaic")
        .source(concat!("Mosaic ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    text.extend(explanation(command.get_name()).into_bytes());
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        text.extend(words_section().into_bytes());
    } else {
        text.extend(example_section(&command).into_bytes());
    }
    text.extend(exit_status_section().into_bytes());
    text.extend(see_also_section(name).into_bytes());
    let text = String::from_utf8(text).map_err(io::Error::other)?;
    Ok(Page {
        file: format!("{name}.1"),
        text,
    })
}

/// What `doc/moctl.md` says in its paragraph on a word, if it has one: `**word** does this.`
fn explanation(word: &str) -> String {
    let start = format!("**{word}** ");
    let manual = include_str!("../../doc/moctl.md");
    let mut paragraphs = manual.split("\n\n");
    let Some(paragraph) = paragraphs.find(|text| text.starts_with(&start)) else {
        return String::new();
    };
    let mut text = format!(".PP\n\\fB{word}\\fR ");
    for (at, part) in paragraph[start.len()..].split('`').enumerate() {
        match at % 2 {
            0 => text.push_str(&roff(part)),
            _ => text.push_str(&format!("\\fB{}\\fR", roff(part))),
        }
    }
    text.push('\n');
    text
}

/// The example that the help ends with.
fn example_section(command: &Command) -> String {
    let help = command.get_after_help().map(ToString::to_string);
    let help = help.unwrap_or_default();
    let line = help.strip_prefix("Example: ").unwrap_or(&help);
    format!(".SH EXAMPLE\n.nf\n{}\n.fi\n", roff(line))
}

fn words_section() -> String {
    let mut text = ".SH ACTIONS\n".to_owned();
    for command in words() {
        let about = command.get_about().map(ToString::to_string);
        text.push_str(&format!(
            ".TP\n\\fBmoctl\\-{}\\fR(1)\n{}\n",
            roff(command.get_name()),
            roff(&about.unwrap_or_default())
        ));
    }
    text
}

/// What each exit status means, one line each.
pub fn exit_statuses() -> Vec<(u8, &'static str)> {
    let mut table = vec![(0, "done")];
    table.extend(ErrorKind::all().map(|kind| (kind.exit_status(), meaning(kind))));
    table
}

fn meaning(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Io => "failed: the kernel, the storage or a program",
        ErrorKind::Invalid => "usage: no such action, option, name or size",
        ErrorKind::NotFound => "not found",
        ErrorKind::Exists => "exists already",
        ErrorKind::Busy => "busy: in use, or a lock was not to be had in time",
        ErrorKind::Unsupported => "unsupported by the driver, the location or the kernel",
        ErrorKind::NoSpace => "no space",
        ErrorKind::Config => "bad config file",
        ErrorKind::Permission => "permission denied",
        ErrorKind::Corrupt => "corrupt: what is on the storage contradicts itself",
        ErrorKind::Interrupted => "interrupted by a signal; nothing half-made is left",
        _ => "failed",
    }
}

fn exit_status_section() -> String {
    let mut text = ".SH \"EXIT STATUS\"\n".to_owned();
    for (status, meaning) in exit_statuses() {
        text.push_str(&format!(".TP\n\\fB{status}\\fR\n{}\n", roff(meaning)));
    }
    text
}

fn see_also_section(name: &str) -> String {
    let others: Vec<String> = std::iter::once("moctl".to_owned())
        .chain(
            words()
                .iter()
                .map(|word| format!("moctl-{}", word.get_name())),
        )
        .filter(|other| other != name)
        .map(|other| format!("\\fB{}\\fR(1)", roff(&other)))
        .collect();
    format!(".SH \"SEE ALSO\"\n{}\n", others.join(", "))
}

/// Text as roff: `-` is a minus, a line's first character no request.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('-', "\\-");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_each_word_with_all_its_options() {
        let pages = pages().unwrap();
        assert_eq!(pages.len(), words().len() + 1);
        for command in words() {
            let file = format!("moctl-{}.1", command.get_name());
            let page = pages.iter().find(|page| page.file == file).unwrap();
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                if let Some(long) = arg.get_long() {
                    let long = format!("\\-\\-{}", long.replace('-', "\\-"));
                    assert!(page.text.contains(&long), "{file}: {long}");
                }
            }
            assert!(
                page.text.contains(".SH EXAMPLE\n.nf\nmoctl ") && page.text.contains("EXIT STATUS")
            );
        }
    }

    #[test]
    fn each_action_is_explained_in_its_page() {
        for verb in cli::verbs().get_subcommands() {
            assert!(
                explanation(verb.get_name()).len() > 40,
                "{}",
                verb.get_name()
            );
        }
        assert_eq!(explanation("nonsense"), "");
    }

    #[test]
    fn every_example_in_the_help_is_one_that_moctl_understands() {
        for command in words() {
            let help = command.get_after_help().map(ToString::to_string).unwrap();
            let line = help.strip_prefix("Example: moctl ").unwrap();
            let line = line.split(['>', '|']).next().unwrap();
            let words: Vec<_> = line.split_whitespace().map(Into::into).collect();
            crate::arguments::parse(&words).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
    }

    #[test]
    fn a_verb_is_found_by_its_other_name() {
        assert_eq!(find("create").unwrap().get_name(), "new");
        assert!(find("nonsense").is_none());
    }
}
