// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is said about faulty files: every fault, its line, the way out.

use super::*;

#[test]
fn all_faults_come_at_once_each_with_its_line() {
    let text = "locaton: /srv\n\
                type: loop\n\
                layout:\n  fs: ../out\n\
                width: -1\n\
                type: again\n\
                quota: of\n\
                volumeMap: \\(.\\) \\2\n\
                nonsense: 1\n";
    assert_eq!(
        faults(text),
        [
            "1: unknown key \"locaton\" (did you mean location?)",
            "4: \"layout.fs\" \"../out\" leaves the location: it has a \"..\"",
            "5: \"width\" must be a whole number, zero or more, not the number -1",
            "6: \"type\" is repeated; the first one is in line 2",
            "7: \"quota\" must be one of auto, required, off, not \"of\" (did you mean off?)",
            "8: \"volumeMap\" uses \\2 in the replacement, but the regular expression has one group",
            "9: unknown key \"nonsense\" (known keys: default_fs, label, layout, location, \
             mount_options, pool, quota, sync, type, volumeMap, width)",
        ]
    );
}

#[test]
fn faults_of_the_driver_get_their_line() {
    let config = read("type: a\nlocation: /l\npool:\n  data: d\n").unwrap();
    let place = |line| format!("{}:{line}: ", config.path.display());
    let error = config.at_line(Error::config("pool.data", "no such device"));
    assert_eq!(error.chain(), place(4) + "\"pool.data\": no such device");
    assert_eq!(error.kind(), ErrorKind::Config);
    let error = config.at_line(Error::config("pool.reserve", "pool.reserve is too small"));
    assert_eq!(error.chain(), place(3) + "pool.reserve is too small");
    let error = config.at_line(Error::config("quota", "quota is off"));
    assert_eq!(error.chain(), place(1) + "quota is off");
    let other = config.at_line(Error::new(ErrorKind::Busy, "in use"));
    assert_eq!(other.chain(), "in use");
}

#[test]
fn a_repeated_key_is_shown_at_the_second_line_and_its_value_is_not_read() {
    assert_eq!(
        faults(
            "type: a\nlocation: /l\nlayout:\n  fs: m\n  fs: ../x\nlocation: 7\ntype: b\ntype: c\n"
        ),
        [
            "5: \"layout.fs\" is repeated; the first one is in line 4",
            "6: \"location\" is repeated; the first one is in line 2",
            "7: \"type\" is repeated; the first one is in line 1",
            "8: \"type\" is repeated; the first one is in line 1",
        ]
    );
}

#[test]
fn missing_keys_are_told_together_with_the_rest() {
    assert_eq!(
        faults("\nquota: auto\n"),
        ["2: missing key \"type\"", "2: missing key \"location\""]
    );
    assert_eq!(faults("type: a\n"), ["1: missing key \"location\""]);
    assert_eq!(
        faults("{}"),
        ["1: missing key \"type\"", "1: missing key \"location\""]
    );
}

#[test]
fn a_misspelt_key_is_one_fault_not_two() {
    assert_eq!(
        faults("type: a\nLocation: /l\n"),
        ["2: unknown key \"Location\" (did you mean location?)"]
    );
    assert_eq!(
        faults("typ: a\nlocation: /l\n"),
        ["1: unknown key \"typ\" (did you mean type?)"]
    );
}

#[test]
fn a_key_in_the_wrong_mapping_is_told_where_it_belongs() {
    for (text, said) in [
        (
            "layout.fs: m",
            "unknown key \"layout.fs\" (write it nested: layout: {fs: ...})",
        ),
        ("fs: m", "unknown key \"fs\" (did you mean layout.fs?)"),
        (
            "layout: {fss: m}",
            "unknown key \"layout.fss\" (did you mean layout.fs?)",
        ),
        (
            "layout: {x: m}",
            "unknown key \"layout.x\" (known keys: fs)",
        ),
        (
            "layout: m",
            "\"layout\" must be a mapping with keys of fs, not \"m\"",
        ),
        (
            "layout: [m]",
            "\"layout\" must be a mapping with keys of fs, not a list",
        ),
        (
            "layout:",
            "\"layout\" must be a mapping with keys of fs, not nothing",
        ),
        (
            "volume_map: x",
            "unknown key \"volume_map\" (did you mean volumeMap?)",
        ),
    ] {
        let text = format!("type: a\nlocation: /l\n{text}\n");
        assert_eq!(faults(&text), [format!("3: {said}")]);
    }
}

#[test]
fn a_value_of_the_wrong_type_says_what_it_is_and_what_it_must_be() {
    for (text, said) in [
        (
            "label: 1.10",
            "\"label\" must be a text, not the number 1.1; put it in quotes",
        ),
        (
            "label: 7",
            "\"label\" must be a text, not the number 7; put it in quotes",
        ),
        (
            "label: true",
            "\"label\" must be a text, not true; put it in quotes",
        ),
        ("label:", "\"label\" has no value"),
        ("label: ~", "\"label\" has no value"),
        ("label: [a]", "\"label\" must be a text, not a list"),
        ("label: {a: b}", "\"label\" must be a text, not a mapping"),
        (
            "label: !own a",
            "\"label\" must be a text, not a value with a tag",
        ),
        ("label: \"a\\0b\"", "\"label\" contains a NUL character"),
        ("sync: yes", "\"sync\" must be true or false, not \"yes\""),
        (
            "sync: 1",
            "\"sync\" must be true or false, not the number 1",
        ),
        (
            "width: '5'",
            "\"width\" must be a whole number, zero or more, not \"5\"",
        ),
        (
            "width: 1.5",
            "\"width\" must be a whole number, zero or more, not the number 1.5",
        ),
        (
            "width: 99999999999999999999",
            "\"width\" must be a whole number, zero or more, not \"99999999999999999999\"",
        ),
        (
            "pool: {reserve: 12X}",
            "\"pool.reserve\" must be a size such as 64M: size \"12X\": the units are K, M, G, T and P",
        ),
        (
            "pool: {reserve: -5}",
            "\"pool.reserve\" must be a size such as 64M, not the number -5",
        ),
        ("pool: {data: ''}", "\"pool.data\" is empty"),
        (
            "default_fs: EXT4",
            "\"default_fs\" must be letters a to z and digits, such as ext4, not \"EXT4\"",
        ),
        (
            "default_fs: ../sh",
            "\"default_fs\" must be letters a to z and digits, such as ext4, not \"../sh\"",
        ),
        ("5: a", "a key must be a text, not the number 5"),
        ("? [a, b]\n: c", "a key must be a text, not a list"),
        (
            "<<: {type: b}",
            "unknown key \"<<\" (known keys: default_fs, label, layout, location, mount_options, pool, quota, sync, type, volumeMap, width)",
        ),
    ] {
        let text = format!("type: a\nlocation: /l\n{text}\n");
        assert_eq!(faults(&text), [format!("3: {said}")]);
    }
}

#[test]
fn mount_options_are_checked_before_anything_is_mounted() {
    let config = read("type: a\nlocation: /l\nmount_options: ro,noatime\n").unwrap();
    assert_eq!(config.mount_options.as_deref(), Some("ro,noatime"));
    let said = faults("type: a\nlocation: /l\nmount_options: ro,noatim\n");
    assert!(
        said[0].starts_with("3: \"mount_options\" cannot be used: unknown mount option \"noatim\""),
        "{said:?}"
    );
    assert!(said[0].contains("did you mean noatime?"), "{said:?}");
}

#[test]
fn a_type_that_is_no_type_is_refused_before_any_path_is_made_of_it() {
    let long = "x".repeat(33);
    for bad in [
        "../../tmp/evil",
        "Loop",
        "9p",
        "-x",
        "a b",
        "a/b",
        "",
        "lööp",
        &long,
    ] {
        let said = faults(&format!("location: /l\ntype: \"{bad}\"\n"));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].starts_with("2: \"type\" must be a lower case letter"),
            "{said:?}"
        );
    }
    let longest = "x".repeat(32);
    for good in ["a", "my-driver_2", &longest] {
        assert!(
            read(&format!("location: /l\ntype: {good}\n")).is_ok(),
            "{good}"
        );
    }
}

#[test]
fn a_metadata_path_stays_beneath_the_location() {
    for (path, why) in [
        ("../x", "leaves the location"),
        ("a/../../x", "leaves the location"),
        ("/abs", "leaves the location"),
        ("..", "leaves the location"),
        (".", "is the location itself"),
        ("", "is the location itself"),
        (".//", "is the location itself"),
        (".mosaic", "is Mosaic's own"),
        ("./.mosaic/tmp", "is Mosaic's own"),
        ("a\\nb", "contains a control character"),
    ] {
        let said = faults(&format!(
            "type: a\nlocation: /l\nlayout: {{fs: \"{path}\"}}\n"
        ));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("3: \"layout.fs\" "), "{said:?}");
        assert!(said[0].contains(why), "{said:?}");
    }
    let config = read("type: a\nlocation: /l\nlayout: {fs: 'meta/'}\n").unwrap();
    assert_eq!(config.settings.layout_fs, Some(PathBuf::from("meta")));
}

#[test]
fn yaml_that_is_none_gets_its_line() {
    for (text, line) in [
        ("type: a\nlocation: [a\n", 2),
        ("type: a\n\tlocation: b\n", 2),
        ("type: a\n  location: b\n", 2),
        ("type: a\nlocation: *nobody\n", 2),
        ("type: \"a\\q\"\nlocation: b\n", 1),
        ("type: 'a\nlocation: b\n", 2),
        ("type: a\n]\n", 2),
    ] {
        let said = faults(text);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].starts_with(&format!("{line}: not valid YAML: ")),
            "{text:?}: {said:?}"
        );
    }
}

#[test]
fn a_driver_that_cannot_be_loaded_does_not_hide_the_other_faults() {
    let refused = || Error::new(ErrorKind::NotFound, "no driver \"lop\"");
    let written = written(b"volumeMap: x\nunheard: 1\nlocaton: /l\ntype: lop\ntype: b\n");
    let error = load(&written.file)
        .unwrap()
        .faults_without_schema(refused());
    assert_eq!(error.kind(), ErrorKind::Config);
    let path = written.file.path.display().to_string();
    let text = error.to_string().replace(&path, "x.mos");
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        [
            "x.mos:1: \"volumeMap\" must be a regular expression and a replacement, split by \
             white space, not \"x\"",
            "x.mos:3: unknown key \"locaton\" (did you mean location?)",
            "x.mos:4: no driver \"lop\"",
            "x.mos:5: \"type\" is repeated; the first one is in line 4",
        ]
    );
    let good = super::written(b"location: /l\ntype: lop\n");
    let error = load(&good.file).unwrap().faults_without_schema(refused());
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let place = format!("{}:2", good.file.path.display());
    assert_eq!(error.chain(), format!("{place}: no driver \"lop\""));
}

#[test]
fn the_words_of_a_file_cannot_forge_lines_of_a_log() {
    let long = "k".repeat(1_000);
    let text = format!("type: a\nlocation: /l\n\"x\\ny.mos:1: all is well\\e[2J\": 1\n{long}: 1\n");
    let said = faults(&text);
    assert_eq!(said.len(), 2, "{said:?}");
    for line in said {
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.len() < 400, "{}", line.len());
    }
}
