// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs that are compiled hold of the library: names, sizes, offsets, numbers.
//!
//! `libmosaic/abi/1` has them as they were released under the soname `libmosaic.so.1`. What is there
//! stays. What is new is recorded by running these tests with `MOSAIC_RECORD_ABI=1`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

use mosaic_tests::{requires, requires_program, stdout_of, word};

use crate::common::{declarations, folder, functions, header, installed, repository};
use crate::common::{requires_compilers, use_installed};
use crate::program::{How, compile};

/// What is recorded.
pub fn recorded(name: &str, now: &str) -> String {
    let path = record(name);
    if std::env::var_os("MOSAIC_RECORD_ABI").is_some_and(|value| value == "1") {
        std::fs::write(&path, now).unwrap();
    }
    std::fs::read_to_string(&path).unwrap_or_default()
}

fn record(name: &str) -> PathBuf {
    let folder = repository().join("libmosaic/abi/1");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

/// For who sees something new.
pub const NEW: &str = "is not recorded yet. If it was added at an end, so that every program that was \
                   compiled before goes on working, record it: MOSAIC_RECORD_ABI=1 cargo test -p \
                   libmosaic --test programs abi";
/// For who sees that something has changed.
pub const GONE: &str = "is not as it was released, so that programs that were compiled before would \
                    break. Leave it as it was, and add what is new beside it or at the end.";

/// Each line is a name, or a name and a number. A structure may have become larger; nothing else changes.
#[track_caller]
fn assert_only_grown(name: &str, now: &str) {
    let old = recorded(name, now);
    let (old, new) = (rows(&old), rows(now));
    for (key, value) in &old {
        let grown = key.starts_with("sizeof ") && new.get(key) >= Some(value);
        let same = new.get(key) == Some(value);
        assert!(grown || same, "{key}, which was {value:?}, {GONE}");
    }
    for (key, value) in &new {
        assert!(old.get(key) == Some(value), "{key} {NEW}");
    }
}

fn rows(text: &str) -> BTreeMap<&str, Option<i128>> {
    text.lines()
        .map(|line| match line.rsplit_once(' ') {
            Some((name, number)) => (name, Some(number.parse().expect("a number"))),
            None => (line, None),
        })
        .collect()
}

/// The symbols that are exported by the shared library that is installed.
fn exported() -> Vec<String> {
    let library = installed().join("lib/libmosaic.so");
    let text = stdout_of("nm", &["-D", "--defined-only", word(&library)]).unwrap();
    let names = text
        .lines()
        .filter_map(|line| line.split_whitespace().last());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn exactly_the_functions_of_the_header_are_exported() {
    if !requires_program("nm") {
        return;
    }
    assert_eq!(exported(), functions());
}

#[test]
fn no_function_that_was_released_is_gone() {
    if !requires_program("nm") {
        return;
    }
    let now: String = exported().iter().map(|name| format!("{name}\n")).collect();
    assert_only_grown("functions", &now);
}

#[test]
fn the_soname_is_that_of_the_record() {
    if !requires_program("readelf") {
        return;
    }
    let library = installed().join("lib/libmosaic.so");
    let text = stdout_of("readelf", &["--dynamic", word(&library)]).unwrap();
    assert!(text.contains("Library soname: [libmosaic.so.1]"), "{text}");
    // A driver that was loaded points into it: it stays where it is.
    assert!(text.contains("NODELETE"), "{text}");
    for needed in text.lines().filter(|line| line.contains("(NEEDED)")) {
        let known = ["libc.so", "libgcc_s.so", "libm.so", "ld-linux"];
        assert!(known.iter().any(|name| needed.contains(name)), "{needed}");
    }
}

/// The names of a `struct` and its members, of all of them.
fn structures() -> Vec<(String, Vec<String>)> {
    let code = declarations();
    let bodies = code.split("\nstruct ").skip(1).filter_map(|text| {
        let (name, rest) = text.split_once(" {\n")?;
        let (body, _) = rest.split_once("\n};")?;
        Some((
            name.to_owned(),
            body.split(';').filter_map(last_name).collect(),
        ))
    });
    bodies
        .filter(|(name, _)| !name.contains(char::is_whitespace))
        .collect()
}

fn last_name(declaration: &str) -> Option<String> {
    let mut words = declaration.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.rfind(|word| !word.is_empty()).map(str::to_owned)
}

/// The names of numbers: those of enumerations, and macros with a value.
fn constants() -> Vec<String> {
    let code = declarations();
    let macros = code.lines().filter_map(|line| {
        let (name, value) = line.strip_prefix("#define ")?.split_once(' ')?;
        let number = !name.contains('(') && !value.contains('"') && !value.contains("__");
        (number && !value.trim().is_empty()).then(|| name.to_owned())
    });
    let mut names: Vec<String> = macros.collect();
    for text in code.split("\nenum ").skip(1) {
        let Some((_, body)) = text.split_once('{') else {
            continue;
        };
        let (body, _) = body.split_once('}').expect("an enumeration has an end");
        let plain: Vec<&str> = body.lines().filter(|line| !line.starts_with('#')).collect();
        let words = plain.join(" ");
        let member = |word: &str| word.split('=').next().and_then(last_name);
        names.extend(words.split(',').filter_map(member));
    }
    names
}

/// A program that prints each number.
fn printer() -> String {
    let mut lines = String::new();
    let mut print = |what: &str, value: &str| {
        writeln!(lines, "\tprintf(\"{what} %lld\\n\", (long long)({value}));").unwrap();
    };
    for (name, members) in structures() {
        print(&format!("sizeof {name}"), &format!("sizeof(struct {name})"));
        for member in members {
            let value = format!("offsetof(struct {name}, {member})");
            print(&format!("offsetof {name} {member}"), &value);
        }
    }
    for handle in ["mosaic_t", "volume_t"] {
        print(&format!("sizeof {handle}"), &format!("sizeof({handle})"));
    }
    for name in constants() {
        print(&name, &name);
    }
    format!(
        "#include <stddef.h>\n#include <stdio.h>\n#include <mosaic/mosaic.h>\n\n\
         int main(void)\n{{\n{lines}\treturn 0;\n}}\n"
    )
}

#[test]
fn all_structures_and_numbers_are_as_they_were() {
    let wide = cfg!(target_pointer_width = "64");
    if !requires(wide, "the record is of 64-bit machines") || !requires_compilers() {
        return;
    }
    let source = folder().join("layout.c");
    std::fs::write(&source, printer()).unwrap();
    let mut outputs = Vec::new();
    for how in [How::C, How::Cxx] {
        let program = compile(&source, "layout", how);
        let output = use_installed(&mut Command::new(program)).output().unwrap();
        outputs.push(String::from_utf8(output.stdout).unwrap());
    }
    assert_eq!(outputs[0], outputs[1], "C and C++ agree");
    assert_only_grown("numbers", &outputs[0]);
}

/// What the tests above look at is all that there is.
#[test]
fn the_header_is_read_as_a_compiler_does() {
    let text = header();
    let structures = structures();
    let count = text
        .lines()
        .filter(|l| l.starts_with("struct ") && l.ends_with('{'))
        .count();
    assert_eq!(structures.len(), count);
    let of = |name: &str| &structures.iter().find(|s| s.0 == name).unwrap().1;
    assert_eq!(of("mosaic_fact"), &["size", "name", "value"]);
    assert_eq!(of("mosaic_options")[0], "size");
    assert_eq!(of("mosaic_info").last().unwrap(), "facts");
    let constants = constants();
    for name in [
        "MOSAIC_WAIT",
        "MOSAIC_FEATURE_RENAME",
        "MOSAIC_ERR_NONE",
        "LOG_DBG",
        "LOG_ERR",
        "MOSAIC_VOL_FS",
        "MOSAIC_LIFETIME_MOUNT",
        "MOSAIC_UNKNOWN",
        "MOSAIC_ERR_INTERRUPTED",
    ] {
        assert!(constants.iter().any(|c| c == name), "{name}: {constants:?}");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let line = format!("#define MOSAIC_VERSION \"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(header().lines().any(|l| l == line), "{line}");
    if requires_compilers() {
        let said = crate::common::pkg_config(&["--modversion"]);
        assert_eq!(said, [env!("CARGO_PKG_VERSION")]);
    }
}
