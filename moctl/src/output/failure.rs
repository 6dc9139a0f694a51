// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors as people, scripts and programs read them.
//!
//! On stderr each is one line, but for a config file's faults: one line each. With `--json` stderr
//! stays empty and the object on stdout has it all.

use mosaic_core::error::text_in;
use mosaic_core::{ErrorKind, printable};
use serde::Serialize;

use super::words;

/// An error, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    #[serde(serialize_with = "kind_name")]
    kind: ErrorKind,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
    causes: Vec<String>,
    /// What stderr gets behind the message.
    #[serde(skip)]
    usage: String,
}

fn kind_name<S: serde::Serializer>(kind: &ErrorKind, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(kind.name())
}

impl Failure {
    /// What `moctl` exits with.
    pub fn exit_status(&self) -> u8 {
        self.kind.exit_status()
    }

    /// The lines for stderr.
    pub fn text(&self, color: bool) -> String {
        let prefix = if color {
            "\x1b[1;31mmoctl:\x1b[0m "
        } else {
            "moctl: "
        };
        let mut lines: Vec<&str> = vec![&self.message];
        if self.kind == ErrorKind::Config {
            lines = self.message.lines().collect();
        }
        let mut text = String::new();
        for (at, line) in lines.iter().enumerate() {
            text.push_str(prefix);
            text.push_str(&printable(line));
            if at + 1 == lines.len() {
                for cause in &self.causes {
                    text.push_str(": ");
                    text.push_str(&printable(cause));
                }
            }
            text.push('\n');
        }
        text.push_str(&self.usage);
        text
    }
}

impl From<&anyhow::Error> for Failure {
    fn from(error: &anyhow::Error) -> Self {
        let known = error
            .chain()
            .find_map(|e| e.downcast_ref::<mosaic_core::Error>());
        let mut texts = error.chain().map(|e| text_in(e, words::needs));
        Self {
            kind: known.map_or(ErrorKind::Io, mosaic_core::Error::kind),
            message: texts.next().unwrap_or_default(),
            errno: known.and_then(mosaic_core::Error::errno),
            causes: texts.collect(),
            usage: String::new(),
        }
    }
}

impl From<&clap::Error> for Failure {
    /// Clap writes `error: what`, perhaps more lines, an empty line, tips and usage.
    fn from(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let (what, usage) = text.split_once("\n\n").unwrap_or((text, ""));
        let words: Vec<&str> = what.split_whitespace().collect();
        Self {
            kind: ErrorKind::Invalid,
            message: words.join(" "),
            errno: None,
            causes: Vec::new(),
            usage: if usage.is_empty() {
                String::new()
            } else {
                format!("\n{usage}")
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn an_error_is_one_line_and_keeps_its_kind_and_errno() {
        let error: Result<(), _> = Err(mosaic_core::Error::io(
            std::io::Error::from_raw_os_error(16),
            "cannot do\nthis",
        ));
        let failure = Failure::from(&error.context("cannot drop volume \"a\"").unwrap_err());
        assert_eq!(failure.exit_status(), 5);
        assert_eq!(
            failure.text(false),
            "moctl: cannot drop volume \"a\": cannot do\\nthis: Device or resource busy\n"
        );
        assert_eq!(
            serde_json::to_string(&failure).unwrap(),
            r#"{"kind":"busy","message":"cannot drop volume \"a\"","errno":16,"causes":["cannot do\nthis","Device or resource busy"]}"#
        );
    }

    #[test]
    fn what_a_call_needs_is_an_option() {
        let error = mosaic_core::Error::new(ErrorKind::Invalid, "1M is less than its 2M")
            .that_needs(mosaic_core::Needs::Shrink);
        let failure = Failure::from(&anyhow::Error::new(error.context("cannot resize")));
        let text = "moctl: cannot resize: 1M is less than its 2M: say --shrink\n";
        assert_eq!(failure.text(false), text);
        assert_eq!(failure.causes, ["1M is less than its 2M: say --shrink"]);
    }

    #[test]
    fn faults_of_a_config_file_are_a_line_each() {
        let faults = "/a.mos:1: one\n/a.mos:2: two";
        let error = anyhow::Error::new(mosaic_core::Error::new(ErrorKind::Config, faults));
        let text = Failure::from(&error).text(false);
        assert_eq!(text, "moctl: /a.mos:1: one\nmoctl: /a.mos:2: two\n");
    }

    #[test]
    fn a_usage_error_is_one_line_and_the_usage() {
        let error = crate::arguments::parse(&["m".into(), "rename".into()]).unwrap_err();
        let failure = Failure::from(&error);
        assert_eq!(failure.exit_status(), 2);
        let text = failure.text(false);
        let (first, rest) = text.split_once('\n').unwrap();
        assert_eq!(
            first,
            "moctl: the following required arguments were not provided: <V> <W>"
        );
        assert!(rest.starts_with("\nUsage: "), "{rest}");
    }
}
