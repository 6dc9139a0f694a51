// SPDX-License-Identifier: MIT OR Apache-2.0
//! `doc/moctl.md` and the program agree.

mod common;

use std::ffi::OsString;
use std::fs;

use clap::Command;
use common::{plain, repository_file, repository_folder};
use moctl::{arguments, manual};

fn manual_text() -> String {
    repository_file("doc/moctl.md")
}

/// Whether a text in backquotes starts with a word.
fn is_explained(text: &str, word: &str) -> bool {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.flat_map(str::split_whitespace).any(|w| w == word)
}

fn option_words(command: &Command) -> Vec<String> {
    let mut words = Vec::new();
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        words.extend(arg.get_long().map(|long| format!("--{long}")));
        words.extend(arg.get_short().map(|short| format!("-{short}")));
    }
    words
}

#[test]
fn the_manual_explains_every_word_and_every_option() {
    let text = manual_text();
    for command in manual::words() {
        let name = command.get_name();
        let row = format!("| `{name}");
        assert!(text.contains(&row), "no row for {name}");
        for option in option_words(&command) {
            assert!(is_explained(&text, &option), "{name} {option}");
        }
    }
    for option in option_words(&moctl::cli::top_level()) {
        assert!(is_explained(&text, &option), "{option}");
    }
}

#[test]
fn every_option_in_the_manual_is_one_of_the_program() {
    let mut known: Vec<String> = manual::words().iter().flat_map(option_words).collect();
    known.push("--version".into());
    let text = manual_text();
    for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')) {
        if word.starts_with("--") && !word.trim_matches('-').is_empty() {
            assert!(known.iter().any(|option| option == word), "{word}");
        }
    }
}

#[test]
fn the_table_of_exit_statuses_is_the_programs() {
    let text = manual_text();
    for kind in mosaic_core::ErrorKind::all() {
        let row = format!("| {} | {} |", kind.exit_status(), kind.name());
        assert!(text.contains(&row), "{row}");
    }
    let json = repository_file("doc/json.md");
    let kinds: Vec<_> = mosaic_core::ErrorKind::all()
        .map(|kind| format!("`{}`", kind.name()))
        .collect();
    assert!(json.contains(&kinds.join(", ")), "{}", kinds.join(", "));
}

#[test]
fn variables_in_the_manual_are_those_of_the_program() {
    let text = manual_text();
    for name in [
        "MOSAIC_CONFIG_DIR",
        "MOSAIC_DRIVER_PATH",
        "MOSAIC_ABI_DEBUG",
        "NO_COLOR",
        "COLUMNS",
    ] {
        assert!(text.contains(&format!("| `{name}` |")), "{name}");
    }
}

/// Lines of a console block: a command behind `$`, and what it prints.
#[test]
fn the_examples_in_the_manual_print_what_stands_there() {
    let (moctl, location) = plain();
    let text = manual_text();
    let mut examples = 0;
    for block in text.split("```console\n").skip(1) {
        // For check to find; the first command that changes something deletes it, too.
        fs::create_dir_all(location.join(".mosaic/tmp/0123456789abcdef")).unwrap();
        let block = block.split("```").next().unwrap();
        for example in block.split("$ moctl ").skip(1) {
            let (line, expected) = example.split_once('\n').unwrap();
            let words: Vec<_> = line.split_whitespace().collect();
            let output = moctl.run(&words);
            let errors = output
                .stderr
                .lines()
                .filter(|l| !l.starts_with("moctl: warning: "));
            let errors: String = errors.map(|line| format!("{line}\n")).collect();
            assert_eq!(output.stdout + &errors, expected, "{line}");
            examples += 1;
        }
    }
    assert!(examples > 5);
}

#[test]
fn every_command_line_in_the_documents_is_one_that_moctl_understands() {
    let mut checked = 0;
    for file in [
        "README.md",
        "doc/moctl.md",
        "doc/json.md",
        "doc/driver.md",
        "mosaic-dmthin/README.md",
    ] {
        let text = repository_file(file);
        for line in text.lines() {
            let line = line.trim_start().trim_start_matches("$ ");
            let Some(line) = line.strip_prefix("moctl ").filter(|l| !l.starts_with('[')) else {
                continue;
            };
            let line = line.split(['#', '>']).next().unwrap();
            if line.contains(": ") {
                continue;
            }
            let words: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
            arguments::parse(&words).unwrap_or_else(|e| panic!("{file}: {line}: {e}"));
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked}");
}

#[test]
fn the_architecture_names_each_file_of_the_crates_that_it_shows() {
    let text = repository_file("doc/architecture.md");
    for driver in ["mosaic-btrfs", "mosaic-dmthin", "libmosaic"] {
        let folder = repository_folder().join(driver).join("src");
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let stems = files.map(|file| file.path().file_stem().unwrap().to_owned());
        let mut count = 0;
        for stem in stems.filter(|stem| stem != "lib") {
            let named = format!("`{}`", stem.to_str().unwrap());
            assert!(text.contains(&named), "{driver}: {named}");
            count += 1;
        }
        assert!(count > 10, "{driver}");
    }
}
