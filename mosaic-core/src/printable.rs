// SPDX-License-Identifier: MIT OR Apache-2.0
//! Text for people: what it shows is what there is.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with escapes for characters that would steer a terminal: control characters, and those
/// that turn the direction of writing and so could show another name than there is.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            c if steers(c) => {
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
            }
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_as_escapes() {
        assert_eq!(printable("größe \"日本\" \\"), "größe \"日本\" \\");
        assert_eq!(
            printable("a\u{1b}[2Jb\u{9b}\u{7f}\n\t"),
            "a\\u{1b}[2Jb\\u{9b}\\u{7f}\\n\\t"
        );
        assert_eq!(printable("x\u{202e}fdp"), "x\\u{202e}fdp");
    }
}
