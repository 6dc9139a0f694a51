// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drop, rename and resize: what changes a volume that is there.

use mosaic_core::label;
use mosaic_core::{Bytes, Context, Error, ErrorKind, Result, ScratchName, VolumeName};
use rustix::fs::fsync;

use crate::create::whole;
use crate::driver::Ploop;
use crate::volume_dir::VolumeDir;

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
    /// the same call, or check --repair, puts the descriptor in order.
    pub(crate) fn resize_disk(&self, name: &VolumeName, size: Bytes) -> Result<()> {
        let dir = VolumeDir::require(&self.location, name)?;
        let disk = dir.disk()?;
        let size = whole(size, disk.descriptor().cluster())?;
        self.refuse_partition(&dir)?;
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
        let now = disk.read(disk.descriptor().top())?.size();
        let says = disk.descriptor().size();
        match size {
            size if size < now => disk.shrink(size)?,
            size if size == now && size == says => {}
            size => disk.grow(size)?,
        }
        Ok(())
    }
}
