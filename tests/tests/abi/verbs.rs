// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `moctl` makes of the answers that only some drivers give, with the driver of 1.0.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mosaic_core::mosaic::{DropOptions, Environment, Mosaic};
use mosaic_core::{ErrorKind, Level, ScratchName, Services};
use mosaic_tests::{Moctl, Output, requires_root};
use serde_json::{Value, json};

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

    fn ok(&self, words: &[&str]) -> String {
        self.moctl.ok(&self.words(words))
    }

    fn expect(&self, status: i32, words: &[&str]) -> Output {
        self.moctl.expect(status, &self.words(words))
    }

    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.ok(words)).unwrap()
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
    let way_out = "it is read-only, and its clones are not: mount it with -o ro";
    assert!(refused.stderr.contains(way_out), "{}", refused.stderr);
    // So far it is the driver's own refusal.
    kept.expect(5, &["mount", "one", at, "-o", "ro"]);
}

#[test]
fn info_has_what_a_driver_says_of_its_location() {
    let kept = Kept::new();
    let info = kept.ok(&["info"]);
    assert!(
        info.contains("\na fact: its value\nnote: a note on the location\nfeatures:"),
        "{info}"
    );
    let info = kept.json(&["info", "--json"]);
    assert_eq!(info["notes"], json!(["a note on the location"]));
    assert_eq!(info["facts"], json!({"a fact": "its value"}));
}

#[test]
fn drop_says_what_is_pending_and_waits_for_it_when_asked_to() {
    const WAITED: &str = "blocks of slow";
    let kept = Kept::new();
    let dropped = kept.json(&["drop", "slow", "--json"]);
    assert_eq!(dropped["pending"], json!([WAITED]));
    let dropped = kept.expect(0, &["drop", "slow", "-v"]);
    assert!(!dropped.stderr.contains(WAITED), "{}", dropped.stderr);
    let dropped = kept.expect(0, &["drop", "slow", "--wait", "-v"]);
    assert!(dropped.stderr.contains(WAITED), "{}", dropped.stderr);
    let dropped = kept.json(&["drop", "slow", "--wait", "--json"]);
    assert_eq!(dropped["pending"], json!([]));
    let none = kept.expect(0, &["drop", "none", "--wait", "--missing-ok", "-v"]);
    assert_eq!(none.stdout, "unchanged\n");
    kept.expect(5, &["drop", "one", "--wait"]);
    kept.expect(3, &["drop", "none", "--wait"]);
}

#[test]
fn what_a_driver_without_classes_finds_is_of_one_and_others_are_mended_without_it() {
    let kept = Kept::new();
    let tmp = kept.at.join(".mosaic/tmp");
    std::fs::create_dir_all(&tmp).unwrap();
    std::fs::write(tmp.join(ScratchName::from_random(1).as_str()), "").unwrap();
    let found = kept.expect(10, &["check"]).stdout;
    assert!(
        found.contains("--repair=other would: make it new"),
        "{found}"
    );
    let found = kept.expect(10, &["check", "--repair=leftovers"]).stdout;
    assert!(
        found.contains("--repair=other would: make it new"),
        "{found}"
    );
    assert!(found.contains("repaired: delete it"), "{found}");
    let found = kept.expect(10, &["check", "--repair=other"]).stdout;
    assert!(found.contains("repaired: make it new"), "{found}");
    assert!(
        found.contains("--repair=leftovers would: delete it"),
        "{found}"
    );
}

/// A user who loses patience when the wait begins.
#[derive(Default)]
struct Impatient(AtomicBool);

impl Services for Impatient {
    fn log(&self, _: Level, message: &str) {
        if message == "blocks of slow" {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    fn progress(&self, _: u64, _: u64, _: &str) {}
    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn who_stops_waiting_is_told_that_the_volume_is_gone() {
    let kept = Kept::new();
    let environment = Environment {
        config_dir: kept.moctl.folder().to_owned(),
        search: kept.folder.search(),
        lock_timeout: Duration::ZERO,
        services: Arc::new(Impatient::default()),
    };
    let mosaic = Mosaic::open(&environment, "m".as_ref()).unwrap();
    let wait = DropOptions {
        wait: true,
        ..DropOptions::default()
    };
    let error = mosaic.drop_volume("slow", &wait).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    let why = "volume \"slow\" is dropped, but its space is not back: interrupted";
    assert!(error.chain().starts_with(why), "{}", error.chain());
}
