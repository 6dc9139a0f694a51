// SPDX-License-Identifier: MIT OR Apache-2.0
//! The plain driver: a volume is a directory. It is also the driver to learn from.
//!
//! A driver is a type that implements [`Driver`], and one line of [`export_driver!`]. It says what
//! its location can do, finds volumes and changes them. Each call stands alone: what exists is asked
//! of the storage every time. Before a method is called names and sizes are checked and locks are
//! held; mounting, printing and sweeping come after it. None of that is a driver's business.
//!
//! The one art is that a volume appears and disappears in **one** step. What is half made or half
//! dropped is in `.mosaic/tmp` and `.mosaic/trash`, under a name that the host gave and has locked,
//! so that it knows what a killed call left, and sweeps it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use mosaic_core::finding::{Finding, Repair};
use mosaic_core::location::{check_depth, make_in, open_in, readable, rename_noreplace};
use mosaic_core::volume::{
    Capability, Dropped, InitOptions, MountSource, NewKind, NewVolume, Space, Volume, capability,
};
use mosaic_core::{
    Bytes, Context, Driver, Error, ErrorKind, Host, Location, LockScope, Place, Result,
    ScratchName, Settings, VolumeName, busy, export_driver, label, project_quota, tree,
};
use rustix::fs::{Mode, fsync};

const NO_CLONE: &str = "directories share no data; type btrfs can clone them";
const NO_DEVICE: &str = "a directory is no block device; types dmthin and loop have disks";
const NO_FS: &str = "default_fs is not used: volumes are in the location's own file system";

/// An open location.
#[derive(Debug)]
pub struct Plain {
    /// The program's log, progress and cancellation.
    host: Host,
    /// Resolves names, never through a link or out of the location.
    location: Location,
    /// What the config says. Keys of its own a driver declares in `schema`; this one has none.
    settings: Settings,
}

export_driver!(Plain);

impl Driver for Plain {
    const TYPE: &'static str = "plain";
    const DESCRIPTION: &'static str = "one directory per volume";

    fn init(_: &Host, settings: &Settings, _: &InitOptions) -> Result<Vec<String>> {
        Location::init(&settings.location, settings.layout_fs.as_deref())
    }

    fn open(host: Host, settings: &Settings) -> Result<Self> {
        let location = Location::open(&settings.location)?;
        let settings = settings.clone();
        Ok(Self {
            host,
            location,
            settings,
        })
    }

    /// The host locks in this directory, and keeps unfinished things there.
    fn lock_scope(&self) -> Result<LockScope> {
        Ok(LockScope::Directory(self.location.path().to_owned()))
    }

    fn validate_name(&self, name: &VolumeName) -> Result<()> {
        check_depth(name, self.settings.depth)
    }

    /// What is refused here the methods refuse too, most of them by their default bodies.
    fn capabilities(&self, name: Option<&VolumeName>) -> Result<Vec<Capability>> {
        let sized = match name {
            None => project_quota::support(&self.location),
            Some(name) => readable(self.existing(name)?)
                .and_then(|dir| project_quota::can_limit(&self.location, dir)),
        };
        Ok(vec![
            Capability::no(capability::CLONE, NO_CLONE),
            Capability::no(capability::BDEV, NO_DEVICE),
            Capability::if_ok(capability::VOLSIZE, &sized),
            Capability::yes(capability::FS),
            Capability::no(capability::DISK, NO_DEVICE),
            Capability::if_ok(capability::GROW, &sized),
            Capability::if_ok(capability::SHRINK, &sized),
            Capability::yes(capability::RENAME),
        ])
    }

    fn space(&self) -> Result<Vec<Space>> {
        Ok(vec![self.location.space()?])
    }

    fn list(&self) -> Result<Vec<Volume>> {
        let names = self
            .location
            .directories(self.settings.depth, self.layout_fs())?;
        let mut volumes = Vec::new();
        for name in &names {
            match self.find(name) {
                Ok(found) => volumes.extend(found),
                // A neighbour has replaced it meanwhile.
                Err(error) if error.kind() == ErrorKind::Exists => {}
                Err(error) => self.host.warn(&error.chain()),
            }
        }
        Ok(volumes)
    }

    fn find(&self, name: &VolumeName) -> Result<Option<Volume>> {
        let found = self.location.open_directory(name)?;
        Ok(found.map(|dir| self.describe(name, &dir)))
    }

    /// Builds the volume where nobody looks for it. The rename is the commit: whatever fails, or
    /// kills us, before it leaves no volume.
    fn create(&self, name: &VolumeName, new: &NewVolume) -> Result<()> {
        match &new.kind {
            NewKind::Disk => return Err(Error::new(ErrorKind::Unsupported, NO_DEVICE)),
            NewKind::Fs(Some(_)) => self.host.warn(NO_FS),
            NewKind::Fs(None) => {}
        }
        let (tmp, scratch) = (
            self.location.private_folder(Place::Tmp)?,
            new.scratch.as_str(),
        );
        let rename =
            |parent: BorrowedFd<'_>, leaf: &str| rename_noreplace(&tmp, scratch, parent, leaf);
        self.host
            .debug(&format!("make a directory, rename it to {name}"));
        self.build(tmp.as_fd(), name, new)
            .and_then(|()| self.location.with_parent(name, rename))
            .map_err(|error| {
                self.location.remove_empty_parents(name);
                error.after_undo(self.remove_leftover(Place::Tmp, &new.scratch))
            })
    }

    /// The rename is the commit; the host deletes what is in the trash, when that can wait.
    fn drop_volume(&self, name: &VolumeName, scratch: &ScratchName) -> Result<Dropped> {
        busy::mounts_of_directory(self.existing(name)?.as_fd())?.refuse()?;
        self.host.debug(&format!("rename {name} to the trash"));
        self.location.move_to_trash(name, scratch)?;
        Ok(Dropped::default())
    }

    /// The kernel would rename it while it is mounted; the mount would then be of no volume.
    fn rename(&self, from: &VolumeName, to: &VolumeName) -> Result<()> {
        let dir = readable(self.existing(from)?)?;
        busy::mounts_of_directory(dir.as_fd())?.refuse()?;
        self.host.debug(&format!("rename {from} to {to}"));
        label::set_names(&dir, &[from, to])?;
        let synced = fsync(&dir).context(|| "cannot write the directory to disk".to_owned());
        let renamed = synced.and_then(|()| self.location.rename(from, to));
        // An error can also be one after the rename. With both names it is shown by the right one.
        let has_stayed = || matches!(self.location.open_directory(from), Ok(Some(_)));
        if renamed.is_ok() {
            let _ = label::set_name(&dir, to);
        } else if has_stayed() {
            let _ = label::set_name(&dir, from);
        }
        renamed
    }

    fn resize(&self, name: &VolumeName, size: Bytes) -> Result<()> {
        let dir = readable(self.existing(name)?)?;
        self.host.debug(&format!("limit {name} to {size}"));
        project_quota::set_limit(&self.location, dir, size)
    }

    fn mount_source(&self, name: Option<&VolumeName>, _read_only: bool) -> Result<MountSource> {
        let dir = match name {
            Some(name) => self.existing(name)?,
            None => self.location.open_metadata(self.layout_fs())?,
        };
        Ok(MountSource::Directory(dir))
    }

    /// The limit goes first, while there is a directory that tells whose it is: killed between the
    /// two, the next sweep comes here again.
    fn remove_leftover(&self, place: Place, name: &ScratchName) -> Result<()> {
        let Some(folder) = self.location.find_private_folder(place)? else {
            return Ok(());
        };
        if let Ok(dir) = open_in(&folder, name.as_str()) {
            project_quota::clear(dir)?;
        }
        tree::remove(folder.as_fd(), name.as_str(), &self.host)
    }

    fn check(&self, _: &Repair) -> Result<Vec<Finding>> {
        self.location.strays(self.settings.depth, self.layout_fs())
    }
}

impl Plain {
    /// Where the metadata is, which is never taken for a volume.
    fn layout_fs(&self) -> Option<&Path> {
        self.settings.layout_fs.as_deref()
    }

    fn existing(&self, name: &VolumeName) -> Result<OwnedFd> {
        let found = self.location.open_directory(name)?;
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no volume \"{name}\"")))
    }

    /// All that a volume is but its name: mode, label, limit; and all of it on disk.
    fn build(&self, tmp: BorrowedFd<'_>, name: &VolumeName, new: &NewVolume) -> Result<()> {
        let dir = make_in(tmp, new.scratch.as_str(), Mode::RWXU)?;
        label::set_name(&dir, name)?;
        match project_quota::set_limit(&self.location, &dir, new.size) {
            // Asked for and not done: the user has to know.
            Err(error) if error.kind() == ErrorKind::Unsupported => self.host.warn(&error.chain()),
            other => other?,
        }
        fsync(&dir).context(|| "cannot write the directory to disk".to_owned())
    }

    /// What cannot be found out becomes a note: the volume is there all the same.
    fn describe(&self, name: &VolumeName, dir: &OwnedFd) -> Volume {
        let mut volume = Volume::directory(name);
        let looked = readable(dir).and_then(|dir| {
            volume.user = label::name(&dir)?;
            project_quota::usage(&self.location, &dir)
        });
        match looked {
            Ok(usage) => (volume.size, volume.used) = (usage.limit, Some(usage.used)),
            Err(error) => volume.notes.push(error.chain()),
        }
        volume
    }
}
