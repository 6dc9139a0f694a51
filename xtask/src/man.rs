// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask man`: the manual pages that `moctl` makes from its own command line.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cargo;
use crate::packages;

/// Builds `moctl`, writes its pages to `target/man`, and lets `man` say what is wrong with them.
///
/// # Errors
/// The build failed; a page does not render without warnings.
pub fn run() -> Result<()> {
    cargo::run(&["build", "--package", "moctl"], &[])?;
    let folder = cargo::target().join("man");
    std::fs::create_dir_all(&folder)?;
    let status = Command::new(cargo::target().join("debug/moctl"))
        .args(["man", "--to"])
        .arg(&folder)
        .stdin(Stdio::null())
        .status()
        .context("cannot run moctl")?;
    ensure!(status.success(), "moctl man failed");
    let mut pages: Vec<PathBuf> = std::fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    pages.sort();
    ensure!(!pages.is_empty(), "moctl man wrote no pages");
    let check = packages::is_here("man");
    for page in &pages {
        if check {
            render(page)?;
        }
        println!("{}", page.display());
    }
    if !check {
        println!("left out: rendering the pages: man is not installed");
    }
    Ok(())
}

fn render(page: &PathBuf) -> Result<()> {
    let output = Command::new("man")
        .args(["--warnings", "--local-file", "--pager=cat"])
        .arg(page)
        .env("LC_ALL", "C.UTF-8")
        .env("MANWIDTH", "80")
        .stdin(Stdio::null())
        .output()
        .context("cannot run man")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && said.trim().is_empty() && output.stdout.len() > 100,
        "{} does not render: {}",
        page.display(),
        said.trim()
    );
    Ok(())
}
