// SPDX-License-Identifier: MIT OR Apache-2.0
//! `check --repair`: by class, and asked for on a terminal.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use mosaic_tests::{Moctl, Terminal, heeding_signals};

/// A mosaic with an image that others may write to.
fn faulty() -> (Moctl, std::path::PathBuf) {
    let moctl = Moctl::new().unwrap();
    let location = moctl.folder().join("images");
    std::fs::create_dir(&location).unwrap();
    moctl.mosaic("img", "loop", &location, "").unwrap();
    moctl.ok(&["img", "new", "disk", "a", "1M"]);
    std::fs::set_permissions(location.join("a"), Permissions::from_mode(0o666)).unwrap();
    let image = location.join("a");
    (moctl, image)
}

fn mode(image: &Path) -> u32 {
    image.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn only_classes_that_are_named_are_mended() {
    let (moctl, image) = faulty();
    let said = moctl.expect(10, &["img", "check"]).stdout;
    assert!(said.contains("--repair=modes would: set mode"), "{said}");
    let said = moctl.expect(10, &["img", "check", "--repair=sizes"]).stderr;
    assert!(said.contains("no fault of class \"sizes\""), "{said}");
    assert_eq!(mode(&image), 0o666);
    for odd in ["--repair=", "--repair=Modes", "--repair=a,,b"] {
        moctl.expect(2, &["img", "check", odd]);
    }
    let said = moctl.ok(&["img", "check", "--repair=sizes,modes", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    let found = &json["findings"][0];
    assert_eq!(found["class"], "modes");
    assert_eq!(
        (&found["repaired"], &found["by_name"]),
        (&true.into(), &false.into())
    );
    assert_eq!(mode(&image), 0o600);
}

#[test]
fn without_a_terminal_nobody_is_asked() {
    let (moctl, image) = faulty();
    moctl.ok(&["img", "check", "--repair"]);
    assert_eq!(mode(&image), 0o600);
}

/// A terminal with `check --repair` in it that has asked.
fn asked(moctl: &Moctl) -> Terminal {
    let mut terminal = Terminal::new(80);
    let command = moctl.command(&["img", "check", "--repair"]);
    terminal.start(&heeding_signals(&command));
    let shown = terminal.wait_for("mend modes? [y/N]");
    let mut lines = shown.lines();
    assert!(lines.next().unwrap().contains("mode 0666"), "{shown}");
    assert_eq!(lines.next(), Some("mend modes? [y/N]"), "{shown}");
    terminal
}

#[test]
fn on_a_terminal_each_class_is_asked_for() {
    let (moctl, image) = faulty();
    for no in ["n\n", "\n", "no way\n", "\u{4}"] {
        let mut terminal = asked(&moctl);
        terminal.type_in(no);
        let shown = terminal.wait_for_end();
        assert!(shown.contains("--repair=modes would"), "{no:?}: {shown}");
        assert_eq!(mode(&image), 0o666, "{no:?}");
    }
    let mut terminal = asked(&moctl);
    terminal.type_in("y\n");
    let shown = terminal.wait_for_end();
    assert!(shown.contains("repaired: set mode"), "{shown}");
    assert_eq!(mode(&image), 0o600);
}

#[test]
fn on_a_terminal_one_class_is_mended_and_another_is_not() {
    for (modes, leftovers) in [("y\n", "n\n"), ("n\n", "y\n")] {
        let (moctl, image) = faulty();
        let tmp = image.with_file_name(".mosaic").join("tmp");
        let left = tmp.join("0123456789abcdef");
        std::fs::create_dir_all(&tmp).unwrap();
        std::fs::write(&left, "").unwrap();
        let mut terminal = asked(&moctl);
        terminal.type_in(modes);
        let shown = terminal.wait_for("mend leftovers? [y/N]");
        assert!(shown.contains("0123456789abcdef is left over"), "{shown}");
        assert!(!shown.contains("mode 0666"), "{shown}");
        terminal.type_in(leftovers);
        let shown = terminal.wait_for_end();
        let is_mended = [mode(&image) == 0o600, !left.exists()];
        let expected = [modes, leftovers].map(|answer| answer == "y\n");
        assert_eq!(is_mended, expected, "{shown}");
    }
}

#[test]
fn on_a_terminal_nobody_is_asked_where_nothing_is_wrong() {
    let (moctl, image) = faulty();
    std::fs::set_permissions(&image, Permissions::from_mode(0o600)).unwrap();
    let mut terminal = Terminal::new(80);
    terminal.start(&heeding_signals(
        &moctl.command(&["img", "check", "--repair"]),
    ));
    let shown = terminal.wait_for_end();
    assert_eq!(shown.trim_end(), "no faults found");
}

#[test]
fn a_question_is_ended_by_ctrl_c() {
    let (moctl, image) = faulty();
    let mut terminal = asked(&moctl);
    terminal.type_in("\u{3}");
    let shown = terminal.wait_for_end();
    assert!(shown.contains("interrupted"), "{shown}");
    assert_eq!(mode(&image), 0o666);
}
