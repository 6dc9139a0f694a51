// SPDX-License-Identifier: MIT OR Apache-2.0
//! The folder of a disk on a file system, as the format wants it.
//!
//! Names are looked up from the folder's own descriptor, so that it stays the same one even if it is
//! renamed. They come from a file that its owner may write as he likes, and we may be root: so none
//! leads out of the folder, none is followed that is a link, and only regular files are opened.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FallocateFlags, FileType, Mode, OFlags, ResolveFlags, SeekFrom};
use rustix::io::Errno;

use crate::courtesy;
use crate::format::storage::{Access, Folder, ImageFile};
use crate::format::units::FileOffset;

/// To open a folder.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// How long somebody else's lease on a file is waited for.
const PATIENCE: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(2);

/// A folder.
#[derive(Debug)]
pub struct DiskFolder {
    folder: OwnedFd,
    gives_way: bool,
}

/// A file in it.
#[derive(Debug)]
pub struct DiskFile {
    file: File,
    gives_way: bool,
}

impl DiskFolder {
    /// Opens the folder.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = FOLDER | OFlags::CLOEXEC;
        Ok(Self::in_dir(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// A folder that is open.
    pub fn in_dir(folder: OwnedFd) -> Self {
        Self {
            folder,
            gives_way: false,
        }
    }

    /// The folder for who only looks: what is opened there is not read any more when somebody wants
    /// it for himself ([`courtesy`]), which is `EBUSY` then.
    #[must_use]
    pub fn giving_way(mut self) -> Self {
        self.gives_way = true;
        self
    }

    /// Opens what is beneath the folder.
    ///
    /// openat2(2), Linux 5.6.
    fn open_beneath(&self, name: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let flags = flags | OFlags::CLOEXEC;
        match rustix::fs::openat2(&self.folder, name, flags, mode, resolve) {
            Err(Errno::XDEV) => Err(out_of_it("the name leads out of the disk's folder")),
            Err(Errno::LOOP) => Err(out_of_it("it is or goes through a symbolic link")),
            opened => Ok(opened?),
        }
    }

    /// The folder that holds a file, and the file's name in it.
    fn parent<'n>(&self, name: &'n str) -> io::Result<(OwnedFd, &'n str)> {
        let (above, leaf) = name.rsplit_once('/').unwrap_or((".", name));
        let above = if above.is_empty() { "/" } else { above };
        Ok((self.open_beneath(above, FOLDER, Mode::empty())?, leaf))
    }

    fn open_with(&self, name: &str, flags: OFlags, mode: Mode) -> io::Result<DiskFile> {
        // Not to hang where somebody put a pipe in the place of an image.
        let flags = flags | OFlags::NONBLOCK;
        let start = Instant::now();
        let file = loop {
            match self.open_beneath(name, flags, mode) {
                // Whoever proves that nobody has it open holds a lease on it for microseconds.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && start.elapsed() < PATIENCE => {
                    std::thread::sleep(PAUSE);
                }
                opened => break opened?,
            }
        };
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::from(Errno::INVAL));
        }
        // Whoever was asked by the name before may have been told of another file.
        if flags.contains(OFlags::RDWR) && stat.st_nlink > 1 {
            return Err(io::Error::from(Errno::BUSY));
        }
        if self.gives_way {
            courtesy::look(&file)?;
        }
        Ok(DiskFile {
            file: file.into(),
            gives_way: self.gives_way,
        })
    }
}

impl AsFd for DiskFolder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

impl AsFd for DiskFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl DiskFile {
    /// A regular file that is open.
    pub fn opened(file: OwnedFd) -> Self {
        Self {
            file: file.into(),
            gives_way: false,
        }
    }

    /// Gives the file a name in a folder as well. It is this very file, whatever has become of the
    /// name by which it was opened.
    ///
    /// open(2), `O_TMPFILE`: the link in /proc needs no privilege, which `AT_EMPTY_PATH` does.
    ///
    /// # Errors
    /// The kernel's.
    pub fn link(&self, folder: &DiskFolder, name: &str) -> Result<(), Errno> {
        let this = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let followed = AtFlags::SYMLINK_FOLLOW;
        rustix::fs::linkat(rustix::fs::CWD, this, folder, name, followed)
    }
}

impl From<DiskFile> for OwnedFd {
    fn from(file: DiskFile) -> Self {
        file.file.into()
    }
}

/// A name that is not followed: the descriptor that has it is of no use here.
fn out_of_it(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why)
}

impl Folder for DiskFolder {
    type File = DiskFile;

    /// By the path that the kernel has for the folder: nothing on the way is looked at, since the path
    /// in a descriptor is its owner's.
    fn within(&self, path: &str) -> io::Result<Option<String>> {
        if !path.starts_with('/') {
            return Ok(None);
        }
        let this = format!("/proc/self/fd/{}", self.folder.as_raw_fd());
        let folder = std::fs::read_link(this)?;
        let name = Path::new(path).strip_prefix(folder).ok();
        let name = name.and_then(Path::to_str).filter(|name| !name.is_empty());
        Ok(name.map(str::to_owned))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<DiskFile> {
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
        };
        self.open_with(name, flags, Mode::empty())
    }

    fn create(&self, name: &str, public: bool) -> io::Result<DiskFile> {
        let mode = Mode::from_raw_mode(if public { 0o644 } else { 0o600 });
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let file = self.open_with(name, flags, mode)?;
        // Whatever the umask is: others read a descriptor, and nobody an image.
        rustix::fs::fchmod(&file.file, mode)?;
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let ((above, from), (below, to)) = (self.parent(from)?, self.parent(to)?);
        Ok(rustix::fs::renameat(&above, from, &below, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let (above, name) = self.parent(name)?;
        Ok(rustix::fs::unlinkat(&above, name, AtFlags::empty())?)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let (above, _) = self.parent(name)?;
        Ok(rustix::fs::fsync(above)?)
    }

    fn is_shared(&self, name: &str) -> io::Result<bool> {
        let (above, name) = self.parent(name)?;
        let stat = rustix::fs::statat(&above, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(stat.st_nlink > 1)
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(bytes)
    }
}

impl DiskFile {
    /// Calls `fallocate`; `false` if the file system cannot do that.
    fn allocate(&self, flags: FallocateFlags, at: FileOffset, bytes: u64) -> io::Result<bool> {
        if bytes == 0 {
            return Ok(true);
        }
        loop {
            return match rustix::fs::fallocate(&self.file, flags, at.0, bytes) {
                Ok(()) => Ok(true),
                Err(Errno::INTR) => continue,
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
                Err(e) => Err(e.into()),
            };
        }
    }
}

impl ImageFile for DiskFile {
    fn read_at(&self, buffer: &mut [u8], at: FileOffset) -> io::Result<()> {
        if self.gives_way && courtesy::is_wanted(&self.file)? {
            return Err(Errno::BUSY.into());
        }
        self.file.read_exact_at(buffer, at.0)
    }

    fn write_at(&self, data: &[u8], at: FileOffset) -> io::Result<()> {
        self.file.write_all_at(data, at.0)
    }

    /// lseek(2), `SEEK_DATA`; nobody here uses the position that it changes.
    fn next_data(&self, at: FileOffset) -> io::Result<Option<FileOffset>> {
        match rustix::fs::seek(&self.file, SeekFrom::Data(at.0)) {
            Ok(data) => Ok(Some(FileOffset(data))),
            Err(Errno::NXIO) => Ok(None),
            // Where holes are not known all of it is read.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(at)),
            Err(errno) => Err(errno.into()),
        }
    }

    /// lseek(2), `SEEK_HOLE`, which counts space that was never written as a hole: fs/iomap/seek.c,
    /// Linux 6.12.
    fn next_hole(&self, at: FileOffset) -> io::Result<Option<FileOffset>> {
        match rustix::fs::seek(&self.file, SeekFrom::Hole(at.0)) {
            // The end of the file counts as one.
            Ok(hole) => {
                Ok(Some(FileOffset(hole)).filter(|_| self.length().is_ok_and(|end| hole < end)))
            }
            Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Leaves no hole: old drivers want none.
    fn zero(&self, at: FileOffset, bytes: u64) -> io::Result<()> {
        if self.allocate(FallocateFlags::ZERO_RANGE, at, bytes)? {
            return Ok(());
        }
        self.write_zeros(at, bytes)
    }

    fn punch(&self, at: FileOffset, bytes: u64) -> io::Result<()> {
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if self.allocate(hole, at, bytes)? {
            return Ok(());
        }
        // Within the file, so that it stays as long as it is.
        let end = self.length()?.min(at.0.saturating_add(bytes));
        self.zero(at, end.saturating_sub(at.0))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use tempfile::TempDir;

    use super::*;

    fn folder() -> (TempDir, DiskFolder) {
        let path = TempDir::new().unwrap();
        let folder = DiskFolder::open(path.path()).unwrap();
        (path, folder)
    }

    #[test]
    fn a_file_is_made_once_and_read_by_whom_it_is_meant_for() {
        let (path, folder) = folder();
        for (name, is_public, mode) in [("d", true, 0o644), ("i", false, 0o600)] {
            folder.create(name, is_public).unwrap();
            let again = folder.create(name, is_public).unwrap_err();
            assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
            let found = path.path().join(name).metadata().unwrap();
            assert_eq!(found.permissions().mode() & 0o777, mode);
        }
        let missing = folder.open("x", Access::Read).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let missing = folder.remove("x").unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        folder.sync("d").unwrap();
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let (path, _) = folder();
        let inside = path.path().join("in");
        std::fs::create_dir_all(inside.join("deep")).unwrap();
        let folder = DiskFolder::open(&inside).unwrap();
        let outside = path.path().join("out");
        std::fs::write(&outside, "theirs").unwrap();
        std::os::unix::fs::symlink("../out", inside.join("link")).unwrap();
        std::os::unix::fs::symlink("..", inside.join("up")).unwrap();
        for name in [
            "../out",
            outside.to_str().unwrap(),
            "link",
            "up/out",
            "deep/../../out",
        ] {
            for access in [Access::Read, Access::Write] {
                let error = folder.open(name, access).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{name}");
            }
            assert!(folder.is_shared(name).is_err() || name == "link", "{name}");
            if name != "link" {
                assert!(folder.create(name, false).is_err(), "{name}");
                assert!(folder.remove(name).is_err(), "{name}");
                assert!(folder.rename("link", name).is_err(), "{name}");
                assert!(folder.sync(name).is_err(), "{name}");
            }
        }
        assert_eq!(std::fs::read(&outside).unwrap(), b"theirs");
        folder.create("deep/a", false).unwrap();
        folder.rename("deep/a", "deep/b").unwrap();
        folder.sync("deep/b").unwrap();
        assert!(!folder.is_shared("./deep/../deep/b").unwrap());
        folder.remove("deep/b").unwrap();
    }

    #[test]
    fn only_a_path_that_leads_into_the_folder_has_a_name_there() {
        let (path, _) = folder();
        let real = path.path().canonicalize().unwrap();
        let inside = real.join("in");
        std::fs::create_dir(&inside).unwrap();
        let folder = DiskFolder::open(&inside).unwrap();
        let name = |path: String| folder.within(&path).unwrap();
        let at = inside.to_str().unwrap();
        assert_eq!(name(format!("{at}/a")).as_deref(), Some("a"));
        assert_eq!(name(format!("{at}/deep/a")).as_deref(), Some("deep/a"));
        let up = name(format!("{at}/../out"));
        assert!(up.is_none_or(|up| folder.open(&up, Access::Read).is_err()));
        for other in ["a", "/a", at, &format!("{at}side/a"), &format!("./{at}/a")] {
            assert_eq!(name(other.to_owned()), None, "{other}");
        }
        // Where the folder is now counts, and not where it was.
        std::fs::rename(&inside, real.join("moved")).unwrap();
        assert_eq!(name(format!("{at}/a")), None);
        let moved = real.join("moved/a").to_str().unwrap().to_owned();
        assert_eq!(name(moved).as_deref(), Some("a"));
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        let (path, folder) = folder();
        std::fs::create_dir(path.path().join("folder")).unwrap();
        let pipe = path.path().join("pipe");
        let kind = FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, Mode::RUSR, 0).unwrap();
        for name in ["folder", "pipe", "/dev/null", "."] {
            assert!(folder.open(name, Access::Read).is_err(), "{name}");
        }
    }

    #[test]
    fn a_file_with_two_names_is_shared() {
        let (path, folder) = folder();
        folder.create("a", false).unwrap();
        assert!(!folder.is_shared("a").unwrap());
        std::fs::hard_link(path.path().join("a"), path.path().join("b")).unwrap();
        assert!(folder.is_shared("a").unwrap() && folder.is_shared("b").unwrap());
        folder.rename("b", "c").unwrap();
        folder.remove("c").unwrap();
        assert!(!folder.is_shared("a").unwrap());
    }

    #[test]
    fn a_second_name_is_that_of_the_file_that_was_opened() {
        let (path, folder) = folder();
        let at = |name: &str| path.path().join(name);
        std::fs::create_dir_all(at("theirs")).unwrap();
        std::fs::create_dir_all(at("sub")).unwrap();
        std::fs::write(at("theirs/a"), "theirs").unwrap();
        std::fs::write(at("sub/a"), "ours").unwrap();
        let file = folder.open("sub/a", Access::Read).unwrap();
        // What its owner can do at any time: the same path is another file now.
        std::fs::rename(at("sub"), at("gone")).unwrap();
        std::os::unix::fs::symlink("theirs", at("sub")).unwrap();
        assert_eq!(std::fs::read(at("sub/a")).unwrap(), b"theirs");
        file.link(&folder, "b").unwrap();
        assert_eq!(std::fs::read(at("b")).unwrap(), b"ours");
        assert!(!folder.is_shared("theirs/a").unwrap());
        let exists = file.link(&folder, "b").unwrap_err();
        assert_eq!(exists, Errno::EXIST);
    }

    #[test]
    fn holes_are_known_without_reading() {
        let (_path, folder) = folder();
        let file = folder.create("a", false).unwrap();
        let data = 1 << 30;
        file.write_at(b"x", FileOffset(data)).unwrap();
        file.set_length(1 << 40).unwrap();
        let next = |at| file.next_data(FileOffset(at)).unwrap().map(|at| at.0);
        // By the block of the file system.
        let found = next(0).unwrap();
        assert!((data - (1 << 20)..=data).contains(&found), "{found}");
        assert_eq!(next(data), Some(data));
        assert_eq!(next(data + (1 << 20)), None);
        assert_eq!(next(1 << 41), None);
        let hole = |at| file.next_hole(FileOffset(at)).unwrap().map(|at| at.0);
        assert_eq!(hole(5), Some(5));
        let end = hole(data).unwrap();
        assert!((data..=data + (1 << 20)).contains(&end), "{end}");
        file.set_length(end).unwrap();
        assert_eq!(hole(data), None);
        assert_eq!(hole(end), None);
    }

    #[test]
    fn a_file_with_two_names_is_not_opened_for_writing() {
        let (path, folder) = folder();
        let [a, b, c] = ["a", "b", "c"].map(|name| path.path().join(name));
        folder.create("a", false).unwrap();
        assert!(!folder.is_shared("a").unwrap());
        // Its owner puts what others have too in the place of the one that was asked for.
        folder.create("b", false).unwrap();
        std::fs::hard_link(&b, &c).unwrap();
        std::fs::rename(&b, &a).unwrap();
        let error = folder.open("a", Access::Write).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::BUSY.raw_os_error()));
        folder.open("a", Access::Read).unwrap();
        std::fs::remove_file(c).unwrap();
        folder.open("a", Access::Write).unwrap();
    }

    #[test]
    fn zeros_take_space_and_holes_give_it_back() {
        let (path, folder) = folder();
        let file = folder.create("a", false).unwrap();
        file.write_at(&[1; 100], FileOffset(4096)).unwrap();
        file.zero(FileOffset(4100), 1 << 20).unwrap();
        let length = 4100 + (1 << 20);
        assert_eq!(file.length().unwrap(), length);
        file.flush().unwrap();
        let blocks = || path.path().join("a").metadata().unwrap().blocks() * 512;
        let full = blocks();
        assert!(full >= 1 << 20, "{full}");
        file.punch(FileOffset(4098), 1 << 19).unwrap();
        file.flush().unwrap();
        assert_eq!(file.length().unwrap(), length);
        let mut bytes = vec![9; 200];
        file.read_at(&mut bytes, FileOffset(4090)).unwrap();
        let expected = [&[0; 6][..], &[1; 2], &[0; 192]].concat();
        assert_eq!(bytes, expected);
        let past = file.read_at(&mut bytes, FileOffset(length - 10));
        assert_eq!(past.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        file.punch(FileOffset(length - 10), 100).unwrap();
        assert_eq!(file.length().unwrap(), length);
    }
}
