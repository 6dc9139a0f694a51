// SPDX-License-Identifier: MIT OR Apache-2.0
//! A thin pool for tests: one that can be cut at every step, fail at every step, lose what was not
//! made durable, and answer 0 without a commit, as the kernel's does with a failing device.

mod calls;
mod cut_points;
mod doubts;
mod kernel;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use mosaic_core::volume::Lifetime;
use mosaic_core::{Bytes, Error, ErrorKind, Result};
use rustix::io::Errno;

use self::kernel::{Device, State, Thin};
use crate::catalog::Catalog;
use crate::catalog::slot::SlotIndex;
use crate::catalog::store;
use crate::target::ThinId;

const BLOCK: u64 = 64 << 10;
/// The disk beneath has sectors of this size.
const SECTOR: Bytes = Bytes(4096);

/// What happens at one of the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing.
    None,
    /// The process dies; the call may still have had its effect.
    Kill { at: usize, done: bool },
    /// The call fails; it may have had its effect all the same.
    Fail { at: usize, done: bool },
    /// The call panics; the process lives on.
    Panic { at: usize },
    /// From here on the metadata device takes no writes.
    MetadataFails { at: usize },
}

pub(crate) struct SimulatedPool {
    state: Rc<RefCell<State>>,
    cut: Cell<Cut>,
    calls: Rc<Cell<usize>>,
    dead: Rc<Cell<bool>>,
}

impl SimulatedPool {
    /// A pool with an empty catalog at transaction 1.
    pub(crate) fn new() -> Self {
        let pool = Self {
            state: Rc::default(),
            cut: Cell::new(Cut::None),
            calls: Rc::default(),
            dead: Rc::default(),
        };
        {
            let mut state = pool.state.borrow_mut();
            state.free_data = 10_000;
            state.live.transaction = 1;
            let catalog = Thin {
                made_in: 0,
                content: String::new(),
                written: None,
            };
            state.live.thins.insert(ThinId::CATALOG, catalog);
            state.committed = state.live.clone();
        }
        let (slot, uuid) = (SlotIndex::First, crate::catalog::tests::POOL);
        let empty = Catalog::default();
        store::write(&pool, slot, uuid, 1, 128 << 10, &empty).unwrap();
        pool.calls.set(0);
        pool
    }

    /// Has something happen, and counts calls from here.
    pub(crate) fn cut(&self, cut: Cut) {
        self.calls.set(0);
        self.cut.set(cut);
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.get()
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.get()
    }

    /// Another process, after the one that died.
    pub(crate) fn next_process(&self) {
        self.state.borrow_mut().close_held();
        self.dead.set(false);
        self.cut(Cut::None);
    }

    /// The power goes, and comes back: of what was not durable any part may be lost.
    pub(crate) fn cut_power(&self, mut seed: u64) {
        let mut coin = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed >> 11 & 1 == 1
        };
        self.next_process();
        let mut state = self.state.borrow_mut();
        state.devices.clear();
        for (at, page) in std::mem::take(&mut state.volatile) {
            if coin() {
                state.pages.insert(at, page);
            }
        }
        let mut committed = state.committed.clone();
        for thin in committed.thins.values_mut() {
            if let Some(written) = thin.written.take()
                && coin()
            {
                thin.content = written;
            }
        }
        state.committed = committed;
        state.activate();
    }

    /// What the way back says: take out of use, check, activate again.
    pub(crate) fn check_and_activate(&self) {
        self.next_process();
        let mut state = self.state.borrow_mut();
        state.devices.clear();
        state.activate();
    }

    /// Writes to a thin device through a device of its id, as a mounted file system would.
    pub(crate) fn write(&self, id: ThinId, text: &str) {
        let mut state = self.state.borrow_mut();
        assert!(state.devices.contains_key(&id), "nothing shows {id}");
        for of in 0..2 {
            let metadata = match of {
                0 => &mut state.live,
                _ => &mut state.committed,
            };
            if let Some(thin) = metadata.thins.get_mut(&id) {
                thin.written = Some(text.to_owned());
            }
        }
    }

    /// What is on a thin device.
    pub(crate) fn content(&self, id: ThinId) -> Option<String> {
        let state = self.state.borrow();
        let thin = state.committed.thins.get(&id)?;
        Some(thin.written.as_ref().unwrap_or(&thin.content).clone())
    }

    pub(crate) fn attach(&self, id: ThinId, size: Bytes, in_use: bool) {
        let device = Device {
            size,
            read_only: false,
            is_active: true,
            is_suspended: false,
            lifetime: Lifetime::Explicit,
            held: false,
            in_use,
        };
        self.state.borrow_mut().devices.insert(id, device);
    }

    /// A thin device that nobody knows.
    pub(crate) fn make_orphan(&self, id: ThinId) {
        let mut state = self.state.borrow_mut();
        let made_in = 0;
        let content = "orphan".to_owned();
        let orphan = Thin {
            made_in,
            content,
            written: None,
        };
        state.live.thins.insert(id, orphan);
        state.commit();
    }

    pub(crate) fn ids(&self) -> BTreeSet<ThinId> {
        self.state
            .borrow()
            .committed
            .thins
            .keys()
            .copied()
            .collect()
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.state.borrow().warnings.clone()
    }

    pub(crate) fn discarded(&self) -> Vec<(ThinId, Bytes, Bytes)> {
        self.state.borrow().discarded.clone()
    }

    pub(crate) fn set_free_data(&self, blocks: u64) {
        self.state.borrow_mut().free_data = blocks;
    }

    /// The true state of the catalog.
    pub(crate) fn truth(&self) -> Result<Catalog> {
        let transaction = self.state.borrow().committed.transaction;
        store::read(self, transaction).map(|truth| truth.catalog)
    }

    fn step<T>(&self, effect: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let killed = || Error::new(ErrorKind::Io, "killed");
        if self.dead.get() {
            return Err(killed());
        }
        let call = self.calls.replace(self.calls.get() + 1);
        let mut state = self.state.borrow_mut();
        match self.cut.get() {
            Cut::Kill { at, done } if at == call => {
                if done {
                    let _ = effect(&mut state);
                }
                self.dead.set(true);
                state.close_held();
                Err(killed())
            }
            Cut::Fail { at, done } if at == call => {
                if done {
                    let _ = effect(&mut state);
                }
                Err(Error::io(Errno::IO, "injected"))
            }
            Cut::Panic { at } if at == call => {
                drop(state);
                // Without a word of the hook.
                std::panic::resume_unwind(Box::new("injected"));
            }
            Cut::MetadataFails { at } => {
                state.metadata_fails |= call >= at;
                effect(&mut state)
            }
            _ => effect(&mut state),
        }
    }
}
