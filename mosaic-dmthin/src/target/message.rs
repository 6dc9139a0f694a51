// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a pool can be told while it works.

use std::fmt;

use super::ThinId;

/// A message to a pool. The kernel commits its metadata before it answers, but its success is no
/// proof of that: where the metadata device fails, it answers with success all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// A new thin device without a block. `EEXIST` if the id is used.
    CreateThin(ThinId),
    /// A new thin device that shares all blocks of another. `EEXIST`; `ENODATA` without the other.
    /// The other must not be written to meanwhile, which the kernel does not see to.
    CreateSnap {
        /// The new one.
        id: ThinId,
        /// The one that is there.
        origin: ThinId,
    },
    /// A thin device goes, with its blocks. `EBUSY` if it is active; `ENODATA` if there is none.
    Delete(ThinId),
    /// The pool's transaction id changes. `EINVAL` if it is not the first number now.
    SetTransactionId(u64, u64),
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateThin(id) => write!(f, "create_thin {id}"),
            Self::CreateSnap { id, origin } => write!(f, "create_snap {id} {origin}"),
            Self::Delete(id) => write!(f, "delete {id}"),
            Self::SetTransactionId(from, to) => write!(f, "set_transaction_id {from} {to}"),
        }
    }
}
