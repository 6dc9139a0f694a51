// SPDX-License-Identifier: MIT OR Apache-2.0
//! The drivers of `tests/drivers` and `tests/abi`, each set in a workspace of its own.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

pub use mosaic_tests::workspace::{
    SAME, Workspace, panicky, source, third_party, third_party_workspace,
};

use crate::next_abi;

/// The driver of ABI 1.0 as it was released.
pub fn kept() -> PathBuf {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
        let mut workspace = Workspace::new("kept-1.0");
        workspace.add(&source("tests/abi/1.0"), "");
        workspace.build(&["--package", "mosaic-kept"])
    });
    BUILT.join("libmosaic_kept.so")
}

/// The folder of a driver and a program of the next ABI, made from today's by appending to it.
pub fn next() -> &'static Path {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
        let mut workspace = Workspace::with_core("next", &["next", "host"]);
        workspace.add(&source("tests/drivers/next"), "next");
        workspace.add(&source("tests/drivers/host"), "host");
        next_abi::append(&mut workspace);
        workspace.build(&["--package", "mosaic-next", "--package", "next-host"])
    });
    &BUILT
}

/// A driver whose ABI has today's number, but one more field in a frozen struct.
pub fn changed() -> PathBuf {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
        let mut workspace = Workspace::with_core("changed", &["changed"]);
        workspace.add(&source("tests/drivers/panicky"), "changed");
        workspace.edit("changed/Cargo.toml", "panicky", "changed");
        workspace.edit("changed/src/lib.rs", "\"panicky\"", "\"changed\"");
        let (types, border) = ("mosaic-core/abi/src/types.rs", "mosaic-core/src/border.rs");
        workspace.edit(types, "pub total: u64", "pub dent: u32, pub total: u64");
        workspace.edit(
            border,
            "total: space.total.0,",
            "dent: 1, total: space.total.0,",
        );
        workspace.build(&["--package", "mosaic-changed"])
    });
    BUILT.join("libmosaic_changed.so")
}
