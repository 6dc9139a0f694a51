// SPDX-License-Identifier: MIT OR Apache-2.0
//! New volumes.

use std::path::Path;

use mosaic_core::{Bytes, Result, VolumeName};

use crate::catalog::{Content, Entry};
use crate::health::Floors;
use crate::target::Message;
use crate::thin_pool::{Setup, ThinPool, require_whole_sectors};
use crate::transaction::Transaction;

/// What a new volume is to be.
#[derive(Debug, Clone)]
pub struct Request {
    /// Disk or file system.
    pub content: Content,
    /// Its size.
    pub size: Bytes,
    /// Now, in seconds since 1970.
    pub created: u64,
}

/// The user's name, where it is not the stored one.
pub(crate) fn user_name(name: &VolumeName) -> Option<String> {
    (name.user() != name.stored()).then(|| name.user().to_owned())
}

/// Steps: see that there is space; write the next catalog; `create_thin`; on a device that goes with
/// us: `format`; **commit**. Before that a kill leaves what the next command deletes, after it the
/// volume is there.
///
/// # Errors
/// `Exists`, `NoSpace`; what `format` answered; those of [`Transaction`].
pub fn create(
    pool: &dyn ThinPool,
    floors: Floors,
    name: &VolumeName,
    request: Request,
    format: &dyn Fn(&Path) -> Result<()>,
) -> Result<()> {
    let mut transaction = Transaction::begin(pool)?;
    require_whole_sectors(pool, request.size)?;
    floors.require(pool, transaction.status(), 1)?;
    transaction.catalog().check_free(name.stored())?;
    let id = transaction.take_id()?;
    let setup = Setup {
        size: request.size,
        read_only: false,
    };
    let is_fs = matches!(request.content, Content::Fs(_));
    let entry = Entry {
        id,
        made_in: transaction.status().transaction,
        user: user_name(name),
        content: request.content,
        size: request.size,
        origin: None,
        created: request.created,
    };
    transaction.draft().insert(name.stored(), entry)?;
    transaction.commit(floors, |transaction| {
        pool.message(Message::CreateThin(id))?;
        transaction.check_pool()?;
        match is_fs {
            true => with_device(pool, id, setup, format),
            false => Ok(()),
        }
    })
}

/// Runs a step on a device of a thin id that nobody else knows, makes what it wrote durable, and
/// returns when the device is gone.
pub(crate) fn with_device(
    pool: &dyn ThinPool,
    id: crate::target::ThinId,
    setup: Setup,
    step: &dyn Fn(&Path) -> Result<()>,
) -> Result<()> {
    let device = pool.hold(id, setup)?;
    let done = step(device.path()).and_then(|()| device.sync());
    match (done, device.close()) {
        (Err(error), Err(left)) => Err(error.with_failed_undo(&left)),
        (done, closed) => done.and(closed),
    }
}
