// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clones: a snapshot in the source, whose files the clone shares, and a top of its own upon them.
//!
//! Where the location has reflink, the shared files are copies that share blocks, else they are the
//! same files by another name. Those are never written from then on by either disk: whatever
//! changes a file looks at its number of names.

use std::os::fd::AsFd;
use std::path::Path;

use mosaic_core::fs::FsType;
use mosaic_core::loopdev::{Binding, LoopDevice};
use mosaic_core::mounts::directory_on_device;
use mosaic_core::volume::{CloneOptions, Lifetime};
use mosaic_core::{Context, Error, ErrorKind, Host, Result, VolumeName};
use mosaic_core::{label, loopdev, reflink};
use rustix::fs::{self, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use crate::attach::device_of;
use crate::change::grow_with_partition;
use crate::claim::Claim;
use crate::create::{label_of, whole};
use crate::driver::Ploop;
use crate::files::{DiskFile, DiskFolder};
use crate::format::disk::{Deletion, Disk};
use crate::format::guid::Guid;
use crate::format::storage::{Access, Folder, ImageFile as _};
use crate::kernel_device::KERNEL_IN_USE;
use crate::volume_dir::VolumeDir;

/// What a snapshot's file carries that was made for a clone: the snapshot's GUID. A merge may give the
/// file to another one, which somebody has made for himself.
const FOR_CLONE: &str = "user.mosaic.snapshot";
/// Why a raw disk is not cloned where there is no reflink.
pub(crate) const RAW_IN_USE: &str = "it is a raw image that is attached, of which only a location with \
     reflink makes a clone; detach it first";
/// Deltas of a disk from which on snapshots are merged that no clone has any more.
const MANY: usize = 64;

impl Ploop {
    /// Steps: freeze the source: of an attached one the server does it, after a sync (of a raw one the
    /// reflink is the instant, later), any other is claimed and gets a snapshot, or has one beneath a
    /// top that has nothing (one rename of its descriptor); make a folder in `.mosaic/tmp`, label it;
    /// share the files of the snapshot; let the source go; make the clone's top and descriptor, grow
    /// it; a new UUID and growth of its file system, on a device that goes with us; fsync; **commit**:
    /// one rename that replaces nothing. Killed before that the source has perhaps one snapshot more,
    /// with the same data, and a folder is left that the next sweep deletes; after it the clone is
    /// there.
    pub(crate) fn clone_disk(
        &self,
        from: &VolumeName,
        to: &VolumeName,
        how: &CloneOptions,
    ) -> Result<()> {
        let source = VolumeDir::require(&self.location, from)?;
        let fs = self.file_system(&source)?;
        let fs = fs.as_ref();
        if let Some(refusal) = fs.and_then(|fs| fs.can_renew_uuid().err()) {
            return Err(Error::new(ErrorKind::Unsupported, refusal));
        }
        let disk = source.disk()?;
        let size = how
            .size
            .map(|size| whole(size, disk.descriptor().cluster()));
        let size = size.transpose()?;
        // The descriptor may name a size that the disk had.
        let now = disk.glance()?.size();
        let table = self.table_of(&source)?;
        let has_partition = table.is_some();
        if let Some(fault) = table
            .filter(|_| size.is_some_and(|size| size > now))
            .and_then(|table| table.refusal())
        {
            return Err(Error::new(ErrorKind::Unsupported, fault.to_string()));
        }
        if fs.is_some() {
            // Whoever may not have a device is told while nothing has changed.
            loopdev::open_control()?;
        }
        let frozen = self.freeze(from, &source)?;
        self.host
            .debug(&format!("share {frozen:?} of {:?}", source.path()));
        self.build(to, &how.scratch, |dir| {
            label::set_kind(dir, &label_of(fs))?;
            label::set_name(dir, to)?;
            let mut clone = frozen.share(&self.host, dir.folder()?)?;
            let larger = size.filter(|size| *size > clone.descriptor().size());
            if let Some(size) = larger {
                match has_partition {
                    true => grow_with_partition(&mut clone, size)?,
                    false => clone.grow(size)?,
                }
            }
            fs.map_or(Ok(()), |fs| self.renew(dir, fs, larger.is_some()))
        })
    }

    /// Freezes what the source holds now.
    fn freeze(&self, from: &VolumeName, source: &VolumeDir) -> Result<Frozen> {
        let random = source.folder()?.random();
        let random = random.context(|| "no random numbers".to_owned())?;
        let guid = Guid::from_random(random);
        let shown = self.shown(source);
        let Some(attached) = shown.find()? else {
            if let Some(device) = self.kernel_device(source)? {
                self.sync(from, &device.path()?, device.read_only)?;
                let shot = self.freeze_in_kernel(&device, source, guid)?;
                let disk = source.disk()?;
                mark(&disk, shot, guid);
                let by = By::Kernel;
                return Ok(Frozen::Shot { disk, shot, by });
            }
            let claim = self.claim(source)?;
            let mut disk = self.settled(source, &claim)?;
            self.merge_unused(&mut disk)?;
            let shot = disk.freeze(guid)?;
            mark(&disk, shot, guid);
            let by = By::Claim(claim);
            return Ok(Frozen::Shot { disk, shot, by });
        };
        self.sync(from, &device_of(&attached), attached.read_only)?;
        if attached.is_raw {
            return Ok(Frozen::Raw(source.disk()?));
        }
        let shot = attached.freeze(&self.host, &shown.place(), guid)?;
        let disk = source.disk()?;
        mark(&disk, shot, guid);
        let by = By::Server;
        Ok(Frozen::Shot { disk, shot, by })
    }

    /// Brings to the device what a file system on it has not written yet.
    fn sync(&self, from: &VolumeName, device: &Path, read_only: bool) -> Result<()> {
        match directory_on_device(device)? {
            Some(dir) => {
                self.host.debug(&format!("syncfs of volume \"{from}\""));
                fs::syncfs(dir).context(|| format!("cannot sync volume \"{from}\""))?;
            }
            None if read_only => {}
            None => self.host.warn(&format!(
                "volume \"{from}\" is attached at {} and not mounted here: the clone holds what a \
                 power cut at this instant would leave",
                device.display()
            )),
        }
        Ok(())
    }

    /// Merges snapshots that were made for clones which have them no more, if there are so many that a
    /// disk would soon have no room for another. Each step is one that may be killed.
    fn merge_unused(&self, disk: &mut Disk<DiskFolder>) -> Result<()> {
        while disk.descriptor().images().len() > MANY {
            let Some(guid) = unused(disk) else {
                return Ok(());
            };
            self.host.check_cancelled()?;
            self.host
                .debug(&format!("merge {guid}, which no clone has any more"));
            match disk.delete(guid) {
                Ok(Deletion::Done) => {}
                Ok(Deletion::Waits) => return Ok(()),
                Err(error) => {
                    self.host.warn(&format!(
                        "snapshot {guid}, which no clone has any more, is not merged: {error}"
                    ));
                    // The clone needs no room for that; what it does need is a disk in order.
                    return Ok(disk.settle()?);
                }
            }
        }
        Ok(())
    }

    /// Gives the file system of a clone a UUID of its own, and the size of its device.
    fn renew(&self, dir: &VolumeDir, fs: &FsType, grow: bool) -> Result<()> {
        self.with_device(dir, |device| {
            let open = std::fs::File::open(device);
            let open = open.context(|| format!("cannot open {device:?}"))?;
            if !fs.clone_is_clean(open.as_fd())? {
                return Err(Error::new(
                    ErrorKind::Busy,
                    "the copy caught the file system between an fsync and its commit; try again",
                ));
            }
            drop(open);
            let renewed = match fs.name() {
                "btrfs" => with_name(device, |named| fs.renew_uuid(&self.host, named)),
                _ => fs.renew_uuid(&self.host, device),
            };
            renewed.context(|| format!("cannot give the clone's {fs} a UUID of its own"))?;
            if !grow {
                return Ok(());
            }
            let grown = fs.grow(&self.host, device, None);
            grown.context(|| format!("cannot grow the clone's {fs}"))
        })
    }
}

/// Notes of a snapshot that was just made that it is there for a clone. Without a note it stays.
fn mark(disk: &Disk<DiskFolder>, shot: Guid, made: Guid) {
    let file = disk.descriptor().file(shot).filter(|_| shot == made);
    if let Some(Ok(file)) = file.map(|file| disk.folder().open(file, Access::Read)) {
        let made = made.to_string();
        let _ = fs::fsetxattr(&file, FOR_CLONE, made.as_bytes(), XattrFlags::empty());
    }
}

/// A snapshot that was made for a clone, whose file is this disk's alone, and which can be merged with
/// the only one upon it.
fn unused(disk: &Disk<DiskFolder>) -> Option<Guid> {
    let descriptor = disk.descriptor();
    let mut shots = descriptor.shots().iter().map(|shot| shot.guid);
    shots.find(|guid| {
        let name = descriptor.file(*guid).unwrap_or_default();
        let is_marked = || {
            let file = disk.folder().open(name, Access::Read).ok()?;
            let mut made = [0; 64];
            let length = fs::fgetxattr(&file, FOR_CLONE, &mut made[..]).ok()?;
            (made.get(..length)? == guid.to_string().as_bytes()).then_some(())
        };
        *guid != descriptor.top()
            && descriptor.children(*guid).count() == 1
            && disk.folder().is_shared(name).is_ok_and(|shared| !shared)
            && is_marked().is_some()
    })
}

/// A source as it is at one instant.
enum Frozen {
    /// A snapshot of it.
    Shot {
        disk: Disk<DiskFolder>,
        shot: Guid,
        by: By,
    },
    /// A raw file that is written to without a server: the instant is that of the reflink.
    Raw(Disk<DiskFolder>),
}

/// Who keeps a snapshot as it is.
enum By {
    /// Nobody uses the disk.
    Claim(#[expect(dead_code, reason = "held until it is dropped")] Claim),
    /// The server that shows the disk.
    Server,
    /// The kernel's ploop shows it, whose tool wants no disk that has files of another one.
    Kernel,
}

impl std::fmt::Debug for Frozen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shot { shot, .. } => write!(f, "snapshot {shot}"),
            Self::Raw(_) => write!(f, "the raw file"),
        }
    }
}

impl Frozen {
    /// Makes a disk of it in another folder.
    fn share(self, host: &Host, folder: DiskFolder) -> Result<Disk<DiskFolder>> {
        match self {
            Self::Shot { disk, shot, by } => {
                let may_link = !matches!(by, By::Kernel);
                let branch = disk.branch(shot)?;
                for (here, there) in &branch.files {
                    host.check_cancelled()?;
                    share(disk.folder(), here, &folder, there, may_link)?;
                }
                drop(by);
                Ok(branch.create(folder)?)
            }
            Self::Raw(disk) => copy_raw(&disk, folder),
        }
    }
}

/// Makes a raw disk of a copy of a raw file that somebody writes to. A second name for it would show
/// what is written from now on.
fn copy_raw(disk: &Disk<DiskFolder>, folder: DiskFolder) -> Result<Disk<DiskFolder>> {
    let name = disk.descriptor().file(disk.descriptor().top());
    let name = name.unwrap_or_default();
    let file = disk.folder().open(name, Access::Read);
    let file = file.context(|| format!("cannot open {name:?}"))?;
    // There it is beside the descriptor.
    let there = name.rsplit('/').next().unwrap_or(name);
    match share_blocks(&file, &folder, there) {
        Ok(true) => Ok(disk.twin(folder, there)?),
        Ok(false) => Err(Error::new(ErrorKind::Unsupported, RAW_IN_USE)),
        Err(error) => Err(Error::io(error, format!("cannot share {name:?}"))),
    }
}

/// Runs `step` with another device upon this one. btrfstune takes two loop devices whose files have
/// the same name for one (`is_same_loop_file`, btrfs-progs 6.2), and the files of all block servers are
/// called `/`: the clone would be mounted for it as soon as any other btrfs of ours is. The device
/// upon it stands on a file with a name of its own.
fn with_name(device: &Path, step: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let file = fs::open(device, flags, Mode::empty());
    let file = file.context(|| format!("cannot open {device:?}"))?;
    let binding = Binding {
        read_only: false,
        lifetime: Lifetime::Mount,
        path: device,
        window: None,
    };
    let named = LoopDevice::bind(file.as_fd(), &binding)?;
    step(&named.path())?;
    fs::fsync(&named).context(|| format!("cannot sync {:?}", named.path()))
}

/// Gives another disk a file of this one, as a copy or as well the very file, if that may be.
fn share(
    from: &DiskFolder,
    here: &str,
    to: &DiskFolder,
    there: &str,
    may_link: bool,
) -> Result<()> {
    let file = from.open(here, Access::Read);
    let file = file.context(|| format!("cannot open {here:?}"))?;
    let failed = || format!("cannot share {here:?}");
    // What its writer did not wait for, if that was another program.
    file.flush().context(failed)?;
    if share_blocks(&file, to, there).context(failed)? {
        return Ok(());
    }
    if !may_link {
        return Err(Error::new(ErrorKind::Unsupported, KERNEL_IN_USE));
    }
    let link = file.link(to, there);
    link.map_err(|errno| match errno {
        Errno::PERM | Errno::OPNOTSUPP => Error::new(
            ErrorKind::Unsupported,
            format!(
                "the location's file system has neither reflink nor hard links, \
                 or does not let this user link {here:?}"
            ),
        ),
        Errno::MLINK => Error::new(
            ErrorKind::Unsupported,
            format!("{here:?} has as many names as a file can have; clone a clone"),
        ),
        _ => Error::io(errno, failed()),
    })
}

/// Makes a copy that shares the file's blocks; `false` where that is not possible, and nothing is
/// there then.
fn share_blocks(file: &DiskFile, to: &DiskFolder, there: &str) -> std::io::Result<bool> {
    let copy = to.create(there, false)?;
    // If that cannot be, the file is shared by its name.
    let _ = reflink::write_alike(file, &copy);
    match fs::ioctl_ficlone(&copy, file) {
        Ok(()) => copy.flush().map(|()| true),
        Err(errno) if reflink::is_missing(errno) => to.remove(there).map(|()| false),
        Err(errno) => Err(errno.into()),
    }
}
