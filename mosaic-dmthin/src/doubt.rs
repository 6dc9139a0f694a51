// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is certain of a catalog when the pool takes no changes any more.
//!
//! A change whose commit could not be proven may be on disk or not: what `thin_check` and the next
//! activation find decides. Until then there are two states that may be the true one. Of a volume that
//! is the same in both all is known; of any other nothing is said that may be wrong.

use mosaic_core::{Error, ErrorKind, Result};

use crate::catalog::store::{self, Medium, Truth};
use crate::catalog::{Catalog, Entry};
use crate::target::PoolStatus;
use crate::thin_pool::ThinPool;

/// The state that may be the true one as well.
#[derive(Debug)]
pub(crate) struct Doubt {
    pub(crate) other: Catalog,
    /// What is said of what differs.
    pub(crate) why: String,
}

impl Doubt {
    /// What there is of it in a pool with this status, whose catalog stands there.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn of(
        pool: &dyn ThinPool,
        status: &PoolStatus,
        medium: &dyn Medium,
        truth: &Truth,
    ) -> Result<Option<Self>> {
        if matches!(status, PoolStatus::Working(now) if now.mode.takes_messages() && !now.needs_check)
        {
            return Ok(None);
        }
        let other = match &truth.attempt {
            Some(attempt) => Some(attempt.clone()),
            // It was seen on disk.
            None if truth.header.committed => None,
            None => {
                let candidates = store::candidates(medium)?.into_iter();
                let mut before = candidates
                    .filter(|state| state.header.stamp.checked_add(1) == Some(truth.header.stamp));
                before.next().map(|state| state.catalog)
            }
        };
        Ok(other.map(|other| Self {
            other,
            why: format!(
                "whether the last change of {} was made is unknown until its metadata is checked; {}",
                pool.label(),
                pool.way_back()
            ),
        }))
    }

    /// Whether a volume is another one, or is in one of both only.
    pub(crate) fn is_about(&self, truth: &Catalog, stored: &str) -> bool {
        self.other.find(stored) != truth.find(stored)
    }
}

/// The volume of this name, if there is one in whatever state is the true one.
///
/// # Errors
/// `Io` if that is not known.
pub(crate) fn certain<'t>(
    truth: &'t Catalog,
    doubt: Option<&Doubt>,
    stored: &str,
) -> Result<Option<&'t Entry>> {
    match doubt {
        Some(doubt) if doubt.is_about(truth, stored) => Err(Error::new(
            ErrorKind::Io,
            format!(
                "volume {stored:?} may be there as it was before: {}",
                doubt.why
            ),
        )),
        _ => Ok(truth.find(stored)),
    }
}
