// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel and the disk know of the simulated pool.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mosaic_core::volume::Lifetime;
use mosaic_core::{Bytes, Error, Result};
use rustix::io::Errno;

use crate::target::{Message, PoolMode, PoolStatus, ThinId, Usage, WorkingPool};
use crate::thin_pool::ThinDevice;

/// All data blocks.
const DATA: u64 = 10_000;

/// A thin device in the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Thin {
    pub(super) made_in: u64,
    /// What is on it, durably.
    pub(super) content: String,
    /// What was written to it since.
    pub(super) written: Option<String>,
}

/// The pool's metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) transaction: u64,
    pub(super) thins: BTreeMap<ThinId, Thin>,
}

#[derive(Debug, Clone)]
pub(super) struct Device {
    pub(super) size: Bytes,
    pub(super) read_only: bool,
    pub(super) is_active: bool,
    pub(super) is_suspended: bool,
    pub(super) lifetime: Lifetime,
    /// Our own process has it open.
    pub(super) held: bool,
    /// Somebody else has it open.
    pub(super) in_use: bool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// As the kernel has it.
    pub(super) live: Metadata,
    /// As the disk has it.
    pub(super) committed: Metadata,
    pub(super) read_only: bool,
    pub(super) needs_check: bool,
    pub(super) metadata_fails: bool,
    pub(super) devices: BTreeMap<ThinId, Device>,
    pub(super) pages: BTreeMap<u64, Vec<u8>>,
    /// Written, and not durable yet; oldest first.
    pub(super) volatile: Vec<(u64, Vec<u8>)>,
    pub(super) warnings: Vec<String>,
    pub(super) discarded: Vec<(ThinId, Bytes, Bytes)>,
    pub(super) free_data: u64,
}

impl State {
    pub(super) fn commit(&mut self) {
        if self.metadata_fails {
            self.read_only = true;
            self.needs_check = true;
        } else {
            self.committed = self.live.clone();
        }
    }

    pub(super) fn close_held(&mut self) {
        self.devices.retain(|_, device| {
            let was_held = std::mem::take(&mut device.held);
            let goes = device.lifetime == Lifetime::Mount;
            !(was_held && goes && !device.in_use)
        });
    }
}

impl State {
    pub(super) fn status(&self) -> PoolStatus {
        PoolStatus::Working(WorkingPool {
            transaction: self.live.transaction,
            metadata: Usage {
                used: 10,
                total: 2048,
            },
            data: Usage {
                used: DATA - self.free_data,
                total: DATA,
            },
            held_root: None,
            mode: match self.read_only {
                true => PoolMode::ReadOnly,
                false => PoolMode::ReadWrite,
            },
            discard: "discard_passdown".into(),
            error_if_no_space: true,
            needs_check: self.needs_check,
            metadata_low_water: Some(512),
        })
    }

    pub(super) fn activate(&mut self) {
        self.live = self.committed.clone();
        (self.read_only, self.needs_check) = (false, false);
        self.metadata_fails = false;
    }

    pub(super) fn message(&mut self, message: Message) -> std::result::Result<(), Errno> {
        if self.read_only {
            return Err(Errno::OPNOTSUPP);
        }
        let made_in = self.live.transaction;
        let thins = &mut self.live.thins;
        match message {
            Message::CreateThin(id) | Message::CreateSnap { id, .. } if thins.contains_key(&id) => {
                return Err(Errno::EXIST);
            }
            Message::CreateThin(id) => {
                let content = String::new();
                let thin = Thin {
                    made_in,
                    content,
                    written: None,
                };
                thins.insert(id, thin);
            }
            Message::CreateSnap { id, origin } => {
                let shown = self.devices.get(&origin);
                assert!(shown.is_none_or(|device| device.is_suspended), "torn clone");
                let mut thin = thins.get(&origin).ok_or(Errno::NODATA)?.clone();
                // What was written before the suspend is on it by now.
                if let Some(written) = thin.written.take() {
                    thin.content = written;
                }
                thin.made_in = made_in;
                thins.insert(id, thin);
            }
            Message::Delete(id) => {
                if self.devices.contains_key(&id) {
                    return Err(Errno::BUSY);
                }
                thins.remove(&id).ok_or(Errno::NODATA)?;
            }
            Message::SetTransactionId(from, to) => {
                if self.live.transaction != from {
                    return Err(Errno::INVAL);
                }
                self.live.transaction = to;
            }
        }
        self.commit();
        Ok(())
    }

    pub(super) fn device(&mut self, id: ThinId) -> Result<&mut Device> {
        let none = || Error::io(Errno::NXIO, "no such device");
        self.devices.get_mut(&id).ok_or_else(none)
    }

    pub(super) fn describe(&self, id: ThinId) -> Option<ThinDevice> {
        let device = self.devices.get(&id)?;
        Some(ThinDevice {
            id,
            path: path_of(id),
            is_active: device.is_active,
            is_suspended: device.is_suspended,
            is_read_only: device.read_only,
            lifetime: device.lifetime,
        })
    }
}

pub(super) fn path_of(id: ThinId) -> PathBuf {
    PathBuf::from(format!("/simulated/{id}"))
}
