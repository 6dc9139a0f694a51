// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a volume in a directory carries with it, in extended attributes: kind and user's name.
//!
//! `user.mosaic.kind` is `disk` or `fs:<type>`; a volume without it is a historic one.
//! `user.mosaic.name` is the user's name where a volume map changed it, and while the volume is being
//! renamed both names, one in a line. Both attributes are set before the volume appears. A tenant may be able to change them, so nothing is trusted beyond its grammar.

use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr, getxattr};
use rustix::io::Errno;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::name::{NAME_MAX, VolumeName};
use crate::volume::{Kind, NewKind};

const KIND: &str = "user.mosaic.kind";
const NAME: &str = "user.mosaic.name";

/// Sets the kind of a volume that has no name yet. `NewKind::Fs(None)` needs no label.
///
/// # Errors
/// `Unsupported` where the location's file system stores no user attributes: a disk would later be
/// taken for a file system there.
pub fn set_kind(volume: impl AsFd, kind: &NewKind) -> Result<()> {
    match kind {
        NewKind::Disk => set(volume, KIND, "disk"),
        NewKind::Fs(Some(fs)) => set(volume, KIND, &format!("fs:{fs}")),
        NewKind::Fs(None) => Ok(()),
    }
}

/// Keeps the user's name with the volume where it differs from the stored one, else removes it.
///
/// # Errors
/// `Unsupported` where the location's file system stores no user attributes.
pub fn set_name(volume: impl AsFd, name: &VolumeName) -> Result<()> {
    set_names(volume, &[name])
}

/// Keeps several users' names with the volume, for as long as it is being renamed from one to
/// another: whoever shows it takes the one that fits the stored name that it has then. So a killed
/// rename leaves it with its name of before or after. [`set_name`] ends that.
///
/// # Errors
/// Those of [`set_name`].
pub fn set_names(volume: impl AsFd, names: &[&VolumeName]) -> Result<()> {
    let changed = names.iter().filter(|name| name.user() != name.stored());
    let users: Vec<&str> = changed.map(|name| name.user()).collect();
    if !users.is_empty() {
        return set(volume, NAME, &users.join("\n"));
    }
    match rustix::fs::fremovexattr(volume, NAME) {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(Error::io(errno, format!("cannot remove attribute {NAME}"))),
    }
}

/// The kind that a volume carries; without a label a file system of the type `default_fs`. A
/// descriptor that only holds the volume (`O_PATH`) will do.
///
/// # Errors
/// `Corrupt` if the label is not in the grammar; the kernel's.
pub fn kind(volume: impl AsFd, default_fs: &str) -> Result<Kind> {
    match get(volume, KIND)?.as_deref() {
        None => Ok(Kind::Fs {
            fs: Some(default_fs.to_owned()),
            assumed: true,
        }),
        Some("disk") => Ok(Kind::Disk),
        Some(text) => match text.strip_prefix("fs:") {
            Some(fs) if is_fs_name(fs) => Ok(Kind::Fs {
                fs: Some(fs.to_owned()),
                assumed: false,
            }),
            _ => Err(Error::new(
                ErrorKind::Corrupt,
                format!("attribute {KIND} is {text:?}, expected \"disk\" or \"fs:TYPE\""),
            )),
        },
    }
}

/// The user's name that a volume carries; the names, one in a line, of one whose rename has not come
/// to its end. They are only a hint: the host shows the one from which the volume map leads to the
/// stored name.
///
/// # Errors
/// The kernel's.
pub fn name(volume: impl AsFd) -> Result<Option<String>> {
    match get(volume, NAME) {
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
        other => {
            Ok(other?.filter(|names| names.lines().all(|name| VolumeName::parse(name).is_ok())))
        }
    }
}

/// Whether a word can be a file system type: `[a-z0-9]+`, so that `mkfs.<word>` is a plain name.
pub fn is_fs_name(word: &str) -> bool {
    !word.is_empty()
        && word.len() <= 32
        && word
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

fn set(volume: impl AsFd, attribute: &str, value: &str) -> Result<()> {
    match fsetxattr(volume, attribute, value.as_bytes(), XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP) => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the location's file system stores no extended attributes, and {attribute} has to be kept with the volume"
            ),
        )),
        other => other.context(|| format!("cannot set attribute {attribute}")),
    }
}

/// An attribute's text. What is too long or no UTF-8 is not of Mosaic's making, but there.
fn get(volume: impl AsFd, attribute: &str) -> Result<Option<String>> {
    // The two names of a rename, and what is between them.
    let mut value = vec![0; 2 * NAME_MAX + 1];
    let mut read = fgetxattr(&volume, attribute, value.as_mut_slice());
    if read == Err(Errno::BADF) {
        // Not open, only held (O_PATH): by the path that leads to it, which opens nothing either.
        let held = format!("/proc/thread-self/fd/{}", volume.as_fd().as_raw_fd());
        read = getxattr(held, attribute, value.as_mut_slice());
    }
    let corrupt = |why| {
        Error::new(
            ErrorKind::Corrupt,
            format!("attribute {attribute} is {why}"),
        )
    };
    match read {
        Ok(len) => {
            value.truncate(len);
            let text = String::from_utf8(value).map_err(|_| corrupt("no UTF-8"))?;
            Ok(Some(text))
        }
        Err(Errno::RANGE) => Err(corrupt("longer than any that Mosaic writes")),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(Error::io(
            errno,
            format!("cannot read attribute {attribute}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_back() {
        let file = tempfile::NamedTempFile::new_in(".").unwrap();
        assert_eq!(
            kind(&file, "xfs").unwrap(),
            Kind::Fs {
                fs: Some("xfs".into()),
                assumed: true
            }
        );
        set_kind(&file, &NewKind::Disk).unwrap();
        assert_eq!(kind(&file, "xfs").unwrap(), Kind::Disk);
        set_kind(&file, &NewKind::Fs(Some("ext4".into()))).unwrap();
        assert_eq!(
            kind(&file, "xfs").unwrap(),
            Kind::Fs {
                fs: Some("ext4".into()),
                assumed: false
            }
        );
        set_name(&file, &VolumeName::with_stored("12", "2/12").unwrap()).unwrap();
        assert_eq!(name(&file).unwrap().as_deref(), Some("12"));
        let longest = vec!["n".repeat(255); 4].join("/");
        let names = ["12".to_owned(), longest].map(|n| VolumeName::with_stored(&n, "s").unwrap());
        set_names(&file, &[&names[0], &names[1]]).unwrap();
        let both = format!("12\n{}", names[1].user());
        assert_eq!(name(&file).unwrap(), Some(both));
        set_name(&file, &VolumeName::parse("12").unwrap()).unwrap();
        assert_eq!(name(&file).unwrap(), None);
    }

    #[test]
    fn labels_are_read_without_opening() {
        use rustix::fs::{Mode, OFlags};
        let file = tempfile::NamedTempFile::new_in(".").unwrap();
        set_kind(&file, &NewKind::Disk).unwrap();
        let held = rustix::fs::open(file.path(), OFlags::PATH, Mode::empty()).unwrap();
        assert_eq!(kind(&held, "xfs").unwrap(), Kind::Disk);
        assert_eq!(name(&held).unwrap(), None);
    }

    #[test]
    fn a_label_outside_the_grammar_is_corrupt_and_a_name_is_ignored() {
        let file = tempfile::NamedTempFile::new_in(".").unwrap();
        set(&file, KIND, "fs:../sh").unwrap();
        assert_eq!(kind(&file, "ext4").unwrap_err().kind(), ErrorKind::Corrupt);
        set(&file, NAME, "../../etc").unwrap();
        assert_eq!(name(&file).unwrap(), None);
        // A label that was damaged does not make a disk a file system.
        for bytes in [&b"dis\xff"[..], &[b'x'; 3000]] {
            fsetxattr(&file, KIND, bytes, XattrFlags::empty()).unwrap();
            assert_eq!(kind(&file, "ext4").unwrap_err().kind(), ErrorKind::Corrupt);
            // ext4 has no room for both.
            set(&file, KIND, "disk").unwrap();
            fsetxattr(&file, NAME, bytes, XattrFlags::empty()).unwrap();
            assert_eq!(name(&file).unwrap(), None);
        }
    }
}
