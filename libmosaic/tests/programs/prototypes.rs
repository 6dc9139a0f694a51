// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prototypes: those of the header, those of the functions in Rust, and those that were released.
//!
//! A compiler sees only the header, a linker only names: a `long` that is an `int` on the other side goes
//! well on most processors, until a number is large.

use std::collections::{BTreeMap, BTreeSet};

use crate::abi::{GONE, NEW, recorded};
use crate::common::{declarations, functions, repository};

/// What each type in Rust is in C.
const TYPES: [(&str, &str); 26] = [
    ("c_int", "int"),
    ("Flags", "int"),
    ("c_long", "long"),
    ("c_ulong", "unsigned long"),
    ("Text", "const char *"),
    ("Buffer", "char *"),
    ("Data", "void *"),
    ("Handle<OpenMosaic>", "mosaic_t"),
    ("Handle<OpenVolume>", "volume_t"),
    ("Out<c_ulong>", "unsigned long *"),
    ("Out<c_ulonglong>", "unsigned long long *"),
    ("Options<MosaicOptions>", "const struct mosaic_options *"),
    ("Options<InitOptions>", "const struct mosaic_init_options *"),
    ("Each<c_char>", "mosaic_line_fn"),
    ("Each<FindingC>", "mosaic_finding_fn"),
    ("Each<DriverC>", "mosaic_driver_fn"),
    ("Each<KeyC>", "mosaic_key_fn"),
    ("Each<EntryC>", "mosaic_entry_fn"),
    ("Each<VolumeInfoC>", "mosaic_vol_fn"),
    ("Log", "mosaic_log_fn"),
    ("Progress", "mosaic_progress_fn"),
    ("Cancel", "mosaic_cancel_fn"),
    ("*const c_char", "const char *"),
    ("*mut InfoC", "struct mosaic_info *"),
    ("*mut VolumeInfoC", "struct mosaic_vol_info *"),
    ("", "void"),
];

/// Types of the result and of the arguments.
type Prototype = (String, Vec<String>);

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The text with one space where there is any.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Each declaration of the header that is no structure's, in one line.
fn lines_of_header() -> Vec<String> {
    let code = declarations();
    let code: Vec<&str> = code.lines().filter(|line| !line.starts_with('#')).collect();
    let code = code.join("\n");
    let pieces = code.split(';').map(|piece| {
        let at = piece.rfind(['{', '}']).map_or(0, |at| at + 1);
        line(&piece[at..])
    });
    pieces.filter(|line| line.contains('(')).collect()
}

/// The prototypes of the header, by names.
fn of_header() -> BTreeMap<String, Prototype> {
    let lines = lines_of_header();
    let functions = lines.iter().filter(|line| !line.starts_with("typedef "));
    let parse = |line: &String| {
        let (before, arguments) = line.split_once('(').expect("it has one");
        let result = before.trim_end_matches(is_of_name);
        let name = before[result.len()..].to_owned();
        let arguments = arguments.trim_end_matches(')');
        let arguments = arguments.split(',').filter(|it| *it != "void");
        let without_name = |it: &str| it.trim_end_matches(is_of_name).trim().to_owned();
        let types = arguments.map(without_name).collect();
        (name, (result.trim().to_owned(), types))
    };
    functions.map(parse).collect()
}

/// The prototypes of the functions in Rust, in C's words.
fn of_rust() -> BTreeMap<String, Prototype> {
    let types = BTreeMap::from(TYPES);
    let in_c = |name: &str| match types.get(name) {
        Some(text) => (*text).to_owned(),
        None => panic!("what is {name} in C?"),
    };
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(repository().join("libmosaic/src")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        for function in text.split("\nextern \"C\" fn ").skip(1) {
            let (head, _) = function.split_once(" {\n").expect("it has a body");
            let (name, rest) = head.split_once('(').expect("it has arguments");
            let (arguments, result) = rest.rsplit_once(')').expect("they have an end");
            let result = result.trim().trim_start_matches("-> ");
            let arguments = arguments.split(',').filter_map(|it| it.split_once(':'));
            let arguments = arguments.map(|(_, of)| in_c(of.trim())).collect();
            found.insert(name.to_owned(), (in_c(result), arguments));
        }
    }
    found
}

#[test]
fn the_functions_are_what_the_header_says() {
    let (mut header, rust) = (of_header(), of_rust());
    let names: Vec<String> = header.keys().cloned().collect();
    assert_eq!(names, functions());
    // Any number may come, so that it is no enum in Rust.
    let level = &mut header.get_mut("mosaic_set_log_lvl").unwrap().1[0];
    assert_eq!(std::mem::replace(level, "int".into()), "enum log_level");
    for (name, prototype) in &header {
        assert_eq!(rust.get(name), Some(prototype), "{name}");
    }
    assert_eq!(rust.len(), header.len());
}

#[test]
fn no_prototype_that_was_released_has_changed() {
    let mut now: Vec<String> = of_header()
        .iter()
        .map(|(name, (result, arguments))| format!("{result} {name}({})", arguments.join(", ")))
        .collect();
    let lines = lines_of_header();
    now.extend(lines.into_iter().filter(|it| it.starts_with("typedef ")));
    let now: String = now.iter().map(|line| format!("{line}\n")).collect();
    let old = recorded("prototypes", &now);
    let [old, now] = [&old, &now].map(|text| text.lines().collect::<BTreeSet<_>>());
    assert!(now.len() > 50, "{now:?}");
    let gone: Vec<_> = old.difference(&now).collect();
    assert!(gone.is_empty(), "{gone:#?} {GONE}");
    let new: Vec<_> = now.difference(&old).collect();
    assert!(new.is_empty(), "{new:#?} {NEW}");
}
