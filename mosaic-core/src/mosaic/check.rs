// SPDX-License-Identifier: MIT OR Apache-2.0
//! `check`: location, leftovers, volumes, against kernel and storage.

use std::collections::BTreeSet;

use super::Mosaic;
use super::guard::{Guard, Names};
use crate::driver::LockScope;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::finding::{Finding, Remedy, Repair};
use crate::location::Location;
use crate::lock::{LockFile, Subject};
use crate::volume::MountSource;

impl Mosaic {
    /// Compares what is there with what should be, and mends what `repair` covers, under the
    /// exclusive lock of the mosaic. File systems on volumes are not read; that is
    /// [`Mosaic::check_volume`].
    ///
    /// Who only compares takes no lock unless something is wrong with a volume. Then it is looked at
    /// again while nobody changes it; one that somebody goes on changing is left out, with a warning.
    ///
    /// # Errors
    /// Whatever kept it from looking; `Busy` for a repair while any changing verb is at work, and where
    /// all that looked wrong is of volumes that were left out: nobody knows then that all is well. That
    /// nothing is of a class that was named is a warning.
    pub fn check(&self, repair: &Repair) -> Result<Vec<Finding>> {
        let failed = || format!("cannot check mosaic {:?}", self.config.name);
        let guard = repair
            .is_any()
            .then(|| self.lock_mosaic())
            .transpose()
            .context(failed)?;
        let mut findings = self.driver.check(repair).context(failed)?;
        if guard.is_none() {
            findings = self.confirmed(findings).context(failed)?;
        }
        findings.extend(
            self.find_leftovers(guard.as_ref(), repair)
                .context(failed)?,
        );
        self.warn_of_unknown(repair, &findings);
        Ok(findings)
    }

    /// Who mistypes a class is not to take what is said for "nothing is wrong".
    fn warn_of_unknown(&self, repair: &Repair, findings: &[Finding]) {
        let host = self.host();
        for class in repair.unknown(findings) {
            host.warn(&format!("no fault of class {class:?}"));
        }
    }

    /// What is still so while nobody changes the volumes that it is about: what a command has begun
    /// and not ended, such as a file that is longer and a device that is not yet, is no fault.
    ///
    /// A device that all volumes are behind is not taken for that. Nor are locks that nobody had yet,
    /// or that are not ours to look at.
    fn confirmed(&self, found: Vec<Finding>) -> Result<Vec<Finding>> {
        let volumes: BTreeSet<_> = found.iter().filter_map(|f| f.volume.clone()).collect();
        if volumes.is_empty() {
            return Ok(found);
        }
        let LockScope::Directory(path) = self.driver.lock_scope()? else {
            return Ok(found);
        };
        let location = Location::open(&path)?;
        let Ok(Some(locks)) = LockFile::open_to_look(&location) else {
            return Ok(found);
        };
        let volumes: Vec<_> = volumes.into_iter().collect();
        let subjects = volumes.iter().map(|stored| Subject::name(stored));
        // In the order in which everybody takes them.
        let subjects: Vec<_> = [Subject::mosaic()].into_iter().chain(subjects).collect();
        let (timeout, services) = (self.environment.lock_timeout, &self.environment.services);
        let mut refused = locks.share_free(&subjects, timeout, services.as_ref())?;
        let now = match refused.contains_key(&0) {
            // Somebody repairs all of it.
            true => found,
            false => self.looked_again(found)?,
        };
        let is_free = |stored: &str| {
            let place = volumes.iter().position(|volume| *volume == stored);
            !refused.contains_key(&0) && place.is_some_and(|at| !refused.contains_key(&(at + 1)))
        };
        let (sure, unsure): (Vec<_>, Vec<_>) = now
            .into_iter()
            .partition(|finding| finding.volume.as_deref().is_none_or(is_free));
        match refused.pop_first() {
            Some((_, error)) if sure.is_empty() && !unsure.is_empty() => Err(error),
            first => {
                let host = self.host();
                for (_, error) in first.into_iter().chain(refused) {
                    host.warn(&format!("not compared: {}", error.chain()));
                }
                Ok(sure)
            }
        }
    }

    /// What the driver finds now; what it has found, where it cannot look once more.
    fn looked_again(&self, found: Vec<Finding>) -> Result<Vec<Finding>> {
        match self.driver.check(&Repair::Nothing) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                let why = error.chain();
                self.host().warn(&format!("not compared twice: {why}"));
                Ok(found)
            }
            now => now,
        }
    }

    /// Runs the checker of the file system on one idle volume; if `repair` covers that, it mends what
    /// it can.
    /// A disk and a directory have no file system of ours to check.
    ///
    /// A checker takes long. A device that all volumes are behind is not kept from the others
    /// meanwhile, but for a repair: nobody else may have what is half mended, not even a clone.
    ///
    /// # Errors
    /// `NotFound`; `Busy` if the volume is in use; `Unsupported` for a file system without a known
    /// checker; `Corrupt` if damage is left after a repair.
    pub fn check_volume(&self, volume: &str, repair: &Repair) -> Result<Vec<Finding>> {
        let failed = || format!("cannot check volume {volume:?}");
        let findings = self.try_check_volume(volume, repair).context(failed)?;
        self.warn_of_unknown(repair, &findings);
        Ok(findings)
    }

    fn try_check_volume(&self, volume: &str, repair: &Repair) -> Result<Vec<Finding>> {
        let name = self.name(volume)?;
        let guard = self.lock_names(&Names {
            exclusive: vec![&name],
            ..Names::default()
        })?;
        let found = self.existing(&name)?;
        if let Some(attachment) = &found.attachment {
            return Err(super::attach::in_use(attachment)?);
        }
        let Some(fs) = Self::file_system(&found)? else {
            return Ok(Vec::new());
        };
        let action = format!("mend the {} file system", fs.name());
        let remedy = Remedy::new("file-system", action);
        let repair = repair.covers(&remedy);
        Self::require_root("checking a file system")?;
        let MountSource::Device {
            path,
            handle: _kept,
        } = self.driver.mount_source(Some(&name), !repair)?
        else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the driver shows a device volume as a directory",
            ));
        };
        // What is only read is in use by us, and the driver says so to whoever wants the volume.
        let is_of_all = matches!(guard, Guard::Device { .. });
        let _guard = (repair || !is_of_all).then_some(guard);
        let said = fs.check(&self.host(), &path, repair)?;
        Ok(said
            .map(|said| Finding {
                volume: Some(found.stored),
                fault: format!("{}: {said}", fs.name()),
                remedy: Some(remedy),
                repaired: repair,
            })
            .into_iter()
            .collect())
    }
}
