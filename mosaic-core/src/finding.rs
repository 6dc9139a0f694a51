// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `check` finds, and which of it is to be mended.
//!
//! Faults that are mended in one way are of one class, and whoever repairs decides about a class as
//! a whole. Some of what could be done is no repair that anybody would expect of the word, such as
//! to go back to another state: that class has to be named.

use crate::error::{Error, ErrorKind, Result};

/// Something that `check` found wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The volume's stored name; `None`: the location.
    pub volume: Option<String>,
    /// What is wrong.
    pub fault: String,
    /// What repair does, or did; `None`: it cannot mend that.
    pub remedy: Option<Remedy>,
    /// It was done.
    pub repaired: bool,
}

impl Finding {
    /// The class of what mends it.
    pub fn class(&self) -> Option<&str> {
        Some(&self.remedy.as_ref()?.class)
    }
}

/// Whether nothing is wrong, or not any more.
pub fn is_clean(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.repaired)
}

/// Whether something was mended.
pub fn is_changed(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.repaired)
}

/// What mends a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remedy {
    /// One word for all faults that are mended in this way, such as `growth`: small letters, digits,
    /// `-` and `_`, so that it can be typed in a list of them.
    pub class: String,
    /// What is done: `grow the pool's data`.
    pub action: String,
    /// It is done only if its class is named.
    pub is_by_name: bool,
}

/// The class of a remedy that has none of its own.
pub(crate) const OTHER: &str = "other";

/// Whether it can be a class: what nobody can type, nobody could ask for.
fn is_class(word: &str) -> bool {
    let may_be = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    !word.is_empty() && word.chars().all(may_be)
}

impl Remedy {
    /// One that belongs to any repair. What cannot be a class is of the class `other`.
    pub fn new(class: &str, action: impl Into<String>) -> Self {
        let class = if is_class(class) { class } else { OTHER };
        Self {
            class: class.to_owned(),
            action: action.into(),
            is_by_name: false,
        }
    }

    /// The same, to be done only if its class is named.
    #[must_use]
    pub fn by_name(self) -> Self {
        Self {
            is_by_name: true,
            ..self
        }
    }
}

/// What a check is to mend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Repair {
    /// Nothing: it looks.
    #[default]
    Nothing,
    /// What does not have to be named.
    Usual,
    /// These classes.
    Classes(Vec<String>),
}

impl Repair {
    /// What a text asks for: the empty one what does not have to be named, else classes, split by `,`.
    ///
    /// # Errors
    /// `Invalid` for what cannot be a class.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::Usual);
        }
        let words: Vec<_> = text.split(',').map(str::to_owned).collect();
        Self::classes(&words)
    }

    /// These classes.
    ///
    /// # Errors
    /// `Invalid` for what cannot be one.
    pub fn classes(words: &[String]) -> Result<Self> {
        match words.iter().find(|word| !is_class(word)) {
            Some(odd) => Err(Error::new(
                ErrorKind::Invalid,
                format!("{odd:?} is no class of faults; check names those that it found"),
            )),
            None => Ok(Self::Classes(words.to_vec())),
        }
    }

    /// The classes that were named and that nothing is of that a check with this repair found.
    #[cfg(feature = "host")]
    pub(crate) fn unknown<'r>(&'r self, findings: &[Finding]) -> Vec<&'r str> {
        let Self::Classes(classes) = self else {
            return Vec::new();
        };
        let is_found = |class: &&str| findings.iter().any(|found| found.class() == Some(class));
        let classes = classes.iter().map(String::as_str);
        classes.filter(|class| !is_found(class)).collect()
    }

    /// Whether something may be mended at all.
    pub fn is_any(&self) -> bool {
        *self != Self::Nothing
    }

    /// Whether this is to be done.
    pub fn covers(&self, remedy: &Remedy) -> bool {
        match self {
            Self::Nothing => false,
            Self::Usual => !remedy.is_by_name,
            Self::Classes(classes) => classes.contains(&remedy.class),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_mended_if_it_is_named_or_need_not_be() {
        let usual = Remedy::new("growth", "grow it");
        let by_name = Remedy::new("state", "go back").by_name();
        let words = |words: &[&str]| -> Vec<String> {
            words.iter().map(|word| (*word).to_owned()).collect()
        };
        let named = |names: &[&str]| Repair::classes(&words(names)).unwrap();
        for (repair, mends) in [
            (Repair::Nothing, [false, false]),
            (Repair::Usual, [true, false]),
            (named(&["growth"]), [true, false]),
            (named(&["state"]), [false, true]),
            (named(&["growth", "state"]), [true, true]),
            (named(&[]), [false, false]),
        ] {
            let covers = [repair.covers(&usual), repair.covers(&by_name)];
            assert_eq!(covers, mends, "{repair:?}");
        }
    }

    #[test]
    fn a_text_is_a_list_of_classes() {
        assert_eq!(Repair::parse("").unwrap(), Repair::Usual);
        let classes = |words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned());
            Repair::Classes(words.collect())
        };
        assert_eq!(Repair::parse("growth").unwrap(), classes(&["growth"]));
        assert_eq!(Repair::parse("a,b-2").unwrap(), classes(&["a", "b-2"]));
        for odd in [",", "a,", ",a", "a,,b", "a, b", " "] {
            let error = Repair::parse(odd).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{odd:?}");
        }
    }

    #[test]
    fn a_check_is_clean_when_all_is_mended() {
        let finding = |class: Option<&str>, repaired| Finding {
            volume: None,
            fault: "fault".into(),
            remedy: class.map(|class| Remedy::new(class, "mend it")),
            repaired,
        };
        assert!(is_clean(&[]) && !is_changed(&[]));
        let mended = finding(Some("growth"), true);
        let left = finding(None, false);
        let both = [mended, left];
        assert!(!is_clean(&both) && is_changed(&both));
        assert!(is_clean(&both[..1]) && is_changed(&both[..1]));
        assert!(!is_clean(&both[1..]) && !is_changed(&both[1..]));
        let asked = Repair::parse("state,growth").unwrap();
        assert_eq!(asked.unknown(&both), ["state"]);
        assert!(Repair::Usual.unknown(&both).is_empty());
    }

    #[test]
    fn whatever_a_driver_calls_a_class_can_be_asked_for() {
        let asked = |class: &str| Repair::classes(&[class.to_owned()]);
        for word in ["growth", "fs2", "raid_sets", "quota-groups"] {
            let remedy = Remedy::new(word, "mend it");
            assert_eq!(remedy.class, word);
            assert!(asked(word).unwrap().covers(&remedy), "{word}");
        }
        for odd in ["", "State", "a b", "a=b", "a,b", "a\n", "gr\u{f6}sse"] {
            let error = asked(odd).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{odd:?}");
            let remedy = Remedy::new(odd, "mend it").by_name();
            assert!(asked("other").unwrap().covers(&remedy), "{odd:?}");
        }
    }
}
