// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel means when it refuses a call, and the way out.
//!
//! btrfs has few errnos for many reasons. Which one it is follows from the call, and from a look at
//! the file system afterwards.

use std::path::Path;

use mosaic_core::volume::Space;
use mosaic_core::{Driver, Error, ErrorKind};
use rustix::io::Errno;

use crate::driver::Btrfs;
use crate::items::Uuid;
use crate::subvolume::Subvolume;

/// Data has room if at least this part of it is free: then it is metadata that has none.
const ROOM: u64 = 16;

/// What the kernel was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// A subvolume.
    Create,
    /// A snapshot, in `.mosaic/tmp` or at a volume's name.
    Snapshot,
    /// A limit.
    Limit,
    /// Another name.
    Rename,
    /// An extended attribute.
    Label,
    /// Quotas.
    EnableQuotas,
    /// The end of a subvolume.
    Destroy,
}

impl Btrfs {
    /// Says what the error of this call means. One that means what the kernel says stays as it is.
    pub(crate) fn explained(&self, call: Call, error: Error) -> Error {
        let Some(errno) = error.errno() else {
            return error;
        };
        let meaning = match Errno::from_raw_os_error(errno) {
            Errno::NOSPC => self.full(),
            Errno::ROFS => self
                .refusal_to_write()
                .map(|why| (ErrorKind::Permission, why)),
            _ => return refused(call, error, self.location.path()),
        };
        match meaning {
            Some((kind, why)) => Error::new(kind, why).with_errno(errno),
            None => error,
        }
    }

    /// Which of the two kinds of space is used up.
    fn full(&self) -> Option<(ErrorKind, String)> {
        let spaces = self.space().ok()?;
        let why = metadata_is_full(&spaces, self.location.path())?;
        Some((ErrorKind::NoSpace, why))
    }
}

/// Says what the error of a call means, without a look at the file system.
pub(crate) fn refused(call: Call, error: Error, location: &Path) -> Error {
    let Some(errno) = error.errno() else {
        return error;
    };
    let meaning = match Errno::from_raw_os_error(errno) {
        Errno::PERM => privilege(call).map(|why| (ErrorKind::Permission, why.to_owned())),
        other => meaning(call, other, location),
    };
    match meaning {
        Some((kind, why)) => Error::new(kind, why).with_errno(errno),
        None => error,
    }
}

/// What an errno means that this call alone explains.
fn meaning(call: Call, errno: Errno, location: &Path) -> Option<(ErrorKind, String)> {
    let (kind, why) = match (call, errno) {
        (Call::Label, Errno::DQUOT) => (
            ErrorKind::NoSpace,
            "its quota is used up, so that not even its label fits in; resize it first".to_owned(),
        ),
        (_, Errno::DQUOT) => (
            ErrorKind::NoSpace,
            format!(
                "the quota of the subvolume that location {location:?} is in, or of a group that \
                 it is in, is used up (btrfs qgroup show)"
            ),
        ),
        (Call::Snapshot, Errno::TXTBSY) => (
            ErrorKind::Busy,
            "a swap file in it is in use; swapoff comes first".to_owned(),
        ),
        (_, Errno::XDEV) => (
            ErrorKind::Unsupported,
            format!("it is on another mount than location {location:?}"),
        ),
        (Call::Limit, Errno::NOTCONN) => (
            ErrorKind::Unsupported,
            format!("quotas were switched off on the btrfs at {location:?} meanwhile"),
        ),
        (Call::EnableQuotas, Errno::INVAL) => (
            ErrorKind::Unsupported,
            "this kernel has no simple quotas (Linux 6.7 has); --quota full counts all data, and \
             makes snapshots slower"
                .to_owned(),
        ),
        _ => return None,
    };
    Some((kind, why))
}

/// Whom the kernel lets do it, when it says `EPERM`.
pub(crate) fn privilege(call: Call) -> Option<&'static str> {
    match call {
        Call::Snapshot => Some("only its owner, or root, can clone a subvolume (CAP_FOWNER)"),
        Call::Limit => Some("only root can limit a subvolume that is there (CAP_SYS_ADMIN)"),
        Call::EnableQuotas => Some("only root can switch quotas on (CAP_SYS_ADMIN)"),
        // Whom it lets destroy one depends on what is in it: `drop` looks.
        Call::Destroy | Call::Create | Call::Rename | Call::Label => None,
    }
}

/// How full, in percent, block groups of a class are on average: some are no fuller than that.
fn usage(space: &Space) -> u128 {
    let (used, total) = (u128::from(space.used.0), u128::from(space.total.0.max(1)));
    (used * 100).div_ceil(total)
}

/// Says so if it is metadata that has no room left, while data has.
fn metadata_is_full(spaces: &[Space], location: &Path) -> Option<String> {
    let class = |name: &str| spaces.iter().find(|space| space.class == name);
    let (data, metadata) = (class("data")?, class("metadata")?);
    let data_has_room = data.free.0 > data.total.0 / ROOM && data.free > metadata.free;
    data_has_room.then(|| {
        format!(
            "metadata is full ({} of {} used), though {} of {} are free for data; drop a volume, and \
             btrfs balance start -dusage={} {} gives some of that to metadata",
            metadata.used,
            metadata.total,
            data.free,
            data.total,
            usage(data),
            location.display()
        )
    })
}

/// What a volume is that refuses writes.
pub(crate) fn read_only_words(received: Option<Uuid>) -> String {
    match received {
        Some(uuid) => format!("it is read-only (received, from {uuid})"),
        None => "it is read-only".to_owned(),
    }
}

/// The refusal of a change that a read-only subvolume does not take.
pub(crate) fn read_only(volume: &Subvolume, what: &str, way_out: &str) -> Error {
    let received = volume.root().ok().and_then(|root| root.received);
    let is = read_only_words(received);
    Error::new(
        ErrorKind::Permission,
        format!("{is}, and {what}; {way_out}"),
    )
}
