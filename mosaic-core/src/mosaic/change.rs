// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verbs that make, copy and rename volumes.

use super::guard::Names;
use super::outcome::{Failure, Outcome};
use super::{Changed, Mosaic};
use crate::error::{Context, Error, ErrorKind, Needs, Result};
use crate::name::VolumeName;
use crate::scratch::Place;
use crate::size::Bytes;
use crate::volume::{CloneOptions, Kind, NewKind, NewVolume, Volume, capability};

/// What `new` is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeRequest {
    /// A file system of the configured type.
    Fs,
    /// A raw disk.
    Disk,
}

impl Mosaic {
    /// Makes a volume.
    ///
    /// Steps: lock the name, sweep, look; the driver builds the volume without a name (or under a
    /// scratch name), labels and syncs it; **commit**: it gets its name in one step. A kill before
    /// that leaves at most a scratch thing for the next sweep, after it the whole volume.
    ///
    /// # Errors
    /// `Invalid` for name or size; `Exists`, also for a name beneath a volume; `Unsupported`,
    /// `NoSpace`, `Busy`.
    pub fn create(
        &self,
        volume: &str,
        request: VolumeRequest,
        size: Bytes,
        exist_ok: bool,
    ) -> Result<Changed> {
        let failed = || format!("cannot create volume {volume:?}");
        self.try_create(volume, request, size, exist_ok)
            .context(failed)
    }

    fn try_create(
        &self,
        volume: &str,
        request: VolumeRequest,
        size: Bytes,
        exist_ok: bool,
    ) -> Result<Changed> {
        let name = self.name(volume)?;
        name.check_new()?;
        check_size(size)?;
        let (capability, kind) = match request {
            VolumeRequest::Disk => (capability::DISK, NewKind::Disk),
            VolumeRequest::Fs => (
                capability::FS,
                NewKind::Fs(self.config.settings.default_fs.clone()),
            ),
        };
        self.require(capability, None)?;
        let guard = self.lock_names(&Names {
            made: vec![&name],
            ..Names::default()
        })?;
        self.sweep(&guard)?;
        if let Some(existing) = self.driver.find(&name)? {
            let same = is_same_kind(&existing.kind, &kind)
                && existing.size.is_none_or(|existing| existing == size);
            return if exist_ok {
                self.accept_existing(&name, &existing, same)
            } else {
                Err(self.exists(&name, &existing))
            };
        }
        self.refuse_beneath(&name)?;
        let scratch = guard.scratch(Place::Tmp)?;
        let new = NewVolume {
            kind,
            size,
            scratch,
        };
        self.driver.create(&name, &new)?;
        Ok(Changed::Yes)
    }

    /// Makes `to` from what `from` holds now, sharing its data.
    ///
    /// Steps: lock `from` shared (exclusively, if the driver must change it) and `to` exclusively,
    /// sweep, look; the driver takes one instant of the source into a thing without a name and
    /// finishes it (identity, size); **commit**: it gets its name in one step. What the source holds
    /// is never changed.
    ///
    /// With `exist_ok` a volume that is there has to have the kind and the size, and must be no clone of
    /// another volume, where the location knows; what it holds is not compared.
    ///
    /// # Errors
    /// `NotFound` for the source; else as [`Mosaic::create`].
    pub fn clone_volume(
        &self,
        from: &str,
        to: &str,
        size: Option<Bytes>,
        exist_ok: bool,
    ) -> Result<Changed> {
        let failed = || format!("cannot clone volume {from:?} to {to:?}");
        self.try_clone(from, to, size, exist_ok).context(failed)
    }

    fn try_clone(
        &self,
        from: &str,
        to: &str,
        size: Option<Bytes>,
        exist_ok: bool,
    ) -> Result<Changed> {
        let (from, to) = (self.name(from)?, self.name(to)?);
        to.check_new()?;
        if from.stored() == to.stored() {
            return Err(Error::new(
                ErrorKind::Invalid,
                "source and clone are the same volume",
            ));
        }
        size.map_or(Ok(()), check_size)?;
        let mut names = Names {
            made: vec![&to],
            ..Names::default()
        };
        match self.driver.clone_changes_source()? {
            true => names.exclusive.push(&from),
            false => names.shared.push(&from),
        }
        let guard = self.lock_names(&names)?;
        self.sweep(&guard)?;
        let source = self.existing(&from)?;
        if let Some(existing) = self.driver.find(&to)? {
            let wanted = size.or(source.size);
            let is_of_another = existing.origin.as_ref().is_some_and(|o| o != from.stored());
            let same = existing.kind == source.kind && existing.size == wanted && !is_of_another;
            return if exist_ok {
                self.accept_existing(&to, &existing, same)
            } else {
                Err(self.exists(&to, &existing))
            };
        }
        self.refuse_beneath(&to)?;
        self.require(capability::CLONE, Some(&from))?;
        if let Some(size) = size {
            check_clone_size(&source, size)?;
        }
        let scratch = guard.scratch(Place::Tmp)?;
        self.driver
            .clone_volume(&from, &to, &CloneOptions { size, scratch })?;
        Ok(Changed::Yes)
    }

    /// Gives a volume another name.
    ///
    /// Steps: lock both names, sweep, look; **commit**: one rename, durable before this returns.
    ///
    /// # Errors
    /// `NotFound`; `Exists` if the new name is taken; `Busy` where the driver cannot rename a
    /// volume in use. Where the driver has failed behind the commit the error says that the volume has
    /// the new name, though perhaps not for good.
    pub fn rename(&self, volume: &str, to: &str) -> Result<()> {
        self.rename_then(volume, to, |_| {})
    }

    /// The same. `named` is called with the new name as soon as the volume has it, before anybody can
    /// make another one of the old name; what follows may fail. It is called with `None` where the
    /// rename has failed and nobody can say which name the volume has.
    ///
    /// # Errors
    /// Those of [`Mosaic::rename`].
    pub fn rename_then(
        &self,
        volume: &str,
        to: &str,
        named: impl FnOnce(Option<&str>),
    ) -> Result<()> {
        let told = |failure: Failure| {
            failure.told(
                &format!("cannot rename volume {volume:?} to {to:?}"),
                &format!("volume {volume:?} is {to:?} now"),
            )
        };
        self.try_rename(volume, to, named).map_err(told)
    }

    fn try_rename(
        &self,
        volume: &str,
        new_name: &str,
        named: impl FnOnce(Option<&str>),
    ) -> Result<(), Failure> {
        let (from, to) = (self.name(volume)?, self.name(new_name)?);
        to.check_new()?;
        if from.stored() == to.stored() {
            return Err(Error::new(ErrorKind::Invalid, "both are the same name").into());
        }
        let guard = self.lock_names(&Names {
            exclusive: vec![&from],
            made: vec![&to],
            ..Names::default()
        })?;
        self.sweep(&guard)?;
        self.existing(&from)?;
        if let Some(existing) = self.driver.find(&to)? {
            return Err(self.exists(&to, &existing).into());
        }
        self.refuse_beneath(&to)?;
        self.require(capability::RENAME, Some(&from))?;
        let renamed = self.driver.rename(&from, &to).map_err(|error| {
            let outcome = self.outcome_of_rename(&from, &to);
            Failure { error, outcome }
        });
        match &renamed {
            Err(failure) if failure.outcome == Outcome::NotMade => {}
            Err(failure) if failure.outcome == Outcome::Unknown => named(None),
            _ => named(Some(new_name)),
        }
        renamed
    }

    /// Refuses a new name beneath an existing volume. The names above are locked, so none becomes a
    /// volume meanwhile. A name above a volume is a folder then, which the driver refuses.
    fn refuse_beneath(&self, name: &VolumeName) -> Result<()> {
        for above in name.ancestors() {
            let Ok(above) = VolumeName::parse(above) else {
                continue;
            };
            if self.driver.validate_name(&above).is_ok()
                && matches!(self.driver.find(&above), Ok(Some(_)))
            {
                return Err(Error::new(
                    ErrorKind::Exists,
                    format!("volume {:?} is in the way", above.stored()),
                ));
            }
        }
        Ok(())
    }
}

fn check_size(size: Bytes) -> Result<()> {
    if size.is_volume_size() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Invalid,
        format!("{} bytes are not a multiple of 512 above 0", size.0),
    ))
}

/// Refuses a size that the source's content, its file system included, could not be given.
fn check_clone_size(source: &Volume, size: Bytes) -> Result<()> {
    match source.size {
        Some(least) if size < least => Err(Error::new(
            ErrorKind::Invalid,
            format!("a clone of {least} cannot have {size}"),
        )
        .that_needs(Needs::ShrunkClone)),
        Some(least) if size > least => {
            Mosaic::file_system(source)?.map_or(Ok(()), |fs| fs.check_growth(size))
        }
        _ => Ok(()),
    }
}

fn is_same_kind(existing: &Kind, wanted: &NewKind) -> bool {
    match (existing, wanted) {
        (Kind::Disk, NewKind::Disk) => true,
        (Kind::Fs { fs: Some(is), .. }, NewKind::Fs(Some(wanted))) => is == wanted,
        (Kind::Fs { .. }, NewKind::Fs(_)) => true,
        _ => false,
    }
}

impl Mosaic {
    fn exists(&self, name: &VolumeName, existing: &Volume) -> Error {
        Error::new(
            ErrorKind::Exists,
            format!(
                "volume \"{name}\" exists already ({})",
                self.facts_of(existing)
            ),
        )
    }

    fn accept_existing(&self, name: &VolumeName, existing: &Volume, same: bool) -> Result<Changed> {
        if same {
            return Ok(Changed::Unchanged);
        }
        Err(Error::new(
            ErrorKind::Exists,
            format!(
                "volume \"{name}\" exists already, but is not what was asked for ({})",
                self.facts_of(existing)
            ),
        ))
    }

    /// What a refusal says of the volume that has the name.
    fn facts_of(&self, volume: &Volume) -> String {
        let mut text = match &volume.kind {
            Kind::Disk => "disk".to_owned(),
            Kind::Fs { fs: Some(fs), .. } => format!("fs, {fs}"),
            Kind::Fs { fs: None, .. } => "fs".to_owned(),
        };
        if let Some(size) = volume.size {
            text += &format!(", {size}");
        }
        if let Some(origin) = &volume.origin {
            text += &format!(", a clone of {:?}", self.shown_name_of(origin.clone()));
        }
        text
    }
}
