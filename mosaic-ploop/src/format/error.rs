// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong with images and descriptors, and which kind each is for the host.

use std::io;

use mosaic_core::ErrorKind;

use super::descriptor::DescriptorFault;
use super::entry::EntryFault;
use super::guid::Guid;
use super::header::{HeaderFault, SizeFault};
use super::units::{Sectors, VirtualCluster};

/// Shorthand for a result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation on an image or a disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The storage failed.
    #[error("cannot {action} {file:?}")]
    Io {
        /// What was tried: a verb.
        action: &'static str,
        /// The file's name.
        file: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A header makes no sense.
    #[error("{file:?} {fault}")]
    Header {
        /// The file's name.
        file: String,
        /// What is wrong.
        fault: HeaderFault,
    },
    /// A BAT entry makes no sense.
    #[error("{file:?}: BAT entry {} {fault}; check --repair may help", entry.0)]
    Entry {
        /// The file's name.
        file: String,
        /// The entry's number.
        entry: VirtualCluster,
        /// What is wrong.
        fault: EntryFault,
    },
    /// It is open for writing somewhere, or its writer died.
    #[error("{file:?} is marked in use; check --repair it if no program has it open")]
    InUse {
        /// The file's name.
        file: String,
    },
    /// A conversion between V1 and V2 did not end.
    #[error("{file:?} is in the middle of a conversion; check --repair undoes it")]
    Converting {
        /// The file's name.
        file: String,
    },
    /// Header values that only QEMU reads.
    #[error("{file:?} can only be read: its cluster size or start of data is QEMU's own")]
    NotWritable {
        /// The file's name.
        file: String,
    },
    /// The format extension forbids changes by those who do not know a part of it.
    #[error("{file:?} has a format extension that forbids others to change the image")]
    Extension {
        /// The file's name.
        file: String,
    },
    /// It was opened for reading.
    #[error("{file:?} is open for reading only")]
    ReadOnly {
        /// The file's name.
        file: String,
    },
    /// The file has other names, so another disk may have it too.
    #[error("{file:?} has other names too, so it is not changed")]
    Shared {
        /// The file's name.
        file: String,
    },
    /// Another program was stopped while it made a snapshot of a running disk.
    #[error(
        "a snapshot that another program was making was interrupted, and {file:?} may have newer data \
         than the disk, which knows nothing of it; check --repair=snapshots ends the snapshot"
    )]
    Interrupted {
        /// The name of the file that the snapshot has added.
        file: String,
    },
    /// Something could not be made durable, so that nobody knows what is on storage, or the writer has
    /// ended.
    #[error("{file:?} is not written any more, since something could not be made durable")]
    Broken {
        /// The file's name.
        file: String,
    },
    /// Somebody changed it while a writer that was killed was being followed by another one.
    #[error(
        "{file:?} was changed by another program while it was in use; what was written to it last is \
         not in it"
    )]
    Overtaken {
        /// The file's name.
        file: String,
    },
    /// The version has no number for one more cluster, or the disk's limit is reached.
    #[error("{file:?} cannot hold one more cluster")]
    Full {
        /// The file's name.
        file: String,
    },
    /// A size that no disk can have.
    #[error("{0}")]
    Size(SizeFault),
    /// A smaller size where only a larger one is possible, or the reverse.
    #[error("a disk of {from} cannot become one of {to} this way")]
    Resize {
        /// The size it has.
        from: Sectors,
        /// The size it was to have.
        to: Sectors,
    },
    /// A place that the disk does not have.
    #[error("{bytes} bytes at byte {at} are not within the disk of {size} bytes")]
    Range {
        /// First byte.
        at: u64,
        /// How many.
        bytes: u64,
        /// The disk's size in bytes.
        size: u64,
    },
    /// Two deltas of a chain that do not fit together.
    #[error("{file:?} does not fit upon what is beneath it: {what}")]
    Mismatch {
        /// The upper file's name.
        file: String,
        /// In what they differ.
        what: &'static str,
    },
    /// The descriptor makes no sense.
    #[error("{0}")]
    Descriptor(DescriptorFault),
    /// What was asked for and this disk do not go together.
    #[error("{0}")]
    Refused(Refusal),
}

/// Why something is not done to a disk that is all right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No shot has this GUID.
    #[error("there is no snapshot {0}")]
    NoSnapshot(Guid),
    /// A shot has this GUID.
    #[error("there is a snapshot {0} already")]
    SnapshotExists(Guid),
    /// The GUID is the top's, reserved, or that of nothing.
    #[error("{0} is not the name of a snapshot, nor can it be")]
    ReservedGuid(Guid),
    /// The snapshot waits for its deletion.
    #[error("snapshot {0} is being deleted")]
    Temporary(Guid),
    /// libploop takes no more deltas.
    #[error("the disk has {0} deltas, which is the most there can be; delete a snapshot first")]
    TooManyDeltas(usize),
    /// Only the base is left.
    #[error("snapshot {0} is all there is of the disk")]
    LastImage(Guid),
    /// Others stand on the delta beneath the top, so that it cannot become the top.
    #[error("snapshot {0} is the base of others, so it cannot be written; switch to it instead")]
    HasOthers(Guid),
    /// The disk has more than one delta.
    #[error("the disk has snapshots; delete them first")]
    HasSnapshots,
    /// The descriptor belongs to a tree of volumes of libploop 8.
    #[error("the disk is one of libploop's volumes, which others must not change")]
    LibploopVolume,
    /// An interrupted online merge of libploop 9.
    #[error("an online merge of snapshot {0} by ploop was interrupted; only ploop can end it")]
    OnlineMerge(Guid),
    /// It is there already.
    #[error("{0:?} exists")]
    Exists(String),
}

impl Error {
    /// An error of the storage.
    pub fn io(action: &'static str, file: &str, source: io::Error) -> Self {
        Self::Io {
            action,
            file: file.to_owned(),
            source,
        }
    }

    /// Whether what was written before is perhaps not on storage, although it can be read: then that is
    /// to be remembered. The kernel tells it once, and does not write the same again
    /// (Documentation/core-api/errseq.rst, Linux 4.13 and later). For want of space nothing is lost that
    /// was there before.
    pub(super) fn may_have_lost(&self) -> bool {
        match self {
            Self::Io { action, source, .. } => match *action {
                "flush" => true,
                "write" | "extend" | "cut off" => !is_want_of_space(source),
                _ => false,
            },
            _ => false,
        }
    }

    /// What the host makes of it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => source
                .raw_os_error()
                .map_or(ErrorKind::Io, ErrorKind::from_errno),
            Self::Header { .. }
            | Self::Entry { .. }
            | Self::Converting { .. }
            | Self::Interrupted { .. }
            | Self::Mismatch { .. }
            | Self::Overtaken { .. }
            | Self::Descriptor(_) => ErrorKind::Corrupt,
            Self::InUse { .. } | Self::Shared { .. } => ErrorKind::Busy,
            Self::NotWritable { .. } | Self::Extension { .. } => ErrorKind::Unsupported,
            Self::ReadOnly { .. } => ErrorKind::Permission,
            Self::Broken { .. } => ErrorKind::Io,
            Self::Full { .. } => ErrorKind::NoSpace,
            Self::Size(_) | Self::Resize { .. } | Self::Range { .. } => ErrorKind::Invalid,
            Self::Refused(refusal) => refusal.kind(),
        }
    }
}

impl Refusal {
    /// What the host makes of it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSnapshot(_) => ErrorKind::NotFound,
            Self::SnapshotExists(_) | Self::Exists(_) => ErrorKind::Exists,
            Self::Temporary(_) | Self::OnlineMerge(_) => ErrorKind::Busy,
            Self::ReservedGuid(_) | Self::LastImage(_) => ErrorKind::Invalid,
            Self::TooManyDeltas(_)
            | Self::HasOthers(_)
            | Self::HasSnapshots
            | Self::LibploopVolume => ErrorKind::Unsupported,
        }
    }
}

impl From<SizeFault> for Error {
    fn from(fault: SizeFault) -> Self {
        Self::Size(fault)
    }
}

impl From<DescriptorFault> for Error {
    fn from(fault: DescriptorFault) -> Self {
        Self::Descriptor(fault)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Error> for mosaic_core::Error {
    fn from(error: Error) -> Self {
        let (kind, message) = (error.kind(), error.to_string());
        match error {
            Error::Io { source, .. } => Self::io(source, message),
            _ => Self::new(kind, message),
        }
    }
}

fn is_want_of_space(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_crosses_to_the_host_with_kind_and_cause() {
        let full = io::Error::from_raw_os_error(28);
        let error = mosaic_core::Error::from(Error::io("write", "root.hds", full));
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        let words = "cannot write \"root.hds\": No space left on device";
        assert_eq!(error.chain(), words);
        let past = EntryFault::PastEnd {
            at: 9_001 << 20,
            length: 4_096 << 20,
        };
        let error = mosaic_core::Error::from(Error::Entry {
            file: "root.hds".to_owned(),
            entry: VirtualCluster(812),
            fault: past,
        });
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let words = "\"root.hds\": BAT entry 812 points to byte 9438232576, \
                     the file ends at byte 4294967296; check --repair may help";
        assert_eq!(error.chain(), words);
    }
}
