// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is known of volumes. Looking takes no lock and changes nothing in the pool.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mosaic_core::date::rfc3339;
use mosaic_core::volume::{Access, Attachment, Capability, Kind, Lifetime, Volume, capability};
use mosaic_core::{Bytes, Error, ErrorKind, Result, VolumeName};
use rustix::fs::OFlags;

use crate::block_device::BlockDevice;
use crate::catalog::store::{self, Found, Medium, Truth};
use crate::catalog::{Catalog, Entry};
use crate::catalog_on_disk::CatalogOnDisk;
use crate::doubt::{Doubt, certain};
use crate::driver::DmThin;
use crate::identity::{fault, metadata_fault};
use crate::kernel_pool::KernelPool;
use crate::sharing;
use crate::target::{PoolStatus, ThinId};
use crate::thin_metadata::exclusive::{self, Limit};
use crate::thin_metadata::{self, Blocks, Details, Superblock};
use crate::thin_pool::{ThinDevice, ThinPool};

/// How often a catalog is read that changes meanwhile.
const TRIES: usize = 100;

/// The true state of the catalog, beside a writer too: the pool's transaction id before and after
/// the reading is the same, and the slot that has it is not written as long as that is so.
///
/// # Errors
/// Those of [`store::read`]; `Io` for a pool that has failed.
pub fn truth(pool: &KernelPool<'_>) -> Result<Truth> {
    match found(pool)? {
        Found::Truth(truth) => Ok(*truth),
        Found::NoTruth(why) => Err(why),
    }
}

/// The same, for who can do something about there being none.
pub(crate) fn found(pool: &KernelPool<'_>) -> Result<Found> {
    let mut read = None;
    for _ in 0..TRIES {
        let before = transaction(pool)?;
        let found = store::look(pool.catalog(), before);
        if transaction(pool)? == before {
            return found;
        }
        read = Some(found);
    }
    read.unwrap_or_else(|| {
        Err(Error::new(
            ErrorKind::Busy,
            "the catalog changes faster than it can be read",
        ))
    })
}

/// The state of the catalog that the next activation of the pool is to find, also of one that has
/// failed: that takes no reads any more, and its devices do.
///
/// # Errors
/// As [`truth`]; `Io` if the devices of a failed pool cannot be read.
pub(crate) fn readable_truth(pool: &KernelPool<'_>) -> Result<Truth> {
    match pool.status()? {
        PoolStatus::Working(_) => truth(pool),
        PoolStatus::Fail | PoolStatus::Error => {
            on_disk(pool, |medium, transaction| store::read(medium, transaction))
        }
    }
}

/// Which state may be the true one instead of this.
///
/// # Errors
/// As [`readable_truth`].
pub(crate) fn doubt(pool: &KernelPool<'_>, truth: &Truth) -> Result<Option<Doubt>> {
    let status = pool.status()?;
    match status {
        PoolStatus::Working(_) => Doubt::of(pool, &status, pool.catalog(), truth),
        PoolStatus::Fail | PoolStatus::Error => {
            on_disk(pool, |medium, _| Doubt::of(pool, &status, medium, truth))
        }
    }
}

/// Reads the catalog of a pool that has failed, with the transaction at which its metadata are.
fn on_disk<T>(
    pool: &KernelPool<'_>,
    read: impl FnOnce(&dyn Medium, u64) -> Result<T>,
) -> Result<T> {
    let read = || {
        let metadata = pool.metadata()?;
        let superblock = Superblock::decode(&metadata.block(0)?[..])?;
        let data = BlockDevice::open(pool.table.data, OFlags::RDONLY | OFlags::DIRECT)?;
        let catalog = CatalogOnDisk {
            metadata,
            data: &data,
            block: superblock.data_block,
        };
        read(&catalog, superblock.transaction)
    };
    read().map_err(|error| failed(pool).with_source(error))
}

fn failed(pool: &KernelPool<'_>) -> Error {
    let text = format!("{} has failed; {}", pool.label(), pool.way_back());
    Error::new(ErrorKind::Io, text)
}

/// The true state of the catalog, and what is read of the pool beside it, both of the same time.
///
/// # Errors
/// `Busy` if there is no end of changes; what `read` answered; as [`truth`].
pub(crate) fn steady<T>(
    pool: &KernelPool<'_>,
    read: impl FnMut(&Truth) -> Result<T>,
) -> Result<(Truth, T)> {
    steady_by(pool, truth, read)
}

fn steady_by<T>(
    pool: &KernelPool<'_>,
    look: impl Fn(&KernelPool<'_>) -> Result<Truth>,
    mut read: impl FnMut(&Truth) -> Result<T>,
) -> Result<(Truth, T)> {
    for _ in 0..TRIES {
        let before = look(pool)?;
        let found = read(&before);
        // What a command will make it writes into the other slot first.
        if look(pool)? == before {
            return Ok((before, found?));
        }
    }
    Err(Error::new(
        ErrorKind::Busy,
        format!("{} changes faster than it can be read", pool.label()),
    ))
}

fn transaction(pool: &KernelPool<'_>) -> Result<u64> {
    match pool.status()? {
        PoolStatus::Working(status) => Ok(status.transaction),
        PoolStatus::Fail | PoolStatus::Error => Err(failed(pool)),
    }
}

/// Blocks of metadata that are read at most to find out what one volume has for itself, since each
/// verb looks at its volume.
const COUNTED_FOR_ONE: Limit = Limit::Blocks(64);
/// How long a list may take longer for that.
const COUNTED_FOR_ALL: Duration = Duration::from_secs(1);

/// All volumes; of a pool whose last change is not known to be made those of both states, with a note
/// on each that differs.
///
/// # Errors
/// As [`truth`].
pub fn list(pool: &KernelPool<'_>) -> Result<Vec<Volume>> {
    let (truth, details) = steady(pool, |_| thin_metadata::list(pool.metadata()?))?;
    let doubt = doubt(pool, &truth)?;
    let (catalog, details): (_, HashMap<ThinId, Details>) =
        (truth.catalog, details.into_iter().collect());
    let ids: Vec<ThinId> = catalog.volumes().map(|(_, entry)| entry.id).collect();
    let until = Limit::Until(Instant::now() + COUNTED_FOR_ALL);
    let exclusive = exclusive::count(pool.metadata()?, &ids, until);
    let devices: HashMap<ThinId, ThinDevice> = pool
        .devices()?
        .into_iter()
        .map(|device| (device.id, device))
        .collect();
    let others = sharing::others(pool.dm, pool.number)?;
    let names: HashMap<ThinId, &str> = catalog
        .volumes()
        .map(|(name, entry)| (entry.id, name))
        .collect();
    let other = doubt.as_ref().into_iter();
    let other = other.flat_map(|doubt| doubt.other.volumes());
    let other = other.filter(|(stored, _)| catalog.find(stored).is_none());
    let listed = catalog.volumes().chain(other).map(|(stored, entry)| {
        let facts = Facts {
            details: details.get(&entry.id).copied(),
            exclusive: exclusive.get(&entry.id).copied(),
            device: devices.get(&entry.id),
            other: others.get(&entry.id),
            origin: entry.origin.and_then(|id| names.get(&id).copied()),
        };
        let mut volume = volume(pool, stored, entry, &facts)?;
        if let Some(doubt) = doubt
            .as_ref()
            .filter(|doubt| doubt.is_about(&catalog, stored))
        {
            volume.notes.push(doubt.why.clone());
            pool.warn(&format!("volume {stored:?}: {}", doubt.why));
        }
        Ok(volume)
    });
    listed.collect()
}

/// One volume.
///
/// # Errors
/// As [`truth`].
pub fn find(pool: &KernelPool<'_>, stored: &str) -> Result<Option<Volume>> {
    let details = |truth: &Truth| match truth.catalog.find(stored) {
        Some(entry) => pool.details(entry.id),
        None => Ok(None),
    };
    let (truth, details) = steady_by(pool, readable_truth, details)?;
    let (doubt, catalog) = (doubt(pool, &truth)?, &truth.catalog);
    let Some(entry) = certain(catalog, doubt.as_ref(), stored)? else {
        return Ok(None);
    };
    let exclusive = exclusive::count(pool.metadata()?, &[entry.id], COUNTED_FOR_ONE);
    let device = pool.device(entry.id)?;
    let others = sharing::others(pool.dm, pool.number)?;
    let facts = Facts {
        details,
        exclusive: exclusive.get(&entry.id).copied(),
        device: device.as_ref(),
        other: others.get(&entry.id),
        origin: entry.origin.and_then(|id| catalog.name_of(id)),
    };
    let mut volume = volume(pool, stored, entry, &facts)?;
    if !matches!(pool.status()?, PoolStatus::Working(_)) {
        volume.notes.push(failed(pool).to_string());
    }
    Ok(Some(volume))
}

/// The metadata file system.
///
/// # Errors
/// `Unsupported` if the catalog has none; as [`truth`].
pub fn metadata(pool: &KernelPool<'_>) -> Result<Volume> {
    let catalog = readable_truth(pool)?.catalog;
    let metadata = metadata_of(pool, &catalog)?;
    let device = pool.device(ThinId::METADATA)?;
    let details = pool.details(ThinId::METADATA)?;
    Ok(Volume {
        stored: "metadata".to_owned(),
        user: None,
        kind: Kind::Fs {
            fs: Some(metadata.fs.clone()),
            assumed: false,
        },
        access: Access::Device,
        size: Some(metadata.size),
        overhead: Bytes(0),
        used: details
            .filter(|details| metadata_fault(Some(*details)).is_none())
            .map(|details| mapped(pool, details)),
        exclusive: None,
        origin: None,
        read_only: false,
        attachment: device.as_ref().and_then(attachment),
        notes: metadata_fault(details).into_iter().collect(),
        facts: vec![("thin id".to_owned(), ThinId::METADATA.to_string())],
    })
}

pub(crate) fn metadata_of<'c>(
    pool: &KernelPool<'_>,
    catalog: &'c Catalog,
) -> Result<&'c crate::catalog::Metadata> {
    catalog.metadata.as_ref().ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            format!("{} has no metadata file system", pool.label()),
        )
    })
}

/// What was found out of a volume besides its entry.
struct Facts<'f> {
    details: Option<Details>,
    exclusive: Option<u64>,
    device: Option<&'f ThinDevice>,
    other: Option<&'f PathBuf>,
    origin: Option<&'f str>,
}

fn volume(pool: &KernelPool<'_>, stored: &str, entry: &Entry, facts: &Facts<'_>) -> Result<Volume> {
    // Another thin device's are not the volume's.
    let details = facts
        .details
        .filter(|details| details.made_in == entry.made_in);
    let mut volume = Volume {
        stored: stored.to_owned(),
        user: entry.user.clone(),
        kind: entry.content.kind(),
        access: Access::Device,
        size: Some(entry.size),
        overhead: Bytes(0),
        used: details.map(|details| mapped(pool, details)),
        // More than all there is would be of another time.
        exclusive: details.zip(facts.exclusive).map(|(details, count)| {
            let mapped = count.min(details.mapped);
            mapped_bytes(pool, mapped)
        }),
        origin: facts.origin.map(str::to_owned),
        read_only: false,
        attachment: facts.device.and_then(attachment),
        notes: fault(entry, facts.details).into_iter().collect(),
        facts: vec![
            ("thin id".to_owned(), entry.id.to_string()),
            ("created".to_owned(), rfc3339(entry.created)),
        ],
    };
    if let Some(path) = facts.other {
        let note = "another program shows it, not Mosaic";
        volume.notes.push(note.to_owned());
        volume.attachment.get_or_insert(Attachment {
            device: path.clone(),
            lifetime: Lifetime::Explicit,
            read_only: false,
            foreign: true,
        });
    } else if volume.attachment.is_some()
        && let Some(shown) = pool.size_of(entry.id)?
        && shown != entry.size
    {
        // A resize was cut short: the volume has the size that its users see.
        volume.size = Some(shown);
        volume.notes.push(format!(
            "its size is {} bytes, its device shows {}; resize again, or check --repair",
            entry.size.0, shown.0
        ));
    }
    Ok(volume)
}

fn mapped(pool: &KernelPool<'_>, details: Details) -> Bytes {
    mapped_bytes(pool, details.mapped)
}

fn mapped_bytes(pool: &KernelPool<'_>, blocks: u64) -> Bytes {
    Bytes(blocks.saturating_mul(pool.block().0))
}

/// As the host hears of it. One without a table shows nothing.
pub(crate) fn attachment(device: &ThinDevice) -> Option<Attachment> {
    device.is_active.then(|| Attachment {
        device: device.path.clone(),
        lifetime: device.lifetime,
        read_only: device.is_read_only,
        foreign: false,
    })
}

/// What can be done here, or with one volume, and for the rest why not.
///
/// # Errors
/// `NotFound`; as [`truth`].
pub fn capabilities(driver: &DmThin, name: Option<&VolumeName>) -> Result<Vec<Capability>> {
    let mut refusals = [const { None }; 3];
    if let Some(name) = name {
        let pool = driver.pool()?;
        let catalog = readable_truth(&pool)?.catalog;
        let entry = catalog.require(name.stored())?;
        if let Some(fs) = DmThin::file_system(&entry.content)? {
            refusals = [
                fs.can_renew_uuid().err(),
                fs.can_grow().err(),
                fs.can_shrink().err(),
            ];
        }
    }
    let answer = |word: &str, refusal: Option<String>| match refusal {
        None => Capability::yes(word),
        Some(reason) => Capability::no(word, reason),
    };
    let [clone, grow, shrink] = refusals;
    Ok(vec![
        answer(capability::CLONE, clone),
        Capability::yes(capability::BDEV),
        Capability::yes(capability::VOLSIZE),
        Capability::yes(capability::FS),
        Capability::yes(capability::DISK),
        answer(capability::GROW, grow),
        answer(capability::SHRINK, shrink),
        Capability::yes(capability::RENAME),
    ])
}
