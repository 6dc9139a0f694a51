// SPDX-License-Identifier: MIT OR Apache-2.0
//! Command lines that make no sense, and bad names and sizes: refused, and nothing made.

mod common;

use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use common::{make, plain};
use mosaic_tests::Moctl;

/// What is beneath a folder, to see that nothing was made.
fn contents(folder: &Path) -> Vec<String> {
    let entries = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries
        .map(|name| name.into_string().unwrap())
        .filter(|name| name != ".mosaic")
        .collect();
    names.sort();
    names
}

#[test]
fn bad_names_are_refused_by_every_verb_and_nothing_is_made() {
    let (moctl, location) = plain();
    make(&moctl, &["a"]);
    let long = "x".repeat(256);
    let longer = format!("{}y", "x/".repeat(600));
    for name in [
        "../x",
        "/abs",
        "a/../b",
        ".",
        "..",
        "",
        "a//b",
        "a/",
        "a\nb",
        "\u{7f}",
        "\u{9b}0m",
        ".mosaic",
        ".mosaic/lock",
        &long,
        &longer,
        "meta",
        "meta/x",
    ] {
        for words in [
            vec!["new", "fs", name, "1M"],
            vec!["new", "disk", name, "1M", "--exist-ok"],
            vec!["clone", "a", name],
            vec!["clone", name, "b"],
            vec!["drop", name],
            vec!["drop", name, "--missing-ok"],
            vec!["rename", "a", name],
            vec!["rename", name, "b"],
            vec!["have", name],
            vec!["info", name],
            vec!["mount", name, "/mnt"],
            vec!["umount", name, "/mnt"],
            vec!["attach", name],
            vec!["detach", name, "--missing-ok"],
            vec!["resize", name, "1M"],
        ] {
            let mut line = vec!["web"];
            line.extend(&words);
            let output = moctl.expect(2, &line);
            assert!(output.stdout.is_empty(), "{line:?}: {}", output.stdout);
            assert_eq!(
                output.stderr.lines().count(),
                1,
                "{line:?}: {}",
                output.stderr
            );
            assert!(
                !output.stderr.chars().any(|c| c.is_control() && c != '\n'),
                "{line:?}"
            );
        }
    }
    assert_eq!(contents(&location), ["a"]);
}

#[test]
fn a_name_like_an_option_is_refused_with_and_without_dashes_before_it() {
    let (moctl, location) = plain();
    moctl.expect(2, &["web", "new", "fs", "-n", "1M"]);
    let output = moctl.expect(2, &["web", "new", "fs", "--", "-n", "1M"]);
    assert_eq!(
        output.stderr,
        "moctl: cannot create volume \"-n\": volume name \"-n\": starts with \"-\"\n"
    );
    assert!(contents(&location).is_empty());
}

#[test]
fn a_name_that_is_no_utf8_is_refused() {
    let (moctl, _) = plain();
    let name = std::ffi::OsString::from_vec(b"a\xff".to_vec());
    let output = moctl.expect(2, &["web".into(), "have".into(), name]);
    assert!(output.stderr.contains("UTF-8"), "{}", output.stderr);
}

#[test]
fn new_names_hold_no_at_sign() {
    let (moctl, location) = plain();
    moctl.expect(2, &["web", "new", "fs", "a@b", "1M"]);
    assert_eq!(moctl.ok(&["web", "have", "a@b"]), "a@b exists: no\n");
    assert!(contents(&location).is_empty());
}

#[test]
fn bad_sizes_are_refused_and_nothing_is_made() {
    let (moctl, location) = plain();
    make(&moctl, &["a"]);
    for size in [
        "0",
        "-5G",
        "12X",
        "abc",
        "",
        "1e3",
        "0x10",
        "5 G",
        "9223372036854775808",
        "8192P",
        "1.5G",
        "G",
        "1000",
        "+1G",
    ] {
        let output = moctl.expect(2, &["web", "new", "fs", "b", size]);
        assert_eq!(
            output.stderr.lines().count(),
            1,
            "{size}: {}",
            output.stderr
        );
        moctl.expect(2, &["web", "clone", "a", "b", "--size", size]);
        if !matches!(size, "-5G" | "+1G") {
            moctl.expect(2, &["web", "resize", "a", size]);
        }
    }
    for size in ["-", "+", "-0", "+0", "--5G", "+-5G"] {
        moctl.expect(2, &["web", "resize", "a", size]);
    }
    assert_eq!(contents(&location), ["a"]);
}

#[test]
fn odd_names_are_just_names() {
    let (moctl, location) = plain();
    let names = [
        "a b",
        "$(reboot)",
        "a;b",
        "*",
        "'",
        "\"",
        "größe",
        "日本",
        ".hidden",
        "-",
    ];
    for name in &names[..names.len() - 1] {
        moctl.ok(&["web", "new", "fs", name, "1M", "-q"]);
        assert_eq!(
            moctl.ok(&["web", "have", name]),
            format!("{name} exists: yes\n")
        );
    }
    assert_eq!(contents(&location).len(), names.len() - 1);
    for name in &names[..names.len() - 1] {
        moctl.ok(&["web", "drop", name]);
    }
    assert!(contents(&location).is_empty());
}

#[test]
fn a_line_that_makes_no_sense_exits_with_2_and_shows_usage() {
    let (moctl, _) = plain();
    for line in [
        vec!["-q"],
        vec!["-q", "web"],
        vec!["web", "nonsense"],
        vec!["web", "d", "x"],
        vec!["web", "re", "x", "1G"],
        vec!["web", "new"],
        vec!["web", "new", "tape", "x", "1G"],
        vec!["web", "list", "--nonsense"],
        vec!["web", "drop", "a", "b"],
        vec!["--lock-timeout", "soon", "web", "list"],
        vec!["--lock-timeout", "-1", "web", "list"],
        vec!["--nonsense", "web", "list"],
        vec!["drivers", "a", "b"],
        vec!["completions", "tcsh"],
    ] {
        let output = moctl.expect(2, &line);
        assert!(
            output.stderr.starts_with("moctl: "),
            "{line:?}: {}",
            output.stderr
        );
        assert!(output.stdout.is_empty(), "{line:?}");
    }
    let output = moctl.expect(2, &["web", "re", "x", "1G"]);
    assert!(
        output.stderr.contains("rename, resize"),
        "{}",
        output.stderr
    );
    let output = moctl.expect(2, &["web", "mount", "a", "/mnt", "-o", "ro,nonsense"]);
    assert!(output.stderr.contains("nonsense"), "{}", output.stderr);
}

#[test]
fn nothing_at_all_is_answered_with_the_help_on_stderr() {
    let (moctl, _) = plain();
    let output = moctl.expect(2, &[""; 0]);
    assert!(
        output
            .stderr
            .contains("Usage: moctl [OPTIONS] MOSAIC ACTION")
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn help_goes_to_stdout_and_knows_every_word() {
    let (moctl, _) = plain();
    assert_eq!(
        moctl.ok(&["--version"]),
        concat!("moctl ", env!("CARGO_PKG_VERSION"), "\n")
    );
    assert_eq!(moctl.ok(&["help"]), moctl.ok(&["--help"]));
    assert_eq!(
        moctl.ok(&["help", "create"]),
        moctl.ok(&["web", "new", "--help"])
    );
    for word in moctl::manual::words() {
        let help = moctl.ok(&["help", word.get_name()]);
        assert!(
            help.contains("Example: moctl") && !help.contains('\x1b'),
            "{help}"
        );
    }
    moctl.expect(2, &["help", "nonsense"]);
}

#[test]
fn a_mosaic_with_the_name_of_a_word_is_reached_by_its_path() {
    let moctl = Moctl::new().unwrap();
    let location = moctl.make_folder("location").unwrap();
    moctl.mosaic("drivers", "plain", &location, "").unwrap();
    moctl.mosaic("l", "plain", &location, "").unwrap();
    assert!(moctl.ok(&["drivers"]).starts_with("TYPE "));
    assert!(moctl.ok(&["./drivers.mos", "list"]).starts_with("NAME "));
    assert!(moctl.ok(&["l", "info"]).contains("name: l\n"));
}

#[test]
fn the_exit_status_is_the_kind_of_the_error() {
    let (moctl, location) = plain();
    make(&moctl, &["a", "b"]);
    moctl.config("bad", "type: [").unwrap();
    moctl
        .config(
            "gone",
            &format!("type: plain\nlocation: {}/x\n", location.display()),
        )
        .unwrap();
    for (status, line) in [
        (3, vec!["nonesuch", "list"]),
        (3, vec!["gone", "list"]),
        (3, vec!["web", "drop", "c"]),
        (3, vec!["web", "info", "c"]),
        (4, vec!["web", "new", "fs", "a", "1M"]),
        (4, vec!["web", "rename", "a", "b"]),
        (6, vec!["web", "new", "disk", "d", "1M"]),
        (6, vec!["web", "clone", "a", "c"]),
        (8, vec!["bad", "list"]),
    ] {
        let output = moctl.expect(status, &line);
        assert_eq!(
            output.stderr.lines().count(),
            1,
            "{line:?}: {}",
            output.stderr
        );
        assert!(output.stdout.is_empty());
    }
}
