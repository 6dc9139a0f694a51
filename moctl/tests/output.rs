// SPDX-License-Identifier: MIT OR Apache-2.0
//! What scripts know and rely on, `--quiet`, and streams that go away.

mod common;

use std::fs::OpenOptions;
use std::process::Stdio;

use common::{make, plain};
use mosaic_tests::{Moctl, MountedFs, requires_program, requires_root};

#[test]
fn have_answers_yes_or_no_with_success() {
    let (moctl, _) = plain();
    make(&moctl, &["a"]);
    assert_eq!(moctl.ok(&["web", "have", "a"]), "a exists: yes\n");
    assert_eq!(moctl.ok(&["web", "have", "b"]), "b exists: no\n");
    assert_eq!(
        moctl.ok(&["web", "have", "a", "--exit-code"]),
        "a exists: yes\n"
    );
    assert_eq!(
        moctl.expect(3, &["web", "have", "b", "--exit-code"]).stdout,
        "b exists: no\n"
    );
    assert_eq!(
        moctl
            .expect(3, &["web", "have", "b", "--exit-code", "-q"])
            .stdout,
        ""
    );
}

#[test]
fn info_has_one_line_of_features_and_a_reason_for_what_is_none() {
    let (moctl, location) = plain();
    make(&moctl, &["a"]);
    for line in [vec!["web", "info"], vec!["web", "info", "a"]] {
        let text = moctl.ok(&line);
        let features: Vec<_> = text
            .lines()
            .filter(|l| l.starts_with("features:"))
            .collect();
        assert_eq!(features.len(), 1, "{text}");
        assert!(features[0].split(' ').any(|word| word == "fs"), "{text}");
        assert!(!features[0].contains("bdev"), "{text}");
        assert!(text.lines().any(|l| l.starts_with("no bdev: ")), "{text}");
    }
    let text = moctl.ok(&["web", "info"]);
    for line in [
        "name: web",
        "type: plain",
        "metadata: meta",
        &format!("location: {}", location.display()),
    ] {
        assert!(text.lines().any(|l| l == line), "{line}: {text}");
    }
}

#[test]
fn list_has_a_line_for_each_volume_in_order() {
    let (moctl, _) = plain();
    make(&moctl, &["b", "a b", "a"]);
    let text = moctl.ok(&["web", "list"]);
    let lines: Vec<_> = text.lines().collect();
    let header: Vec<_> = lines[0].split_whitespace().collect();
    assert_eq!(
        header,
        ["NAME", "KIND", "SIZE", "USED", "ORIGIN", "STATE", "MOUNTED"]
    );
    let names: Vec<_> = lines[1..].iter().map(|line| line[..6].trim_end()).collect();
    assert_eq!(names, ["a", "a b", "b"]);
    let long = "x".repeat(250);
    make(&moctl, &[&long]);
    assert_eq!(moctl.ok(&["web", "list"]).lines().count(), 5);
}

#[test]
fn unchanged_is_said_unless_quiet() {
    let (moctl, _) = plain();
    assert_eq!(moctl.ok(&["web", "new", "fs", "a", "1M"]), "");
    assert_eq!(moctl.ok(&["web", "drop", "a"]), "");
    assert_eq!(
        moctl.ok(&["web", "drop", "a", "--missing-ok"]),
        "unchanged\n"
    );
    assert_eq!(moctl.ok(&["-q", "web", "drop", "a", "--missing-ok"]), "");
}

#[test]
fn a_size_that_is_not_enforced_is_a_warning() {
    let (moctl, _) = plain();
    let output = moctl.expect(0, &["web", "new", "fs", "a", "1M"]);
    assert!(
        output.stderr.starts_with("moctl: warning: "),
        "{}",
        output.stderr
    );
    let output = moctl.expect(0, &["web", "new", "fs", "b", "1M", "--quiet"]);
    assert_eq!(output.stderr, "");
    let output = moctl.expect(0, &["web", "new", "fs", "c", "1M", "--json"]);
    assert_eq!(output.stderr, "");
    assert!(
        output.stdout.contains("\"warnings\":[\""),
        "{}",
        output.stdout
    );
}

#[test]
fn verbose_goes_to_stderr_and_twice_has_times() {
    let Ok(moctl) = Moctl::new() else {
        panic!("no moctl")
    };
    if !requires_program("mkfs.ext4") {
        return;
    }
    let location = moctl.make_folder("images").unwrap();
    moctl
        .mosaic("img", "loop", &location, "default_fs: ext4\n")
        .unwrap();
    let output = moctl.expect(0, &["img", "new", "fs", "a", "16M", "-v"]);
    assert_eq!(output.stdout, "");
    assert!(output.stderr.contains("mkfs.ext4"), "{}", output.stderr);
    assert!(
        output
            .stderr
            .lines()
            .all(|line| line.starts_with("moctl: ")),
        "{}",
        output.stderr
    );
    let output = moctl.expect(0, &["img", "new", "fs", "b", "16M", "-vv"]);
    assert!(
        output
            .stderr
            .lines()
            .all(|line| line.starts_with("moctl: [")),
        "{}",
        output.stderr
    );
    assert_eq!(moctl.expect(0, &["img", "drop", "a"]).stderr, "");
}

/// Runs each line with `-v` and looks for the step in what it prints on stderr.
fn shows(moctl: &Moctl, steps: &[(&[&str], &str)]) {
    for (line, step) in steps {
        let words = [*line, &["-v"]].concat();
        let stderr = moctl.expect(0, &words).stderr;
        assert!(stderr.contains(step), "{line:?}, not {step:?}: {stderr}");
    }
}

#[test]
fn verbose_shows_each_change_of_the_storage() {
    let (moctl, _) = plain();
    let images = moctl.make_folder("images").unwrap();
    moctl.mosaic("img", "loop", &images, "").unwrap();
    shows(
        &moctl,
        &[
            (&["web", "new", "fs", "a", "1M"], "rename it to a"),
            (&["web", "rename", "a", "b"], "rename a to b"),
            (&["web", "drop", "b"], "rename b to the trash"),
            (&["img", "new", "disk", "a", "1M"], "linkat "),
            (&["img", "rename", "a", "b"], "renameat2 "),
            (&["img", "drop", "b"], "unlink "),
        ],
    );
}

#[test]
fn root_verbose_shows_each_change_of_devices_and_mounts() {
    if !requires_root() || !requires_program("mkfs.xfs") {
        return;
    }
    let (moctl, location) = plain();
    std::fs::create_dir(location.join("meta")).unwrap();
    let reflink = MountedFs::new("xfs").unwrap();
    moctl
        .mosaic("img", "loop", reflink.path(), "default_fs: ext4\n")
        .unwrap();
    let at = moctl.make_folder("at").unwrap();
    let at = at.to_str().unwrap();
    make(&moctl, &["a"]);
    moctl.ok(&["img", "new", "fs", "a", "16M"]);
    shows(
        &moctl,
        &[
            (&["web", "mount", "a", at], "mount its directory at"),
            (&["web", "umount", "a", at], "umount2 "),
            (&["web", "mount", "-", at], "mount its directory at"),
            (&["web", "umount", "-", at], "umount2 "),
            (&["img", "mount", "a", at], "LOOP_CONFIGURE "),
            (&["img", "clone", "a", "b"], "syncfs "),
            (&["img", "umount", "a", at], "umount2 "),
            (&["img", "clone", "a", "c"], "FICLONE "),
            (&["img", "mount", "a", at, "-o", "ro"], "mount ext4 "),
            (&["img", "umount", "a", at], "umount2 "),
            (&["img", "attach", "a"], "LOOP_CONFIGURE "),
            (&["img", "detach", "a"], "LOOP_CLR_FD "),
            (&["img", "resize", "a", "32M"], "ftruncate "),
        ],
    );
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let (moctl, _) = plain();
    make(&moctl, &["a"]);
    for line in [
        vec!["web", "list"],
        vec!["web", "list", "--json"],
        vec!["--help"],
        vec!["man"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = moctl.command(&line).stdout(writer).output().unwrap();
        assert!(output.status.success(), "{line:?}: {:?}", output.status);
        assert!(output.stderr.is_empty(), "{line:?}");
    }
}

#[test]
fn a_full_disk_behind_stdout_is_a_failure() {
    let (moctl, _) = plain();
    let full = || Stdio::from(OpenOptions::new().write(true).open("/dev/full").unwrap());
    let output = moctl
        .command(&["web", "list"])
        .stdout(full())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(
        stderr,
        "moctl: cannot write to standard output: No space left on device\n"
    );
}

#[test]
fn names_on_the_storage_do_not_steer_the_terminal() {
    let (moctl, location) = plain();
    std::fs::create_dir(location.join("evil\u{1b}[2J\u{9b}31m")).unwrap();
    std::fs::create_dir(location.join("turned\u{202e}cod.exe")).unwrap();
    for line in [
        vec!["web", "list"],
        vec!["web", "check"],
        vec!["web", "list", "--json"],
    ] {
        let output = moctl.run(&line);
        let text = output.stdout + &output.stderr;
        assert!(
            !text.chars().any(|c| c.is_control() && c != '\n'),
            "{line:?}: {text:?}"
        );
    }
}

#[test]
fn drivers_are_listed_without_loading_and_shown_with_their_keys() {
    let (moctl, _) = plain();
    let text = moctl.ok(&["drivers"]);
    let header: Vec<_> = text.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["TYPE", "VERSION", "ABI", "FILE", "STATUS"]);
    for name in ["loop", "plain"] {
        let row = text.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(row.contains(&format!("libmosaic_{name}.so")), "{text}");
    }
    let text = moctl.ok(&["drivers", "loop"]);
    assert!(text.starts_with("type: loop\ndescription: "), "{text}");
    assert_eq!(moctl.ok(&["drivers", "fsimg"]), text);
    let output = moctl.expect(3, &["drivers", "nonesuch"]);
    assert!(output.stderr.contains("loop"), "{}", output.stderr);
    moctl.expect(2, &["drivers", "../loop"]);
}

#[test]
fn a_bad_mosaic_is_marked_and_the_others_are_listed() {
    let (moctl, location) = plain();
    moctl
        .config("bad", "type: plain\nlocaton: /x\ncolour: red\n")
        .unwrap();
    moctl.config("empty", "").unwrap();
    moctl
        .mosaic("gone", "plain", &location.join("gone"), "")
        .unwrap();
    moctl.mosaic("odd", "nonesuch", &location, "").unwrap();
    let text = moctl.ok(&["mosaics"]);
    let row = |name: &str| {
        let found = text
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name));
        found.unwrap_or_else(|| panic!("{name}: {text}")).to_owned()
    };
    assert!(row("NAME").ends_with("STATE"));
    assert!(row("web").ends_with(" ok") && row("web").contains("plain"));
    assert!(
        row("bad").contains("did you mean location") && row("bad").contains("colour"),
        "{text}"
    );
    assert!(row("gone").contains("does not exist"), "{text}");
    assert!(row("odd").contains("nonesuch"), "{text}");
    assert_eq!(text.lines().count(), 6, "{text}");
}

#[test]
fn no_config_folder_means_no_mosaics() {
    let (moctl, _) = plain();
    let mut command = moctl.command(&["mosaics", "--json"]);
    let output = command
        .env("MOSAIC_CONFIG_DIR", "/nonexistent")
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("\"mosaics\":[]")
    );
}

#[test]
fn root_attach_prints_its_device_even_if_quiet() {
    if !requires_root() {
        return;
    }
    let moctl = Moctl::new().unwrap();
    let location = moctl.make_folder("images").unwrap();
    moctl.mosaic("img", "loop", &location, "").unwrap();
    moctl.ok(&["img", "new", "disk", "d", "16M"]);
    let text = moctl.ok(&["img", "attach", "d", "-q"]);
    let again = moctl.run(&["img", "attach", "d"]);
    let accepted = moctl.run(&["img", "attach", "d", "--exist-ok"]);
    moctl.ok(&["img", "detach", "d"]);
    assert!(
        text.starts_with("Device: /dev/loop") && text.lines().count() == 1,
        "{text}"
    );
    assert_eq!((again.status, accepted.status), (5, 0));
    assert_eq!(accepted.stdout, format!("{text}unchanged\n"));
    assert_eq!(
        moctl.ok(&["img", "detach", "d", "--missing-ok"]),
        "unchanged\n"
    );
}

#[test]
fn resize_says_from_what_to_what() {
    let moctl = Moctl::new().unwrap();
    let location = moctl.make_folder("images").unwrap();
    moctl.mosaic("img", "loop", &location, "").unwrap();
    moctl.ok(&["img", "new", "disk", "d", "16M"]);
    assert_eq!(
        moctl.ok(&["img", "resize", "d", "+16M"]),
        "from 16 MiB to 32 MiB\n"
    );
    assert_eq!(moctl.ok(&["img", "resize", "d", "32M"]), "unchanged\n");
    moctl.expect(2, &["img", "resize", "d", "-16M"]);
    assert_eq!(
        moctl.ok(&["img", "resize", "d", "-16M", "--shrink"]),
        "from 32 MiB to 16 MiB\n"
    );
}
