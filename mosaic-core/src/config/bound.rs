// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a regular expression may cost, looked at before the C library sees it.
//!
//! glibc's regcomp copies what an interval repeats, so `\(a*\)*\{255\}\{255\}\{255\}` takes all
//! memory; its regexec goes back and forth without bound over back-references; both recurse over
//! groups in groups. What is left after this check is matched in time and memory that grow with
//! the length of the name times the cost counted here.

/// Most bytes of an expression.
const LENGTH_MAX: usize = 512;
/// Groups in groups.
const NESTING_MAX: usize = 16;
/// The bound of an interval, `RE_DUP_MAX` of POSIX.
const INTERVAL_MAX: usize = 255;
/// Characters, with those that an interval repeats counted that often.
const COST_MAX: usize = 2_000;

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
    /// Whether anything in it is repeated more than once.
    repeats: bool,
    last: Atom,
}

/// What a repetition would repeat.
#[derive(Debug, Default, Clone)]
struct Atom {
    /// 0: there is none, so that a `*` is itself.
    cost: usize,
    repeats: bool,
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
            _ => {
                self.atom(Atom {
                    cost: 1,
                    is_part: !byte.is_ascii(),
                    ..Atom::default()
                });
                Ok(())
            }
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
        frame.repeats |= atom.repeats;
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
                frame.last = Atom::default();
                Ok(())
            }
            Some(digit @ b'1'..=b'9') => Err(format!(
                r"refers back with \{}, for which matching has no bound",
                char::from(digit)
            )),
            Some(byte) => self.plain(byte),
        }
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
            repeats: group.repeats,
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
        let repeats = high.is_none_or(|high| high > 1);
        if last.is_repeated || (repeats && last.repeats) {
            return Err("repeats a repetition, for which matching has no useful bound".to_owned());
        }
        let frame = self.frame();
        frame.cost += last.cost * copies;
        frame.repeats |= repeats;
        frame.last.is_repeated = true;
        Ok(())
    }
}
