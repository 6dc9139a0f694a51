// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks that the kernel's own ploop shows, where a kernel has it: attached by the `ploop` tool.
//!
//! Of the kernels that Mosaic runs on at all (Linux 5.12) those of Virtuozzo 9 have it: a target of
//! device-mapper, `ploop`, whose devices libploop calls `ploopN` and gives no uuid. One that we had
//! made gets a uuid, which says whose it is and which folder's disk it shows: the kernel keeps that
//! as long as the device, and no other record is there. Devices without it are other people's; which
//! images those show the target itself answers ([`Showers`]).
//!
//! The device does not go with its last opener, and the image is closed by the tool and by nobody
//! else. So a disk is attached in this way until it is detached, and what is there for a mount only
//! is shown by a block server. Growing is left to whoever detaches the disk before.
//!
//! There was no such kernel to try this on. Tried was: all that is asked of device-mapper, on Linux
//! 6.1, and each verb, with a stand-in for the tool that makes devices of the target `linear`. What
//! the tool and the target do is read in their source: OpenVZ/ploop, lib/dm.c, tools/ploop.c and
//! ploop(8); OpenVZ/vzkernel, drivers/md/dm-ploop-*.c (5.14, ovz9).

mod fit;
mod old_driver;
mod others;
mod tool;
mod verbs;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mosaic_core::busy::{self, Use, Uses};
use mosaic_core::dm::{By, Dm, Line, open_control};
use mosaic_core::loopdev::Window;
use mosaic_core::volume::{Attachment, Lifetime};
use mosaic_core::{Context, Error, ErrorKind, Host, Result};
use rustix::fs::{major, minor};

use crate::attachment::VolumeId;
use crate::format::header::Mark;
use crate::format::units::SECTOR;
use crate::volume_dir::VolumeDir;

pub use others::Showers;
pub use verbs::support;

/// The target of device-mapper.
const TARGET: &str = "ploop";
/// How the uuids of our devices begin.
const LABEL: &str = "MOSAIC-PLOOP-";
const SYSFS: &str = "/sys/block";
/// Numbers of our devices: libploop takes those up to 66,535, a minor number ends before 2^20.
const NUMBERS: std::ops::Range<u32> = 100_000..1_000_000;
/// How long an opener that comes and goes (udev looks at every new device) is waited for.
const PASSING: Duration = Duration::from_secs(1);
/// Why a disk that it shows is not cloned where there is no reflink: two disks would have one file,
/// and a block server that shows the other has locks on it that the tool waits for in vain.
pub(crate) const KERNEL_IN_USE: &str = "it is attached by the kernel's ploop, whose disks share no \
     image with others, so that only a location with reflink makes a clone; detach it first";

/// A device of the kernel's that shows a disk of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelDevice {
    /// The kernel's name: `dm-N`.
    node: String,
    /// Its name in device-mapper: `ploopN`.
    name: String,
    /// What the volume's users see.
    shows: Shows,
    /// It refuses writes.
    pub read_only: bool,
    /// Which disk.
    id: VolumeId,
}

/// Which part of a disk is the volume's.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shows {
    Whole,
    /// The partition with the file system, by a device upon it: `dm-M`; `None`: that is gone.
    Partition(Option<String>),
}

/// The device that shows a disk, if we had it made. Asked of sysfs, by anybody.
///
/// # Errors
/// The kernel's, if sysfs is not mounted.
pub fn find(id: VolumeId) -> Result<Option<KernelDevice>> {
    let wanted = [false, true].map(|is_part| label(id, is_part));
    let failed = || "cannot list block devices".to_owned();
    for entry in fs::read_dir(SYSFS).context(failed)? {
        let node = entry.context(failed)?.file_name();
        let Some(node) = node.to_str().filter(|node| node.starts_with("dm-")) else {
            continue;
        };
        let uuid = attribute(node, "dm/uuid").unwrap_or_default();
        if !wanted.contains(&uuid) {
            continue;
        }
        let Some(name) = attribute(node, "dm/name") else {
            continue;
        };
        let mut device = KernelDevice {
            node: node.to_owned(),
            name,
            shows: Shows::Whole,
            read_only: attribute(node, "ro").is_some_and(|ro| ro == "1"),
            id,
        };
        if uuid == wanted[1] {
            device.shows = Shows::Partition(device.parts().into_iter().next());
        }
        return Ok(Some(device));
    }
    Ok(None)
}

/// The uuid of a device for a disk, which is to be seen whole or by its first partition.
fn label(id: VolumeId, is_part: bool) -> String {
    let part = if is_part { "-p1" } else { "" };
    format!("{LABEL}{}{part}", id.numbers())
}

fn attribute(node: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new(SYSFS).join(node).join(name)).ok()?;
    Some(text.trim_end().to_owned())
}

/// Has the tool show a disk that nobody uses, until it is detached.
///
/// Steps: choose a name that no device has; make durable which images the disk has; the tool locks,
/// checks and marks these and makes the device, and one for each partition; see that the volume's is
/// there; **commit**: the uuid that makes it ours. Killed before the commit there may be a device that
/// counts as another program's, and `ploop umount` takes away.
///
/// # Errors
/// What the tool said; the kernel's.
fn attach(
    host: &Host,
    dir: &VolumeDir,
    read_only: bool,
    partition: Option<Window>,
) -> Result<KernelDevice> {
    let control = open_control()?;
    let dm = Dm::new(&control, host);
    let descriptor = fit::descriptor_of_root(dir)?;
    let name = free_name(dm)?;
    if !read_only {
        dir.disk()?.sync()?;
    }
    let made = tool::mount(host, &name, read_only, &descriptor).and_then(|()| {
        if let Some(window) = partition {
            require_part(dm, &name, window)?;
        }
        let id = VolumeId::of(dir)?;
        let labelled = dm.give_uuid(&name, &label(id, partition.is_some()));
        labelled.context(|| format!("cannot label the device {name:?} that ploop made"))?;
        find(id)?.ok_or_else(|| Error::new(ErrorKind::Io, "the device that ploop made is gone"))
    });
    made.map_err(|error| match dm.info(By::Name(&name)) {
        Ok(None) => error,
        // Made, but it is not to be ours.
        _ => error.after_undo(tool::umount(host, &descriptor)),
    })
}

/// Makes sure that a device's only partition is the one that is meant.
fn require_part(dm: Dm<'_>, name: &str, window: Window) -> Result<()> {
    let part = format!("{name}p1");
    let table = dm.table(By::Name(&part)).unwrap_or_default();
    let whole = dm.info(By::Name(name)).unwrap_or_default();
    let is_it = |line: &Line| {
        let upon = line.words.split_once(' ').unwrap_or_default();
        let number = whole.as_ref().map(|whole| {
            let (major, minor) = (major(whole.dev), minor(whole.dev));
            format!("{major}:{minor}")
        });
        line.start == 0
            && line.target == "linear"
            && Some(upon.0) == number.as_deref()
            && upon.1.parse() == Ok(window.at / SECTOR)
            && line.length == window.bytes / SECTOR
    };
    if table.len() == 1 && table.iter().all(is_it) {
        return Ok(());
    }
    let why = "the tool has made no device for the partition with its file system";
    Err(Error::new(ErrorKind::Unsupported, why))
}

fn free_name(dm: Dm<'_>) -> Result<String> {
    let failed = || "no random numbers".to_owned();
    for _ in 0..100 {
        let mut random = [0; 4];
        let filled = getrandom::fill(&mut random).map_err(std::io::Error::other);
        filled.context(failed)?;
        let number = NUMBERS.start + u32::from_ne_bytes(random) % (NUMBERS.end - NUMBERS.start);
        let name = format!("ploop{number}");
        let taken = dm.info(By::Name(&name));
        if taken
            .context(|| format!("cannot ask for {name:?}"))?
            .is_none()
        {
            return Ok(name);
        }
    }
    Err(Error::new(ErrorKind::Busy, "too many ploop devices"))
}

impl KernelDevice {
    /// `/dev/dm-N`, of the whole or of the partition.
    ///
    /// # Errors
    /// `Io` if the device of the partition is gone: the whole is not the volume.
    pub fn path(&self) -> Result<PathBuf> {
        let node = match &self.shows {
            Shows::Whole => &self.node,
            Shows::Partition(Some(part)) => part,
            Shows::Partition(None) => {
                let why = format!(
                    "the device of its partition is gone from {}; detach it",
                    self.at().display()
                );
                return Err(Error::new(ErrorKind::Io, why));
            }
        };
        Ok(Path::new("/dev").join(node))
    }

    /// Where it is, for people.
    fn at(&self) -> PathBuf {
        let node = match &self.shows {
            Shows::Partition(Some(part)) => part,
            Shows::Whole | Shows::Partition(None) => &self.node,
        };
        Path::new("/dev").join(node)
    }

    /// As the host hears of it.
    ///
    /// # Errors
    /// As [`KernelDevice::path`].
    pub fn attachment(&self) -> Result<Attachment> {
        Ok(Attachment {
            device: self.path()?,
            lifetime: Lifetime::Explicit,
            read_only: self.read_only,
            foreign: false,
        })
    }

    /// The refusal for a disk that it shows: which, and who uses it.
    pub fn in_use(&self) -> Error {
        let mut line = format!(
            "in use: attached at {} by the kernel's ploop",
            self.at().display()
        );
        // The device is reason enough; who uses it is only good to know.
        if let Ok(uses) = self.users()
            && let Some(more) = uses.describe().strip_prefix("in use: ")
        {
            line += &format!("; {more}");
        }
        Error::new(ErrorKind::Busy, line)
    }

    /// Why the disk keeps its size: of the tool's ways to grow one, each wants a file system that is
    /// mounted, or leaves the descriptor behind (libploop, `ploop_resize_image`, `ploop grow`).
    pub fn refusal_to_resize(&self) -> String {
        format!(
            "the kernel's ploop shows it at {}, and it keeps its size until it is detached",
            self.at().display()
        )
    }

    /// Who has it open, or a partition of it.
    fn users(&self) -> Result<Uses> {
        let parts = self.parts();
        let mut uses = busy::openers_of_device(&Path::new("/dev").join(&self.node))?;
        let is_part = |name: &str| {
            parts
                .iter()
                .any(|part| name.split(' ').next() == Some(part))
        };
        uses.uses
            .retain(|found| !matches!(found, Use::Holder { name } if is_part(name)));
        for part in &parts {
            uses = uses.and(busy::openers_of_device(&Path::new("/dev").join(part))?);
        }
        Ok(uses)
    }

    /// Whether anybody has it open, or a partition of it, be he seen or not.
    fn is_open(&self, dm: Dm<'_>) -> Result<bool> {
        let opens = |name: &str| -> Result<usize> {
            let info = dm.info(By::Name(name));
            let info = info.context(|| format!("cannot ask for {name:?}"))?;
            Ok(info.map_or(0, |info| info.open_count as usize))
        };
        let parts = self.parts();
        let mut others = opens(&self.name)?.saturating_sub(parts.len());
        for part in parts {
            others += attribute(&part, "dm/name").map_or(Ok(0), |name| opens(&name))?;
        }
        Ok(others > 0)
    }

    /// Devices that show a partition of it, which the tool makes and takes away with it: `dm-M`.
    fn parts(&self) -> Vec<String> {
        let holders = Path::new(SYSFS).join(&self.node).join("holders");
        let holders = fs::read_dir(holders).into_iter().flatten().flatten();
        let nodes = holders.filter_map(|holder| holder.file_name().into_string().ok());
        let begin = format!("{}p", self.name);
        nodes
            .filter(|node| attribute(node, "dm/name").is_some_and(|name| name.starts_with(&begin)))
            .collect()
    }

    /// Has the tool take it away and close the disk.
    ///
    /// Steps: make sure that nobody uses it; **commit**: the tool removes it, which the kernel refuses
    /// while it is open, and takes the mark off the image. Killed in between the image is left marked,
    /// and the next attach puts it in order. Somebody who mounts it by hand between the look and the
    /// removal is unmounted by the tool, if nothing is open there.
    ///
    /// # Errors
    /// `Busy` with who uses it, or who has locks that the tool would wait for; `Unsupported` if
    /// others than root can change the disk's folder or descriptor; what the tool said; `Io` if it
    /// left the disk open.
    fn detach(&self, host: &Host, dir: &VolumeDir) -> Result<()> {
        let descriptor = fit::descriptor_of_root(dir)?;
        let control = open_control()?;
        let start = Instant::now();
        while self.is_open(Dm::unlogged(&control))? {
            if start.elapsed() > PASSING {
                return Err(self.in_use());
            }
            host.check_cancelled()?;
            std::thread::sleep(Duration::from_millis(20));
        }
        fit::await_locks(host, dir)?;
        tool::umount(host, &descriptor)?;
        if find(self.id)?.is_some() {
            let why = "ploop says that it is done, but the device is still there";
            return Err(self.in_use().context(why));
        }
        match fit::marks(&dir.disk()?)?.contains(&Mark::InUse) {
            false => Ok(()),
            true => Err(Error::new(
                ErrorKind::Io,
                "its device is gone, but the disk was not closed; the next attach repairs it",
            )),
        }
    }
}
