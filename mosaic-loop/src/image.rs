// SPDX-License-Identifier: MIT OR Apache-2.0
//! An image: the one file that holds a volume. Found, proven to be one, opened.
//!
//! What has a volume's name may be anything: a link, a FIFO that would hang whoever opens it, a
//! device. So it is taken hold of by `O_PATH` first, which opens nothing, and only a regular file on
//! the location's own mount is opened, through that hold.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mosaic_core::loopdev::Identity;
use mosaic_core::{Bytes, Context, Error, ErrorKind, Location, Result, VolumeName};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;

/// Access mode 3 of open(2): checks read and write permission and gives a descriptor that can do
/// neither. The kernel counts it neither as a reader nor as a writer, so it keeps nobody's lease
/// from being granted, and it does for locks and attributes.
const QUERY: OFlags = OFlags::RDWR.union(OFlags::WRONLY);

/// How long a reader waits for a changing verb to let go of the image.
const READER_PATIENCE: Duration = Duration::from_millis(200);

/// Blocks of `stx_blocks`, always 512 bytes (statx(2)).
const STAT_BLOCK: u64 = 512;

/// Hold of an image by its name.
#[derive(Debug)]
pub struct Image {
    hold: OwnedFd,
    stat: Statx,
    name: VolumeName,
    path: PathBuf,
}

impl Image {
    /// The image of a volume; `None` if nothing has its name.
    ///
    /// # Errors
    /// `Exists` if what has the name is no regular file, or on something mounted in the location.
    pub fn find(location: &Location, name: &VolumeName) -> Result<Option<Self>> {
        let Some(hold) = location.open_volume(name, OFlags::PATH)? else {
            return Ok(None);
        };
        let failed = || format!("cannot stat volume \"{name}\"");
        let stat = statx(&hold).context(failed)?;
        let kind = FileType::from_raw_mode(stat.stx_mode.into());
        let path = location.path().join(name.stored());
        if kind != FileType::RegularFile {
            return Err(no_volume(format!(
                "{path:?} is a {}, not an image",
                word(kind)
            )));
        }
        let home = statx(location.dir()).context(failed)?;
        if mount_of(&stat) != mount_of(&home) {
            return Err(no_volume(format!(
                "{path:?} is on another file system that is mounted in the location, not a volume"
            )));
        }
        Ok(Some(Self {
            hold,
            stat,
            name: name.clone(),
            path,
        }))
    }

    /// The image of a volume that has to be there.
    ///
    /// # Errors
    /// `NotFound`; as [`Image::find`].
    pub fn require(location: &Location, name: &VolumeName) -> Result<Self> {
        Self::find(location, name)?.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("volume \"{name}\" does not exist"),
            )
        })
    }

    /// The volume's names.
    pub fn name(&self) -> &VolumeName {
        &self.name
    }

    /// The image's path, for messages and for `losetup` to show.
    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    /// The last component of its name.
    pub fn leaf(&self) -> &str {
        self.name
            .components()
            .next_back()
            .unwrap_or(self.name.stored())
    }

    /// Which file it is.
    pub fn identity(&self) -> Identity {
        Identity::from_statx(&self.stat)
    }

    /// Its length when it was found.
    pub fn size(&self) -> Bytes {
        Bytes(self.stat.stx_size)
    }

    /// What it took in the location when it was found.
    pub fn used(&self) -> Bytes {
        Bytes(self.stat.stx_blocks.saturating_mul(STAT_BLOCK))
    }

    /// Its permission bits.
    pub fn mode(&self) -> Mode {
        Mode::from_raw_mode(self.stat.stx_mode.into())
    }

    /// Opens the very file that was found, under its name, without waiting for a lease.
    ///
    /// # Errors
    /// `EWOULDBLOCK` while somebody holds a lease on it; the kernel's.
    pub fn open(&self, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let link = format!("/proc/thread-self/fd/{}", self.hold.as_raw_fd());
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
        fs::open(link, flags, Mode::empty())
    }

    /// Opens it to ask for locks and attributes, in nobody's way.
    ///
    /// # Errors
    /// `EWOULDBLOCK` if a verb that changes the image does not let go of it in time; the kernel's.
    pub fn open_for_query(&self) -> rustix::io::Result<OwnedFd> {
        let start = Instant::now();
        loop {
            match self.open(QUERY) {
                // Without write permission, or on a read-only location: as a reader, then.
                Err(Errno::ACCESS | Errno::ROFS | Errno::PERM | Errno::TXTBSY) => {
                    return self.open(OFlags::RDONLY);
                }
                Err(Errno::WOULDBLOCK) if start.elapsed() < READER_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                other => return other,
            }
        }
    }
}

impl AsFd for Image {
    /// The hold: good to look at, not to read.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.hold.as_fd()
    }
}

/// What is asked of every image: type, size, blocks, file and mount identity (Linux 5.8).
fn statx(file: impl AsFd) -> rustix::io::Result<Statx> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    fs::statx(file, c"", AtFlags::EMPTY_PATH, mask)
}

fn mount_of(stat: &Statx) -> u64 {
    stat.stx_mnt_id
}

fn no_volume(message: String) -> Error {
    Error::new(ErrorKind::Exists, message)
}

fn word(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "folder",
        FileType::Symlink => "symbolic link",
        FileType::Fifo => "FIFO",
        FileType::Socket => "socket",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        _ => "special file",
    }
}
