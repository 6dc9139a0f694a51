// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pool, catalog and devices held against each other.
//!
//! Nothing is deleted here, with or without repair: a thin id that the catalog does not know may be
//! all that is left of a volume, if the catalog is the older of the two.
//!
//! What is mended is done by steps of others, with the catalog held: a [`reload`] of the pool's table,
//! a [`state_repair`](crate::state_repair), zeroes over a slot that is not the true one, or what
//! [`recover`](crate::recover) does to a device. Each says what a kill leaves; a kill between two of
//! them leaves the rest for the next check.
//!
//! What a running command is at work on is no fault. So a look holds the catalog, if nobody has it
//! for long; else the ids of the state that is about to be are passed over, and so are the devices,
//! which is said.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use mosaic_core::finding::{Finding, Remedy, Repair};
use mosaic_core::{Bytes, Context, Error, ErrorKind, Result};
use rustix::fs::OFlags;

use crate::activation::pool_length;
use crate::block_device::BlockDevice;
use crate::catalog::store::{self, Found, Truth};
use crate::catalog::{Catalog, Pending};
use crate::config::{Options, PoolDevices};
use crate::health::require_writable;
use crate::identity::{fault, may_be_of, metadata_fault};
use crate::info::{found, steady};
use crate::kernel_pool::KernelPool;
use crate::reload::{differences, reload, wanted};
use crate::remedy;
use crate::state_repair::{chosen, take_state};
use crate::target::{PoolStatus, Sectors, ThinId, WorkingPool};
use crate::thin_metadata::{self, BLOCK, Details};
use crate::thin_pool::ThinPool;
use crate::transaction::unfinished;

/// Metadata blocks that the kernel uses at most (`THIN_METADATA_MAX_SECTORS`, dm-thin-metadata.h).
const METADATA_MAX: u64 = 255 << 14;

/// How long another command is waited for.
const PATIENCE: Duration = Duration::from_secs(4);
/// A refusal names who has it, which takes a look at all processes.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The class of a pool that has less than its devices.
const GROWTH: &str = "growth";
/// The class of a pool that has another transaction than its catalog.
const STATE: &str = "state";
/// The class of a slot that cannot be read, and is not the true one.
const SLOT: &str = "slot";
/// The class of devices that are not as the catalog has them.
const DEVICES: &str = "devices";

/// All that is wrong; what `repair` covers is mended. Another state is taken only by its name.
///
/// # Errors
/// What kept it from looking, or from mending.
pub fn check(pool: &KernelPool<'_>, options: &Options, repair: &Repair) -> Result<Vec<Finding>> {
    // For a repair the host has it.
    let claim = match repair.is_any() {
        true => None,
        false => claim(pool)?,
    };
    let mut check = Check {
        pool,
        repair,
        alone: repair.is_any() || claim.is_some(),
        findings: Vec::new(),
    };
    if let PoolStatus::Working(status) = pool.status()?
        && can_grow(&status)
        && matches!(found(pool), Ok(Found::Truth(_)))
    {
        check.growth(&status)?;
        check.table(options.devices.as_ref())?;
    }
    let status = match pool.status()? {
        PoolStatus::Working(status) => status,
        status => {
            let refused = require_writable(pool, status).err();
            check.refusal(refused)?;
            return Ok(check.findings);
        }
    };
    check.refusal(require_writable(pool, PoolStatus::Working(status.clone())).err())?;
    check.refusal(options.floors.require(pool, &status, 0).err())?;
    if let Some(held) = remedy::held_snapshot(pool, &status) {
        check.find(None, held, None, || Ok(()))?;
    }
    match found(pool) {
        Ok(Found::Truth(truth)) => {
            check.other_slot(&truth)?;
            check.catalog()?;
        }
        Ok(Found::NoTruth(error)) => check.no_truth(&status, &error)?,
        Err(unread) => check.refusal(Some(unread))?,
    }
    Ok(check.findings)
}

/// Whether the kernel gives the pool what its devices have. One that is out of metadata is mended by
/// that.
fn can_grow(status: &WorkingPool) -> bool {
    let is_full = status.metadata.free() == 0;
    !status.needs_check && (status.mode.takes_messages() || is_full)
}

/// Keeps commands that change something from beginning; `None`: one is at work, and no other `check`
/// that would soon be done.
fn claim(pool: &KernelPool<'_>) -> Result<Option<BlockDevice>> {
    let Some(catalog) = pool.info(ThinId::CATALOG)? else {
        return Ok(None);
    };
    let start = Instant::now();
    loop {
        match BlockDevice::open(catalog.dev.into(), OFlags::RDWR | OFlags::EXCL) {
            Ok(claim) => return Ok(Some(claim)),
            Err(error) if error.kind() != ErrorKind::Busy => return Err(error),
            Err(_) if start.elapsed() > PATIENCE => return Ok(None),
            Err(_) => {
                pool.host.check_cancelled()?;
                std::thread::sleep(LOOK_AGAIN);
            }
        }
    }
}

struct Check<'c, 'a> {
    pool: &'c KernelPool<'a>,
    repair: &'c Repair,
    /// No command that changes something is at work.
    alone: bool,
    findings: Vec<Finding>,
}

impl<'a> Check<'_, 'a> {
    /// Notes a fault; with a remedy and leave to repair it is mended.
    fn find(
        &mut self,
        volume: Option<&str>,
        fault: String,
        remedy: Option<Remedy>,
        mend: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let repaired = remedy
            .as_ref()
            .is_some_and(|remedy| self.repair.covers(remedy));
        if repaired {
            mend().context(|| format!("cannot mend: {fault}"))?;
        }
        self.findings.push(Finding {
            volume: volume.map(str::to_owned),
            fault,
            remedy,
            repaired,
        });
        Ok(())
    }

    /// Notes what a verb would be refused for.
    fn refusal(&mut self, error: Option<Error>) -> Result<()> {
        match error {
            Some(error) => self.find(None, error.chain(), None, || Ok(())),
            None => Ok(()),
        }
    }

    /// The catalog against pool and devices.
    fn catalog(&mut self) -> Result<()> {
        let pool = self.pool;
        let (truth, list) = steady(pool, |_| thin_metadata::list(pool.metadata()?))?;
        // Ids of a state that is about to be: a running command's, or the next one deletes them.
        let now = truth.header.stamp;
        let unfinished = unfinished(&truth);
        let is_made =
            |(id, details): &(ThinId, Details)| details.made_in == now && unfinished.contains(id);
        let list: Vec<_> = list.into_iter().filter(|entry| !is_made(entry)).collect();
        let advice = |id| {
            let delete = format!(" 0 \"delete {id}\"");
            let delete = remedy::dmsetup("message", &[&pool.name], &delete);
            format!("if it is of no use: {delete}")
        };
        self.thin_ids(&truth.catalog, &list, &advice)?;
        match self.alone {
            true => self.devices(&truth.catalog),
            false => {
                pool.warn("a command is at work: the devices of volumes were not looked at");
                Ok(())
            }
        }
    }

    /// The pool against the devices that it is made of.
    fn growth(&mut self, status: &WorkingPool) -> Result<()> {
        let pool = self.pool;
        let block = pool.table.block;
        let length = pool_length(pool.table.data, block)?;
        let has = Sectors(status.data.total.saturating_mul(block.0));
        let fault = format!(
            "{} has {} of data, and {} has room for {}",
            pool.label(),
            Bytes(has.bytes()),
            pool.data_device(),
            Bytes(length.bytes())
        );
        match length.cmp(&has) {
            Ordering::Less => {
                let fault = format!("{fault}: it is not all there");
                return self.find(None, fault, None, || Ok(()));
            }
            Ordering::Equal => {}
            Ordering::Greater => {
                let remedy = Remedy::new(GROWTH, "grow the pool's data");
                let mend = || reload(pool, &pool.table, length);
                self.find(None, fault, Some(remedy), mend)?;
            }
        }
        let device = BlockDevice::open(pool.table.metadata, OFlags::RDONLY)?;
        let blocks = (device.size()?.0 / BLOCK as u64).min(METADATA_MAX);
        if blocks > status.metadata.total {
            let fault = format!(
                "{} has {} metadata blocks, and {} has room for {blocks}",
                pool.label(),
                status.metadata.total,
                pool.metadata_device()
            );
            let remedy = Remedy::new(GROWTH, "grow the pool's metadata");
            let mend = || grow_metadata(pool, length, blocks);
            self.find(None, fault, Some(remedy), mend)?;
        }
        Ok(())
    }

    /// The table of the pool against the config, if that says of what the pool is made.
    fn table(&mut self, devices: Option<&PoolDevices>) -> Result<()> {
        let pool = self.pool;
        let Some(devices) = devices else {
            return Ok(());
        };
        let wanted = wanted(&pool.table, devices);
        let differences = differences(&pool.table, &wanted);
        if differences.is_empty() {
            return Ok(());
        }
        let fault = format!("{} has {}", pool.label(), differences.join(", "));
        let remedy = Remedy::new("table", "load the table that the config says");
        let length = match pool.status()? {
            PoolStatus::Working(status) => Sectors(status.data.total * pool.table.block.0),
            PoolStatus::Fail | PoolStatus::Error => pool.length,
        };
        self.find(None, fault, Some(remedy), || reload(pool, &wanted, length))
    }

    /// The slot that is not the true one. What an attempt made of which the names are lost is told as
    /// unknown to the catalog then, and not deleted.
    fn other_slot(&mut self, truth: &Truth) -> Result<()> {
        let Err(error) = truth.require_other() else {
            return Ok(());
        };
        let action = "write zeroes over it, whatever change that was cut short stands there";
        let remedy = Remedy::new(SLOT, action).by_name();
        let medium = self.pool.catalog();
        let mend = || store::clear_other(medium, truth);
        self.find(None, error.chain(), Some(remedy), mend)
    }

    /// No state can be believed: the newest one that was true can be taken.
    fn no_truth(&mut self, status: &WorkingPool, error: &Error) -> Result<()> {
        let pool = self.pool;
        let candidates = match store::candidates(pool.catalog()) {
            Ok(candidates) => candidates,
            Err(unread) => return self.refusal(Some(unread)),
        };
        let Some(state) = candidates.first() else {
            return self.find(None, error.chain(), None, || Ok(()));
        };
        let list = thin_metadata::list(pool.metadata()?)?;
        let is_of = |state| may_be_of(state, status.transaction, &list);
        if !candidates.iter().any(is_of) {
            let fault = format!(
                "{}; none of the catalog's volumes is in the pool: its data device {} and its \
                 metadata device {} are not of one pool",
                error.chain(),
                pool.data_device(),
                pool.metadata_device()
            );
            return self.find(None, fault, None, || Ok(()));
        }
        let remedy = Remedy::new(STATE, chosen(state, candidates.get(1))).by_name();
        let mend = || take_state(pool, status.transaction, state);
        self.find(None, error.chain(), Some(remedy), mend)?;
        let advice = |_| "it may be a volume of another state".to_owned();
        self.thin_ids(&state.catalog, &list, &advice)
    }

    /// The catalog against the pool's own list.
    fn thin_ids(
        &mut self,
        catalog: &Catalog,
        list: &[(ThinId, Details)],
        advice: &dyn Fn(ThinId) -> String,
    ) -> Result<()> {
        let pool = self.pool;
        let there: HashMap<ThinId, Details> = list.iter().copied().collect();
        let mut known: HashSet<ThinId> = catalog.ids().chain([ThinId::CATALOG]).collect();
        // Of a dropped volume's id another thin device is nobody's.
        for pending in &catalog.pending {
            if let Pending::Delete { id, made_in } = pending
                && there.get(id).is_some_and(|now| now.made_in != *made_in)
            {
                known.remove(id);
            }
        }
        for (id, details) in list {
            if !known.contains(id) {
                let size = Bytes(details.mapped.saturating_mul(pool.block().0));
                let fault = format!(
                    "{} has thin id {id} with {size}, made in transaction {}, which the catalog \
                     does not know; {}",
                    pool.label(),
                    details.made_in,
                    advice(*id)
                );
                self.find(None, fault, None, || Ok(()))?;
            }
        }
        for (name, entry) in catalog.volumes() {
            if let Some(fault) = fault(entry, there.get(&entry.id).copied()) {
                self.find(Some(name), fault, None, || Ok(()))?;
            }
        }
        let metadata = there.get(&ThinId::METADATA).copied();
        match metadata_fault(metadata).filter(|_| catalog.metadata.is_some()) {
            Some(fault) => self.find(None, fault, None, || Ok(())),
            None => Ok(()),
        }
    }

    /// The devices that are there against the catalog.
    fn devices(&mut self, catalog: &Catalog) -> Result<()> {
        let pool = self.pool;
        let names: HashMap<ThinId, (&str, Bytes)> = catalog
            .volumes()
            .map(|(name, entry)| (entry.id, (name, entry.size)))
            .collect();
        for device in pool.devices()? {
            let (id, path) = (device.id, device.path.display());
            if !device.is_active || device.is_suspended {
                let fault = format!("{path} was left by a command that was killed");
                let remedy = Remedy::new(DEVICES, "resume or remove it");
                // That was tried already, before any repair.
                let mend = || match device.is_active {
                    true => pool.resume(id),
                    false => pool.remove(id),
                };
                self.find(None, fault, Some(remedy), mend)?;
                continue;
            }
            let Some((name, size)) = names.get(&id) else {
                if id != ThinId::METADATA {
                    let fault = format!("{path} shows thin id {id}, which is no volume");
                    self.find(None, fault, Some(Remedy::new(DEVICES, "remove it")), || {
                        pool.remove(id)
                    })?;
                }
                continue;
            };
            if let Some(shown) = pool.size_of(id)?.filter(|shown| shown != size) {
                let fault = format!(
                    "its device {path} shows {} bytes of {}: a resize was cut short",
                    shown.0, size.0
                );
                let remedy = Remedy::new(DEVICES, "give the device the volume's size");
                let mend = || pool.set_size(id, *size);
                self.find(Some(name), fault, Some(remedy), mend)?;
            }
        }
        Ok(())
    }
}

/// The metadata grow by the same table, loaded again.
fn grow_metadata(pool: &KernelPool<'_>, length: Sectors, blocks: u64) -> Result<()> {
    reload(pool, &pool.table, length)?;
    match pool.committed_status()? {
        PoolStatus::Working(status) if status.metadata.total >= blocks => Ok(()),
        status => Err(Error::new(
            ErrorKind::Io,
            format!(
                "{} says {:?}; {}",
                pool.label(),
                status.to_string(),
                pool.way_back()
            ),
        )),
    }
}
