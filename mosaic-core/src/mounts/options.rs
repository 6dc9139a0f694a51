// SPDX-License-Identifier: MIT OR Apache-2.0
//! The words of `mount -o` and of the config key `mount_options`.
//!
//! All of them are attributes of the mount, not of the file system, so that two mounts of one volume
//! can differ. A word that nobody knows is refused: nothing is silently ignored.

use std::fmt;

use libc::c_ulong;
use rustix::mount::MountAttrFlags as Attr;

use crate::error::{Error, ErrorKind, Result};

/// What a mount gets where no word says otherwise.
const DEFAULTS: Attr = Attr::MOUNT_ATTR_NOSUID.union(Attr::MOUNT_ATTR_NODEV);

/// All attributes that a word decides.
const ALL: Attr = DEFAULTS
    .union(Attr::MOUNT_ATTR_RDONLY)
    .union(Attr::MOUNT_ATTR_NOEXEC)
    .union(Attr::MOUNT_ATTR__ATIME)
    .union(Attr::MOUNT_ATTR_NODIRATIME)
    .union(Attr::MOUNT_ATTR_NOSYMFOLLOW);

/// A word, the attributes that it decides, and which of them it sets.
const WORDS: [(&str, Attr, Attr); 16] = [
    ("ro", Attr::MOUNT_ATTR_RDONLY, Attr::MOUNT_ATTR_RDONLY),
    ("rw", Attr::MOUNT_ATTR_RDONLY, Attr::empty()),
    ("nosuid", Attr::MOUNT_ATTR_NOSUID, Attr::MOUNT_ATTR_NOSUID),
    ("suid", Attr::MOUNT_ATTR_NOSUID, Attr::empty()),
    ("nodev", Attr::MOUNT_ATTR_NODEV, Attr::MOUNT_ATTR_NODEV),
    ("dev", Attr::MOUNT_ATTR_NODEV, Attr::empty()),
    ("noexec", Attr::MOUNT_ATTR_NOEXEC, Attr::MOUNT_ATTR_NOEXEC),
    ("exec", Attr::MOUNT_ATTR_NOEXEC, Attr::empty()),
    ("noatime", Attr::MOUNT_ATTR__ATIME, Attr::MOUNT_ATTR_NOATIME),
    (
        "relatime",
        Attr::MOUNT_ATTR__ATIME,
        Attr::MOUNT_ATTR_RELATIME,
    ),
    (
        "strictatime",
        Attr::MOUNT_ATTR__ATIME,
        Attr::MOUNT_ATTR_STRICTATIME,
    ),
    (
        "nodiratime",
        Attr::MOUNT_ATTR_NODIRATIME,
        Attr::MOUNT_ATTR_NODIRATIME,
    ),
    ("diratime", Attr::MOUNT_ATTR_NODIRATIME, Attr::empty()),
    (
        "nosymfollow",
        Attr::MOUNT_ATTR_NOSYMFOLLOW,
        Attr::MOUNT_ATTR_NOSYMFOLLOW,
    ),
    ("symfollow", Attr::MOUNT_ATTR_NOSYMFOLLOW, Attr::empty()),
    ("defaults", ALL, DEFAULTS),
];

/// A flag of mount(2) and its word; of access times the one that the kernel heeds comes last.
const FLAGS: [(c_ulong, &str); 9] = [
    (libc::MS_RDONLY, "ro"),
    (libc::MS_NOSUID, "nosuid"),
    (libc::MS_NODEV, "nodev"),
    (libc::MS_NOEXEC, "noexec"),
    (libc::MS_NODIRATIME, "nodiratime"),
    (MS_NOSYMFOLLOW, "nosymfollow"),
    (libc::MS_RELATIME, "relatime"),
    (libc::MS_NOATIME, "noatime"),
    (libc::MS_STRICTATIME, "strictatime"),
];

/// In include/uapi/linux/mount.h, since Linux 5.10.
const MS_NOSYMFOLLOW: c_ulong = 256;

/// How a volume is mounted.
///
/// Without any word: read-write, **nosuid and nodev**, relatime, as in `defaults`. What is on a
/// volume is its tenant's, who may be root inside a container or have written the image elsewhere;
/// a set-uid program or a device node on it must not work for the users of the host that can reach
/// the mountpoint. (mount(8) says `suid,dev` by default, but mounts what the administrator owns.)
/// A container whose own `su` or `ping` has to work needs `suid`, once for a mosaic of containers:
/// `mount_options: suid` in its config; keep the folder above the mountpoints closed (0700) then.
///
/// Of two words that contradict each other the later one holds, and a word of the command line
/// holds against one of the config. What no word decides, a mount of a directory has from the
/// location's own mount: on a location that is mounted read-only or noexec it is that too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MountOptions {
    /// The attributes that a word decided.
    decided: Attr,
    /// Those of them that are set.
    set: Attr,
    /// What the mount gets of those that are not decided.
    otherwise: Attr,
}

impl MountOptions {
    /// No word at all.
    pub const fn new() -> Self {
        Self {
            decided: Attr::empty(),
            set: Attr::empty(),
            otherwise: DEFAULTS,
        }
    }

    /// Reads words with commas between them; an empty text is no word at all.
    ///
    /// # Errors
    /// `Invalid` for a word that is not known.
    pub fn parse(text: &str) -> Result<Self> {
        let mut options = Self::new();
        if text.is_empty() {
            return Ok(options);
        }
        for word in text.split(',') {
            let known = WORDS.iter().find(|row| row.0 == word);
            let (_, decides, sets) = known.ok_or_else(|| unknown(word))?;
            options = Self::merged(
                &options,
                &Self {
                    decided: *decides,
                    set: *sets,
                    otherwise: DEFAULTS,
                },
            );
        }
        Ok(options)
    }

    /// The flags of mount(2) that are attributes of a mount. There is no flag for `rw` or `suid`: what no
    /// flag says is as a config says ([`MountOptions::merged`]), else as mount(2) says, that is suid and
    /// dev. Of flags for access times that contradict each other the one holds
    /// that the kernel would heed: strictatime, then noatime. `MS_MGC_VAL`, which old programs give, and
    /// `MS_SILENT` mean nothing.
    ///
    /// # Errors
    /// `Invalid` for any other flag.
    ///
    /// Kernel: `MS_*` in include/uapi/linux/mount.h, `path_mount` in fs/namespace.c, Linux 6.12.
    pub fn from_flags(flags: c_ulong) -> Result<Self> {
        let flags = match flags & libc::MS_MGC_MSK == libc::MS_MGC_VAL {
            true => flags & !libc::MS_MGC_MSK,
            false => flags,
        } & !libc::MS_SILENT;
        let known = FLAGS.iter().fold(0, |known, (flag, _)| known | flag);
        if flags & !known != 0 {
            let odd = flags & !known;
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("unknown mount flags {odd:#x}"),
            ));
        }
        let given = FLAGS.iter().filter(|(flag, _)| flags & flag != 0);
        let words: Vec<_> = given.map(|(_, word)| *word).collect();
        Ok(Self {
            otherwise: Attr::empty(),
            ..Self::parse(&words.join(","))?
        })
    }

    /// What `given` decides, and for the rest what `defaults` decide; where neither does, as `given`
    /// has it.
    #[must_use]
    pub fn merged(defaults: &Self, given: &Self) -> Self {
        Self {
            decided: defaults.decided | given.decided,
            set: (defaults.set - given.decided) | given.set,
            otherwise: given.otherwise,
        }
    }

    /// The words that can be given.
    pub fn words() -> impl Iterator<Item = &'static str> {
        WORDS.iter().map(|row| row.0)
    }

    /// Whether writing was ruled out.
    pub fn is_read_only(&self) -> bool {
        self.set.contains(Attr::MOUNT_ATTR_RDONLY)
    }

    /// Whether writing was asked for by a word, so that it must not be refused silently.
    pub(crate) fn is_writable(&self) -> bool {
        self.decided.contains(Attr::MOUNT_ATTR_RDONLY) && !self.is_read_only()
    }

    /// The same, but read-only.
    #[must_use]
    pub fn read_only(&self) -> Self {
        Self {
            decided: self.decided | Attr::MOUNT_ATTR_RDONLY,
            set: self.set | Attr::MOUNT_ATTR_RDONLY,
            otherwise: self.otherwise,
        }
    }

    /// The attributes that the mount gets.
    pub(crate) fn set(&self) -> Attr {
        self.set | (self.otherwise - self.decided)
    }

    /// The attributes to clear on a copy of another mount before [`MountOptions::set`] are set.
    pub(crate) fn clear(&self) -> Attr {
        self.decided
    }
}

impl Default for MountOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for MountOptions {
    /// The attributes as words in the order of the manual, `ro` or `rw` first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_read_only() { "ro" } else { "rw" })?;
        let set = self.set();
        for (word, decides, sets) in WORDS {
            let shown = decides != Attr::MOUNT_ATTR_RDONLY && decides != ALL && !sets.is_empty();
            if shown && (set & decides) == sets {
                write!(f, ",{word}")?;
            }
        }
        Ok(())
    }
}

fn unknown(word: &str) -> Error {
    let known: Vec<_> = MountOptions::words().collect();
    let near = MountOptions::words()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= 2 && *distance < word.chars().count())
        .min()
        .map(|(_, candidate)| format!("; did you mean {candidate}?"))
        .unwrap_or_default();
    Error::new(
        ErrorKind::Invalid,
        format!(
            "unknown mount option {word:?} (known: {}{near})",
            known.join(", ")
        ),
    )
}

/// How many letters have to be added, removed or changed to make one word the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    // More letters than that are near no word, and a long text costs nothing.
    for (line, letter) in one.chars().take(32).enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        for (above, candidate) in row.iter_mut().skip(1).zip(&other) {
            let changed = diagonal + usize::from(letter != *candidate);
            diagonal = *above;
            left = changed.min(diagonal + 1).min(left + 1);
            *above = left;
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> MountOptions {
        MountOptions::parse(text).unwrap()
    }

    impl MountOptions {
        /// With what mount(2) has where nothing is said.
        fn with_mounts_own(self) -> Self {
            Self {
                otherwise: Attr::empty(),
                ..self
            }
        }
    }

    #[test]
    fn a_mount_is_nosuid_and_nodev_unless_a_word_says_otherwise() {
        assert_eq!(parse("").to_string(), "rw,nosuid,nodev");
        assert_eq!(parse("defaults").to_string(), "rw,nosuid,nodev");
        assert_eq!(parse("suid").to_string(), "rw,nodev");
        assert_eq!(parse("ro,suid,dev").to_string(), "ro");
        assert_eq!(
            parse("noatime,noexec,nodiratime,nosymfollow").to_string(),
            "rw,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow"
        );
    }

    #[test]
    fn the_later_word_holds() {
        assert_eq!(parse("ro,rw").to_string(), "rw,nosuid,nodev");
        assert!(parse("rw,ro").is_read_only());
        assert!(
            parse("strictatime,noatime")
                .to_string()
                .ends_with(",noatime")
        );
        assert_eq!(parse("noatime,relatime").to_string(), "rw,nosuid,nodev");
        assert_eq!(parse("ro,suid,defaults").to_string(), "rw,nosuid,nodev");
    }

    #[test]
    fn the_command_line_holds_against_the_config() {
        let merged = |a, b| MountOptions::merged(&parse(a), &parse(b)).to_string();
        assert_eq!(merged("ro,suid", ""), "ro,nodev");
        assert_eq!(merged("ro,suid", "rw"), "rw,nodev");
        assert_eq!(
            merged("noatime", "strictatime"),
            "rw,nosuid,nodev,strictatime"
        );
        assert_eq!(merged("suid", "nosuid,ro"), "ro,nosuid,nodev");
        assert_eq!(merged("suid,ro,noexec", "defaults"), "rw,nosuid,nodev");
    }

    #[test]
    fn an_unknown_word_is_refused_with_the_known_ones_and_the_nearest() {
        let error = MountOptions::parse("ro,nosiud").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let text = error.to_string();
        assert!(
            text.starts_with("unknown mount option \"nosiud\" (known: ro, rw, "),
            "{text}"
        );
        assert!(text.ends_with("; did you mean nosuid?)"), "{text}");
        for word in [
            "", "ro,", ",ro", "ro, rw", "RO", "subvol=x", "remount", "bind", "noload\n",
        ] {
            if !word.is_empty() {
                assert_eq!(
                    MountOptions::parse(word).unwrap_err().kind(),
                    ErrorKind::Invalid
                );
            }
        }
        assert!(
            !MountOptions::parse("discard")
                .unwrap_err()
                .to_string()
                .contains("did you")
        );
        assert!(MountOptions::parse(&"x".repeat(100_000)).is_err());
    }

    #[test]
    fn only_an_explicit_rw_is_a_demand() {
        assert!(parse("ro,rw").is_writable());
        assert!(!parse("").is_writable());
        assert!(!parse("rw,ro").is_writable());
    }

    #[test]
    fn flags_of_mount_are_words() {
        let from = MountOptions::from_flags;
        for (flags, words) in [
            (0, ""),
            (libc::MS_RDONLY, "ro"),
            (libc::MS_NOSUID | libc::MS_NODEV, "nosuid,nodev"),
            (libc::MS_NOEXEC | libc::MS_NODIRATIME, "noexec,nodiratime"),
            (256, "nosymfollow"),
            (libc::MS_RELATIME, "relatime"),
            (libc::MS_NOATIME | libc::MS_RELATIME, "noatime"),
            (libc::MS_STRICTATIME | libc::MS_NOATIME, "strictatime"),
            (libc::MS_SILENT | libc::MS_RDONLY, "ro"),
            (libc::MS_MGC_VAL | libc::MS_NOEXEC, "noexec"),
        ] {
            let options = from(flags).unwrap();
            assert_eq!(options, parse(words).with_mounts_own(), "{words}");
        }
        assert_eq!(from(0).unwrap().to_string(), "rw");
        let merged = |config, flags| MountOptions::merged(&parse(config), &from(flags).unwrap());
        assert_eq!(merged("nosuid,ro", 0).to_string(), "ro,nosuid");
        assert_eq!(merged("defaults", 0).to_string(), "rw,nosuid,nodev");
        assert_eq!(merged("suid", libc::MS_NOSUID).to_string(), "rw,nosuid");
        for odd in [
            libc::MS_REMOUNT,
            libc::MS_BIND | libc::MS_RDONLY,
            libc::MS_SYNCHRONOUS,
            libc::MS_MGC_VAL | libc::MS_BIND,
            1 << 31,
        ] {
            assert_eq!(from(odd).unwrap_err().kind(), ErrorKind::Invalid, "{odd}");
        }
    }

    #[test]
    fn distance_counts_single_letters() {
        for (one, other, letters) in [
            ("ro", "ro", 0),
            ("", "rw", 2),
            ("nosiud", "nosuid", 2),
            ("noatim", "noatime", 1),
        ] {
            assert_eq!(distance(one, other), letters, "{one} {other}");
        }
    }
}
