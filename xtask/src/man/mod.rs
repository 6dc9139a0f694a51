// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask man`: the manual pages, those that `moctl` makes from its own command line and those
//! of the C library, which are made from its manual.

mod library;
mod markdown;
mod page;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cargo;
use crate::packages;

/// Builds `moctl`, writes all pages to `target/man`, and lets `man` say what is wrong with them.
///
/// # Errors
/// The build failed; a page does not render without warnings.
pub fn run() -> Result<()> {
    cargo::run(&["build", "--package", "moctl"], &[])?;
    let pages = write(
        &cargo::target().join("debug/moctl"),
        &cargo::target().join("man"),
    )?;
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

/// Writes all pages to `man1` and `man3` in a folder, as `MANPATH` wants them, and gives their
/// paths. `moctl` is the program that writes its own.
///
/// # Errors
/// `moctl` failed; the manual of the C library is not as pages can be made of; the kernel's.
pub fn write(moctl: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let programs = folder.join("man1");
    std::fs::create_dir_all(&programs)?;
    let status = Command::new(moctl)
        .args(["man", "--to"])
        .arg(&programs)
        .stdin(Stdio::null())
        .status()
        .context("cannot run moctl")?;
    ensure!(status.success(), "moctl man failed");
    let functions = folder.join("man3");
    std::fs::create_dir_all(&functions)?;
    for (name, text) in library_pages()? {
        std::fs::write(functions.join(name), text)?;
    }
    let mut pages: Vec<PathBuf> = Vec::new();
    for section in [programs, functions] {
        let entries = std::fs::read_dir(section)?;
        let found = entries.map(|entry| Ok(entry?.path()));
        pages.extend(found.collect::<Result<Vec<_>>>()?);
    }
    pages.sort();
    Ok(pages)
}

/// The pages of the C library.
fn library_pages() -> Result<Vec<page::File>> {
    let file = cargo::workspace().join("doc/libmosaic.md");
    let failed = || format!("cannot make pages of {}", file.display());
    let text = std::fs::read_to_string(&file).with_context(failed)?;
    let manual = library::Manual::read(&text).with_context(failed)?;
    Ok(page::files(&manual, env!("CARGO_PKG_VERSION")))
}

/// Renders a page; what only leads to another one is rendered with that one.
fn render(page: &Path) -> Result<()> {
    if std::fs::read_to_string(page)?.starts_with(".so ") {
        return Ok(());
    }
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

#[cfg(test)]
mod tests;
