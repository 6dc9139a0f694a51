// SPDX-License-Identifier: MIT OR Apache-2.0
//! The simulated pool's calls: what can be cut is a [`SimulatedPool::step`].

use std::cell::Cell;
use std::path::{Path, PathBuf};

use mosaic_core::volume::Lifetime;
use mosaic_core::{Bytes, Error, ErrorKind, Result};
use rustix::io::Errno;

use super::kernel::{Device, path_of};
use super::{BLOCK, SECTOR, SimulatedPool};
use crate::catalog::slot::PAGE;
use crate::catalog::store::Medium;
use crate::target::{Message, PoolStatus, ThinId};
use crate::thin_metadata::Details;
use crate::thin_pool::{HeldDevice, Setup, ThinDevice, ThinPool};

impl Medium for SimulatedPool {
    fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        self.step(|state| {
            let mut bytes = Vec::new();
            for at in (offset..offset + length as u64).step_by(PAGE) {
                let newest = state.volatile.iter().rev().find(|(page, _)| *page == at);
                let page = newest.map(|(_, page)| page).or(state.pages.get(&at));
                bytes.extend(page.cloned().unwrap_or(vec![0; PAGE]));
            }
            Ok(bytes)
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.step(|state| {
            for (at, page) in (offset..).step_by(PAGE).zip(bytes.chunks(PAGE)) {
                state.volatile.push((at, page.to_vec()));
            }
            Ok(())
        })
    }

    fn sync(&self) -> Result<()> {
        self.step(|state| {
            for (at, page) in std::mem::take(&mut state.volatile) {
                state.pages.insert(at, page);
            }
            Ok(())
        })
    }
}

impl ThinPool for SimulatedPool {
    fn label(&self) -> String {
        "thin pool \"simulated\"".into()
    }

    fn way_back(&self) -> String {
        "thin_check it".into()
    }

    fn data_device(&self) -> String {
        "/dev/data".into()
    }

    fn metadata_device(&self) -> String {
        "/dev/metadata".into()
    }

    fn block(&self) -> Bytes {
        Bytes(BLOCK)
    }

    fn sector(&self) -> Result<Bytes> {
        Ok(SECTOR)
    }

    fn status(&self) -> Result<PoolStatus> {
        self.step(|state| Ok(state.status()))
    }

    fn committed_status(&self) -> Result<PoolStatus> {
        self.step(|state| {
            if !state.read_only {
                state.commit();
            }
            Ok(state.status())
        })
    }

    fn message(&self, message: Message) -> Result<()> {
        self.step(|state| {
            let done = state.message(message);
            done.map_err(|errno| Error::io(errno, message.to_string()))
        })
    }

    fn catalog(&self) -> &dyn Medium {
        self
    }

    fn details(&self, id: ThinId) -> Result<Option<Details>> {
        self.step(|state| {
            let thin = state.committed.thins.get(&id);
            Ok(thin.map(|thin| Details {
                mapped: 0,
                made_in: thin.made_in,
            }))
        })
    }

    fn devices(&self) -> Result<Vec<ThinDevice>> {
        self.step(|state| {
            let ids: Vec<ThinId> = state.devices.keys().copied().collect();
            Ok(ids.iter().filter_map(|id| state.describe(*id)).collect())
        })
    }

    fn device(&self, id: ThinId) -> Result<Option<ThinDevice>> {
        self.step(|state| Ok(state.describe(id)))
    }

    fn prove_unused(&self, id: ThinId) -> Result<()> {
        self.step(|state| match state.devices.contains_key(&id) {
            true => Err(Error::new(ErrorKind::Busy, "in use")),
            false => Ok(()),
        })
    }

    fn refuse_others(&self, _: ThinId) -> Result<()> {
        self.step(|_| Ok(()))
    }

    fn suspend(&self, id: ThinId) -> Result<()> {
        self.step(|state| {
            state.device(id)?.is_suspended = true;
            Ok(())
        })
    }

    fn resume(&self, id: ThinId) -> Result<()> {
        self.step(|state| {
            state.device(id)?.is_suspended = false;
            Ok(())
        })
    }

    fn remove(&self, id: ThinId) -> Result<()> {
        self.step(|state| {
            let device = state.device(id)?;
            if device.held || device.in_use {
                return Err(Error::io(Errno::BUSY, "in use"));
            }
            state.devices.remove(&id);
            Ok(())
        })
    }

    fn hold(&self, id: ThinId, setup: Setup) -> Result<Box<dyn HeldDevice + '_>> {
        let device = |is_active, lifetime, held| Device {
            size: setup.size,
            read_only: setup.read_only,
            is_active,
            is_suspended: false,
            lifetime,
            held,
            in_use: false,
        };
        // Made, loaded, open and bound to go, active: each a call of its own.
        self.step(|state| {
            assert!(state.live.thins.contains_key(&id), "no thin id {id}");
            if state.devices.contains_key(&id) {
                return Err(Error::io(Errno::BUSY, "shown already"));
            }
            let made = device(false, Lifetime::Explicit, false);
            state.devices.insert(id, made);
            Ok(())
        })?;
        let step = |with: Device| {
            let done = self.step(|state| {
                state.devices.insert(id, with);
                Ok(())
            });
            if done.is_err() {
                let _ = self.step(|state| {
                    state.devices.remove(&id);
                    Ok(())
                });
            }
            done
        };
        step(device(false, Lifetime::Mount, true))?;
        step(device(true, Lifetime::Mount, true))?;
        Ok(Box::new(Held {
            pool: self.handle(),
            id,
            path: path_of(id),
        }))
    }

    fn set_size(&self, id: ThinId, size: Bytes) -> Result<()> {
        self.step(|state| {
            state.device(id)?.size = size;
            Ok(())
        })
    }

    fn warn(&self, text: &str) {
        self.state.borrow_mut().warnings.push(text.to_owned());
    }
}

impl SimulatedPool {
    /// The same pool, for a device that is held.
    fn handle(&self) -> Self {
        Self {
            state: self.state.clone(),
            cut: Cell::new(self.cut.get()),
            calls: self.calls.clone(),
            dead: self.dead.clone(),
        }
    }
}

struct Held {
    pool: SimulatedPool,
    id: ThinId,
    path: PathBuf,
}

impl HeldDevice for Held {
    fn path(&self) -> &Path {
        &self.path
    }

    fn sync(&self) -> Result<()> {
        self.pool.step(|state| {
            for of in 0..2 {
                let metadata = match of {
                    0 => &mut state.live,
                    _ => &mut state.committed,
                };
                if let Some(thin) = metadata.thins.get_mut(&self.id)
                    && let Some(written) = thin.written.take()
                {
                    thin.content = written;
                }
            }
            Ok(())
        })
    }

    fn discard(&self, from: Bytes, to: Bytes) -> Result<()> {
        self.pool.step(|state| {
            state.discarded.push((self.id, from, to));
            Ok(())
        })
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.pool.step(|state| {
            state.devices.remove(&self.id);
            Ok(())
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.pool.is_dead() {
            let mut state = self.pool.state.borrow_mut();
            if state
                .devices
                .get(&self.id)
                .is_some_and(|device| device.held)
            {
                state.devices.remove(&self.id);
            }
        }
    }
}
