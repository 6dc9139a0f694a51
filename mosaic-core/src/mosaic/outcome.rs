// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a change that is made in one step has come to, when the driver answers with an error.
//!
//! A driver can fail behind its commit: a name is gone, and what makes that durable answers with an
//! error of the disk. Whoever goes by the name must know, before somebody else is given it.

use super::Mosaic;
use crate::error::Error;
use crate::name::VolumeName;

/// What has become of the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All is as before.
    NotMade,
    /// It is made, though perhaps not for good.
    Made,
    /// Nobody can say.
    Unknown,
}

/// An error, and what it has left of the change.
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) outcome: Outcome,
}

impl From<Error> for Failure {
    /// An error before the driver was asked to change anything.
    fn from(error: Error) -> Self {
        let outcome = Outcome::NotMade;
        Self { error, outcome }
    }
}

impl Failure {
    /// The error, with the words for what has been `not_made`, or for what has been `made`.
    pub(super) fn told(self, not_made: &str, made: &str) -> Error {
        match self.outcome {
            Outcome::NotMade => self.error.context(not_made),
            Outcome::Made => self
                .error
                .context(format!("{made}, but perhaps not for good")),
            Outcome::Unknown => {
                let unknown = format!("{not_made}, nor see whether that was done all the same");
                self.error.context(unknown)
            }
        }
    }
}

impl Mosaic {
    /// What the driver has made of a drop that failed. Asked under the lock of the drop.
    pub(super) fn outcome_of_drop(&self, name: &VolumeName) -> Outcome {
        match self.driver.find(name) {
            Ok(Some(_)) => Outcome::NotMade,
            Ok(None) => Outcome::Made,
            Err(_) => Outcome::Unknown,
        }
    }

    /// What the driver has made of a rename that failed. Asked under the locks of the rename, before
    /// which nothing had the new name.
    pub(super) fn outcome_of_rename(&self, from: &VolumeName, to: &VolumeName) -> Outcome {
        match (self.driver.find(from), self.driver.find(to)) {
            (Ok(Some(_)), _) => Outcome::NotMade,
            (_, Ok(Some(_))) => Outcome::Made,
            _ => Outcome::Unknown,
        }
    }
}
