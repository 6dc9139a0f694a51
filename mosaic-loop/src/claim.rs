// SPDX-License-Identifier: MIT OR Apache-2.0
//! Proof that nobody uses an image, held while it is changed; else who does.
//!
//! The proof is a write lease: the kernel grants it only while nobody else in any namespace has the
//! file open, and then makes every opener wait. Readers come and go in microseconds, and a device
//! whose last mount has just gone holds its image a moment longer: those are waited for. Where there
//! are no leases the processes and devices are looked through, which is the best there is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use mosaic_core::busy::{self, Lease, LeaseOutcome};
use mosaic_core::loopdev;
use mosaic_core::{Context, Error, ErrorKind, Host, Result};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use crate::attachment::{self, Attached};
use crate::image::Image;

/// How long somebody unknown may have the image open before it is found out who.
const PASSING: Duration = Duration::from_millis(300);
/// How long a device that is going away, or an opener that is not to be found, is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bounds of the pause between two tries, in microseconds.
const PAUSE: std::ops::Range<u64> = 1_000..10_000;

/// Opens the image and runs `step` on it while nobody else has it open, nor can open it.
///
/// # Errors
/// `Busy`, with who uses it; `step`'s; the kernel's.
pub fn exclusively<T>(
    image: &Image,
    host: &Host,
    access: OFlags,
    step: impl FnOnce(BorrowedFd<'_>) -> Result<T>,
) -> Result<T> {
    prove(image, host, access, |file, _lease| step(file.as_fd()))
}

/// Opens the image after proof that nobody else has it open; others can open it again then.
///
/// For a descriptor that outlives this process, as a loop device's does: a lease on it would outlive
/// the process too, if that were killed at the wrong moment, and keep everybody waiting.
///
/// # Errors
/// `Busy`, with who uses it; the kernel's.
pub fn open_alone(image: &Image, host: &Host, access: OFlags) -> Result<OwnedFd> {
    prove(image, host, access, |file, lease| {
        let kept = file.try_clone();
        lease.map_or(Ok(()), Lease::give_back)?;
        kept.context(|| format!("cannot open {:?}", image.path()))
    })
}

/// Opens the image until nobody else has it open; `then` gets it with the lease, if there are any.
fn prove<T>(
    image: &Image,
    host: &Host,
    access: OFlags,
    then: impl for<'a> FnOnce(&'a OwnedFd, Option<Lease<'a>>) -> Result<T>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        host.check_cancelled()?;
        if let Some(file) = open(image, access)? {
            match Lease::take(file.as_fd())? {
                LeaseOutcome::Granted(lease) => return then(&file, Some(lease)),
                LeaseOutcome::Unsupported => {
                    refuse_if_seen(image, &file)?;
                    return then(&file, None);
                }
                LeaseOutcome::InUse => {}
            }
        }
        // Our own descriptor is closed while we wait: two that wait for each other would both lose.
        refuse_or_wait(image, start)?;
        std::thread::sleep(pause());
    }
}

/// Whether certainly nobody has the image open, at a cost that does not grow with other people's
/// devices. The descriptor that asks is neither reader nor writer, and the lease is given back at
/// once, so that an opener meanwhile waits for microseconds. `false`: perhaps somebody has.
pub fn is_free(image: &Image) -> bool {
    let Ok(query) = image.open_for_query() else {
        return false;
    };
    matches!(Lease::take(query.as_fd()), Ok(LeaseOutcome::Granted(_)))
}

/// Opens the image, waiting for whoever holds a lease on it. The kernel takes a lease away from its
/// holder after `/proc/sys/fs/lease-break-time`, 45 seconds, so this ends.
///
/// # Errors
/// `Interrupted`; the kernel's.
pub fn open_sharing(image: &Image, host: &Host, access: OFlags) -> Result<OwnedFd> {
    loop {
        host.check_cancelled()?;
        if let Some(file) = open(image, access)? {
            return Ok(file);
        }
        std::thread::sleep(pause());
    }
}

/// `None` while somebody holds a lease on it.
fn open(image: &Image, access: OFlags) -> Result<Option<OwnedFd>> {
    let failed = || format!("cannot open {:?}", image.path());
    let file = match image.open(access) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        other => other.context(failed)?,
    };
    // It was only there for the open; a loop device is not to inherit it.
    let flags = fcntl_getfl(&file).context(failed)?;
    fcntl_setfl(&file, flags.difference(OFlags::NONBLOCK)).context(failed)?;
    Ok(Some(file))
}

/// Refuses if who has the image open is there to stay; `Ok`: look again.
fn refuse_or_wait(image: &Image, start: Instant) -> Result<()> {
    if let Ok(query) = image.open_for_query()
        && let Some(attached) = attachment::find_ours(&query, image)?
    {
        let leaving = attached.autoclear && busy::mounts_of_device(&path(attached))?.is_empty();
        if leaving && start.elapsed() < PATIENCE {
            return Ok(());
        }
        return Err(attached_at(attached));
    }
    if start.elapsed() < PASSING {
        return Ok(());
    }
    if let Some(attached) = attachment::find_by_asking_all(image)? {
        return Err(attached_at(attached));
    }
    let uses = openers(image)?;
    if uses.is_empty() && start.elapsed() < PATIENCE {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Busy, uses.describe()))
}

/// Without leases: whoever can be seen is believed, and nobody else.
fn refuse_if_seen(image: &Image, file: &OwnedFd) -> Result<()> {
    if let Some(attached) = attachment::find_by_asking_all(image)? {
        return Err(attached_at(attached));
    }
    let uses = busy::openers_of_file(file.as_fd())?;
    if uses.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Busy, uses.describe()))
}

fn openers(image: &Image) -> Result<busy::Uses> {
    busy::openers_of_file(image.as_fd())
}

fn path(attached: Attached) -> std::path::PathBuf {
    loopdev::path(attached.number)
}

/// The refusal for an image that a loop device shows: which, whose, and where it is mounted.
pub fn attached_at(attached: Attached) -> Error {
    let device = path(attached);
    let mut line = format!("in use: attached at {}", device.display());
    if attached.foreign {
        line += &format!(
            " by another program; losetup -d {} ends that",
            device.display()
        );
    }
    // The device is reason enough; where it is mounted is only good to know.
    if let Ok(uses) = busy::openers_of_device(&device)
        && let Some(more) = uses.describe().strip_prefix("in use: ")
    {
        line += &format!("; {more}");
    }
    Error::new(ErrorKind::Busy, line)
}

/// A pause of random length: two that try in step would meet again and again.
fn pause() -> Duration {
    let now = Instant::now();
    let noise = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| u64::from(since.subsec_nanos()))
        ^ u64::from(std::process::id()).wrapping_mul(0x9E37_79B9)
        ^ u64::from(now.elapsed().subsec_nanos());
    let span = PAUSE.end - PAUSE.start;
    Duration::from_micros(PAUSE.start + noise.wrapping_mul(0x9E37_79B9_7F4A_7C15) % span)
}
