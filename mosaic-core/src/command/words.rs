// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a program said, made fit for one line of ours.

/// Lines of a failing program that an error quotes.
const LINES: usize = 3;
/// Bytes of a line that are quoted.
const LINE_LENGTH: usize = 300;

/// The last non-empty lines, before a usage text if there is one, joined by `; `.
pub(super) fn last_words(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let mut lines = lines_of(&text);
    if let Some(usage @ 1..) = lines.iter().position(|line| is_usage(line)) {
        lines.truncate(usage);
    }
    let first = lines.len().saturating_sub(LINES);
    lines[first..].join("; ")
}

/// All non-empty lines that `is_chatter` does not take, at most `most` of them, joined by `; `.
pub(crate) fn one_line(output: &[u8], most: usize, is_chatter: impl Fn(&str) -> bool) -> String {
    let text = String::from_utf8_lossy(output);
    let mut lines = lines_of(&text);
    lines.retain(|line| !is_chatter(line));
    let more = lines.len().saturating_sub(most);
    lines.truncate(most);
    if more > 0 {
        let lines_word = if more == 1 { "line" } else { "lines" };
        lines.push(format!("and {more} more {lines_word}"));
    }
    lines.join("; ")
}

/// A carriage return starts a line too: progress meters overwrite theirs.
fn lines_of(text: &str) -> Vec<String> {
    text.split(['\n', '\r'])
        .map(escaped)
        .filter(|line| !line.is_empty())
        .collect()
}

fn is_usage(line: &str) -> bool {
    line.get(..6)
        .is_some_and(|start| start.eq_ignore_ascii_case("usage:"))
}

/// Control characters as escapes: a program's words are nobody's way to the terminal.
fn escaped(line: &str) -> String {
    let line = line.trim();
    let mut text = String::new();
    for letter in line.chars() {
        if text.len() >= LINE_LENGTH {
            text.push_str("...");
            break;
        }
        match letter {
            '\t' => text.push(' '),
            c if is_unprintable(c) => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    text
}

/// Control characters and those that change the direction of what follows.
fn is_unprintable(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_quoted_in_one() {
        assert_eq!(last_words(b""), "");
        assert_eq!(last_words(b"\n\n  \n"), "");
        assert_eq!(last_words(b"a\n\nb\r\nc\n d \n\n"), "b; c; d");
    }

    #[test]
    fn what_stands_before_a_usage_text_matters() {
        assert_eq!(
            last_words(
                b"Filesystem must be larger than 300MB.\nUsage: mkfs.xfs\n[-b]\n[-c]\n[-d]\n"
            ),
            "Filesystem must be larger than 300MB."
        );
        assert_eq!(last_words(b"usage: x\n  -a\n"), "usage: x; -a");
    }

    #[test]
    fn nothing_reaches_the_terminal_raw() {
        assert_eq!(
            last_words(b"bad \x1b[31mred\x07\n"),
            "bad \\u{1b}[31mred\\u{7}"
        );
        assert_eq!(last_words("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(last_words(b"\xff\xfe"), "\u{fffd}\u{fffd}");
        let long = last_words(&[b'x'; 70_000]);
        assert_eq!(long.len(), LINE_LENGTH + 3);
    }

    #[test]
    fn chatter_is_left_out_and_the_rest_is_counted() {
        let said = b"Pass 1\nbad inode 12\nPass 2\nbad dir 3\nbad 4\n";
        assert_eq!(
            one_line(said, 2, |line| line.starts_with("Pass ")),
            "bad inode 12; bad dir 3; and 1 more line"
        );
    }
}
