// SPDX-License-Identifier: MIT OR Apache-2.0
//! One loop device: bind, ask, grow, release. Always by an open descriptor, never by a bare name.
//!
//! What surprises: `LOOP_CONFIGURE` binds one file to two devices without a word, and `LOOP_CLR_FD`
//! answers 0 while others keep the device alive. So the caller proves beforehand that nobody uses
//! the image (a lease), and [`LoopDevice::release`] asks again afterwards.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use linux_raw_sys::loop_device::{_bindgen_ty_1 as LoFlags, LO_NAME_SIZE, loop_info64};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::{Identity, cannot_open, ioctl, marker, open_control, sysfs};
use crate::volume::{Attachment, Lifetime};
use crate::{Context, Error, ErrorKind, Result};

const READ_ONLY: u32 = LoFlags::LO_FLAGS_READ_ONLY as u32;
const AUTOCLEAR: u32 = LoFlags::LO_FLAGS_AUTOCLEAR as u32;
const DIRECT_IO: u32 = LoFlags::LO_FLAGS_DIRECT_IO as u32;

/// How many free devices are tried when others keep taking them first.
const ATTEMPTS: u32 = 256;

/// What a bound loop device says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Status {
    /// The backing file.
    pub backing: Identity,
    /// The device refuses writes.
    pub read_only: bool,
    /// It goes with its last opener.
    pub autoclear: bool,
    info: loop_info64,
}

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Where it begins, bytes.
    pub at: u64,
    /// How long it is, bytes.
    pub bytes: u64,
}

impl Status {
    fn new(info: loop_info64) -> Self {
        Self {
            backing: Identity {
                device: info.lo_device,
                inode: info.lo_inode,
            },
            read_only: info.lo_flags & READ_ONLY != 0,
            autoclear: info.lo_flags & AUTOCLEAR != 0,
            info,
        }
    }

    /// What the file was called when it was bound, [`Binding::path`], as far as there is room for it.
    pub fn name(&self) -> &[u8] {
        let name = &self.info.lo_file_name;
        name.split(|byte| *byte == 0).next().unwrap_or(name)
    }

    /// What the device shows of the file; `None`: all of it.
    pub fn window(&self) -> Option<Window> {
        let (at, bytes) = (self.info.lo_offset, self.info.lo_sizelimit);
        ((at, bytes) != (0, 0)).then_some(Window { at, bytes })
    }
}

/// How to bind a file.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// The device refuses writes.
    pub read_only: bool,
    /// Explicit, or gone with the last opener.
    pub lifetime: Lifetime,
    /// The file's path, for `losetup` to show, or another name to find it by.
    pub path: &'a Path,
    /// What to show of the file; `None`: all of it.
    pub window: Option<Window>,
}

impl Binding<'_> {
    fn info(&self) -> loop_info64 {
        let mut info = ioctl::empty_info();
        info.lo_flags = DIRECT_IO;
        if self.read_only {
            info.lo_flags |= READ_ONLY;
        }
        if self.lifetime == Lifetime::Mount {
            info.lo_flags |= AUTOCLEAR;
        }
        if let Some(window) = self.window {
            (info.lo_offset, info.lo_sizelimit) = (window.at, window.bytes);
        }
        // One byte less than there is room for: the kernel ends it with a NUL byte.
        let room = LO_NAME_SIZE as usize - 1;
        let path = self.path.as_os_str().as_bytes();
        for (to, from) in info.lo_file_name.iter_mut().zip(path.iter().take(room)) {
            *to = *from;
        }
        info
    }
}

/// What became of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The device shows nothing any more.
    Gone,
    /// Others have it open: it is as it was.
    HeldUp,
}

/// An open loop device.
#[derive(Debug)]
pub struct LoopDevice {
    fd: OwnedFd,
    number: u32,
}

impl LoopDevice {
    /// Opens `/dev/loopN`, whatever it is bound to. `flags` is an access mode and perhaps `EXCL`,
    /// which the kernel refuses while the device is mounted or claimed.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(number: u32, flags: OFlags) -> rustix::io::Result<Self> {
        let fd = fs::open(path(number), flags | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { fd, number })
    }

    /// Opens `/dev/loopN` for writing, or for reading only if it refuses writes.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open_best(number: u32, flags: OFlags) -> rustix::io::Result<Self> {
        match Self::open(number, flags | OFlags::RDWR) {
            Err(Errno::ACCESS | Errno::ROFS | Errno::PERM) => {
                Self::open(number, flags | OFlags::RDONLY)
            }
            other => other,
        }
    }

    /// Binds a file to a free device, marks it, and makes sure that the kernel did what it was
    /// asked: the right file, the right lifetime, writable only if it is to be.
    ///
    /// `file` is opened by the file's name: one that was opened without a name shows as deleted for
    /// ever. The caller has proof that nobody else has it open. Killed before the kernel's one step nothing is left, after it the device is attached.
    ///
    /// # Errors
    /// `Permission` without privilege, `Unsupported` without the loop module or where the device has
    /// no node; the kernel's.
    pub fn bind(file: BorrowedFd<'_>, how: &Binding<'_>) -> Result<Self> {
        let control = open_control()?;
        for _ in 0..ATTEMPTS {
            let number = ioctl::get_free(&control).context(|| "no free loop device".into())?;
            let flags = if how.read_only {
                OFlags::RDONLY
            } else {
                OFlags::RDWR
            };
            let device = match Self::open(number, flags) {
                // Removed by somebody between the two calls.
                Err(Errno::NXIO | Errno::NODEV) => continue,
                Err(errno) => return Err(cannot_open(number, errno)),
                Ok(device) => device,
            };
            if let Some(device) = device.take(file, how)? {
                return Ok(device);
            }
        }
        Err(Error::new(
            ErrorKind::Busy,
            format!("others took each of {ATTEMPTS} free loop devices first; try again"),
        ))
    }

    /// Binds this very device; `None` if somebody else was faster.
    fn take(self, file: BorrowedFd<'_>, how: &Binding<'_>) -> Result<Option<Self>> {
        marker::set(file, self.number).context(|| format!("cannot mark {:?}", how.path))?;
        match ioctl::configure(&self.fd, file, how.info()) {
            Ok(()) => return self.verified(file, how).map(Some),
            Err(Errno::BUSY) => {}
            Err(errno) => {
                let message = format!("cannot bind {:?} to {:?}", how.path, self.path());
                return Err(Error::io(errno, message));
            }
        }
        marker::clear(file, self.number).context(|| format!("cannot unmark {:?}", how.path))?;
        Ok(None)
    }

    /// Undoes the binding if the device is not what was asked for.
    fn verified(self, file: BorrowedFd<'_>, how: &Binding<'_>) -> Result<Self> {
        let wrong = match self.is_as_asked(file, how) {
            Ok(true) => return Ok(self),
            Ok(false) => Error::new(
                ErrorKind::Io,
                format!("{:?} did not become what was asked for", self.path()),
            ),
            // A file whose server died meanwhile: nobody could say any more what is bound here.
            Err(error) => {
                return Err(match ioctl::clear(&self.fd) {
                    Ok(()) | Err(Errno::NXIO) => error,
                    Err(errno) => {
                        let left = Error::io(errno, format!("left {:?} attached", self.path()));
                        error.with_failed_undo(&left)
                    }
                });
            }
        };
        match self.release() {
            Ok(Release::Gone) => Err(wrong),
            Ok(Release::HeldUp) => {
                let left = format!("left {:?} attached", path(self.number));
                Err(wrong.with_failed_undo(&Error::new(ErrorKind::Busy, left)))
            }
            Err(left) => Err(wrong.with_failed_undo(&left)),
        }
    }

    fn is_as_asked(&self, file: BorrowedFd<'_>, how: &Binding<'_>) -> Result<bool> {
        let identity = Identity::of(file).context(|| format!("cannot stat {:?}", how.path))?;
        let right = self.status()?.is_some_and(|status| {
            status.backing == identity
                && status.info.lo_number == self.number
                && status.window() == how.window
                && status.read_only == how.read_only
                && status.autoclear == (how.lifetime == Lifetime::Mount)
        });
        Ok(right && (how.read_only || self.allow_writes()?))
    }

    /// A read-only mark (BLKROSET) outlives whatever the device was bound to when it was set, and
    /// LOOP_CONFIGURE leaves it.
    fn allow_writes(&self) -> Result<bool> {
        let failed = || format!("cannot make {:?} writable", self.path());
        if !ioctl::is_read_only(&self.fd).context(failed)? {
            return Ok(true);
        }
        ioctl::allow_writes(&self.fd).context(failed)?;
        Ok(!ioctl::is_read_only(&self.fd).context(failed)?)
    }

    /// `/dev/loopN`.
    pub fn path(&self) -> PathBuf {
        path(self.number)
    }

    /// The N.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The descriptor, which keeps an autoclear device alive.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// What it is bound to; `None`: nothing, or it is just being released.
    ///
    /// # Errors
    /// The kernel's.
    pub fn status(&self) -> Result<Option<Status>> {
        match ioctl::get_status(&self.fd) {
            Ok(info) => Ok(Some(Status::new(info))),
            Err(Errno::NXIO) => Ok(None),
            Err(errno) => Err(Error::io(errno, format!("cannot ask {:?}", self.path()))),
        }
    }

    /// Its size in bytes.
    ///
    /// # Errors
    /// The kernel's.
    pub fn size(&self) -> Result<u64> {
        ioctl::size(&self.fd).context(|| format!("cannot read the size of {:?}", self.path()))
    }

    /// Takes over the size that the file has now.
    ///
    /// # Errors
    /// The kernel's.
    pub fn take_size(&self) -> Result<()> {
        ioctl::set_capacity(&self.fd).context(|| format!("cannot resize {:?}", self.path()))
    }

    /// Whether it reads and writes past the page cache; `None` where sysfs does not say.
    pub fn is_direct(&self) -> Option<bool> {
        sysfs::is_direct(self.number)
    }

    /// Releases the file, or finds that somebody else has the device open and leaves all as it was.
    ///
    /// Order: LOOP_CLR_FD (commit, if we are the only opener), look again, if still bound set back
    /// what it changed. Killed before that the device goes with its last other opener.
    /// Newer kernels let go of the file when this descriptor is closed, so drop `self` at once.
    ///
    /// # Errors
    /// The kernel's.
    pub fn release(&self) -> Result<Release> {
        let failed = || format!("cannot release {:?}", self.path());
        let before = match self.status()? {
            None => return Ok(Release::Gone),
            Some(status) => status,
        };
        match ioctl::clear(&self.fd) {
            Ok(()) | Err(Errno::NXIO) => {}
            Err(errno) => return Err(Error::io(errno, failed())),
        }
        let Some(after) = self.status()? else {
            return Ok(Release::Gone);
        };
        if !before.autoclear {
            let mut info = after.info;
            info.lo_flags &= !AUTOCLEAR;
            match ioctl::set_status(&self.fd, info) {
                Err(Errno::NXIO) => return Ok(Release::Gone),
                other => other.context(failed)?,
            }
        }
        Ok(Release::HeldUp)
    }
}

impl AsFd for LoopDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// `/dev/loopN`.
pub fn path(number: u32) -> PathBuf {
    PathBuf::from(format!("/dev/loop{number}"))
}

/// The number in a device's name, `loop7`.
pub fn number(name: &OsStr) -> Option<u32> {
    let digits = name.to_str()?.strip_prefix("loop")?;
    digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

/// The attachment that a device with this status is.
pub fn attachment(number: u32, read_only: bool, autoclear: bool, foreign: bool) -> Attachment {
    Attachment {
        device: path(number),
        lifetime: if autoclear {
            Lifetime::Mount
        } else {
            Lifetime::Explicit
        },
        read_only,
        foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_are_cut_and_end_with_a_nul() {
        let long = "x".repeat(100);
        let how = Binding {
            read_only: true,
            lifetime: Lifetime::Mount,
            path: Path::new(&long),
            window: None,
        };
        let info = how.info();
        assert_eq!(info.lo_file_name[..63], [b'x'; 63]);
        assert_eq!(info.lo_file_name[63], 0);
        assert_eq!(info.lo_flags, 1 | 4 | 16);
    }

    #[test]
    fn root_a_read_only_mark_of_an_earlier_user_is_taken_away() {
        use mosaic_tests::{Scratch, requires_root, run};
        if !requires_root() {
            return;
        }
        let scratch = Scratch::new("setro").unwrap();
        let image = scratch.path().join("image");
        let file = std::fs::File::create_new(&image).unwrap();
        file.set_len(1 << 20).unwrap();
        // So far from the first free one that nobody else is given it.
        let (number, device) = (4711, "/dev/loop4711");
        run("losetup", &[device, image.to_str().unwrap()]).unwrap();
        run("losetup", &["--detach", device]).unwrap();
        run("blockdev", &["--setro", device]).unwrap();
        let how = Binding {
            read_only: false,
            lifetime: Lifetime::Mount,
            path: &image,
            window: None,
        };
        let file = std::fs::File::options().read(true).write(true).open(&image);
        let file = file.unwrap();
        let marked = LoopDevice::open(number, OFlags::RDWR).unwrap();
        let bound = marked.take(file.as_fd(), &how).unwrap().unwrap();
        let written = rustix::io::write(&bound.fd, &[7; 512]);
        assert_eq!(written, Ok(512));
        drop((bound, file));
        let control = open_control().unwrap();
        assert!(mosaic_tests::eventually(
            || ioctl::remove(&control, number).is_ok()
        ));
    }

    #[test]
    fn numbers_are_read_from_whole_device_names_only() {
        assert_eq!(number(OsStr::new("loop7")), Some(7));
        for other in ["loop", "loop-control", "loop7p1", "vda", "loop+7"] {
            assert_eq!(number(OsStr::new(other)), None, "{other}");
        }
    }
}
