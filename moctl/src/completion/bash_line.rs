// SPDX-License-Identifier: MIT OR Apache-2.0
//! A command line as bash completes it: quotes taken off, and put on again.
//!
//! Bash does not replace the word at the cursor but what is behind its last *break*: a character of
//! `COMP_WORDBREAKS` without quotes, or the quote that is still open. So for `drop a:b` and the
//! volume `a:bc` the answer is `bc`.

/// The words up to the cursor.
#[derive(Debug, PartialEq, Eq)]
pub struct BashLine {
    /// Without quotes; the last one, perhaps empty, is at the cursor.
    pub words: Vec<String>,
    /// How much of the last word (in bytes) stands before what bash replaces.
    kept: usize,
    /// The quote that is open at the cursor.
    open: Option<char>,
}

impl BashLine {
    /// Takes a line apart.
    pub fn parse(line: &str, breaks: &str) -> Self {
        let mut words = Vec::new();
        let mut word: Option<String> = None;
        let mut kept = 0;
        let mut open = None;
        let mut opened_at = 0;
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            if open.is_none() && c.is_ascii_whitespace() {
                words.extend(word.take());
                kept = 0;
                continue;
            }
            let word = word.get_or_insert_default();
            match (open, c) {
                (Some(quote), c) if c == quote => open = None,
                (None, '\'' | '"') => {
                    open = Some(c);
                    opened_at = word.len();
                }
                (None, '\\') => word.extend(chars.next()),
                (Some('"'), '\\') if matches!(chars.peek(), Some('"' | '\\' | '$' | '`')) => {
                    word.extend(chars.next());
                }
                (_, c) => word.push(c),
            }
            if open.is_none() && !matches!(c, '\'' | '"' | '\\') && breaks.contains(c) {
                kept = word.len();
            }
        }
        words.push(word.unwrap_or_default());
        if open.is_some() {
            kept = opened_at;
        }
        Self { words, kept, open }
    }

    /// What bash is to put in place for a candidate that starts with the last word.
    pub fn reply(&self, candidate: &str) -> String {
        let rest = candidate.get(self.kept..).unwrap_or_default();
        match self.open {
            Some('\'') => rest.replace('\'', r"'\''"),
            Some(_) => escaped(rest, |c| matches!(c, '"' | '\\' | '$' | '`')),
            None => escaped(rest, |c| {
                c.is_ascii() && !c.is_ascii_alphanumeric() && !"_@%+=:,./-".contains(c)
            }),
        }
    }
}

fn escaped(text: &str, special: impl Fn(char) -> bool) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        if special(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    const BREAKS: &str = " \t\n\"'><=;|&(:";

    fn reply(line: &str, candidate: &str) -> String {
        let parsed = BashLine::parse(line, BREAKS);
        let last = parsed.words.last().unwrap();
        assert!(candidate.starts_with(last), "{line}: {last:?}");
        parsed.reply(candidate)
    }

    #[test]
    fn quotes_are_taken_off() {
        for (line, words) in [
            ("moctl ", vec!["moctl", ""]),
            ("moctl", vec!["moctl"]),
            (r"moctl a\ b 'c d'\''e' ", vec!["moctl", "a b", "c d'e", ""]),
            (r#"m "a\"b\n$" 'x"#, vec!["m", r#"a"b\n$"#, "x"]),
            ("m '' ", vec!["m", "", ""]),
            (r"m a\", vec!["m", "a"]),
        ] {
            assert_eq!(BashLine::parse(line, BREAKS).words, words, "{line}");
        }
    }

    #[test]
    fn the_reply_takes_the_place_of_what_is_behind_the_last_break() {
        for (line, candidate, expected) in [
            ("m drop ", "my vol", r"my\ vol"),
            ("m drop m", "my vol", r"my\ vol"),
            (r"m drop my\ v", "my vol", r"my\ vol"),
            ("m drop 'my v", "my vol", "my vol"),
            ("m drop 'i", "it's", r"it'\''s"),
            ("m drop \"c", "c$t", r"c\$t"),
            ("m drop a:", "a:b c", r"b\ c"),
            (r"m drop a\:", "a:b", "a:b"),
            ("m drop 'a:", "a:b", "a:b"),
            ("m drop x'y ", "xy z", "y z"),
            ("m drop 'xy' z", "z", "z"),
            ("m drop \"a b\"c", "a bc", r"a\ bc"),
            ("m drop ", "größe", "größe"),
        ] {
            assert_eq!(reply(line, candidate), expected, "{line}");
        }
    }
}
