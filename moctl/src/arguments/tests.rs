// SPDX-License-Identifier: MIT OR Apache-2.0
//! Command lines, and what they are read as.

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
        assert!(text.contains("not known"), "{line}: {text}");
    }
    let text = refused("m lst");
    assert!(
        text.contains("'lst'") && text.contains(": info, list, "),
        "{text}"
    );
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
