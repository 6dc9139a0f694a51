// SPDX-License-Identifier: MIT OR Apache-2.0
//! The README's thirty seconds, as they are written there.

use std::path::Path;

use mosaic_tests::{Moctl, MountedFs, requires_program, requires_root};

/// The indented blocks below a headline.
fn blocks(headline: &str) -> Vec<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let (_, after) = text.split_once(headline).unwrap();
    let (section, _) = after.split_once("\n## ").unwrap();
    let indented = |paragraph: &str| {
        let lines = paragraph.lines().map(|line| line.strip_prefix("    "));
        lines.collect::<Option<Vec<_>>>().map(|l| l.join("\n"))
    };
    let paragraphs = section.split("\n\n").filter(|p| !p.is_empty());
    paragraphs.filter_map(indented).collect()
}

/// What differs from run to run: space in use, numbers of devices, where things are.
fn without_numbers(line: &str) -> String {
    let line = line.replace(|c: char| c.is_ascii_digit() || c == '.', "");
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn root_the_thirty_seconds_are_true() {
    if !requires_root() || !requires_program("mkfs.xfs") {
        return;
    }
    let blocks = blocks("## 30 seconds");
    let [config, session, _] = blocks.as_slice() else {
        panic!("a config, a session, and a config of a pool: {blocks:?}");
    };
    let moctl = Moctl::new().unwrap();
    let fs = MountedFs::with_size("xfs", 32 << 30).unwrap();
    let at = moctl.make_folder("vm1").unwrap();
    let location = fs.path().join("web");
    let here = |text: &str| {
        text.replace("/srv/web", location.to_str().unwrap())
            .replace("/mnt/vm1", at.to_str().unwrap())
    };
    moctl.config("web", &here(config)).unwrap();
    for step in session.split("$ moctl ").skip(1) {
        let (command, expected) = step.split_once('\n').unwrap_or((step, ""));
        let command = here(command);
        let words: Vec<&str> = command.split(' ').collect();
        let output = moctl.run(&words);
        let said = format!("{}{}", output.stdout, output.stderr);
        for line in here(expected).lines() {
            assert!(
                said.lines()
                    .any(|l| without_numbers(l) == without_numbers(line)),
                "{command}: no line like {line:?} in {said:?}"
            );
        }
        let refused = expected.starts_with("moctl: ");
        assert_eq!(output.status != 0, refused, "{command}: {said}");
    }
    moctl.ok(&["web", "umount", "vm1", at.to_str().unwrap()]);
}
