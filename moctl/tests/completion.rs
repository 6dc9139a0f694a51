// SPDX-License-Identifier: MIT OR Apache-2.0
//! Completion as the three shells do it: real shells, on a terminal where they want one.

mod common;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{make, plain};
use mosaic_tests::{Moctl, Terminal, requires_program};

const ODD: [&str; 6] = ["my vol", "it's", "a$b", "co:lon", "größe", "semi;colon"];

/// A command with the environment in which `moctl` is found first and completes its own mosaics.
fn shell(moctl: &Moctl, program: &str, args: &[&str]) -> Command {
    let template = moctl.command(&[""; 0]);
    let folder = Path::new(template.get_program()).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new(program);
    command
        .args(args)
        .env("PATH", format!("{}:{path}", folder.display()));
    for (name, value) in template
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)))
    {
        command.env(name, value);
    }
    command
        .env("HOME", moctl.folder())
        .env("TERM", "dumb")
        .current_dir(moctl.folder());
    command
}

/// A shell that waits on a terminal with `moctl`'s completion loaded.
fn interactive(moctl: &Moctl, name: &str, args: &[&str], setup: &str) -> Terminal {
    let script = moctl.folder().join(format!("setup.{name}"));
    let completions = moctl.ok(&["completions", name]);
    let file = moctl.folder().join("_moctl");
    std::fs::write(&file, completions).unwrap();
    // The prompt is put together by the shell, so that its echo is no prompt.
    std::fs::write(
        &script,
        format!("{setup}\nsource {}\nPS1='rea''dy> '\n", file.display()),
    )
    .unwrap();
    let mut terminal = Terminal::new(200);
    terminal.start(&shell(moctl, name, args));
    terminal.type_in(&format!(". {}\n", script.display()));
    terminal.wait_for("ready> ");
    terminal
}

/// Types a line, completes, and has the shell print the words that it makes of that.
fn completed(terminal: &mut Terminal, line: &str) -> Vec<String> {
    terminal.type_in(&format!("{line}\t"));
    terminal.type_in("\n");
    terminal.wait_for("<<<");
    let text = terminal.wait_for(">>>");
    terminal.wait_for("ready> ");
    let text = text.trim_end_matches(">>>");
    text.split('|')
        .filter(|word| !word.is_empty())
        .map(|w| w.trim().to_owned())
        .collect()
}

/// What the shell does instead of `moctl` when the line is entered: shows its words.
const SHOW: &str =
    "moctl() { printf '%s' '<<' '<'; printf '%s|' \"$@\"; printf '%s%s\\n' '>>' '>'; }";

#[test]
fn bash_completes_words_and_odd_names() {
    if !requires_program("bash") {
        return;
    }
    let (moctl, _) = plain();
    make(&moctl, &ODD);
    let setup =
        format!("bind 'set enable-bracketed-paste off'\nbind 'set bell-style none'\n{SHOW}");
    let mut bash = interactive(&moctl, "bash", &["--norc", "--noprofile", "-i"], &setup);
    for (line, words) in [
        ("moctl web dr", vec!["web", "drop"]),
        ("moctl we", vec!["web"]),
        ("moctl mos", vec!["mosaics"]),
        ("moctl web drop my", vec!["web", "drop", "my vol"]),
        ("moctl web drop 'my", vec!["web", "drop", "my vol"]),
        ("moctl web drop \"my v", vec!["web", "drop", "my vol"]),
        ("moctl web drop my\\ ", vec!["web", "drop", "my vol"]),
        ("moctl web drop it", vec!["web", "drop", "it's"]),
        ("moctl web drop a", vec!["web", "drop", "a$b"]),
        ("moctl web drop co", vec!["web", "drop", "co:lon"]),
        ("moctl web drop co:l", vec!["web", "drop", "co:lon"]),
        ("moctl web drop gr", vec!["web", "drop", "größe"]),
        ("moctl web drop größ", vec!["web", "drop", "größe"]),
        ("moctl web drop semi", vec!["web", "drop", "semi;colon"]),
        (
            "moctl -v --lock-timeout 3 web clone my",
            vec!["-v", "--lock-timeout", "3", "web", "clone", "my vol"],
        ),
        ("moctl web new d", vec!["web", "new", "disk"]),
        ("moctl web list --js", vec!["web", "list", "--json"]),
        ("moctl web mount a /us", vec!["web", "mount", "a", "/usr/"]),
        ("moctl ./we", vec!["./web.mos"]),
        ("moctl nonesuch drop ", vec!["nonesuch", "drop"]),
    ] {
        assert_eq!(completed(&mut bash, line), words, "{line}");
    }
}

#[test]
fn zsh_completes_words_and_odd_names() {
    if !requires_program("zsh") {
        return;
    }
    let (moctl, _) = plain();
    make(&moctl, &ODD);
    let setup =
        format!("autoload -Uz compinit; compinit -u -D\nunsetopt zle_bracketed_paste beep\n{SHOW}");
    let mut zsh = interactive(&moctl, "zsh", &["-f", "-i"], &setup);
    for (line, words) in [
        ("moctl web dr", vec!["web", "drop"]),
        ("moctl we", vec!["web"]),
        ("moctl web drop my", vec!["web", "drop", "my vol"]),
        ("moctl web drop 'my", vec!["web", "drop", "my vol"]),
        ("moctl web drop it", vec!["web", "drop", "it's"]),
        ("moctl web drop a", vec!["web", "drop", "a$b"]),
        ("moctl web drop co:l", vec!["web", "drop", "co:lon"]),
        ("moctl web drop gr", vec!["web", "drop", "größe"]),
        ("moctl web drop semi", vec!["web", "drop", "semi;colon"]),
        ("moctl web list --js", vec!["web", "list", "--json"]),
        ("moctl web mount a /us", vec!["web", "mount", "a", "/usr"]),
    ] {
        assert_eq!(completed(&mut zsh, line), words, "{line}");
    }
}

#[test]
fn fish_completes_words_and_odd_names() {
    if !requires_program("fish") {
        return;
    }
    let (moctl, _) = plain();
    make(&moctl, &ODD);
    let script = moctl.folder().join("moctl.fish");
    std::fs::write(&script, moctl.ok(&["completions", "fish"])).unwrap();
    let candidates = |line: &str| -> Vec<String> {
        let ask = format!("source {}; complete -C $argv[1]", script.display());
        let output = shell(&moctl, "fish", &["--no-config", "-c", &ask, "--", line])
            .output()
            .unwrap();
        assert!(
            output.stderr.is_empty(),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| line.split('\t').next().unwrap().to_owned())
            .collect()
    };
    for (line, words) in [
        ("moctl web dr", vec!["drop"]),
        ("moctl we", vec!["web"]),
        ("moctl web drop my", vec!["my vol"]),
        ("moctl web drop 'my", vec!["my vol"]),
        ("moctl web drop my\\ v", vec!["my vol"]),
        ("moctl web drop it", vec!["it's"]),
        ("moctl web drop a", vec!["a$b"]),
        ("moctl web drop co:l", vec!["co:lon"]),
        ("moctl web drop gr", vec!["größe"]),
        ("moctl web list --js", vec!["--json"]),
        ("moctl web mount a /us", vec!["/usr/"]),
        ("moctl nonesuch drop ", vec![]),
    ] {
        assert_eq!(candidates(line), words, "{line}");
    }
    assert_eq!(candidates("moctl web drop ").len(), ODD.len());
}

#[test]
fn candidates_come_fast_and_silently_also_where_nothing_works() {
    let (moctl, location) = plain();
    make(&moctl, &["a"]);
    moctl.config("bad", "type: [").unwrap();
    moctl
        .mosaic("gone", "plain", &location.join("gone"), "")
        .unwrap();
    for mosaic in ["bad", "gone", "nonesuch", "/nonexistent/x.mos", ""] {
        let words = ["completions", "zsh", "--words", "--", mosaic, "drop", ""];
        let output = moctl.expect(0, &words);
        assert_eq!(
            (output.stdout.as_str(), output.stderr.as_str()),
            ("words\n", ""),
            "{mosaic}"
        );
    }
    let start = Instant::now();
    let words = ["completions", "zsh", "--words", "--", "web", "drop", ""];
    assert_eq!(moctl.ok(&words), "words\na\n");
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn each_place_has_its_candidates() {
    let (moctl, _) = plain();
    make(&moctl, &["a", "b"]);
    let candidates = |words: &[&str]| -> Vec<String> {
        let mut line = vec!["completions", "zsh", "--words", "--"];
        line.extend(words);
        let text = moctl.ok(&line);
        let word = |line: &str| line.split('\t').next().unwrap().to_owned();
        text.lines().map(word).collect()
    };
    for (words, expected) in [
        (vec!["web", "drop", ""], vec!["words", "a", "b"]),
        (vec!["web", "umount", ""], vec!["words", "-"]),
        (vec!["web", "mount", ""], vec!["words", "a", "b", "-"]),
        (vec!["web", "detach", ""], vec!["words"]),
        (vec!["web", "new", "fs", ""], vec!["words"]),
        (vec!["web", "rename", "a", ""], vec!["words"]),
        (vec!["web", "mount", "a", ""], vec!["folders"]),
        (
            vec!["web", "mount", "-o", "ro,noe"],
            vec!["words", "ro,noexec"],
        ),
        (vec!["./"], vec!["files"]),
        (vec!["drivers", "l"], vec!["words", "loop"]),
        (vec!["help", "ren"], vec!["words", "rename"]),
        (vec!["d"], vec!["words", "drivers"]),
        (vec!["--dr"], vec!["words", "--driver-dir"]),
    ] {
        assert_eq!(candidates(&words), expected, "{words:?}");
    }
    assert!(candidates(&[""]).contains(&"web".to_owned()));
}
