// SPDX-License-Identifier: MIT OR Apache-2.0
//! `check`: location, leftovers, volumes, against kernel and storage.

use super::Mosaic;
use super::confirm::{Known, Waiting, confirm};
use super::guard::{Guard, Names};
use crate::driver::LockScope;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::finding::{Finding, Remedy, Repair};
use crate::location::Location;
use crate::volume::MountSource;

impl Mosaic {
    /// Compares what is there with what should be, and mends what `repair` covers, under the
    /// exclusive lock of the mosaic. File systems on volumes are not read; that is
    /// [`Mosaic::check_volume`].
    ///
    /// Who only compares takes no lock unless something is wrong with a volume. Then it is looked at
    /// again while nobody changes it. What is seen of one that somebody goes on changing is a warning;
    /// what the driver warns of in each look comes once.
    ///
    /// # Errors
    /// Whatever kept it from looking; `Busy` for a repair while any changing verb is at work, and where
    /// there is nothing but such warnings: nobody knows then that all is well. That nothing is of a class
    /// that was named is a warning.
    pub fn check(&self, repair: &Repair) -> Result<Vec<Finding>> {
        let failed = || format!("cannot check mosaic {:?}", self.config.name);
        let guard = repair
            .is_any()
            .then(|| self.lock_mosaic())
            .transpose()
            .context(failed)?;
        let _once = self.said.once();
        let findings = self.driver.check(repair).context(failed)?;
        let Known {
            sure: mut findings,
            unsure,
        } = match guard {
            Some(_) => Known::sure(findings),
            None => self.confirmed(findings).context(failed)?,
        };
        findings.extend(
            self.find_leftovers(guard.as_ref(), repair)
                .context(failed)?,
        );
        self.warn_of_unknown(repair, &findings);
        for (Finding { volume, fault, .. }, doubt) in &unsure {
            let volume = volume.as_deref().unwrap_or_default();
            let doubt = doubt.chain();
            self.warn(&format!("not sure of volume {volume:?}: {fault}: {doubt}"));
        }
        match unsure.into_iter().next() {
            Some((_, doubt)) if findings.is_empty() => Err(doubt).context(failed),
            _ => Ok(findings),
        }
    }

    /// Who mistypes a class is not to take what is said for "nothing is wrong".
    fn warn_of_unknown(&self, repair: &Repair, findings: &[Finding]) {
        let host = self.host();
        for class in repair.unknown(findings) {
            host.warn(&format!("no fault of class {class:?}"));
        }
    }

    /// What is still so while nobody changes the volumes that it is about.
    ///
    /// A device that all volumes are behind is not taken for that.
    fn confirmed(&self, found: Vec<Finding>) -> Result<Known> {
        if found.iter().all(|finding| finding.volume.is_none()) {
            return Ok(Known::sure(found));
        }
        let LockScope::Directory(path) = self.driver.lock_scope()? else {
            return Ok(Known::sure(found));
        };
        let waiting = Waiting {
            timeout: self.environment.lock_timeout,
            services: self.environment.services.as_ref(),
        };
        confirm(&Location::open(&path)?, &waiting, found, || {
            self.driver.check(&Repair::Nothing)
        })
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
