// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the names that a user says to those that are stored, and back.

use super::*;

fn config(more: &str) -> Config {
    read(&format!("type: a\nlocation: /l\n{more}\n")).unwrap()
}

#[test]
fn without_a_map_a_name_is_stored_as_it_is_said() {
    let config = config("");
    let name = config.volume_name("web 1/a").unwrap();
    assert_eq!((name.user(), name.stored()), ("web 1/a", "web 1/a"));
    for bad in ["", "../x", "/abs", "a//b", "-n", ".mosaic", "a\nb"] {
        let error = config.volume_name(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad:?}");
    }
}

#[test]
fn a_map_gives_the_stored_name() {
    let config = config(r"volumeMap: \(.*\)\(.\) \2/\1\2");
    let name = config.volume_name("web12").unwrap();
    assert_eq!((name.user(), name.stored()), ("web12", "2/web12"));
    assert_eq!(name.to_string(), "web12");
}

#[test]
fn a_name_that_the_map_does_not_match_as_a_whole_is_refused() {
    let config = config(r"volumeMap: \([a-z]*\)-\([0-9]*\) \2/\1");
    assert_eq!(config.volume_name("web-1").unwrap().stored(), "1/web");
    for name in ["web", "web-1x", "1-web-1"] {
        let error = config.volume_name(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let text = error.to_string();
        assert!(text.contains(&format!("{name:?}")), "{text}");
        assert!(text.contains(r#""\([a-z]*\)-\([0-9]*\)""#), "{text}");
    }
}

#[test]
fn a_mapped_name_cannot_leave_the_location() {
    let config = config(r"volumeMap: \(.*\):\(.*\) \1/\2");
    assert_eq!(config.volume_name("a:b").unwrap().stored(), "a/b");
    for name in [
        "..:x",
        ":x",
        "x:",
        "x:..",
        ".:x",
        ".mosaic:x",
        "-x:y",
        "a:/b",
    ] {
        let error = config.volume_name(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}");
    }
}

#[test]
fn the_metadata_is_no_volume_nor_is_what_is_above_or_beneath_it() {
    let config = config("layout: {fs: srv/meta}");
    for name in ["srv", "srv/meta", "srv/meta/x"] {
        let error = config.volume_name(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}");
        assert!(error.to_string().contains("\"srv/meta\""), "{error}");
    }
    for name in ["srv/metal", "srv/web", "srvx", "meta"] {
        assert!(config.volume_name(name).is_ok(), "{name}");
    }
}

#[test]
fn a_name_that_is_mapped_onto_the_metadata_is_refused() {
    let config = config("volumeMap: '\\(.\\)\\(.*\\) \\1/\\2'\nlayout: {fs: m/eta}");
    let error = config.volume_name("meta").unwrap_err();
    assert_eq!(
        error.to_string(),
        "volume name \"meta\", stored as \"m/eta\", is, holds or is in the metadata \"m/eta\" (layout.fs)"
    );
    assert!(config.volume_name("metb").is_ok());
}

#[test]
fn the_users_name_is_shown_only_while_the_map_still_makes_the_stored_one_of_it() {
    let config = config(r"volumeMap: \(.*\)\(.\) \2/\1\2");
    assert_eq!(config.shown_name("2/web12", Some("web12")), "web12");
    assert_eq!(config.shown_name("2/web12", Some("web13")), "2/web12");
    assert_eq!(config.shown_name("2/web12", Some("../evil")), "2/web12");
    assert_eq!(config.shown_name("2/web12", Some("web\n2")), "2/web12");
    assert_eq!(config.shown_name("2/web12", None), "2/web12");
    // A rename that was killed halfway: by the stored name it has not happened, or it has.
    let both = Some("db7\nweb12");
    assert_eq!(config.shown_name("2/web12", both), "web12");
    assert_eq!(config.shown_name("7/db7", both), "db7");
}

#[test]
fn the_depth_is_the_replacements() {
    for (map, depth) in [(r"\(.*\) \1", 1), (r"\(.\)\(.*\) \1/x/\2", 3)] {
        let config = config(&format!("volumeMap: {map}"));
        assert_eq!(config.settings.depth, depth);
        assert!(config.settings.mapped);
    }
}
