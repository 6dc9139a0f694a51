// SPDX-License-Identifier: MIT OR Apache-2.0
//! What these tests share: mosaics of one's own, a JSON Schema.

#![allow(dead_code, reason = "each test binary uses some of it")]

pub mod schema;

use std::path::{Path, PathBuf};

use mosaic_tests::Moctl;

/// A `moctl` with the mosaic `web` of the plain driver, which needs no root, and its location.
pub fn plain() -> (Moctl, PathBuf) {
    let moctl = Moctl::new().unwrap();
    let location = moctl.make_folder("location").unwrap();
    moctl
        .mosaic("web", "plain", &location, "layout:\n  fs: meta\n")
        .unwrap();
    (moctl, location)
}

/// Makes a volume of the plain driver.
pub fn make(moctl: &Moctl, names: &[&str]) {
    for name in names {
        moctl.ok(&["web", "new", "fs", name, "1M", "-q"]);
    }
}

/// The repository.
pub fn repository_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of the repository.
pub fn repository_file(name: &str) -> String {
    let path = repository_folder().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
