// SPDX-License-Identifier: MIT OR Apache-2.0
//! The manual of the C library, its header and its pages agree.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use mosaic_tests::requires_program;

use super::library::Manual;
use super::library_pages;
use crate::cargo;

/// Names in capitals that begin with `MOSAIC_` and are no constants of the header's.
const VARIABLES: [&str; 3] = [
    "MOSAIC_ABI_DEBUG",
    "MOSAIC_CONFIG_DIR",
    "MOSAIC_DRIVER_PATH",
];

fn file(path: &str) -> String {
    std::fs::read_to_string(cargo::workspace().join(path)).unwrap()
}

fn header() -> String {
    file("libmosaic/include/mosaic/mosaic.h")
}

/// What stands between `/*` and `*/` taken out.
fn without_comments(text: &str) -> String {
    let mut parts = text.split("/*");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |before, part| {
        let (_, after) = part.split_once("*/").expect("a comment has an end");
        before + " " + after
    })
}

/// Declarations without comments, each on one line, and constants as `#define NAME VALUE`.
fn declarations(text: &str) -> BTreeSet<String> {
    let text = without_comments(text);
    let (rules, rest): (Vec<&str>, Vec<&str>) = text
        .lines()
        .partition(|line| line.trim_start().starts_with('#'));
    let mut found: BTreeSet<String> = rules
        .into_iter()
        .filter(|rule| rule.starts_with("#define MOSAIC_") && rule.split(' ').count() > 2)
        .filter(|rule| !rule.contains("MOSAIC_PRINTF(") && !rule.contains("MOSAIC_VERSION"))
        .map(one_line)
        .collect();
    let rest = rest.join("\n").replace("extern \"C\" {", "");
    let mut depth = 0;
    let mut declaration = String::new();
    for letter in rest.chars() {
        depth += match letter {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        if letter == ';' && depth == 0 {
            found.insert(one_line(&declaration));
            declaration.clear();
        } else if depth >= 0 {
            declaration.push(letter);
        } else {
            // The end of extern "C".
            depth = 0;
        }
    }
    found
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The function that a declaration is of.
fn function(declaration: &str) -> Option<&str> {
    let before = declaration.split_once('(')?.0;
    let is_function = !declaration.starts_with("typedef") && !declaration.starts_with("#define");
    let name = before.rsplit([' ', '*']).next()?;
    (is_function && name.starts_with("mosaic_")).then_some(name)
}

/// The blocks of C in the manual that are no programs.
fn declarations_in_the_manual(text: &str) -> BTreeSet<String> {
    let blocks = text.split("```c\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap_or_default());
    let excerpts = blocks.filter(|block| !block.contains("int main("));
    excerpts.flat_map(declarations).collect()
}

#[test]
fn the_manual_declares_what_the_header_declares() {
    let manual = declarations_in_the_manual(&file("doc/libmosaic.md"));
    // The two types of handles are explained in words.
    let header: BTreeSet<String> = declarations(&header())
        .into_iter()
        .filter(|line| !line.starts_with("typedef struct "))
        .collect();
    let functions = header.iter().filter_map(|line| function(line)).count();
    assert!(
        functions > 50 && header.len() > functions + 20,
        "{header:#?}"
    );
    let missing: Vec<_> = header.difference(&manual).collect();
    let unknown: Vec<_> = manual.difference(&header).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "only in the header: {missing:#?}\nonly in the manual: {unknown:#?}"
    );
}

#[test]
fn each_function_is_declared_in_the_section_that_is_called_after_it() {
    let manual = Manual::read(&file("doc/libmosaic.md")).unwrap();
    let mut sections: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for page in &manual.pages {
        let declared = declarations(&page.synopsis);
        let declared: BTreeSet<_> = declared.iter().filter_map(|line| function(line)).collect();
        let named: BTreeSet<_> = page.names.iter().map(String::as_str).collect();
        assert_eq!(declared, named);
        for name in named {
            let twice = sections.insert(name.to_owned(), BTreeSet::new());
            assert!(twice.is_none(), "{name} has two sections");
        }
    }
    assert!(sections.len() > 50, "{sections:?}");
}

/// Words in capitals that begin with `MOSAIC_`.
fn constants(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("MOSAIC_") && word.len() > "MOSAIC_".len())
        .filter(|word| !word.ends_with('_'))
        .collect()
}

#[test]
fn each_constant_is_explained_and_none_is_invented() {
    let (header, manual) = (header(), file("doc/libmosaic.md"));
    let known = constants(&header);
    let used = constants(&manual);
    let inner = ["MOSAIC_MOSAIC_H"];
    for constant in &known {
        let explained = used.contains(constant) || inner.contains(constant);
        assert!(explained, "nothing says what {constant} is");
    }
    for constant in used {
        let is_known = known.contains(constant) || VARIABLES.contains(&constant);
        assert!(is_known, "there is no {constant}");
    }
}

#[test]
fn functions_that_the_text_names_exist() {
    let manual = file("doc/libmosaic.md");
    let header = declarations(&header());
    let functions: BTreeSet<_> = header.iter().filter_map(|line| function(line)).collect();
    let mut named = 0;
    for part in manual.split('`').skip(1).step_by(2) {
        if let Some(name) = part.strip_suffix("()").filter(|n| n.starts_with("mosaic_")) {
            assert!(functions.contains(name), "there is no {name}");
            named += 1;
        }
    }
    assert!(named > 50, "{named}");
}

#[test]
fn there_is_a_page_for_each_function() {
    let pages: BTreeMap<String, String> = library_pages().unwrap().into_iter().collect();
    let header = declarations(&header());
    let mut functions = 0;
    for name in header.iter().filter_map(|line| function(line)) {
        let page = &pages[&format!("{name}.3")];
        let page = match page.strip_prefix(".so man3/") {
            Some(link) => &pages[link.trim_end()],
            None => page,
        };
        let title = page.split(".SH ").find(|s| s.starts_with("NAME")).unwrap();
        assert!(title.contains(name), "{title}");
        for section in ["SYNOPSIS", "DESCRIPTION", "\"RETURN VALUE\"", "ERRORS"] {
            assert!(
                page.contains(&format!(".SH {section}\n")),
                "{name}: {section}"
            );
        }
        functions += 1;
    }
    assert_eq!(pages.len(), functions + 1, "the library has a page, too");
}

#[test]
fn the_pages_are_in_order_for_mandoc() {
    if !requires_program("mandoc") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for (name, text) in library_pages().unwrap() {
        // These roff would show as other letters than those that were meant.
        assert!(text.is_ascii() && !text.contains(['^', '~', '`']), "{name}");
        if text.starts_with(".so ") {
            continue;
        }
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let output = Command::new("mandoc")
            .args(["-T", "lint", "-W", "warning"])
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        // A date would make each build another page.
        let faults: Vec<_> = said
            .lines()
            .filter(|l| !l.contains("missing date"))
            .collect();
        assert!(faults.is_empty(), "{faults:#?}");
        checked += 1;
    }
    assert!(checked > 25, "{checked}");
}
