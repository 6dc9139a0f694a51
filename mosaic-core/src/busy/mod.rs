// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who uses a volume: mounts in all mount namespaces, open files, loop devices, holders.
//!
//! Whether an image or a device is in use is for a claim of the kernel's to say (a [`Lease`],
//! `O_EXCL`); what is found here then names the holder. Only for directories, on which nobody can
//! hold a claim, the mounts found here are the answer. Without privilege not every process can be
//! looked at: how many could not is said, never passed over.

mod files;
mod locks;
mod mounts;
mod namespaces;
mod processes;
mod sysfs;

use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};

pub use crate::ioctl::lease::{Lease, LeaseOutcome, is_open_for_writing};
pub use files::{
    claimants_of_device, openers_of, openers_of_device, openers_of_file, writers_of_device,
};
pub use locks::{flock_holder, lock_holder};
pub use mounts::{mounts_of_device, mounts_of_directory, users_of_mount};
pub use processes::command_of;
pub use sysfs::swap_files;

/// Most uses that a message lists.
const SHOWN: usize = 5;

/// One thing that uses a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    /// It, or a part of it, is mounted, or something is mounted in it.
    Mount {
        /// Mountpoint as the process named sees it.
        at: PathBuf,
        /// A process in that mount namespace; `None`: our own namespace.
        pid: Option<u32>,
        /// That process's command.
        command: Option<String>,
    },
    /// The same in a mount namespace in which no process was found, such as one that is kept by a
    /// mount of itself.
    DistantMount {
        /// Mountpoint as seen from that namespace's root.
        at: PathBuf,
        /// Inode of the namespace: `mnt:[4026532448]`.
        namespace: u64,
    },
    /// A process has it open.
    OpenFile {
        /// The process.
        pid: u32,
        /// Its command.
        command: String,
        /// What is open, as that process sees it.
        path: PathBuf,
    },
    /// A process keeps it in use without a descriptor.
    Process {
        /// The process.
        pid: u32,
        /// Its command.
        command: String,
        /// How: `working directory`, `root directory`, `program`, `mapped file`.
        by: &'static str,
    },
    /// It is the backing file of a loop device.
    LoopDevice {
        /// `/dev/loopN`.
        device: PathBuf,
    },
    /// The kernel itself holds it: another device is made of it, or it is swap.
    Holder {
        /// `dm-3 (vg-root)`, `swap`.
        name: String,
    },
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount { at, pid, command } => {
                write!(f, "mounted at {}", at.display().to_string().escape_debug())?;
                if let Some(pid) = pid {
                    write!(f, " in the mount namespace of pid {pid}")?;
                    if let Some(command) = command {
                        write!(f, " ({command})")?;
                    }
                }
                Ok(())
            }
            Self::DistantMount { at, namespace } => write!(
                f,
                "mounted at {} in mount namespace {namespace}, where no process was found",
                at.display().to_string().escape_debug()
            ),
            Self::OpenFile { pid, command, path } => {
                let path = path.display().to_string();
                write!(f, "{} open in pid {pid} ({command})", path.escape_debug())
            }
            Self::Process { pid, command, by } => write!(f, "{by} of pid {pid} ({command})"),
            Self::LoopDevice { device } => write!(f, "attached to {}", device.display()),
            Self::Holder { name } => write!(f, "held by {name}"),
        }
    }
}

/// All uses that were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uses {
    /// What was found.
    pub uses: Vec<Use>,
    /// Processes that could not be looked at for want of privilege.
    pub unseen: usize,
}

impl Uses {
    /// Whether nothing was found; with [`Uses::unseen`] that is not the whole answer.
    pub fn is_empty(&self) -> bool {
        self.uses.is_empty()
    }

    /// These and others. A process that neither could look at counts once.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for found in other.uses {
            if !self.uses.contains(&found) {
                self.uses.push(found);
            }
        }
        self.unseen = self.unseen.max(other.unseen);
        self
    }

    /// Goes on only if nothing was found.
    ///
    /// # Errors
    /// `Busy`, with the description.
    pub fn refuse(&self) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Busy, self.describe()))
    }

    /// For a message: `in use: mounted at /srv/web1; 3 processes could not be looked at without
    /// privilege`.
    pub fn describe(&self) -> String {
        let mut text = "in use".to_owned();
        for (at, found) in self.uses.iter().take(SHOWN).enumerate() {
            text += if at == 0 { ": " } else { "; " };
            text += &found.to_string();
        }
        if self.uses.len() > SHOWN {
            text += &format!("; and {} more", self.uses.len() - SHOWN);
        }
        match self.unseen {
            0 if self.is_empty() => {
                text += " by something in the kernel or not to be seen from here"
            }
            0 => {}
            1 => text += "; 1 process could not be looked at without privilege",
            n => text += &format!("; {n} processes could not be looked at without privilege"),
        }
        text
    }
}

#[cfg(test)]
pub(crate) mod tests;
