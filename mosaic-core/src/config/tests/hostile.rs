// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that nobody means well with: refused in bounded time and memory, without a panic.
//!
//! Nothing here asserts a time. A reader without bounds does not come back from these at all, or
//! takes all memory.

use mosaic_tests::{is_quick, left_out};

use super::*;
use crate::config::read::LENGTH_MAX;

/// As many repetitions as a file may hold.
fn filled(unit: &str) -> String {
    unit.repeat(LENGTH_MAX / unit.len())
}

#[test]
fn nesting_of_every_kind_is_refused() {
    for unit in ["[", "{", "{a: ", "- ", "? ", "[a,", "[? ", "&a [", "!x ["] {
        for before in ["", "a: ", "type: a\nlocation: /l\nquota: "] {
            let room = LENGTH_MAX - before.len();
            let text = before.to_owned() + &unit.repeat(room / unit.len());
            assert!(!faults(&text).is_empty(), "{before:?} {unit:?}");
        }
    }
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert!(faults(&deep)[0].contains("longer than 65536 bytes"));
    let text = format!("type: a\nlocation: /l\nlabel: {}\n", "[".repeat(600));
    assert_eq!(
        faults(&text),
        ["3: more [ and { than any config file has: nested too deep"]
    );
}

#[test]
fn nesting_by_indentation_is_an_unknown_key() {
    let mut text = "type: a\nlocation: /l\n".to_owned();
    for depth in 0..300 {
        text += &format!("{}x:\n", " ".repeat(depth));
    }
    assert!(faults(&text)[0].starts_with("3: unknown key \"x\""));
}

#[test]
fn alias_bombs_are_refused_with_their_line() {
    let mut laughs = "type: a\nlocation: /l\na0: &a0 {x: lol}\n".to_owned();
    for level in 1..10 {
        let inner: Vec<_> = (0..9).map(|at| format!("k{at}: *a{}", level - 1)).collect();
        laughs += &format!("a{level}: &a{level} {{{}}}\n", inner.join(", "));
    }
    assert_eq!(
        faults(&laughs),
        ["4: aliases expand to too much; write the values out"]
    );

    let mut wide = format!("type: a\nlocation: /l\na: &a {}\nb:\n", "x".repeat(30_000));
    for at in 0..3_000 {
        wide += &format!("  {at:04}: *a\n");
    }
    assert_eq!(
        faults(&wide),
        ["5: aliases expand to too much; write the values out"]
    );

    let entries: Vec<_> = (0..2_000).map(|at| format!("k{at}: 1")).collect();
    let mut square = format!("type: a\nlocation: /l\na: &a {{{}}}\n", entries.join(", "));
    for at in 0..2_000 {
        square += &format!("b{at}: *a\n");
    }
    assert_eq!(
        faults(&square),
        ["4: aliases expand to too much; write the values out"]
    );
}

#[test]
fn an_alias_to_what_it_is_in_ends() {
    let said = faults("type: a\nlocation: /l\na: &a {b: *a}\nc: &c [*c]\n");
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("3: unknown key \"a\""));
}

#[test]
fn a_file_that_is_not_one_mapping_is_refused_with_its_line() {
    for (text, said) in [
        ("# only a note\n", "1: the document is empty"),
        ("---\n", "1: the document is empty"),
        ("~", "1: the document is empty"),
        (
            "\n- a\n- b\n",
            "2: a config file is a mapping (KEY: VALUE), not a list",
        ),
        (
            "just words",
            "1: a config file is a mapping (KEY: VALUE), not \"just words\"",
        ),
        (
            "!own {a: b}",
            "1: a config file is a mapping (KEY: VALUE), not a value with a tag",
        ),
        (
            "type: a\nlocation: /l\n---\ntype: b\n",
            "3: a second document starts here",
        ),
        ("type: a\n---\n", "2: a second document starts here"),
        (
            "type: a\n...\n---\n...\n",
            "3: a second document starts here",
        ),
    ] {
        let found = faults(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(said), "{text:?}: {found:?}");
    }
}

#[test]
fn thousands_of_faults_end() {
    for unit in ["a: 1\n", "? a\n", "type: a\n", "layout: {fs: /}\n"] {
        let said = faults(&filled(unit));
        assert!(said.len() <= 102, "{}", said.len());
    }
    let many: String = (0..5_000).map(|at| format!("lo{at}: 1\n")).collect();
    let said = faults(&format!("type: a\n{many}"));
    assert!(said.last().unwrap().contains("more faults"), "{said:?}");
}

/// Small, quick, and the same every time: Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

const SEEDS: [&str; 4] = [
    "type: loop\nlocation: /srv\ndefault_fs: xfs\nlayout:\n  fs: meta\nquota: off\n",
    "{type: a, location: \"/x\\ty\", pool: {data: d, reserve: 64M}, sync: true, width: 7}",
    "# note\n---\ntype: &t b\nlocation: *t\nvolumeMap: \\(.*\\)\\(.\\) \\2/\\1\nlabel: |\n  a\n  b\n...\n",
    "? type\n: !!str a\nlocation: 'it''s'\nlist:\n- a\n- {b: [c, d]}\nlabel: >-\n  x\n",
];

const PIECES: [&str; 40] = [
    "\n", " ", "  ", "\t", ":", ": ", "- ", "? ", "[", "]", "{", "}", ",", "&t ", "*t", "!", "!!",
    "!!int ", "|", ">", "'", "\"", "\\", "#", "%", "---\n", "...\n", "type", "type: ", "layout",
    "\u{85}", "\u{2028}", "\u{feff}", "é", "\0", "\r", "~", "0x", "1e9", "<<: ",
];

fn mutated(random: &mut Random) -> String {
    let mut text = SEEDS[random.below(SEEDS.len())].to_owned();
    for _ in 0..=random.below(4) {
        let ends: Vec<usize> = text
            .char_indices()
            .map(|(at, _)| at)
            .chain([text.len()])
            .collect();
        let at = ends[random.below(ends.len())];
        match random.below(4) {
            0 => text.truncate(at),
            1 if at < text.len() => drop(text.remove(at)),
            2 => text = format!("{}{}", &text[at..], &text[..at]),
            _ => text.insert_str(at, PIECES[random.below(PIECES.len())]),
        }
    }
    text
}

#[test]
fn damaged_files_are_read_or_refused_with_lines_that_exist() {
    let dir = tempfile::tempdir().unwrap();
    let file = ConfigFile::at(dir.path().join("x.mos")).unwrap();
    let prefix = format!("{}:", file.path.display());
    let schema = schema();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut read = 0;
    let files = if is_quick() { 800 } else { 4_000 };
    if is_quick() {
        left_out("3,200 of 4,000 files");
    }
    for _ in 0..files {
        let text = mutated(&mut random);
        std::fs::write(&file.path, &text).unwrap();
        let error = match load(&file).and_then(|draft| draft.check(&schema)) {
            Ok(_) => {
                read += 1;
                continue;
            }
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::Config, "{text:?}");
        // A NEL or a line separator starts a line for one of the readers.
        let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}']).count();
        for fault in error.to_string().lines() {
            let rest = fault.strip_prefix(&prefix).unwrap();
            let line: usize = rest.split_once(": ").unwrap().0.parse().unwrap();
            assert!((1..=lines).contains(&line), "{fault:?} of {text:?}");
        }
    }
    assert!(
        read > files / 40,
        "only {read} mutations were readable: this tests too little"
    );
}

#[test]
fn random_bytes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = ConfigFile::at(dir.path().join("x.mos")).unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..500 {
        let length = 1 + random.below(300);
        let bytes: Vec<u8> = (0..length)
            .map(|_| u8::try_from(random.below(256)).unwrap())
            .collect();
        std::fs::write(&file.path, bytes).unwrap();
        assert_eq!(load(&file).unwrap_err().kind(), ErrorKind::Config);
    }
}

#[test]
fn both_readers_see_the_same_entries() {
    let mut random = Random(0xdead_beef_cafe_f00d);
    for _ in 0..200 {
        let mut text = String::new();
        let mut lines = Vec::new();
        for at in 0..=random.below(12) {
            lines.push(text.matches('\n').count() + 1);
            text += &match random.below(6) {
                0 => format!("k{at}: value\n"),
                1 => format!("k{at}:\n  in: 1\n  out: [a, {{b: c}}]\n"),
                2 => format!("k{at}:\n- a\n- b: c\n  d: e\n"),
                3 => format!("k{at}: |\n  text\n  text\n\n"),
                4 => format!("? {{k{at}: x}}\n: [y]\n"),
                _ => format!("'k{at}': &a{at} \"x\n  y\" # note\n\n"),
            };
        }
        let values::Node::Mapping(entries) = values::read(&text).unwrap() else {
            panic!("{text}");
        };
        assert_eq!(entries.len(), lines.len(), "{text}");
        let marks = marks::Marks::read(&text);
        for (at, line) in lines.iter().enumerate() {
            assert_eq!(marks.line(&[at]), *line, "entry {at} of\n{text}");
        }
    }
}
