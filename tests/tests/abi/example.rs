// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver that `doc/driver.md` shows, taken from the text, built and used by `moctl`.

use std::path::PathBuf;

use mosaic_tests::Moctl;

use crate::folder::Folder;
use crate::workspaces::{Workspace, source};

/// The text of the first code block of a language.
fn block(page: &str, language: &str) -> String {
    let (_, rest) = page
        .split_once(&format!("```{language}\n"))
        .expect(language);
    let (block, _) = rest.split_once("```").expect("the block ends");
    block.to_owned()
}

fn built_example() -> PathBuf {
    let page = std::fs::read_to_string(source("doc/driver.md")).unwrap();
    let mut workspace = Workspace::new("example");
    let core = source("mosaic-core");
    let outside_of_ours = "\n[workspace]\n";
    workspace.put("Cargo.toml", block(&page, "toml") + outside_of_ours);
    workspace.edit(
        "Cargo.toml",
        "../mosaic/mosaic-core",
        core.to_str().unwrap(),
    );
    workspace.put("src/lib.rs", block(&page, "rust"));
    workspace.build(&["--package", "mosaic-disks"])
}

#[test]
fn the_driver_of_the_manual_makes_lists_renames_and_drops_disks() {
    let folder = Folder::with(built_example().join("libmosaic_disks.so"));
    let moctl = Moctl::new().unwrap();
    let store = moctl.folder().join("store");
    moctl
        .mosaic("m", "disks", &store, "reserve: true\n")
        .unwrap();
    let with = |words: &[&str]| {
        let mut all = vec!["--driver-dir", folder.path().to_str().unwrap()];
        all.extend(words);
        all.iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<String>>()
    };
    let keys = moctl.ok(&with(&["drivers", "disks"]));
    assert!(keys.contains("reserve"), "{keys}");
    moctl.ok(&with(&["m", "init"]));
    moctl.ok(&with(&["m", "new", "disk", "vm1", "1M"]));
    let disk = store.join("vm1");
    assert_eq!(std::fs::metadata(&disk).unwrap().len(), 1 << 20);
    let refused = moctl.expect(6, &with(&["m", "new", "fs", "vm2", "1M"]));
    assert!(
        refused.stderr.contains("a disk is raw here"),
        "{}",
        refused.stderr
    );

    let list = moctl.ok(&with(&["m", "list"]));
    assert!(list.lines().count() == 2 && list.contains("vm1"), "{list}");
    let open = std::fs::File::open(&disk).unwrap();
    let busy = moctl.expect(5, &with(&["m", "drop", "vm1"]));
    let pid = std::process::id().to_string();
    assert!(busy.stderr.contains(&pid), "{}", busy.stderr);
    drop(open);
    moctl.ok(&with(&["m", "rename", "vm1", "vm2"]));
    moctl.ok(&with(&["m", "drop", "vm2"]));
    let left: Vec<_> = std::fs::read_dir(&store).unwrap().flatten().collect();
    assert!(
        left.iter().all(|entry| entry.file_name() == ".mosaic"),
        "{left:?}"
    );

    moctl
        .mosaic("m", "disks", &store, "reserve: perhaps\n")
        .unwrap();
    let fault = moctl.expect(8, &with(&["m", "list"]));
    assert!(fault.stderr.contains("m.mos:3"), "{}", fault.stderr);
}
