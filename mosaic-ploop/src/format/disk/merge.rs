// SPDX-License-Identifier: MIT OR Apache-2.0
//! Merging a shot with the only one upon it.
//!
//! Usually down: what the upper file has is written into the lower file, which takes the upper's
//! place. If the lower file may be another disk's too, then up: what only the lower file has is
//! added to the upper. If both may, into a new file.
//!
//! The lower shot is marked as one to be deleted before its data changes, and the upper one has the
//! same data at every instant. So after a crash the merge is begun again and does the same.

use super::Disk;
use crate::format::copy::Copier;
use crate::format::delta::Delta;
use crate::format::descriptor::{Base, Descriptor};
use crate::format::error::Result;
use crate::format::guid::Guid;
use crate::format::layer::{Layer, Place};
use crate::format::raw_image::RawImage;
use crate::format::storage::{Access, Folder, ImageFile};
use crate::format::units::{DiskOffset, VirtualCluster};
use crate::format::writer::Writer;

impl<S: Folder> Disk<S> {
    /// Merges a shot with the one upon it, which keeps its name.
    pub(super) fn merge(&mut self, lower: Guid, upper: Guid) -> Result<()> {
        self.changeable()?;
        let lower_file = self.file_of(lower)?.to_owned();
        let upper_file = self.file_of(upper)?.to_owned();
        let below = self.layer(lower, Access::Read)?;
        let above = self.layer(upper, Access::Read)?;
        above.fits_on(&below)?;
        // A lower file in use may be from a merge that was interrupted: that is for a check.
        for delta in [&below, &above].into_iter().filter_map(|it| it.delta()) {
            delta.ensure_closed()?;
        }
        self.mark_temporary(lower)?;
        let is_upper_shared = self.is_shared(&upper_file)?;
        if !self.is_shared(&lower_file)? {
            self.merge_down(lower, upper, &above)?;
            return self.discard_file(&upper_file);
        }
        if !is_upper_shared {
            self.merge_up(lower, upper, &below)?;
            return self.discard_file(&lower_file);
        }
        self.merge_into_new(lower, upper, &[above, below])?;
        self.discard_file(&lower_file)?;
        self.discard_file(&upper_file)
    }

    fn merge_down(&mut self, lower: Guid, upper: Guid, source: &Layer<S::File>) -> Result<()> {
        let file = self.file_of(lower)?.to_owned();
        let mut new = self.begin()?;
        new.merge(lower, upper, &file)?;
        self.replace(new, None, |disk| {
            match disk.layer(lower, Access::Write)? {
                Layer::Raw(target) => overwrite_raw(source, target),
                Layer::Delta(target) => Writer::change(target, |target| overwrite(source, target)),
                Layer::Writer(_) => Ok(()),
            }
        })
    }

    fn merge_up(&mut self, lower: Guid, upper: Guid, source: &Layer<S::File>) -> Result<()> {
        let file = self.file_of(upper)?.to_owned();
        let new = self.merged(lower, upper, &file)?;
        let leaves_zeros = self.leaves_zeros(lower);
        self.replace(new, None, |disk| {
            match disk.layer(upper, Access::Write)? {
                Layer::Delta(target) => {
                    Writer::change(target, |target| add_missing(source, target, leaves_zeros))
                }
                Layer::Raw(_) | Layer::Writer(_) => Ok(()),
            }
        })
    }

    /// The sources are the upper one and the lower one.
    fn merge_into_new(
        &mut self,
        lower: Guid,
        upper: Guid,
        sources: &[Layer<S::File>; 2],
    ) -> Result<()> {
        let file = self.fresh_name()?;
        let new = self.merged(lower, upper, &file)?;
        let header = self.header_upon(upper)?;
        let leaves_zeros = self.leaves_zeros(lower);
        self.replace(new, Some(&file), |disk| {
            let target = Delta::open(&file, disk.create_delta(&file, &header)?)?;
            Writer::change(target, |target| {
                let [above, below] = sources;
                // Zeros of the upper one may hide what the lower one has.
                add_missing(above, target, false)?;
                add_missing(below, target, leaves_zeros)
            })
        })
    }

    /// The descriptor after a merge that ends in an image with a header.
    fn merged(&mut self, lower: Guid, upper: Guid, file: &str) -> Result<Descriptor> {
        let mut new = self.begin()?;
        new.merge(lower, upper, file)?;
        if self.below(lower) == Guid::NONE && new.base() == Base::Raw {
            new.set_expanded()?;
        }
        Ok(new)
    }

    /// Whether zeros of a shot need no cluster: nothing is beneath, and not all are to be there.
    fn leaves_zeros(&self, shot: Guid) -> bool {
        self.below(shot) == Guid::NONE && self.descriptor.base() != Base::Preallocated
    }
}

/// Writes all that a layer has into the delta beneath it.
fn overwrite<F: ImageFile>(source: &Layer<F>, target: &mut Writer<F>) -> Result<()> {
    if target.header().size < source.size() {
        target.grow(source.size())?;
    }
    let mut copier = Copier::new(source.cluster());
    for cluster in source.clusters() {
        let Some(from) = source.locate(cluster)? else {
            continue;
        };
        match target.delta().locate(cluster)? {
            Some(to) => copier.copy(
                |within, piece| source.read(from, within, piece),
                |within, piece| target.overwrite(piece, to.plus(within)),
            )?,
            None => add(source, cluster, from, target, &mut copier)?,
        }
    }
    Ok(())
}

/// Writes all that a layer has into the raw base beneath it.
fn overwrite_raw<F: ImageFile>(source: &Layer<F>, mut target: RawImage<F>) -> Result<()> {
    // By the rounded size: an end within a cluster reads as zeros from there on.
    if target.size() < source.size() {
        target.resize(source.size())?;
    }
    let mut copier = Copier::new(source.cluster());
    for cluster in source.clusters() {
        let Some(from) = source.locate(cluster)? else {
            continue;
        };
        let to = source.cluster().start_on_disk(cluster);
        copier.copy(
            |within, piece| source.read(from, within, piece),
            |within, piece| target.write(piece, DiskOffset(to.0 + within)),
        )?;
    }
    target.flush()
}

/// Adds to a delta what it has not and a layer has.
fn add_missing<F: ImageFile>(
    source: &Layer<F>,
    target: &mut Writer<F>,
    leaves_zeros: bool,
) -> Result<()> {
    let mut copier = Copier::new(source.cluster());
    for cluster in source.clusters() {
        let Some(from) = source.locate(cluster)? else {
            continue;
        };
        if cluster.0 >= target.header().entries || target.delta().locate(cluster)?.is_some() {
            continue;
        }
        let read = |within, piece: &mut [u8]| source.read(from, within, piece);
        if !(leaves_zeros && copier.is_zero(read)?) {
            add(source, cluster, from, target, &mut copier)?;
        }
    }
    Ok(())
}

/// Adds a cluster that a delta has not.
fn add<F: ImageFile>(
    source: &Layer<F>,
    cluster: VirtualCluster,
    from: Place,
    target: &mut Writer<F>,
    copier: &mut Copier,
) -> Result<()> {
    target.add(cluster, |delta, to| {
        copier.copy(
            |within, piece| source.read(from, within, piece),
            |within, piece| {
                let written = delta.file().write_at(piece, to.plus(within));
                written.map_err(delta.io("write"))
            },
        )
    })
}
