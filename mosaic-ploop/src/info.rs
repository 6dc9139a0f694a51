// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is known of one volume. Reading refuses nobody anything and takes no lock: what cannot be
//! seen is said in a note.

use std::os::fd::AsFd;
use std::path::Path;

use mosaic_core::label;
use mosaic_core::location::open_in;
use mosaic_core::loopdev::sysfs;
use mosaic_core::volume::{About, Access, Attachment, Kind, Lifetime, Volume};
use mosaic_core::{Bytes, Context, Result, VolumeName};
use rustix::fs::{self, AtFlags, Dir, FileType};

use crate::attachment::{self, Attached, VolumeId};
use crate::driver::Ploop;
use crate::files::DiskFolder;
use crate::format::bat;
use crate::format::cluster_set::ClusterSet;
use crate::format::delta::read_header;
use crate::format::descriptor::Base;
use crate::format::disk::Disk;
use crate::format::guid::Guid;
use crate::format::header::Version;
use crate::format::raw_image::size_of;
use crate::format::storage::{Access as FileAccess, Folder};
use crate::format::units::{Sectors, VirtualCluster};
use crate::kernel_device::{self, Showers};
use crate::volume_dir::VolumeDir;

/// Blocks of `st_blocks`, always 512 bytes (stat(2)).
const STAT_BLOCK: u64 = 512;
/// Folders within a volume that are looked at for files: libploop makes none.
const MAX_DEPTH: usize = 4;

/// What the files of a volume take.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Usage {
    all: u64,
    /// Of files that no other volume has.
    own: u64,
}

/// The devices that show disks, asked for once for any number of volumes.
#[derive(Debug)]
pub(crate) struct Devices {
    loops: Vec<Attached>,
    showers: Showers,
}

impl Devices {
    pub(crate) fn look() -> Self {
        Self {
            loops: attachment::served().unwrap_or_default(),
            showers: Showers::look(),
        }
    }
}

impl Ploop {
    /// The volume, whatever of it can be seen.
    pub(crate) fn volume(&self, name: &VolumeName, dir: &VolumeDir, devices: &Devices) -> Volume {
        let mut volume = Volume {
            stored: name.stored().to_owned(),
            user: label::name(dir).ok().flatten(),
            kind: Kind::Fs {
                fs: Some(self.options.default_fs.name().to_owned()),
                assumed: true,
            },
            access: Access::Device,
            size: None,
            overhead: Bytes(0),
            used: None,
            exclusive: None,
            origin: None,
            read_only: false,
            attachment: None,
            notes: Vec::new(),
            facts: vec![("folder".into(), dir.path().display().to_string())],
        };
        match label::kind(dir, self.options.default_fs.name()) {
            Ok(kind) => volume.kind = kind,
            Err(error) => {
                let note = format!("its kind is a guess: {}", error.chain());
                volume.notes.push(note);
            }
        }
        match usage(dir, MAX_DEPTH) {
            Ok(usage) => {
                volume.used = Some(Bytes(usage.all));
                volume.exclusive = Some(Bytes(usage.own));
            }
            Err(error) => volume.notes.push(error.chain()),
        }
        let described = describe_disk(dir, &mut volume)
            .and_then(|()| self.describe_partition(dir, &mut volume));
        if let Err(error) = described {
            volume.notes.push(error.chain());
        }
        if let Err(error) = self.describe_device(dir, devices, &mut volume) {
            volume.notes.push(error.chain());
        }
        volume
    }

    /// The partition that its file system is on.
    fn describe_partition(&self, dir: &VolumeDir, volume: &mut Volume) -> Result<()> {
        let Some(table) = self.table_of(dir)? else {
            return Ok(());
        };
        let partition = table.partition();
        volume.overhead = Bytes(table.overhead(dir.disk()?.descriptor().cluster()));
        let place = format!("{} bytes from byte {} on", partition.bytes, partition.at);
        volume.facts.push(("partition".into(), place));
        let disk = volume.size.map_or(0, |size| size.0);
        if volume.overhead.0 + partition.bytes < disk {
            let note = format!(
                "its partition has {} bytes less than belong to a disk of {disk} bytes; resize it again",
                disk - volume.overhead.0 - partition.bytes
            );
            volume.notes.push(note);
        }
        Ok(())
    }

    /// The device that shows it.
    fn describe_device(
        &self,
        dir: &VolumeDir,
        devices: &Devices,
        volume: &mut Volume,
    ) -> Result<()> {
        let id = VolumeId::of(dir)?;
        let served = devices.loops.iter().find(|attached| attached.id == id);
        let raw = || {
            attachment::find_raw(&self.shown(dir).place())
                .ok()
                .flatten()
        };
        let Some(attached) = served.copied().or_else(raw) else {
            let ours = self.kernel_device(dir)?;
            let ours = ours.map(|device| device.attachment()).transpose()?;
            let shown = ours.or_else(|| others_attachment(dir, &devices.showers));
            if shown.is_some() {
                volume.attachment = shown;
                let by = "the kernel's ploop";
                volume.facts.push(("served by".into(), by.into()));
            }
            return Ok(());
        };
        volume.attachment = Some(attached.attachment());
        let by = if attached.is_raw {
            "the loop device itself"
        } else {
            "a block server"
        };
        volume.facts.push(("served by".into(), by.into()));
        let disk = volume.size.map_or(0, |size| size.0);
        let beside = volume.overhead.0;
        if let Some(shown) = sysfs::size(attached.number)
            && shown + beside < disk
        {
            // A resize was cut short: the volume has the size that its users see.
            volume.size = Some(Bytes(shown + beside));
            volume.notes.push(format!(
                "the disk has {disk} bytes, its device {shown}; resize it again"
            ));
        }
        if !attached.is_served(&self.shown(dir).place())? {
            let note = "its block server has been killed: what is read and written fails; detach \
                        or unmount it, the next attach repairs it";
            volume.notes.push(note.to_owned());
        }
        Ok(())
    }
}

/// The device by which another program shows it.
pub(crate) fn others_attachment(dir: &VolumeDir, showers: &Showers) -> Option<Attachment> {
    let disk = dir.disk().ok()?;
    let name = disk.descriptor().file(disk.descriptor().top())?;
    if disk.folder().is_shared(name).ok()? {
        return None;
    }
    let file = disk.folder().open(name, FileAccess::Read).ok()?;
    let device = showers.of(&[file])?.to_owned();
    let ro = device.file_name().map(|node| {
        let flag = Path::new("/sys/block").join(node).join("ro");
        std::fs::read(flag).is_ok_and(|flag| flag.starts_with(b"1"))
    });
    Some(Attachment {
        device,
        lifetime: Lifetime::Explicit,
        read_only: ro.unwrap_or(false),
        foreign: true,
    })
}

/// What a user should know of any location: by what disks are shown here.
pub(crate) fn about() -> About {
    let mut about = About::default();
    let (has_kernel, missing) = kernel_device::support();
    let fact = match (has_kernel, missing) {
        (true, None) => "yes, by the program \"ploop\"".to_owned(),
        (true, Some(missing)) => format!("yes, but {missing}"),
        (false, _) => "no".to_owned(),
    };
    about.facts.push(("kernel ploop".into(), fact));
    about
}

/// Size, and the facts of the format.
fn describe_disk(dir: &VolumeDir, volume: &mut Volume) -> Result<()> {
    let disk = dir.disk()?;
    let descriptor = disk.descriptor();
    volume.size = Some(Bytes(descriptor.size().bytes()));
    let mut fact = |name: &str, value: String| volume.facts.push((name.to_owned(), value));
    let images = descriptor.images().len();
    fact("base", word(descriptor.base()).to_owned());
    fact("cluster", Bytes(descriptor.cluster().bytes()).to_string());
    fact("deltas", images.to_string());
    fact("snapshots", (images - 1).to_string());
    if descriptor.is_encrypted() {
        let note = "what is on it is encrypted by another program";
        volume.notes.push(note.to_owned());
    }
    if let Err(error) = disk.refuse_older() {
        volume.notes.push(error.to_string());
    }
    // The header is the truth: a killed resize may not have come to the descriptor.
    let (size, version, allocated) = chain_facts(&disk)?;
    volume.size = Some(Bytes(size.bytes()));
    if let Some(version) = version {
        volume.facts.push(("version".into(), version.into()));
    }
    let allocated = Bytes(allocated).to_string();
    volume.facts.push(("allocated".into(), allocated));
    Ok(())
}

/// The size of the disk, the version of its images, and how many bytes of the disk any of them has.
fn chain_facts(disk: &Disk<DiskFolder>) -> Result<(Sectors, Option<&'static str>, u64)> {
    let descriptor = disk.descriptor();
    let cluster = descriptor.cluster();
    let (mut size, mut version) = (descriptor.size(), None);
    let mut allocated = ClusterSet::<VirtualCluster>::default();
    let mut raw = 0;
    for guid in descriptor.chain(descriptor.top()) {
        let name = descriptor.file(guid).unwrap_or_default();
        let file = disk.folder().open(name, FileAccess::Read);
        let file = file.context(|| format!("cannot open {name:?}"))?;
        let is_base = descriptor
            .shot(guid)
            .is_some_and(|shot| shot.parent == Guid::NONE);
        if is_base && descriptor.base() == Base::Raw {
            let stat = fs::fstat(&file).context(|| format!("cannot look at {name:?}"))?;
            let length = u64::try_from(stat.st_size).unwrap_or_default();
            size = size_of(cluster, length);
            raw = length.div_ceil(cluster.bytes());
            continue;
        }
        let (header, _) = read_header(name, &file)?;
        size = header.size;
        version = Some(match header.version {
            Version::V1 => "1",
            Version::V2 => "2",
        });
        // A tenant's table may be of any size, so it is not kept.
        let visited = bat::visit(&file, &header, |cluster| {
            if u64::from(cluster.0) >= raw {
                allocated.insert(cluster);
            }
        });
        visited.context(|| format!("cannot read {name:?}"))?;
    }
    let count = cluster.holding(size);
    let behind = allocated.count_below(count);
    Ok((size, version, (raw.min(count) + behind) * cluster.bytes()))
}

fn word(base: Base) -> &'static str {
    match base {
        Base::Expanded => "expanded",
        Base::Preallocated => "preallocated",
        Base::Raw => "raw",
    }
}

/// What the files in a folder take.
fn usage(dir: impl AsFd, depth: usize) -> Result<Usage> {
    let failed = || "cannot see what its files take".to_owned();
    let mut usage = Usage::default();
    for entry in Dir::read_from(&dir).context(failed)? {
        let entry = entry.context(failed)?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let Ok(stat) = fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
            // It went meanwhile.
            continue;
        };
        let taken = u64::try_from(stat.st_blocks).unwrap_or_default() * STAT_BLOCK;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if depth > 0 => {
                let below = name.to_str().ok().map(|name| open_in(&dir, name));
                if let Some(Ok(below)) = below {
                    let below = self::usage(below, depth - 1)?;
                    usage.all += below.all;
                    usage.own += below.own;
                }
            }
            FileType::RegularFile => {
                usage.all += taken;
                usage.own += if stat.st_nlink > 1 { 0 } else { taken };
            }
            _ => {}
        }
    }
    Ok(usage)
}
