// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dropped subvolumes that the kernel still takes apart, and what they hold.
//!
//! A thread of the kernel's deletes a dropped subvolume's data, one subvolume after the other, as
//! soon as nobody has a file of it open (fs/btrfs/disk-io.c, `cleaner_kthread`). It is woken every
//! 30 s and by `BTRFS_IOC_SYNC`, but not by the commit of a drop, nor when a file is closed.
//!
//! With quotas on, it commits once for each (fs/btrfs/qgroup.c,
//! `btrfs_qgroup_cleanup_dropped_subvolume`, Linux 6.11): a thousand take seconds.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use linux_raw_sys::btrfs::{BTRFS_ORPHAN_ITEM_KEY, BTRFS_ORPHAN_OBJECTID, BTRFS_ROOT_ITEM_KEY};
use mosaic_core::foreign::without_signals;
use mosaic_core::volume::Dropped;
use mosaic_core::{Bytes, Context, Error, ErrorKind, Result};
use rustix::io::Errno;

use crate::commit;
use crate::driver::Btrfs;
use crate::ioctl;
use crate::quota::Mode;
use crate::search::{self, Key, ROOT_TREE};
use crate::stale;

/// What comes before the id in [`word`].
const WORD: &str = "subvolume ";

/// How long a look at what is left is put off, at first and at last.
const PAUSE: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];
/// How long nothing may happen before the cleaner is woken once more, at first and at last. That costs
/// others a sync each time.
const NUDGE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(15)];
/// After how long a silent wait says what it waits for.
const SILENCE: Duration = Duration::from_secs(5);

/// A dropped subvolume in [`Dropped::pending`].
pub(crate) fn word(id: u64) -> String {
    format!("{WORD}{id}")
}

fn id_of(word: &str) -> Option<u64> {
    word.strip_prefix(WORD)?.parse().ok()
}

/// The ids of the dropped subvolumes that are not cleaned yet, in order.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN; the kernel's.
fn dead(dir: BorrowedFd<'_>) -> rustix::io::Result<Vec<u64>> {
    let orphans = orphans(dir, [0, u64::MAX])?;
    let mut dead = Vec::new();
    for id in orphans {
        // Inodes can be orphans in there too.
        let mut is_subvolume = false;
        let items = Key::all(id, BTRFS_ROOT_ITEM_KEY);
        search::each(dir, ROOT_TREE, items, |_, _| is_subvolume = true)?;
        dead.extend(is_subvolume.then_some(id));
    }
    Ok(dead)
}

/// What the kernel has still to delete, of these numbers. A dropped subvolume is among it at once; its
/// own item says so only after the commit.
fn orphans(dir: BorrowedFd<'_>, numbers: [u64; 2]) -> rustix::io::Result<Vec<u64>> {
    const ORPHANS: u64 = (BTRFS_ORPHAN_OBJECTID as i64).cast_unsigned();
    let keys = numbers.map(|offset| Key {
        object: ORPHANS,
        kind: BTRFS_ORPHAN_ITEM_KEY,
        offset,
    });
    let mut found = Vec::new();
    search::each(dir, ROOT_TREE, keys, |key, _| found.push(key.offset))?;
    Ok(found)
}

impl Btrfs {
    /// What of the file system's space still is with dropped subvolumes, for `info`.
    pub(crate) fn cleaning_notes(&self) -> Vec<String> {
        match self.uncleaned().and_then(|mut notes| {
            notes.extend(self.outlived()?);
            Ok(notes)
        }) {
            Ok(notes) => notes,
            Err(Errno::PERM) => {
                vec!["what dropped subvolumes still hold only root can see".to_owned()]
            }
            Err(errno) => {
                self.host
                    .debug(&format!("no look at dropped subvolumes: {errno}"));
                Vec::new()
            }
        }
    }

    fn uncleaned(&self) -> rustix::io::Result<Vec<String>> {
        let dir = self.location.dir();
        let dead = dead(dir)?;
        if dead.is_empty() {
            return Ok(Vec::new());
        }
        let mut bytes = 0_u64;
        for id in &dead {
            // From the disk, where any number can stand.
            let usage = stale::usage(dir, *id)?;
            bytes = bytes.saturating_add(usage.map_or(0, |usage| usage.exclusive));
        }
        let amount = match bytes {
            0 => String::new(),
            bytes => format!(", which gives back about {}", Bytes(bytes)),
        };
        let number = match dead.len() {
            1 => "1 dropped subvolume is".to_owned(),
            number => format!("{number} dropped subvolumes are"),
        };
        Ok(vec![format!(
            "{number} being cleaned{amount}, once no file in there is open"
        )])
    }

    /// What under simple quotas still counts for subvolumes that are gone.
    fn outlived(&self) -> rustix::io::Result<Option<String>> {
        if self.quota_mode().ok() != Some(Mode::Simple) {
            return Ok(None);
        }
        let groups = stale::dead_groups(self.location.dir())?;
        let counted = groups.iter().map(|group| group.usage.referenced);
        let bytes = counted.fold(0_u64, u64::saturating_add);
        Ok((bytes > 0).then(|| {
            format!(
                "clones hold {} that dropped subvolumes wrote, and that count for no volume",
                Bytes(bytes)
            )
        }))
    }

    /// Returns when the space of what was dropped can be used again. Subvolumes that others dropped
    /// before are cleaned before; one of which somebody has a file open, only after that.
    pub(crate) fn await_cleaned(&self, dropped: &Dropped) -> Result<()> {
        let dir = self.location.dir();
        let mut ids: Vec<u64> = dropped.pending.iter().filter_map(|w| id_of(w)).collect();
        let all = ids.len();
        let mut wait = Wait::new();
        loop {
            let before = ids.len();
            match still_dead(dir, &mut ids) {
                Err(Errno::PERM) => return self.await_cleaned_blindly(&ids),
                other => other.context(|| "cannot look for dropped subvolumes".to_owned())?,
            }
            let done = (all - ids.len()) as u64;
            self.host
                .progress(done, all as u64, "cleaning dropped subvolumes");
            if ids.is_empty() {
                // What was freed can be used again once the transaction that freed it is on disk.
                return commit::everything(dir);
            }
            if ids.len() < before {
                wait.goes_on();
            }
            wait.a_moment(self)?;
        }
    }

    /// The same where only root can see what is cleaned: the kernel is asked to say when.
    fn await_cleaned_blindly(&self, ids: &[u64]) -> Result<()> {
        let dir = self.location.dir();
        for id in ids {
            let (own, id) = (own(dir)?, *id);
            // On its own, since the call cannot be told to stop. If the user does not want to wait any
            // more, it ends with the program, or when the subvolume is cleaned.
            let ask = move || ioctl::await_cleaned(own, id);
            let asked = without_signals(|| thread::Builder::new().spawn(ask));
            let asked = asked.context(|| format!("cannot wait for subvolume {id}"))?;
            let mut wait = Wait::new();
            while !asked.is_finished() {
                wait.a_moment(self)?;
            }
            match asked.join().unwrap_or(Err(Errno::IO)) {
                Ok(()) => {}
                Err(Errno::NOTTY) => {
                    let why = "when it comes back only root can see before Linux 6.13";
                    return Err(Error::new(ErrorKind::Permission, why));
                }
                Err(errno) => {
                    let why = format!("cannot wait for subvolume {id}");
                    return Err(Error::io(errno, why));
                }
            }
        }
        Ok(())
    }
}

/// Leaves those that are not cleaned.
fn still_dead(dir: BorrowedFd<'_>, ids: &mut Vec<u64>) -> rustix::io::Result<()> {
    let mut left = Vec::new();
    for id in ids.iter() {
        left.extend(orphans(dir, [*id, *id])?);
    }
    *ids = left;
    Ok(())
}

/// A wait in which nothing has happened yet.
struct Wait {
    since: Instant,
    pause: Duration,
    nudge_after: Duration,
    nudge: Option<JoinHandle<rustix::io::Result<()>>>,
    said: bool,
}

impl Wait {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            pause: PAUSE[0],
            nudge_after: Duration::ZERO,
            nudge: None,
            said: false,
        }
    }

    /// The cleaner is awake.
    fn goes_on(&mut self) {
        self.since = Instant::now();
        self.pause = PAUSE[0];
        self.nudge_after = NUDGE[0];
    }

    /// Waits a little, longer each time, and wakes the cleaner now and then.
    fn a_moment(&mut self, btrfs: &Btrfs) -> Result<()> {
        btrfs.host.check_cancelled()?;
        let elapsed = self.since.elapsed();
        if elapsed >= self.nudge_after {
            self.nudge(btrfs)?;
            self.nudge_after = elapsed + (elapsed / 2).clamp(NUDGE[0], NUDGE[1]);
        }
        if !self.said && elapsed > SILENCE {
            btrfs.host.warn(
                "its space is not back yet: the kernel cleans one dropped subvolume after the \
                 other, and none of which somebody has a file open",
            );
            self.said = true;
        }
        thread::sleep(self.pause);
        self.pause = (self.pause * 2).min(PAUSE[1]);
        Ok(())
    }

    /// Wakes the cleaner; in a thread of its own, since that writes out what others have in memory,
    /// and may take longer than the user wants to wait.
    fn nudge(&mut self, btrfs: &Btrfs) -> Result<()> {
        match self.nudge.take() {
            Some(running) if !running.is_finished() => self.nudge = Some(running),
            _ => {
                let own = own(btrfs.location.dir())?;
                btrfs.host.debug("BTRFS_IOC_SYNC, which wakes the cleaner");
                let sync = move || ioctl::sync(own);
                // Where no thread is to be had the cleaner wakes by itself, later.
                self.nudge = without_signals(|| thread::Builder::new().spawn(sync)).ok();
            }
        }
        Ok(())
    }
}

/// A descriptor for a thread that may outlive the call.
fn own(dir: BorrowedFd<'_>) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(dir, 0)
        .context(|| "cannot wait for dropped subvolumes".to_owned())
}
