// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checking one image, and repairing it.
//!
//! Looking changes nothing. A repair is done as a whole or not at all: if something is wrong that
//! cannot be mended without losing data, the image stays as it is, unless that is asked for
//! ([`Repair::Hard`]). The order of a repair: the mark, copies of data, the whole table, the end of the
//! file, the mark; each is durable before the next.

mod repair;

use super::cluster_set::ClusterSet;
use super::delta::Delta;
use super::entry::{Entry, EntryFault};
use super::error::{Error, Result};
use super::extension::Extension;
use super::header::{ENTRY_BYTES, Mark};
use super::storage::{ImageFile, is_zero};
use super::units::{FileOffset, VirtualCluster};

/// How far a repair goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Repair {
    /// As far as nothing is lost.
    Safe,
    /// Entries that point nowhere are set to none: what they were to point to is lost. Of entries
    /// that point to the same cluster each gets a copy of its own.
    Hard,
}

/// What is wrong with an image whose header is right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It is open for writing somewhere, or its writer died.
    #[error("it is marked in use")]
    InUse,
    /// The file does not end with a cluster.
    #[error("{bytes} bytes of its last cluster are missing")]
    Tail {
        /// How many.
        bytes: u64,
    },
    /// An entry that cannot be followed. Only a hard repair mends it.
    #[error("BAT entry {} {fault}", cluster.0)]
    Entry {
        /// The entry's number.
        cluster: VirtualCluster,
        /// What is wrong.
        fault: EntryFault,
    },
    /// An entry for a cluster that is not on the disk.
    #[error("BAT entry {} is beyond the end of the disk", .0.0)]
    Beyond(VirtualCluster),
    /// Something between the BAT and the data, which would be entries if the disk grew.
    #[error("byte {} behind the BAT is not zero", .0.0)]
    Stray(FileOffset),
}

impl Fault {
    /// Whether only a hard repair mends it.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Entry { .. })
    }
}

/// What a check found in one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The image's name.
    pub file: String,
    /// What is wrong, the first [`Report::MOST`] of it.
    pub faults: Vec<Fault>,
    /// How much more is wrong.
    pub more: u64,
    /// Whether any of it is for a hard repair only.
    pub is_fatal: bool,
    /// Clusters of the file that nothing points to: harmless, compacting gives them back.
    pub lost: u64,
    /// Whether it has been repaired.
    pub is_repaired: bool,
}

impl Report {
    /// Faults that are listed at most.
    pub const MOST: usize = 100;

    /// A report without faults.
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            faults: Vec::new(),
            more: 0,
            is_fatal: false,
            lost: 0,
            is_repaired: false,
        }
    }

    /// Whether nothing was wrong, or is any more.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty() || self.is_repaired
    }

    fn add(&mut self, fault: Fault) {
        self.is_fatal |= fault.is_fatal();
        if self.faults.len() < Self::MOST {
            self.faults.push(fault);
        } else {
            self.more += 1;
        }
    }
}

/// Checks an image, and repairs it if that is asked for and the file open for it.
///
/// # Errors
/// `Header` if nothing can be said of it; `Converting`; where it is to be repaired also
/// `NotWritable`, `Extension`, `Full`; `Io`.
pub fn check<F: ImageFile>(name: &str, file: F, repair: Option<Repair>) -> Result<Report> {
    let mut delta = Delta::open(name, file)?;
    delta.ensure_converted()?;
    let mut report = Report::new(name);
    let found = examine(&mut delta, &mut report)?;
    let Some(repair) = repair else {
        return Ok(report);
    };
    let is_hopeless = report.is_fatal && repair == Repair::Safe;
    if !report.faults.is_empty() && !is_hopeless {
        repair::repair(delta, found)?;
        report.is_repaired = true;
    }
    Ok(report)
}

/// What a repair has to know.
#[derive(Debug, Default)]
struct Found {
    /// Clusters that entries point to, each rightly.
    taken: ClusterSet,
    /// Entries to be set to none.
    wrong: Vec<VirtualCluster>,
    /// Entries that need a copy of the cluster they point to.
    doubled: Vec<VirtualCluster>,
    /// Whether there is anything behind the BAT.
    has_strays: bool,
}

/// Looks for all that can be wrong.
fn examine<F: ImageFile>(delta: &mut Delta<F>, report: &mut Report) -> Result<Found> {
    if delta.header.mark == Mark::InUse {
        report.add(Fault::InUse);
    }
    let rounded = delta.length.next_multiple_of(delta.header.cluster.bytes());
    if delta.header.is_writable() && rounded != delta.length {
        let bytes = rounded - delta.length;
        report.add(Fault::Tail { bytes });
        // An entry may point there: with the repaired end it is right.
        delta.length = rounded;
    }
    let mut found = Found::default();
    let extension = Extension::load(&delta.file, &delta.header, delta.length);
    let extension = extension.map_err(delta.io("read"))?.unwrap_or_default();
    let own: ClusterSet = extension.clusters.into_iter().collect();
    let on_disk = delta.header.cluster.holding(delta.header.size);
    for (cluster, entry) in delta.bat.allocated() {
        if u64::from(cluster.0) >= on_disk {
            report.add(Fault::Beyond(cluster));
            found.wrong.push(cluster);
        } else if let Err(fault) = found.take(delta, &own, cluster, entry) {
            report.add(Fault::Entry { cluster, fault });
        }
    }
    find_strays(delta, report, &mut found)?;
    report.lost = found.lost(delta, own.len());
    Ok(found)
}

impl Found {
    /// Follows an entry, and notes what it needs if that is wrong.
    fn take<F: ImageFile>(
        &mut self,
        delta: &Delta<F>,
        extension: &ClusterSet,
        cluster: VirtualCluster,
        entry: Entry,
    ) -> Result<(), EntryFault> {
        let header = &delta.header;
        if !header.is_writable() {
            // QEMU's own layout is only read, so nobody needs to know what is taken.
            return header.place(entry, delta.length).map(drop);
        }
        let place = match header.file_cluster(entry, delta.length) {
            Ok(Some(place)) => place,
            Ok(None) => return Ok(()),
            Err(fault) => {
                self.wrong.push(cluster);
                return Err(fault);
            }
        };
        if extension.contains(place) || !self.taken.insert(place) {
            self.doubled.push(cluster);
            return Err(EntryFault::Duplicate(place));
        }
        Ok(())
    }

    /// Clusters of the file that nothing points to.
    fn lost<F: ImageFile>(&self, delta: &Delta<F>, extension: u64) -> u64 {
        if !delta.header.is_writable() {
            return 0;
        }
        let all = delta.length / delta.header.cluster.bytes();
        let table = u64::from(delta.header.table_clusters());
        all.saturating_sub(table + self.taken.len() + extension)
    }
}

/// Looks for what is not zero between the BAT and the data.
fn find_strays<F: ImageFile>(
    delta: &Delta<F>,
    report: &mut Report,
    found: &mut Found,
) -> Result<(), Error> {
    let mut buffer = vec![0; STEP];
    visit_behind_table(delta, |at, bytes| {
        let part = &mut buffer[..bytes];
        let read = delta.file.read_at(part, at);
        read.map_err(delta.io("read"))?;
        let words = if is_zero(part) { &mut [] } else { part };
        for (word, number) in words.chunks(4).zip(0..) {
            if !is_zero(word) {
                report.add(Fault::Stray(at.plus(number * ENTRY_BYTES)));
                found.has_strays = true;
            }
        }
        Ok(())
    })
}

/// Most bytes of a part of [`visit_behind_table`].
const STEP: usize = 64 * 1024;

/// The parts between the BAT and the data, ascending, that may be other than zeros: where they begin,
/// and their bytes. What is there may be a hole of 16 GiB, as its owner likes.
fn visit_behind_table<F: ImageFile>(
    delta: &Delta<F>,
    mut each: impl FnMut(FileOffset, usize) -> Result<()>,
) -> Result<()> {
    let (mut at, end) = (delta.header.table_end(), delta.header.data_start());
    loop {
        let data = delta.file.next_data(at).map_err(delta.io("read"))?;
        let Some(data) = data.filter(|data| *data < end) else {
            return Ok(());
        };
        // Entries are whole, and who writes to a part makes no data of what is behind it.
        let first = data.0 - data.0 % ENTRY_BYTES;
        let behind = end.0.min((first + 1).next_multiple_of(STEP as u64));
        each(
            FileOffset(first),
            usize::try_from(behind - first).unwrap_or(STEP),
        )?;
        at = FileOffset(behind);
    }
}
