// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verb that removes a volume, and the wait for what it took.

use super::guard::{Guard, Names};
use super::outcome::{Failure, Outcome};
use super::{Changed, Mosaic};
use crate::error::{Context, Result};
use crate::scratch::Place;
use crate::volume::Dropped;

/// How to drop a volume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DropOptions {
    /// No such volume is as good as one dropped.
    pub missing_ok: bool,
    /// Return when its space is back.
    pub wait: bool,
}

impl Mosaic {
    /// Removes a volume and all its data.
    ///
    /// Steps: lock the name, sweep, look; the driver proves that nobody uses the volume;
    /// **commit**: its name goes in one step, durable before this returns; what is left of it
    /// without a name is deleted afterwards, or by the next sweep. The storage may give the space
    /// back even later: the answer says what does so, unless that was waited for.
    ///
    /// # Errors
    /// `NotFound` unless `missing_ok`; `Busy`, naming the user. With `wait` also what kept the space
    /// from coming back, `Interrupted` among it: the volume is gone then. Where the driver has failed
    /// behind the commit the error says that the volume is gone, though perhaps not for good.
    pub fn drop_volume(&self, volume: &str, options: &DropOptions) -> Result<(Changed, Dropped)> {
        self.drop_volume_then(volume, options, || {})
    }

    /// The same. `gone` is called as soon as there is no such volume, before anybody can make another
    /// one of that name: what follows may take long, and may fail. It is called too where the drop has
    /// failed and nobody can say whether the volume is there.
    ///
    /// # Errors
    /// Those of [`Mosaic::drop_volume`].
    pub fn drop_volume_then(
        &self,
        volume: &str,
        options: &DropOptions,
        gone: impl FnOnce(),
    ) -> Result<(Changed, Dropped)> {
        let told = |failure: Failure| {
            failure.told(
                &format!("cannot drop volume {volume:?}"),
                &format!("volume {volume:?} is gone"),
            )
        };
        let Some((dropped, emptied)) = self
            .try_drop(volume, options.missing_ok, gone)
            .map_err(told)?
        else {
            return Ok((Changed::Unchanged, Dropped::default()));
        };
        if options.wait {
            emptied
                .and_then(|()| self.driver.await_space(&dropped))
                .context(|| format!("volume {volume:?} is dropped, but its space is not back"))?;
            return Ok((Changed::Yes, Dropped::default()));
        }
        if let Err(error) = emptied {
            let why = error.chain();
            self.warn(&format!("volume {volume:?} is dropped, but {why}"));
        }
        Ok((Changed::Yes, dropped))
    }

    /// What the driver answered, and whether the trash is empty; `None` if there is no such volume.
    /// No lock is held afterwards.
    fn try_drop(
        &self,
        volume: &str,
        missing_ok: bool,
        gone: impl FnOnce(),
    ) -> Result<Option<(Dropped, Result<()>)>, Failure> {
        let name = self.name(volume)?;
        let guard = self.lock_names(&Names {
            exclusive: vec![&name],
            ..Names::default()
        })?;
        self.sweep(&guard)?;
        if missing_ok && self.driver.find(&name)?.is_none() {
            gone();
            return Ok(None);
        }
        self.existing(&name)?;
        let scratch = guard.scratch(Place::Trash)?;
        let dropped = match self.driver.drop_volume(&name, &scratch) {
            Ok(dropped) => dropped,
            Err(error) => {
                let outcome = self.outcome_of_drop(&name);
                if outcome != Outcome::NotMade {
                    gone();
                }
                return Err(Failure { error, outcome });
            }
        };
        gone();
        guard.release_name(&name);
        let emptied = match &guard {
            Guard::Directory { location, .. } => {
                self.remove_leftover(location, Place::Trash, &scratch)
            }
            Guard::Device { .. } => Ok(()),
        };
        Ok(Some((dropped, emptied)))
    }
}
