// SPDX-License-Identifier: MIT OR Apache-2.0
//! Half-made and half-dropped things: found, told from those at work, deleted.
//!
//! Whoever makes one holds its lock from before it exists until it is gone or has a name. So one
//! whose lock can be had is a killed call's, and this is the proof that nobody uses it.

use std::os::fd::AsFd;

use rustix::fs::{Dir, OFlags};
use rustix::io::Errno;

use super::Mosaic;
use super::guard::Guard;
use crate::driver::LockScope;
use crate::error::{Context, ErrorKind, Result};
use crate::finding::{Finding, Remedy, Repair};
use crate::host_services::Level;
use crate::location::Location;
use crate::lock::{Hold, LockFile, Subject};
use crate::scratch::{PRIVATE_DIR, Place, ScratchName};
use crate::tree;

impl Mosaic {
    /// Deletes what killed calls left. What resists is said and stays: it has no name, and must not
    /// keep the next volume from being made.
    ///
    /// # Errors
    /// `Interrupted`: the user asked to stop, and the verb has not begun.
    pub(super) fn sweep(&self, guard: &Guard) -> Result<()> {
        let Guard::Directory { location, locks } = guard else {
            return Ok(());
        };
        for place in Place::ALL {
            let names = match leftovers(location, place) {
                Ok(names) => names,
                Err(error) => {
                    self.warn(&error.chain());
                    continue;
                }
            };
            for name in names
                .iter()
                .filter_map(|name| ScratchName::parse(name).ok())
            {
                match self.sweep_one(location, locks, place, &name) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                    Err(error) => self.warn(&error.chain()),
                    Ok(_) => {}
                }
            }
        }
        self.host().check_cancelled()
    }

    /// Deletes one leftover if its maker is dead. `Ok(false)`: the maker is at work.
    fn sweep_one(
        &self,
        location: &Location,
        locks: &LockFile,
        place: Place,
        name: &ScratchName,
    ) -> Result<bool> {
        let subject = Subject::scratch(place, name);
        if !locks.try_lock(&subject, Hold::Exclusive)? {
            return Ok(false);
        }
        let removed = self.remove_leftover(location, place, name);
        locks.unlock(&subject);
        removed.map(|()| true)
    }

    /// Deletes one unfinished thing whose lock is held.
    pub(super) fn remove_leftover(
        &self,
        location: &Location,
        place: Place,
        name: &ScratchName,
    ) -> Result<()> {
        let removed = match self.driver.remove_leftover(place, name) {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                let Some(folder) = location.find_private_folder(place)? else {
                    return Ok(());
                };
                tree::remove(folder.as_fd(), name.as_str(), &self.host())
            }
            other => other,
        };
        removed.context(|| {
            let (place, at) = (place.folder(), location.path());
            format!("{PRIVATE_DIR}/{place}/{name} in {at:?} is left over and cannot be deleted now")
        })
    }

    /// What stands in the private folders without a living maker, for `check`. With the exclusive
    /// lock of the mosaic in hand it is deleted too, if `repair` covers that.
    pub(super) fn find_leftovers(
        &self,
        guard: Option<&Guard>,
        repair: &Repair,
    ) -> Result<Vec<Finding>> {
        let LockScope::Directory(path) = self.driver.lock_scope()? else {
            return Ok(Vec::new());
        };
        let location = Location::open(&path)?;
        let locks = LockFile::open_to_look(&location)?;
        let mut findings = Vec::new();
        for place in Place::ALL {
            for name in leftovers(&location, place)? {
                let at = format!("{PRIVATE_DIR}/{}/{name}", place.folder());
                let Ok(scratch) = ScratchName::parse(&name) else {
                    findings.push(finding(format!("{at:?} was not made by Mosaic"), None));
                    continue;
                };
                let subject = Subject::scratch(place, &scratch);
                if guard.is_none() && locks.as_ref().is_some_and(|l| l.is_locked(&subject)) {
                    continue;
                }
                // Its maker may have come to an end since the folder was read.
                if location.open_beneath(&at, OFlags::PATH).err() == Some(Errno::NOENT) {
                    continue;
                }
                let fault = format!("{at} is left over from a call that was killed");
                let remedy = Remedy::new("leftovers", "delete it");
                let covered = guard.filter(|_| repair.covers(&remedy));
                let mut found = finding(fault, Some(remedy));
                if let Some(Guard::Directory { location, locks }) = covered {
                    match self.sweep_one(location, locks, place, &scratch) {
                        Ok(removed) => found.repaired = removed,
                        Err(error) => found.fault = error.chain(),
                    }
                }
                findings.push(found);
            }
        }
        Ok(findings)
    }

    pub(super) fn warn(&self, message: &str) {
        self.environment.services.log(Level::Warning, message);
    }
}

/// The names in a private folder.
fn leftovers(location: &Location, place: Place) -> Result<Vec<String>> {
    let Some(folder) = location.find_private_folder(place)? else {
        return Ok(Vec::new());
    };
    let failed = || format!("cannot read {PRIVATE_DIR}/{}", place.folder());
    let mut names = Vec::new();
    for entry in Dir::read_from(&folder).context(failed)? {
        let entry = entry.context(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn finding(fault: String, remedy: Option<Remedy>) -> Finding {
    Finding {
        volume: None,
        fault,
        remedy,
        repaired: false,
    }
}
