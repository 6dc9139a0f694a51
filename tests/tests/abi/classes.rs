// SPDX-License-Identifier: MIT OR Apache-2.0
//! The classes of faults that a third party's driver finds, from its `check` to the user and back.

use mosaic_tests::{Moctl, Terminal, heeding_signals, word};
use serde_json::{Value, json};

use crate::folder::Folder;
use crate::workspaces;

/// A mosaic `m` whose driver finds faults of three classes.
struct Ill {
    folder: Folder,
    moctl: Moctl,
}

impl Ill {
    fn new() -> Self {
        let moctl = Moctl::new().unwrap();
        let at = moctl.make_folder("store").unwrap();
        moctl.mosaic("m", "panicky", &at, "mood: ill\n").unwrap();
        let folder = Folder::with(workspaces::panicky());
        Self { folder, moctl }
    }

    /// `moctl m check WORDS...`
    fn words<'w>(&'w self, words: &[&'w str]) -> Vec<&'w str> {
        let before = [
            "--driver-dir",
            self.folder.path().to_str().unwrap(),
            "m",
            "check",
        ];
        [before.as_slice(), words].concat()
    }

    /// Classes of what `check` mended, and of what it left.
    fn checked(&self, words: &[&str]) -> (Vec<String>, Vec<String>) {
        let words = self.words(&[words, &["--json"]].concat());
        let output = self.moctl.run(&words);
        let answer: Value = serde_json::from_str(&output.stdout).unwrap();
        let class = |finding: &Value| finding["class"].as_str().unwrap().to_owned();
        let findings = answer["findings"].as_array().unwrap().iter();
        let (mended, left): (Vec<_>, Vec<_>) =
            findings.partition(|finding| finding["repaired"] == true);
        assert_eq!(output.status, if left.is_empty() { 0 } else { 10 });
        let classes = |found: Vec<&Value>| found.into_iter().map(class).collect();
        (classes(mended), classes(left))
    }
}

fn split<const M: usize, const L: usize>(
    mended: [&str; M],
    left: [&str; L],
) -> (Vec<String>, Vec<String>) {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    (owned(&mended), owned(&left))
}

#[test]
fn each_class_can_be_asked_for_and_one_by_name_has_to_be() {
    let ill = Ill::new();
    let all = ["fever_2", "other", "memory"];
    assert_eq!(ill.checked(&[]), split([], all));
    for (asked, expected) in [
        ("--repair", split(["fever_2", "other"], ["memory"])),
        ("--repair=memory", split(["memory"], ["fever_2", "other"])),
        // What is no word for a class, as the driver says it, can be asked for all the same.
        ("--repair=other", split(["other"], ["fever_2", "memory"])),
        ("--repair=memory,other,fever_2", split(all, [])),
        ("--repair=growth", split([], all)),
    ] {
        assert_eq!(ill.checked(&[asked]), expected, "{asked}");
    }
    let answer = ill.moctl.run(&ill.words(&["--json"])).stdout;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let by_name = answer["findings"].as_array().unwrap().iter();
    let by_name: Value = by_name.map(|finding| finding["by_name"].clone()).collect();
    assert_eq!(by_name, json!([false, false, true]));
}

#[test]
fn on_a_terminal_one_that_has_to_be_named_is_asked_for_too() {
    let ill = Ill::new();
    let mut terminal = Terminal::new(80);
    let command = ill.moctl.command(&ill.words(&["--repair"]));
    terminal.start(&heeding_signals(&command));
    for (class, answer) in [("fever_2", "n\n"), ("other", "y\n"), ("memory", "y\n")] {
        let shown = terminal.wait_for(&format!("mend {class}? [y/N]"));
        assert!(shown.contains(&format!("a fault of {class}")), "{shown}");
        terminal.type_in(answer);
    }
    let shown = terminal.wait_for_end();
    for said in [
        "a fault of fever_2; --repair=fever_2 would: rest",
        "a fault of other; repaired: ask",
        "a fault of memory; repaired: forget all",
    ] {
        assert!(shown.contains(said), "{said:?}: {shown}");
    }
}

#[test]
fn a_check_that_looks_twice_warns_once() {
    let folder = Folder::with(workspaces::panicky());
    let moctl = Moctl::new().unwrap();
    let at = moctl.make_folder("store").unwrap();
    moctl.mosaic("m", "panicky", &at, "mood: behind\n").unwrap();
    let drivers = ["--driver-dir", word(folder.path())];
    moctl.ok(&[&drivers[..], &["-q", "m", "new", "disk", "a", "1M"]].concat());
    let looked = moctl.expect(10, &[&drivers[..], &["m", "check"]].concat());
    assert_eq!(
        looked.stderr.lines().collect::<Vec<_>>(),
        ["moctl: warning: looked", "moctl: warning: looked again"]
    );
}
