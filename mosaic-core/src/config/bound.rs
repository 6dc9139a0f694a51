// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a regular expression may cost, looked at before the C library sees it.
//!
//! glibc's regcomp copies what an interval repeats, so `\(a*\)*\{255\}\{255\}\{255\}` takes all
//! memory; its regexec tries without end over back-references and over repetitions in repeated
//! groups (seen with glibc 2.36 and random expressions of this kind); both recurse over groups in
//! groups. All of that is refused. What is left takes a fraction of a second on the longest name.

/// Most bytes of an expression.
const LENGTH_MAX: usize = 512;
/// Groups in groups.
const NESTING_MAX: usize = 16;
/// The bound of an interval, `RE_DUP_MAX` of POSIX.
const INTERVAL_MAX: usize = 255;
/// Characters, with those that an interval repeats counted that often.
const COST_MAX: usize = 1_000;

/// Refuses an expression whose cost is not bounded; returns the number of its groups.
///
/// # Errors
/// Why, to be put after "has a regular expression that".
pub(super) fn check(regex: &str) -> Result<usize, String> {
    if regex.len() > LENGTH_MAX {
        let length = regex.len();
        return Err(format!(
            "has {length} bytes, at most {LENGTH_MAX} are allowed"
        ));
    }
    let mut scan = Scan {
        rest: regex.as_bytes(),
        frames: vec![Frame::default()],
        groups: 0,
    };
    while let Some((byte, rest)) = scan.rest.split_first() {
        scan.rest = rest;
        scan.step(*byte)?;
        let cost: usize = scan.frames.iter().map(|frame| frame.cost).sum();
        if cost > COST_MAX {
            return Err(format!(
                "repeats too much: it stands for more than {COST_MAX} characters"
            ));
        }
    }
    match scan.frames.len() {
        1 => Ok(scan.groups),
        _ => Err(r"has a \( without \)".to_owned()),
    }
}

/// An open group, or the whole expression.
#[derive(Debug, Default, Clone)]
struct Frame {
    cost: usize,
    /// Whether it has more than one way to match: a repetition, an option, an alternative.
    varies: bool,
    last: Atom,
}

/// What a repetition would repeat.
#[derive(Debug, Default, Clone)]
struct Atom {
    /// 0: there is none, so that a `*` is itself.
    cost: usize,
    /// Whether it has more than one way to match.
    varies: bool,
    /// Whether it is the last byte of a longer character.
    is_part: bool,
    /// Whether it has a repetition already.
    is_repeated: bool,
}

struct Scan<'a> {
    rest: &'a [u8],
    frames: Vec<Frame>,
    groups: usize,
}

impl Scan<'_> {
    fn step(&mut self, byte: u8) -> Result<(), String> {
        match byte {
            b'\\' => self.escape(),
            b'[' => self.bracket(),
            b'*' if self.frame().last.cost > 0 => self.repeat(0, None),
            b'^' | b'$' => self.place(),
            _ => self.plain(byte),
        }
    }

    fn frame(&mut self) -> &mut Frame {
        if self.frames.is_empty() {
            self.frames.push(Frame::default());
        }
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    fn atom(&mut self, atom: Atom) {
        let frame = self.frame();
        frame.cost += atom.cost;
        frame.varies |= atom.varies;
        frame.last = atom;
    }

    fn next(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn escape(&mut self) -> Result<(), String> {
        match self.next() {
            None => Err(r"ends in a \".to_owned()),
            Some(b'(') => self.open(),
            Some(b')') => self.close(),
            Some(b'{') => self.interval(),
            Some(b'+') => self.repeat(1, None),
            Some(b'?') => self.repeat(0, Some(1)),
            Some(b'|') => {
                let frame = self.frame();
                frame.cost += 1;
                frame.varies = true;
                frame.last = Atom::default();
                Ok(())
            }
            Some(digit @ b'1'..=b'9') => Err(format!(
                r"refers back with \{}, for which matching has no bound",
                char::from(digit)
            )),
            Some(b'<' | b'>' | b'b' | b'B' | b'`' | b'\'') => self.place(),
            Some(byte) => self.plain(byte),
        }
    }

    /// What matches a place and no character: repeated, it would be found there any number of times.
    fn place(&mut self) -> Result<(), String> {
        self.atom(Atom {
            cost: 1,
            varies: true,
            ..Atom::default()
        });
        Ok(())
    }

    fn plain(&mut self, byte: u8) -> Result<(), String> {
        self.atom(Atom {
            cost: 1,
            is_part: !byte.is_ascii(),
            ..Atom::default()
        });
        Ok(())
    }

    fn open(&mut self) -> Result<(), String> {
        self.groups += 1;
        self.frames.push(Frame::default());
        match self.frames.len() {
            nesting if nesting > NESTING_MAX => Err(format!(
                "has groups in groups, more than {NESTING_MAX} deep"
            )),
            _ => Ok(()),
        }
    }

    fn close(&mut self) -> Result<(), String> {
        let group = match self.frames.pop() {
            Some(group) if !self.frames.is_empty() => group,
            _ => return Err(r"has a \) without \(".to_owned()),
        };
        self.atom(Atom {
            cost: group.cost + 2,
            varies: group.varies || group.cost == 0,
            ..Atom::default()
        });
        Ok(())
    }

    /// `[...]`: one character, in which `\` is nothing special.
    fn bracket(&mut self) -> Result<(), String> {
        let unclosed = || "has a [ without ]".to_owned();
        if self.rest.first() == Some(&b'^') {
            self.next();
        }
        let mut is_first = true;
        loop {
            match self.next().ok_or_else(unclosed)? {
                b']' if !is_first => break,
                b'[' if matches!(self.rest.first(), Some(b':' | b'.' | b'=')) => {
                    let end = [self.next().unwrap_or_default(), b']'];
                    let length = self.rest.windows(2).position(|pair| pair == end);
                    self.rest = &self.rest[length.ok_or_else(unclosed)? + 2..];
                }
                byte if !byte.is_ascii() => {
                    return Err("has a character of more than one byte in [ ]: \
                                it would match single bytes of it"
                        .to_owned());
                }
                _ => {}
            }
            is_first = false;
        }
        self.plain(b']')
    }

    /// What follows `\{`.
    fn interval(&mut self) -> Result<(), String> {
        let faulty = || r"has a faulty \{ \}".to_owned();
        let end = self.rest.windows(2).position(|pair| pair == br"\}");
        let end = end.ok_or_else(faulty)?;
        let text = std::str::from_utf8(&self.rest[..end]).map_err(|_| faulty())?;
        self.rest = &self.rest[end + 2..];
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse::<usize>().unwrap_or(usize::MAX);
            is_number.then_some(number).ok_or_else(faulty)
        };
        let (low, high) = match text.split_once(',') {
            None => (number(text)?, Some(number(text)?)),
            Some(("", "")) => return Err(faulty()),
            Some(("", high)) => (0, Some(number(high)?)),
            Some((low, "")) => (number(low)?, None),
            Some((low, high)) => (number(low)?, Some(number(high)?)),
        };
        if low.max(high.unwrap_or(0)) > INTERVAL_MAX {
            return Err(format!(r"has a \{{ \}} above {INTERVAL_MAX}"));
        }
        self.repeat(low, high)
    }

    fn repeat(&mut self, low: usize, high: Option<usize>) -> Result<(), String> {
        let last = self.frame().last.clone();
        if last.cost == 0 {
            return Err("repeats nothing".to_owned());
        }
        if last.is_part {
            return Err("repeats a character of more than one byte: \
                        only its last byte would be; put it in a group"
                .to_owned());
        }
        let copies = high.unwrap_or(low + 1).max(1);
        if last.is_repeated || (high != Some(1) && last.varies) {
            return Err(
                "repeats what repeats itself, may be left out, has alternatives or matches \
                        nothing: matching that has no useful bound"
                    .to_owned(),
            );
        }
        let frame = self.frame();
        frame.cost += last.cost * copies;
        frame.varies = true;
        frame.last.is_repeated = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;
    use crate::config::posix_regex::PosixRegex;

    #[test]
    fn counts_groups_as_the_c_library_does() {
        for (regex, groups) in [
            (r"a*", 0),
            (r"\(a\)\(b\(c\)\)", 3),
            (r"[\(]\(a\)", 1),
            (r"[]\(]\(a\)", 1),
            (r"[^]\(]\(a\)", 1),
            (r"[[:alpha:]\(]\(a\)", 1),
            (r"[[.].]\(]\(a\)", 1),
            (r"\\(a\(b\)", 1),
            (r"*\(*a\)", 1),
            (r"(a)\(b\)", 1),
        ] {
            assert_eq!(check(regex), Ok(groups), "{regex}");
            assert!(
                PosixRegex::compile(&CString::new(regex).unwrap()).is_ok(),
                "{regex}"
            );
        }
    }

    #[test]
    fn takes_what_people_write() {
        for regex in [
            r"\(.*\)\(..\)",
            r"\([a-z]\{1,12\}\)-\([0-9]*\)",
            r"[0-9a-f]\{64\}",
            r"\(.*\)\(-[a-z]*\)\?",
            r"\(-[a-z]\)*\([0-9]\+\)",
            r"\(web\|db\)\([0-9]*\)",
            r"größe\(.*\)",
            r"\(é\)*",
            r"^\(.*\)$",
        ] {
            assert!(check(regex).is_ok(), "{regex}: {:?}", check(regex));
        }
    }

    #[test]
    fn refuses_what_has_no_bound() {
        let nested = r"\(".repeat(17) + "a" + &r"\)".repeat(17);
        let long = "a".repeat(513);
        let wide = r".\{255\}".repeat(4);
        for (regex, why) in [
            (
                r"\(a*\)*\{255\}\{255\}\{255\}",
                "repeats what repeats itself",
            ),
            (r"\(a*\)*", "repeats what repeats itself"),
            (r"\(\(a*\)*\)*b", "repeats what repeats itself"),
            (r"\(a\?\)\{255\}", "repeats what repeats itself"),
            (r"\(a\|b\)\+", "repeats what repeats itself"),
            (r"\(\)*", "repeats what repeats itself"),
            (r"\(^\)\{200\}", "repeats what repeats itself"),
            (r"\(\<\)*", "repeats what repeats itself"),
            (r"a**", "repeats what repeats itself"),
            (r"a\{9\}\{9\}", "repeats what repeats itself"),
            (r"\(a\{9\}\)\{9\}", "repeats what repeats itself"),
            (r"\(a\)\1", r"refers back with \1"),
            (r"\(a*\)\(b*\)\2\1", r"refers back with \2"),
            (r"a\{256\}", "above 255"),
            (r"a\{1,99999999999999999999\}", "above 255"),
            (r"\(abcd\)\{250\}", "repeats too much"),
            (&wide, "repeats too much"),
            (&nested, "groups in groups"),
            (&long, "has 513 bytes"),
            ("é*", "more than one byte"),
            ("[é]", "more than one byte"),
            (r"\(a", r"\( without \)"),
            (r"a\)", r"\) without \("),
            ("[a", "[ without ]"),
            ("[]", "[ without ]"),
            ("[[:alpha", "[ without ]"),
            (r"a\", r"ends in a \"),
            (r"a\{", r"faulty \{ \}"),
            (r"a\{x\}", r"faulty \{ \}"),
            (r"a\{,\}", r"faulty \{ \}"),
            (r"a\{+1\}", r"faulty \{ \}"),
            (r"\{1\}", "repeats nothing"),
        ] {
            let said = check(regex).unwrap_err();
            assert!(said.contains(why), "{regex}: {said}");
        }
    }

    /// The worst that random search found among what is let through; it must come back at all.
    #[test]
    fn what_is_let_through_ends_on_the_longest_names() {
        let names = [
            "a".repeat(1023) + "c",
            "ab".repeat(512),
            "ab".repeat(511) + "cc",
        ];
        for regex in [
            r"a*a\{0,100\}a[ab]*$",
            r"[ab]\{255\}\(ab\)\+",
            r"\([ab]*\)\([ab]*\)\([ab]*\)\([ab]*\)\([ab]*\)\([ab]*\)\([ab]*\)\([ab]*\)\([ab]*\)c",
            r"a\+\(b\+a\{255\}[ab]*\)\?$..",
            r".*.\{255\}.*.\{255\}.*",
            r"\([ab]\{0,200\}\)\([ab]\{0,200\}\)\([ab]\{0,200\}\)\([ab]\{0,200\}\).*",
        ] {
            check(regex).unwrap();
            let compiled = PosixRegex::compile(&CString::new(regex).unwrap()).unwrap();
            for name in &names {
                if let Some(groups) = compiled.search(name) {
                    assert!(
                        groups[0]
                            .as_ref()
                            .is_some_and(|whole| whole.end <= name.len())
                    );
                }
            }
        }
    }

    #[test]
    fn any_text_is_checked_without_a_panic() {
        let pieces = [
            r"\(",
            r"\)",
            r"\{",
            r"\}",
            r"\|",
            r"\+",
            r"\?",
            "[",
            "]",
            "[:",
            ":]",
            "[.",
            "^",
            "$",
            "*",
            ".",
            "a",
            "é",
            "\\",
            "1",
            ",",
            "9",
            "\u{10ffff}",
            "-",
        ];
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut compiled = 0;
        for _ in 0..20_000 {
            let mut regex = String::new();
            for _ in 0..12 {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let at = usize::try_from(random >> 33).unwrap() % pieces.len();
                regex.push_str(pieces[at]);
            }
            if check(&regex).is_ok()
                && let Ok(regex) = CString::new(regex)
            {
                compiled += usize::from(PosixRegex::compile(&regex).is_ok());
            }
        }
        assert!(
            compiled > 50,
            "only {compiled} were let through: this tests too little"
        );
    }
}
