// SPDX-License-Identifier: MIT OR Apache-2.0
//! Colours, tables and streams on a real (pseudo-)terminal, and elsewhere.

mod common;

use common::{make, plain};
use mosaic_tests::{Moctl, Terminal};

/// What a command shows on a terminal.
fn shown(moctl: &Moctl, columns: u16, variables: &[(&str, &str)], words: &[&str]) -> String {
    let mut terminal = Terminal::new(columns);
    let mut command = moctl.command(words);
    command
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .envs(variables.iter().copied());
    terminal.show(&mut command, true);
    terminal.wait_for_end().replace("\r\n", "\n")
}

#[test]
fn a_table_fits_the_terminal_and_loses_nothing() {
    let (moctl, _) = plain();
    let long = "a-rather-long-name-of-a-volume-that-has-no-spaces-in-it-at-all";
    make(&moctl, &[long, "b"]);
    for columns in [60, 80, 200] {
        let text = shown(&moctl, columns, &[("NO_COLOR", "1")], &["web", "list"]);
        for line in text.lines() {
            assert!(
                line.chars().count() <= usize::from(columns),
                "{columns}: {text}"
            );
        }
        let words: String = text.split_whitespace().collect();
        assert!(
            words.contains("it-at-all") && words.contains("idle"),
            "{text}"
        );
    }
    let text = shown(
        &moctl,
        200,
        &[("NO_COLOR", "1"), ("COLUMNS", "60")],
        &["web", "list"],
    );
    assert!(
        text.lines().all(|line| line.chars().count() <= 60),
        "{text}"
    );
    let text = moctl
        .command(&["web", "list"])
        .env("COLUMNS", "60")
        .output()
        .unwrap()
        .stdout;
    assert!(String::from_utf8(text).unwrap().contains(long));
}

#[test]
fn colour_is_only_on_a_terminal_and_never_with_no_color() {
    let (moctl, _) = plain();
    make(&moctl, &["a"]);
    for words in [
        &["web", "list"][..],
        &["web", "drop", "b"],
        &["web", "--help"],
    ] {
        assert!(
            shown(&moctl, 100, &[], words).contains("\x1b["),
            "{words:?}"
        );
        assert!(
            !shown(&moctl, 100, &[("NO_COLOR", "1")], words).contains('\x1b'),
            "{words:?}"
        );
        assert!(
            !shown(&moctl, 100, &[("TERM", "dumb")], words).contains('\x1b'),
            "{words:?}"
        );
        let mut command = moctl.command(words);
        let output = command
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .output()
            .unwrap();
        assert!(
            !output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b),
            "{words:?}"
        );
    }
}

#[test]
fn json_has_no_colour_on_a_terminal() {
    let (moctl, _) = plain();
    make(&moctl, &["a"]);
    let text = shown(&moctl, 20, &[], &["web", "list", "--json"]);
    assert!(!text.contains('\x1b'), "{text}");
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
}
