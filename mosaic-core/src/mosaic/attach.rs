// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes as block devices.

use super::guard::Names;
use super::{Changed, Mosaic};
use crate::busy;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::mounts::device::DeviceIdentity;
use crate::volume::{Attachment, Lifetime, Volume, capability};

/// Which device of an earlier attach with the same access is as good as a new one.
#[derive(Debug, Clone, Copy)]
pub enum Earlier<'a> {
    /// None: the volume is busy.
    Refused,
    /// Any, whoever asked for it.
    Accepted,
    /// Only this one: it has not been taken away since.
    Only(&'a DeviceIdentity),
}

impl Earlier<'_> {
    fn accepts(self, attachment: &Attachment) -> bool {
        match self {
            Self::Refused => false,
            Self::Accepted => true,
            Self::Only(known) => DeviceIdentity::of(&attachment.device) == *known,
        }
    }
}

/// A volume that is shown as a block device.
#[derive(Debug, Clone)]
pub struct Attached {
    /// Whether the device is a new one.
    pub changed: Changed,
    /// The device.
    pub attachment: Attachment,
    /// Which one it is of all that have its path sooner or later.
    pub identity: DeviceIdentity,
}

impl Attached {
    fn new(changed: Changed, attachment: Attachment) -> Self {
        Self {
            changed,
            identity: DeviceIdentity::of(&attachment.device),
            attachment,
        }
    }
}

impl Mosaic {
    /// Shows a volume as a block device that stays until [`Mosaic::detach`].
    ///
    /// Steps: lock the name, look; **commit**: the driver sets the device up in one call. A kill
    /// before leaves nothing, after it the device, which `detach` takes away.
    ///
    /// # Errors
    /// `Busy` if it is attached otherwise than `earlier` accepts, mounted or in use otherwise, saying
    /// where; `Unsupported`; `Permission`.
    pub fn attach(&self, volume: &str, read_only: bool, earlier: Earlier<'_>) -> Result<Attached> {
        let failed = || format!("cannot attach volume {volume:?}");
        self.try_attach(volume, read_only, earlier).context(failed)
    }

    fn try_attach(&self, volume: &str, read_only: bool, earlier: Earlier<'_>) -> Result<Attached> {
        let name = self.name(volume)?;
        // First: who may not attach at all is told that, not what the driver lacks.
        Self::require_root("attaching a volume")?;
        self.require(capability::BDEV, None)?;
        let _guard = self.lock_names(&Names {
            exclusive: vec![&name],
            ..Names::default()
        })?;
        // Not looked at before: the driver proves that nobody uses it, at a cost that does not grow
        // with other people's devices, and waits for one that goes away after a last mount.
        match self.driver.attach(&name, read_only) {
            Err(error)
                if error.kind() == ErrorKind::Busy && !matches!(earlier, Earlier::Refused) =>
            {
                let there = self.existing(&name)?.attachment.filter(|there| {
                    there.lifetime == Lifetime::Explicit
                        && !there.foreign
                        && there.read_only == read_only
                        && earlier.accepts(there)
                });
                there
                    .map(|there| Attached::new(Changed::Unchanged, there))
                    .ok_or(error)
            }
            other => other.map(|attachment| Attached::new(Changed::Yes, attachment)),
        }
    }

    /// Takes the device of an earlier attach away.
    ///
    /// # Errors
    /// `NotFound` unless `missing_ok`; `Busy` while somebody has it open, or if it is there for a
    /// mount.
    pub fn detach(&self, volume: &str, missing_ok: bool) -> Result<Changed> {
        let failed = || format!("cannot detach volume {volume:?}");
        self.try_detach(volume, missing_ok).context(failed)
    }

    fn try_detach(&self, volume: &str, missing_ok: bool) -> Result<Changed> {
        let name = self.name(volume)?;
        // First: who may not attach at all is told that, not what the driver lacks.
        Self::require_root("detaching a volume")?;
        self.require(capability::BDEV, None)?;
        let _guard = self.lock_names(&Names {
            exclusive: vec![&name],
            ..Names::default()
        })?;
        match &self.existing(&name)? {
            Volume {
                attachment: Some(attachment),
                ..
            } => {
                if attachment.lifetime == Lifetime::Mount {
                    return Err(in_use(attachment)?);
                }
                self.driver.detach(&name)?;
                Ok(Changed::Yes)
            }
            _ if missing_ok => Ok(Changed::Unchanged),
            _ => Err(Error::new(
                ErrorKind::NotFound,
                format!("volume \"{name}\" is not attached"),
            )),
        }
    }
}

/// What is to be said of a device that is in the way: where it is, and who has it.
pub(super) fn in_use(attachment: &Attachment) -> Result<Error> {
    let device = attachment.device.display();
    let by = if attachment.foreign {
        " by another program"
    } else {
        ""
    };
    let mounts = busy::mounts_of_device(&attachment.device)?;
    let line = if mounts.is_empty() {
        format!("attached at {device}{by}")
    } else {
        format!("attached at {device}{by}, {}", mounts.describe())
    };
    Ok(Error::new(ErrorKind::Busy, line))
}
