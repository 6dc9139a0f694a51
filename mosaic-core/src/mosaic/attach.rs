// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes as block devices.

use super::guard::Names;
use super::{Changed, Mosaic};
use crate::busy;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::volume::{Attachment, Lifetime, Volume, capability};

impl Mosaic {
    /// Shows a volume as a block device that stays until [`Mosaic::detach`].
    ///
    /// Steps: lock the name, look; **commit**: the driver sets the device up in one call. A kill
    /// before leaves nothing, after it the device, which `detach` takes away.
    ///
    /// # Errors
    /// `Busy` if it is attached, mounted or in use otherwise, saying where (`exist_ok` accepts a
    /// device of an earlier attach with the same access); `Unsupported`; `Permission`.
    pub fn attach(
        &self,
        volume: &str,
        read_only: bool,
        exist_ok: bool,
    ) -> Result<(Changed, Attachment)> {
        let failed = || format!("cannot attach volume {volume:?}");
        self.try_attach(volume, read_only, exist_ok).context(failed)
    }

    fn try_attach(
        &self,
        volume: &str,
        read_only: bool,
        exist_ok: bool,
    ) -> Result<(Changed, Attachment)> {
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
            Err(error) if exist_ok && error.kind() == ErrorKind::Busy => {
                let attached = self.existing(&name)?.attachment.filter(|attachment| {
                    attachment.lifetime == Lifetime::Explicit
                        && !attachment.foreign
                        && attachment.read_only == read_only
                });
                attached
                    .map(|attachment| (Changed::Unchanged, attachment))
                    .ok_or(error)
            }
            other => other.map(|attachment| (Changed::Yes, attachment)),
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
