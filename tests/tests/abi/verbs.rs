// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `moctl` makes of the answers that only some drivers give, with the driver of 1.0.

use std::path::PathBuf;

use mosaic_tests::{Moctl, Output, requires_root};

use crate::folder::Folder;
use crate::workspaces;

/// A mosaic `m` of the kept driver.
struct Kept {
    folder: Folder,
    moctl: Moctl,
    at: PathBuf,
}

impl Kept {
    fn new() -> Self {
        let moctl = Moctl::new().unwrap();
        let at = moctl.folder().join("store");
        std::fs::create_dir(&at).unwrap();
        moctl.mosaic("m", "kept", &at, "").unwrap();
        let folder = Folder::with(workspaces::kept());
        Self { folder, moctl, at }
    }

    fn words(&self, words: &[&str]) -> Vec<String> {
        let before = ["--driver-dir", self.folder.path().to_str().unwrap(), "m"];
        let all = before.iter().chain(words);
        all.map(|word| (*word).to_owned()).collect()
    }

    fn expect(&self, status: i32, words: &[&str]) -> Output {
        self.moctl.expect(status, &self.words(words))
    }
}

#[test]
fn root_a_read_only_volume_is_mounted_read_only_or_not_at_all() {
    if !requires_root() {
        return;
    }
    let kept = Kept::new();
    let at = kept.at.to_str().unwrap();
    let refused = kept.expect(2, &["mount", "one", at]);
    let way_out = "it is read-only; mount it with -o ro, or clone it and mount the clone";
    assert!(refused.stderr.contains(way_out), "{}", refused.stderr);
    // So far it is the driver's own refusal.
    kept.expect(5, &["mount", "one", at, "-o", "ro"]);
}
