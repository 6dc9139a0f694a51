// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which of the faults that a look without locks has found are faults.
//!
//! What a command has begun and not ended, such as a file that is longer and a device that is not yet,
//! looks like one. So volumes that something seems to be wrong with are looked at again while nobody can
//! change them. Locks are shared for that, and only then: a look that finds nothing takes none.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::finding::Finding;
use crate::host_services::{Level, Services};
use crate::location::Location;
use crate::lock::{LockFile, Subject};

/// How often it is looked again, if each time something seems to be wrong with other volumes.
const LOOKS: usize = 2;

/// What is known after that.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Faults.
    pub(super) sure: Vec<Finding>,
    /// What may be one, and why nobody knows.
    pub(super) unsure: Vec<(Finding, Error)>,
}

impl Known {
    /// All of it is.
    pub(super) fn sure(sure: Vec<Finding>) -> Self {
        let unsure = Vec::new();
        Self { sure, unsure }
    }
}

/// How locks are waited for.
pub(super) struct Waiting<'a> {
    pub(super) timeout: Duration,
    pub(super) services: &'a dyn Services,
}

/// Looks again at what was found. What is wrong with the location is a fault as it is: no lock is of
/// that alone. Nor are there locks that nobody had yet, or that are not ours to look at.
pub(super) fn confirm(
    location: &Location,
    waiting: &Waiting<'_>,
    mut found: Vec<Finding>,
    mut look: impl FnMut() -> Result<Vec<Finding>>,
) -> Result<Known> {
    let mut held = Held::default();
    for _ in 0..LOOKS {
        if !held.lacks_any_of(&found) {
            break;
        }
        let volumes = held.volumes.into_iter().chain(volumes_of(&found)).collect();
        let Ok(Some(locks)) = LockFile::open_to_look(location) else {
            return Ok(Known::sure(found));
        };
        held = Held::take(locks, volumes, waiting)?;
        if held.all.is_some() {
            break;
        }
        match look() {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                let why = format!("not compared twice: {}", error.chain());
                waiting.services.log(Level::Warning, &why);
                break;
            }
            now => found = now?,
        }
    }
    Ok(held.sort(found))
}

fn volumes_of(findings: &[Finding]) -> BTreeSet<String> {
    findings.iter().filter_map(|f| f.volume.clone()).collect()
}

/// Locks of volumes, shared: nobody changes these.
#[derive(Default)]
struct Held {
    /// All that were asked for, and why those were not to be had that were not.
    volumes: BTreeSet<String>,
    refused: Vec<(String, Error)>,
    /// Why none of them helps: somebody mends the whole mosaic.
    all: Option<Error>,
    _locks: Option<LockFile>,
}

impl Held {
    fn take(locks: LockFile, volumes: BTreeSet<String>, waiting: &Waiting<'_>) -> Result<Self> {
        let names = volumes.iter().map(|stored| Subject::name(stored));
        let subjects: Vec<_> = [Subject::mosaic()].into_iter().chain(names).collect();
        let mut refused = locks.share_free(&subjects, waiting.timeout, waiting.services)?;
        let all = refused.remove(&0);
        let refused = (1..).zip(&volumes).filter_map(|(place, stored)| {
            let error = refused.remove(&place)?;
            Some((stored.clone(), error))
        });
        Ok(Self {
            refused: refused.collect(),
            volumes,
            all,
            _locks: Some(locks),
        })
    }

    /// Whether a finding is of a volume whose lock was not even asked for.
    fn lacks_any_of(&self, findings: &[Finding]) -> bool {
        !volumes_of(findings).is_subset(&self.volumes)
    }

    /// Why somebody may have been changing a volume while it was looked at.
    fn doubt(&self, stored: &str) -> Option<Error> {
        if let Some(error) = &self.all {
            return Some(Error::new(error.kind(), error.chain()));
        }
        if !self.volumes.contains(stored) {
            let why = format!("volume {stored:?} was changed while it was looked at");
            return Some(Error::new(ErrorKind::Busy, why));
        }
        let refused = self.refused.iter().find(|(volume, _)| volume == stored);
        refused.map(|(_, error)| Error::new(error.kind(), error.chain()))
    }

    fn sort(&self, found: Vec<Finding>) -> Known {
        let mut known = Known::default();
        for finding in found {
            let doubt = finding.volume.as_deref().and_then(|it| self.doubt(it));
            match doubt {
                None => known.sure.push(finding),
                Some(error) => known.unsure.push((finding, error)),
            }
        }
        known
    }
}

#[cfg(test)]
mod tests;
