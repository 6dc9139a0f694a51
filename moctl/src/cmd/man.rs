// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl man [WORD]`, `moctl man --to DIR`.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use crate::output::{Report, json};
use crate::{cmd, manual};

#[derive(Serialize)]
struct ManJson {
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<String>>,
}

/// Prints one manual page, or writes all of them.
///
/// # Errors
/// `Invalid` if there is no such word; the kernel's while writing.
pub fn run(word: Option<&str>, to: Option<&Path>) -> anyhow::Result<Report> {
    match to {
        Some(folder) => write_all(folder),
        None => print_one(word),
    }
}

fn print_one(word: Option<&str>) -> anyhow::Result<Report> {
    let file = match word {
        None => "moctl.1".to_owned(),
        Some(word) => format!("moctl-{}.1", cmd::help::find(word)?.get_name()),
    };
    let page = manual::pages()?.into_iter().find(|page| page.file == file);
    let text = page.map(|page| page.text).unwrap_or_default();
    let fields = ManJson {
        action: "man",
        text: Some(text.clone()),
        files: None,
    };
    Ok(Report::new(fields).text(&text))
}

fn write_all(folder: &Path) -> anyhow::Result<Report> {
    let mut files = Vec::new();
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make folder {folder:?}"))?;
    for page in manual::pages()? {
        let path = folder.join(&page.file);
        std::fs::write(&path, page.text).with_context(|| format!("cannot write {path:?}"))?;
        files.push(json::path(&path));
    }
    Ok(Report::new(ManJson {
        action: "man",
        text: None,
        files: Some(files),
    }))
}
