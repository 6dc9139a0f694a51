// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask lint`: what is not in order, all of it in one go.

use anyhow::{Result, bail};

use crate::cargo;
use crate::packages;
use crate::tree_rules;

/// Runs every check, also after one that failed.
///
/// # Errors
/// Any of them failed.
pub fn run() -> Result<()> {
    let mut failed = Vec::new();
    let clippy: Vec<&str> = "clippy --workspace --all-targets --all-features -- --deny warnings"
        .split(' ')
        .collect();
    // Private items too: who works on this reads their documentation as well.
    let doc = [
        "doc",
        "--workspace",
        "--all-features",
        "--no-deps",
        "--document-private-items",
    ];
    let strict = [("RUSTDOCFLAGS", "--deny warnings")];
    for (what, done) in [
        ("fmt", cargo::run(&["fmt", "--all", "--check"], &[])),
        ("clippy", cargo::run(&clippy, &[])),
        ("doc", cargo::run(&doc, &strict)),
    ] {
        if done.is_err() {
            failed.push(what);
        }
    }
    let faults = tree_rules::faults(&cargo::workspace())?;
    for fault in &faults {
        println!("{fault}");
    }
    if !faults.is_empty() {
        failed.push("habits of this tree");
    }
    if packages::is_here("cargo-deny") {
        if cargo::run(&["deny", "check"], &[]).is_err() {
            failed.push("deny");
        }
    } else {
        println!("left out: cargo deny check: cargo-deny is not installed");
    }
    if !failed.is_empty() {
        bail!("not in order: {}", failed.join(", "));
    }
    println!("all in order");
    Ok(())
}
