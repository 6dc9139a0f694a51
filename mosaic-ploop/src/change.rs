// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drop, rename and resize: what changes a volume that is there.

use mosaic_core::label;
use mosaic_core::{Bytes, Context, Error, ErrorKind, Result, ScratchName, VolumeName};
use rustix::fs::fsync;

use crate::create::whole;
use crate::driver::Ploop;
use crate::files::DiskFolder;
use crate::format::disk::Disk;
use crate::format::error::Refusal;
use crate::format::units::Sectors;
use crate::volume_dir::VolumeDir;
use crate::{format, partition};

impl Ploop {
    /// Steps: claim all files; **commit**: rename to `.mosaic/trash`, where the host deletes it.
    /// Killed before the commit nothing has changed, after it the volume is gone. Files that a clone
    /// has too stay, under the clone's names.
    pub(crate) fn drop_disk(&self, name: &VolumeName, scratch: &ScratchName) -> Result<()> {
        let dir = VolumeDir::require(&self.location, name)?;
        let _claim = self.claim(&dir)?;
        self.prove_same(name, &dir)?;
        self.host
            .debug(&format!("rename {:?} to the trash", dir.path()));
        self.location.move_to_trash(name, scratch)
    }

    /// Steps: claim all files; keep both users' names with the folder, fsync; **commit**: one rename
    /// that replaces nothing; forget the old name. Killed before the commit the volume has its old
    /// name, after it the new one.
    pub(crate) fn rename_disk(&self, from: &VolumeName, to: &VolumeName) -> Result<()> {
        let dir = VolumeDir::require(&self.location, from)?;
        let _claim = self.claim(&dir)?;
        if let Ok(mut disk) = dir.disk() {
            disk.forget_paths()?;
        }
        label::set_names(&dir, &[from, to])?;
        let kept = fsync(&dir).context(|| "cannot write the folder's label to disk".into());
        self.host
            .debug(&format!("rename {:?} to {:?}", dir.path(), to.stored()));
        let moved = kept
            .and_then(|()| self.prove_same(from, &dir))
            .and_then(|()| self.location.rename(from, to));
        // An error can also be one after the rename. With both names it is shown by the right one.
        if moved.is_ok() {
            let _ = label::set_name(&dir, to);
        } else if self.prove_same(from, &dir).is_ok() {
            let _ = label::set_name(&dir, from);
        }
        moved
    }

    /// The name may lead to another folder now only if somebody went past Mosaic.
    pub(crate) fn prove_same(&self, name: &VolumeName, dir: &VolumeDir) -> Result<()> {
        let now = VolumeDir::find(&self.location, name)?;
        let is_same = |now: &VolumeDir| -> Result<bool> { Ok(now.identity()? == dir.identity()?) };
        if now.as_ref().map_or(Ok(false), is_same)? {
            return Ok(());
        }
        let why = format!("{:?} was replaced meanwhile", dir.path());
        Err(Error::new(ErrorKind::Busy, why))
    }

    /// Of a disk that is attached the server does it, and then the device. Of any other: claim, then
    /// as [`Disk::grow`](crate::format::disk::Disk::grow) and
    /// [`Disk::shrink`](crate::format::disk::Disk::shrink) have it: the descriptor aside, the image's
    /// header (**commit**), the descriptor. Killed after the commit the size is the header's, and
    /// the same call, or check --repair, puts the descriptor in order. The partition that a file
    /// system is on grows after that and shrinks before: [`partition`] says in what order.
    pub(crate) fn resize_disk(&self, name: &VolumeName, size: Bytes) -> Result<()> {
        let dir = VolumeDir::require(&self.location, name)?;
        let disk = dir.disk()?;
        let size = whole(size, disk.descriptor().cluster())?;
        let now = disk.read(disk.descriptor().top())?.size();
        let shown = self.shown(&dir);
        self.host
            .debug(&format!("resize {:?} to {size}", dir.path()));
        if size >= now
            && let Some(attached) = shown.find()?
        {
            return attached.grow(&self.host, &shown.place(), size);
        }
        let claim = self.claim(&dir)?;
        let mut disk = self.settled(&dir, &claim)?;
        let has_partition = self.table_of(&dir)?.is_some();
        let now = disk.read(disk.descriptor().top())?.size();
        let says = disk.descriptor().size();
        if has_partition {
            // What cannot follow is said before anything has changed.
            partition::is_due(&disk.read(disk.descriptor().top())?, size)?;
        }
        if size < now {
            if has_partition {
                self.shrink_partition(&dir, &disk, size)?;
            }
            return Ok(disk.shrink(size)?);
        }
        match has_partition {
            true => grow_with_partition(&mut disk, size),
            false if size == now && size == says => Ok(()),
            false => Ok(disk.grow(size)?),
        }
    }

    /// Steps: make sure that the file system is so small already, and that the disk can be; then the
    /// table.
    fn shrink_partition(
        &self,
        dir: &VolumeDir,
        disk: &Disk<DiskFolder>,
        size: Sectors,
    ) -> Result<()> {
        if disk.descriptor().images().len() != 1 {
            return Err(format::Error::from(Refusal::HasSnapshots).into());
        }
        let chain = disk.read(disk.descriptor().top())?;
        let planned = partition::planned(&chain, size)?;
        if let Some(fs) = self.file_system(dir)? {
            let takes = partition::file_system_size(&chain, &fs)?;
            if takes.0 > planned.bytes {
                let why = format!(
                    "the {fs} on it takes {takes} ({} bytes), its partition would have {} ({} bytes)",
                    takes.0,
                    Bytes(planned.bytes),
                    planned.bytes
                );
                return Err(Error::new(ErrorKind::Busy, why));
            }
        }
        follow(disk, size)
    }
}

/// Makes an idle disk larger that has a partition. A table that is damaged in front is mended first: as
/// soon as the disk is larger its copy is not at the end any more, where it is looked for.
pub(crate) fn grow_with_partition(disk: &mut Disk<DiskFolder>, size: Sectors) -> Result<()> {
    let now = disk.read(disk.descriptor().top())?.size();
    follow(disk, now)?;
    if size != now || size != disk.descriptor().size() {
        disk.grow(size)?;
    }
    follow(disk, size)
}

/// Gives the partition of an idle disk the size that belongs to that of the disk.
fn follow(disk: &Disk<DiskFolder>, size: Sectors) -> Result<()> {
    let top = disk.descriptor().top();
    if !partition::is_due(&disk.read(top)?, size)? {
        return Ok(());
    }
    let mut chain = disk.write()?;
    let followed = partition::follow(&mut chain, size);
    let closed = chain.close();
    followed?;
    Ok(closed?)
}
