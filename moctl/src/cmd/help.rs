// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl help [WORD]`.

use serde::Serialize;

use crate::output::Report;
use crate::{cli, manual};

#[derive(Serialize)]
struct HelpJson {
    action: &'static str,
    text: String,
}

/// Shows the help of moctl, or of a word.
///
/// # Errors
/// `Invalid` if there is no such word.
pub fn run(word: Option<&str>) -> anyhow::Result<Report> {
    let mut command = match word {
        None => cli::top_level(),
        Some(word) => find(word)?,
    };
    let text = command.render_help().to_string();
    let fields = HelpJson {
        action: "help",
        text: text.clone(),
    };
    Ok(Report::new(fields).text(&text))
}

/// The command of a word.
///
/// # Errors
/// `Invalid` if there is no such word.
pub fn find(word: &str) -> mosaic_core::Result<clap::Command> {
    manual::find(word).ok_or_else(|| {
        let known: Vec<_> = manual::words()
            .iter()
            .map(|c| c.get_name().to_owned())
            .collect();
        let message = format!(
            "no help on {word:?}; there is help on: {}",
            known.join(", ")
        );
        mosaic_core::Error::new(mosaic_core::ErrorKind::Invalid, message)
    })
}
