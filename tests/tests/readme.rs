// SPDX-License-Identifier: MIT OR Apache-2.0
//! The README's thirty seconds, as they are written there.

use std::path::Path;

use mosaic_tests::{
    Moctl, MountedFs, ThinPool, requires_program, requires_root, requires_thin_pools, requires_time,
};

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

/// Its commands, and what is said to each.
fn steps(session: &str) -> impl Iterator<Item = (&str, &str)> {
    let steps = session.split("$ moctl ").skip(1);
    steps.map(|step| step.split_once('\n').unwrap_or((step, "")))
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
    for (command, expected) in steps(session) {
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

#[test]
fn root_the_same_commands_work_with_a_thin_pool() {
    if !requires_time() || !requires_thin_pools() || !requires_program("mkfs.xfs") {
        return;
    }
    let blocks = blocks("## 30 seconds");
    let [_, session, config] = blocks.as_slice() else {
        panic!("a config, a session, and a config of a pool: {blocks:?}");
    };
    let pool = ThinPool::new(32 << 30, 64 << 20).unwrap();
    let moctl = Moctl::new().unwrap();
    let at = moctl.make_folder("vm1").unwrap();
    let parts = [
        ("location: web", format!("location: {}", pool.name())),
        ("/dev/sdb", pool.data().device().display().to_string()),
        ("/dev/sdc", pool.metadata().device().display().to_string()),
    ];
    let config = parts.iter().fold(config.clone(), |config, (from, to)| {
        assert!(config.contains(from), "no {from} in {config}");
        config.replace(from, to)
    });
    moctl.config("web", &config).unwrap();
    for (command, expected) in steps(session) {
        let command = command.replace("/mnt/vm1", at.to_str().unwrap());
        let words: Vec<&str> = command.split(' ').collect();
        let output = moctl.run(&words);
        let refused = expected.starts_with("moctl: ");
        assert_eq!(output.status != 0, refused, "{command}: {output:?}");
    }
    let listed = moctl.ok(&["web", "list"]);
    assert!(listed.contains("vm1") && listed.contains("vm2"), "{listed}");
    moctl.ok(&["web", "umount", "vm1", at.to_str().unwrap()]);
}
