// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl completions SHELL`: the shell's script, or (for the script) the candidates at the cursor.

use std::ffi::OsString;

use serde::Serialize;

use super::Context;
use crate::cli::{Completions, Shell};
use crate::completion::bash_line::BashLine;
use crate::completion::{self, Answer, Candidate};
use crate::output::Report;

#[derive(Serialize)]
struct CompletionsJson {
    action: &'static str,
    shell: &'static str,
    text: String,
}

/// Prints the script or the candidates.
pub fn run(context: &Context, arguments: &Completions) -> Report {
    let text = match (&arguments.line, arguments.words) {
        (Some(line), _) => in_bash(
            context,
            line,
            arguments.breaks.as_deref().unwrap_or_default(),
        ),
        (None, true) => lines(&completion::complete(context, &arguments.word), described),
        (None, false) => script(arguments.shell).to_owned(),
    };
    let shell = match arguments.shell {
        Shell::Bash => "bash",
        Shell::Zsh => "zsh",
        Shell::Fish => "fish",
    };
    let fields = CompletionsJson {
        action: "completions",
        shell,
        text: text.clone(),
    };
    Report::new(fields).text(&text)
}

fn script(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => include_str!("../../completions/moctl.bash"),
        Shell::Zsh => include_str!("../../completions/moctl.zsh"),
        Shell::Fish => include_str!("../../completions/moctl.fish"),
    }
}

fn in_bash(context: &Context, line: &str, breaks: &str) -> String {
    let parsed = BashLine::parse(line, breaks);
    let words: Vec<OsString> = parsed.words.iter().skip(1).map(OsString::from).collect();
    let answer = completion::complete(context, &words);
    lines(&answer, |candidate| parsed.reply(&candidate.value))
}

fn described(candidate: &Candidate) -> String {
    match candidate.about.as_str() {
        "" => candidate.value.clone(),
        about => format!("{}\t{about}", candidate.value),
    }
}

fn lines(answer: &Answer, line: impl Fn(&Candidate) -> String) -> String {
    let candidates = match answer {
        Answer::Files => return "files\n".to_owned(),
        Answer::Folders => return "folders\n".to_owned(),
        Answer::Words(candidates) => candidates,
    };
    let mut text = "words\n".to_owned();
    for candidate in candidates {
        text.push_str(&line(candidate));
        text.push('\n');
    }
    text
}
