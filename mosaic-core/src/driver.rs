// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a driver implements: [`Driver`]. What goes in and out of it stands in [`crate::volume`].
//!
//! The host has done much before a method is called: names are checked and mapped, sizes are whole
//! sectors, the capability was asked for, the locks are held. A driver does storage, nothing else.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};
use crate::finding::{Finding, Repair};
use crate::host_services::Host;
use crate::name::VolumeName;
use crate::scratch::{Place, ScratchName};
use crate::settings::{Key, Settings};
use crate::size::Bytes;
use crate::volume::{
    About, Attachment, Capability, CloneOptions, Dropped, InitOptions, MountSource, NewVolume,
    Space, Volume,
};

/// What the host locks on the driver's behalf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockScope {
    /// The location is this directory: the host locks ranges of `.mosaic/lock` in it, keeps half-made
    /// and half-dropped things in `.mosaic/tmp` and `.mosaic/trash`, and sweeps them.
    Directory(PathBuf),
    /// The location is behind this block device: the host opens it exclusively, and the driver
    /// recovers by itself in [`Driver::recover`].
    Device(PathBuf),
}

/// Whether a text can be a driver's type: `[a-z][a-z0-9_-]{0,31}`.
///
/// Nothing else becomes part of a file's name when a driver is looked for.
pub const fn is_type_name(text: &str) -> bool {
    let text = text.as_bytes();
    if text.is_empty() || text.len() > 32 || !text[0].is_ascii_lowercase() {
        return false;
    }
    let mut at = 1;
    while at < text.len() {
        if !matches!(text[at], b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-') {
            return false;
        }
        at += 1;
    }
    true
}

/// A storage type.
///
/// The constants and `schema`, `init`, `open` are about the type, the rest about one open location.
/// Every call is stateless: what exists is asked of the kernel or the storage each time. Methods
/// with a default body are optional; the default refuses with `Unsupported`, and
/// [`Driver::capabilities`] must say the same with a reason.
pub trait Driver: Send + Sync + Sized + 'static {
    /// The `type` in a config file: `[a-z][a-z0-9_-]{0,31}`.
    const TYPE: &'static str;
    /// Other types under which it may be asked for.
    const ALIASES: &'static [&'static str] = &[];
    /// One line for `moctl drivers`.
    const DESCRIPTION: &'static str;

    /// Which of [`InitOptions`] [`Driver::init`] heeds, by the fields' names: `quota`, `adopt`,
    /// `force`. One that is not here is refused before `init` is called.
    const INIT_OPTIONS: &'static [&'static str] = &[];

    /// The driver's own config keys.
    fn schema() -> Vec<Key> {
        Vec::new()
    }

    /// Makes the location, never over anything that is there; returns a line for each thing made.
    ///
    /// # Errors
    /// `Exists` if something else is there; `Unsupported` where the driver cannot make one.
    fn init(host: &Host, settings: &Settings, options: &InitOptions) -> Result<Vec<String>> {
        let _ = (host, settings, options);
        Err(Self::unsupported("init"))
    }

    /// Opens the location. Changes nothing.
    ///
    /// # Errors
    /// `NotFound` if it is not there, `Unsupported` if it is not what the driver works on,
    /// `Config` (by [`Error::config`]) for a value that makes no sense.
    fn open(host: Host, settings: &Settings) -> Result<Self>;

    /// What the host locks before a changing call. A device has to be there when this returns: who
    /// has to set it up does so here, in a way that two at once do no harm.
    ///
    /// # Errors
    /// What kept the device from being set up.
    fn lock_scope(&self) -> Result<LockScope>;

    /// Whether a clone changes its source, as one that freezes the source's present state under both
    /// does. The host then holds the source's name alone for a clone, else along with others.
    fn clone_changes_source(&self) -> bool {
        false
    }

    /// Finishes or undoes what a killed call left. Called with the lock of [`LockScope::Device`].
    ///
    /// # Errors
    /// What kept it from doing so; the changing call is then not made.
    fn recover(&self) -> Result<()> {
        Ok(())
    }

    /// Refuses a well-formed name that this location cannot hold.
    ///
    /// # Errors
    /// `Invalid`.
    fn validate_name(&self, name: &VolumeName) -> Result<()> {
        let _ = name;
        Ok(())
    }

    /// What can be done here, or with one volume, and for the rest why not.
    ///
    /// # Errors
    /// Whatever kept it from finding out.
    fn capabilities(&self, volume: Option<&VolumeName>) -> Result<Vec<Capability>>;

    /// How full the location is.
    ///
    /// # Errors
    /// Whatever the storage answered.
    fn space(&self) -> Result<Vec<Space>>;

    /// What else a user should know of the location, for `info`.
    ///
    /// # Errors
    /// Whatever kept it from finding out.
    fn about(&self) -> Result<About> {
        Ok(About::default())
    }

    /// All volumes, in any order.
    ///
    /// # Errors
    /// Whatever the storage answered. A volume that cannot be read is listed with a note.
    fn list(&self) -> Result<Vec<Volume>>;

    /// One volume; `Ok(None)` if there is none of that name.
    ///
    /// # Errors
    /// `Exists` if something that is no volume has the name; whatever the storage answered.
    fn find(&self, name: &VolumeName) -> Result<Option<Volume>>;

    /// The metadata file system, for a location that is no directory.
    ///
    /// # Errors
    /// `Unsupported` where there is none.
    fn metadata(&self) -> Result<Volume> {
        Err(Self::unsupported("metadata"))
    }

    /// Makes a volume. It appears at its name complete, durable and labelled, or not at all.
    ///
    /// # Errors
    /// `Exists`, `NoSpace`, `Unsupported`.
    fn create(&self, name: &VolumeName, new: &NewVolume) -> Result<()>;

    /// Makes `to` from what `from` holds at one instant, sharing its data copy-on-write. `to` has
    /// a file system UUID of its own, and appears complete and durable, or not at all.
    ///
    /// # Errors
    /// `Exists`, `NoSpace`, `Unsupported`, `Busy`.
    fn clone_volume(&self, from: &VolumeName, to: &VolumeName, how: &CloneOptions) -> Result<()> {
        let _ = (from, to, how);
        Err(Self::unsupported("clone"))
    }

    /// Takes the volume's name away in one durable step, after proof that nobody uses it. What
    /// cannot be deleted in that step goes to `.mosaic/trash/<scratch>`, which the host sweeps.
    /// Space that the storage itself gives back later is what the answer names.
    ///
    /// # Errors
    /// `Busy`, naming the user.
    fn drop_volume(&self, name: &VolumeName, scratch: &ScratchName) -> Result<Dropped>;

    /// Returns when the space of a dropped volume is back. Called for `drop --wait` after the trash
    /// was emptied, without any lock, with what [`Driver::drop_volume`] answered. It may take long:
    /// show progress, and look at [`Host::check_cancelled`].
    ///
    /// # Errors
    /// `Interrupted`; whatever kept it from seeing.
    fn await_space(&self, dropped: &Dropped) -> Result<()> {
        let _ = dropped;
        Ok(())
    }

    /// Gives the volume another name in one durable step.
    ///
    /// # Errors
    /// `Exists`, `Busy`.
    fn rename(&self, from: &VolumeName, to: &VolumeName) -> Result<()>;

    /// Sets the size of the storage, and of a block device that shows it. The host grows the file
    /// system afterwards, or has shrunk it before. The size it has already is fine.
    ///
    /// # Errors
    /// `Busy` for a shrink of a volume in use; `NoSpace`.
    fn resize(&self, name: &VolumeName, size: Bytes) -> Result<()> {
        let _ = (name, size);
        Err(Self::unsupported("resize"))
    }

    /// Shows the volume as a block device that stays until [`Driver::detach`].
    ///
    /// # Errors
    /// `Busy` if it is attached or in use already, saying where.
    fn attach(&self, name: &VolumeName, read_only: bool) -> Result<Attachment> {
        let _ = (name, read_only);
        Err(Self::unsupported("attach"))
    }

    /// Takes an explicitly attached device away; returns when it is gone.
    ///
    /// # Errors
    /// `Busy` while somebody has it open; `NotFound` if there is none.
    fn detach(&self, name: &VolumeName) -> Result<()> {
        let _ = name;
        Err(Self::unsupported("detach"))
    }

    /// What the host mounts for the volume, or for the metadata (`None`). A device that has to be
    /// set up for that lives as long as the descriptor in the answer or a mount of it. Until then
    /// the volume is in use, and calls that exclude that are `Busy`: the host holds no
    /// [`LockScope::Device`] while it checks what it got read-only.
    ///
    /// # Errors
    /// `Busy` if somebody else uses it.
    fn mount_source(&self, name: Option<&VolumeName>, read_only: bool) -> Result<MountSource>;

    /// Deletes what a killed call left in [`Place`]. Only for things that a tree removal cannot
    /// delete; the default leaves that to the host.
    ///
    /// # Errors
    /// `Unsupported`: the host is to remove the tree; else what kept it from deleting.
    fn remove_leftover(&self, place: Place, name: &ScratchName) -> Result<()> {
        let _ = (place, name);
        Err(Self::unsupported("own sweeping"))
    }

    /// Compares location, volumes and kernel, and mends what `repair` covers.
    ///
    /// # Errors
    /// Whatever kept it from looking. What is wrong is a finding, not an error.
    fn check(&self, repair: &Repair) -> Result<Vec<Finding>> {
        let _ = repair;
        Ok(Vec::new())
    }

    /// The refusal of the default bodies.
    #[doc(hidden)]
    fn unsupported(what: &str) -> Error {
        Error::new(
            ErrorKind::Unsupported,
            format!("{what} is not supported by driver {:?}", Self::TYPE),
        )
    }
}

/// A descriptor that crosses the border as a number: the receiver owns it.
pub(crate) fn into_raw(fd: OwnedFd) -> i32 {
    use std::os::fd::IntoRawFd;
    fd.into_raw_fd()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_a_short_lower_case_word() {
        for good in ["a", "loop", "dm-thin", "x_2", &"a".repeat(32)] {
            assert!(is_type_name(good), "{good}");
        }
        let bad = [
            "",
            "1a",
            "-a",
            "_a",
            "Loop",
            "a/b",
            "a.b",
            "a b",
            "ä",
            "a\0",
            &"a".repeat(33),
        ];
        for bad in bad {
            assert!(!is_type_name(bad), "{bad}");
        }
    }
}
