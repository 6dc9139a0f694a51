// SPDX-License-Identifier: MIT OR Apache-2.0
//! Removal of a tree that somebody else filled.
//!
//! The tree is a tenant's: it may be deeper than any path can say, wider than memory, full of
//! hostile names, have other file systems mounted in it, or still change. So each step is one
//! component relative to an open directory (`openat2` with `RESOLVE_BENEATH`, `RESOLVE_NO_SYMLINKS`,
//! `RESOLVE_NO_XDEV`; Linux 5.6), at most `MAX_OPEN` directories are open, and what lies deeper is
//! first moved up to the top of the tree that is being removed, or of the subvolume in it. Removal can stop anywhere: calling
//! it again goes on with what is left.

mod subvolume;

use std::ffi::{CStr, CString, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{
    self, AtFlags, FileType, Mode, OFlags, RawDir, RenameFlags, ResolveFlags, SeekFrom, Statx,
    StatxAttributes, StatxFlags,
};
use rustix::io::Errno;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::host_services::Host;

/// Most directories open at one time. Each has a list of at most one batch of names.
const MAX_OPEN: usize = 64;
/// Most directories open above a subvolume: what is in it is moved up to its root, no further.
const MAX_ABOVE_SUBVOLUME: usize = 32;
/// Bytes of names that are read at once.
const BATCH: usize = 32 * 1024;
/// How many directories that were moved up are remembered.
const MAX_MOVED: usize = 10_000;
/// How many files may be made in the tree during its removal. More: somebody works in it.
const MAX_NEWBORN: u32 = 10_000;
/// How often a directory is read again in vain: it is not empty, but nothing in it can be removed.
const MAX_IDLE_PASSES: u32 = 8;
/// Entries of a directory beyond what its size can hold, before it counts as being written to.
const MAX_SURPLUS: u64 = 1 << 20;
/// After how many entries progress is shown.
const PROGRESS_STEP: u64 = 1000;

/// Removes `name` in `dir`: a file of any type, a link itself, or a directory with all in it.
/// Nothing of that name is success.
///
/// No link is followed and no mount is crossed. Directories without permissions are given them
/// where the caller owns them. A tree that somebody keeps filling ends in an error, not in a race.
///
/// # Errors
/// `Busy` if something is mounted in the tree, or somebody still writes in it; `Permission`, also
/// for immutable and append-only files; `Interrupted`; the kernel's. The rest of the tree stays, and
/// another call goes on.
pub fn remove(dir: BorrowedFd<'_>, name: &str, host: &Host) -> Result<()> {
    let name = CString::new(name).map_err(|_| Error::io(Errno::INVAL, format!("{name:?}")))?;
    host.debug(&format!("unlinkat of the tree {name:?}"));
    let mut watch = Watch::new(host);
    let mut stack = Stack {
        dir,
        levels: Vec::new(),
    };
    for _ in 0..MAX_IDLE_PASSES {
        match watch.remove_entry(dir, &name) {
            Ok(Entry::Gone) => return Ok(()),
            Ok(Entry::Full) => {}
            Err(error) => return Err(stack.at(&name, error)),
        }
        stack.descend(name.clone())?;
        while let Some(level) = stack.levels.last_mut() {
            if let Some(child) = level.full.pop() {
                stack.descend(child)?;
            } else if !stack.read_batch(&mut watch)? {
                stack.ascend(&mut watch)?;
            }
        }
    }
    Err(stack.at(&name, written()))
}

/// What became of an entry.
#[derive(PartialEq, Eq)]
enum Entry {
    /// It is gone, by us or by others.
    Gone,
    /// It is a directory with something in it.
    Full,
}

/// An open directory of the tree.
struct Level {
    dir: OwnedFd,
    name: CString,
    /// Directories of the last batch that are not empty.
    full: Vec<CString>,
    /// Entries that may still come up before the directory counts as being written to.
    left: u64,
    idle_passes: u32,
    /// Whether anything went, or was moved in, since reading began at the front.
    progress: bool,
    /// Of its file system, and of its subvolume there.
    device: u64,
    is_subvolume: bool,
}

impl Level {
    fn open(parent: BorrowedFd<'_>, name: CString) -> Result<Option<Self>> {
        let dir = match open_directory(parent, &name, OFlags::RDONLY) {
            Err(Errno::ACCESS) => {
                make_accessible(parent, &name)?;
                open_directory(parent, &name, OFlags::RDONLY)
            }
            other => other,
        };
        let dir = match dir {
            Ok(dir) => dir,
            // It went, or became something else: the next pass over the parent sees it.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(Errno::XDEV) => return Err(mounted()),
            Err(errno) => return Err(Error::io(errno, "cannot open the directory")),
        };
        let stat = fs::fstat(&dir).context(|| "cannot look at the directory".to_owned())?;
        let is_subvolume = subvolume::open_up(&dir, &stat);
        if stat.st_mode & 0o700 != 0o700 {
            // If this fails, removing what is in it says what is wrong.
            let _ = fs::fchmod(&dir, Mode::RWXU);
        }
        Ok(Some(Self {
            dir,
            name,
            full: Vec::new(),
            left: u64::try_from(stat.st_size).unwrap_or(0) + MAX_SURPLUS,
            idle_passes: 0,
            progress: false,
            device: stat.st_dev,
            is_subvolume,
        }))
    }

    /// Begins again at the front.
    fn rewind(&mut self) -> Result<()> {
        self.idle_passes = if self.progress {
            0
        } else {
            self.idle_passes + 1
        };
        self.progress = false;
        if self.idle_passes >= MAX_IDLE_PASSES {
            return Err(written());
        }
        fs::seek(&self.dir, SeekFrom::Start(0))
            .map(drop)
            .context(|| "cannot read the directory again".to_owned())
    }
}

/// The open directories from the top of the tree down to where removal is.
struct Stack<'d> {
    /// What holds the tree.
    dir: BorrowedFd<'d>,
    levels: Vec<Level>,
}

impl Stack<'_> {
    /// Opens a directory of the last level, or moves it up if too many are open.
    fn descend(&mut self, name: CString) -> Result<()> {
        let parent = self.levels.last().map_or(self.dir, |l| l.dir.as_fd());
        let level = match Level::open(parent, name.clone()) {
            Ok(Some(level)) => level,
            Ok(None) => return Ok(()),
            Err(error) => return Err(self.at(&name, error)),
        };
        let (most, to) = match level.is_subvolume {
            true => (MAX_ABOVE_SUBVOLUME, Some(0)),
            false => (MAX_OPEN, self.top_of(level.device)),
        };
        if self.levels.len() < most {
            self.levels.push(level);
            return Ok(());
        }
        let moved = match to.filter(|to| to + 1 < self.levels.len()) {
            Some(to) => self.move_up(&name, to),
            None => Err(Error::io(Errno::XDEV, "there is nowhere to move it up to")),
        };
        moved.map_err(|error| self.at(&name, error))
    }

    /// The highest level to which a directory with this device number can be moved.
    fn top_of(&self, device: u64) -> Option<usize> {
        self.levels.iter().position(|level| level.device == device)
    }

    /// Moves a directory of the last level to one further up, under a name of its own.
    ///
    /// To the top of the tree, or of the subvolume, and not beside it: there it has the same project
    /// id, so that no quota keeps it from being moved, and it stays under the one name that the
    /// caller has a lock on. A subvolume itself can be moved across the border of another one.
    fn move_up(&mut self, name: &CStr, to: usize) -> Result<()> {
        let (Some(top), Some(last)) = (self.levels.get(to), self.levels.last()) else {
            return Ok(());
        };
        let fresh = loop {
            let fresh = fresh_name();
            match fs::renameat_with(&last.dir, name, &top.dir, &fresh, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => return Ok(()),
                Err(errno) => {
                    return Err(Error::io(errno, "cannot move the directory up in its tree"));
                }
                Ok(()) => break fresh,
            }
        };
        if let Some(top) = self.levels.get_mut(to) {
            // Beyond that the next pass over the top finds it.
            if top.full.len() < MAX_MOVED {
                top.full.push(fresh);
            }
            top.left += 1;
            top.progress = true;
        }
        Ok(())
    }

    /// Removes what the next batch of the last level holds; `false` at the directory's end.
    fn read_batch(&mut self, watch: &mut Watch<'_>) -> Result<bool> {
        watch.host.check_cancelled()?;
        let Some((level, above)) = self.levels.split_last_mut() else {
            return Ok(false);
        };
        let mut buffer = [const { MaybeUninit::uninit() }; BATCH];
        let mut entries = RawDir::new(&level.dir, &mut buffer);
        while let Some(entry) = entries.next() {
            let name = match &entry {
                Ok(entry) => entry.file_name(),
                // Removed by others while open.
                Err(Errno::NOENT) => break,
                Err(errno) => {
                    let error = Error::io(*errno, "cannot read the directory");
                    return Err(self.at(c".", error));
                }
            };
            if name != c"." && name != c".." {
                let outcome = if level.left == 0 {
                    Err(written())
                } else {
                    watch.remove_entry(level.dir.as_fd(), name)
                };
                level.left = level.left.saturating_sub(1);
                match outcome {
                    Ok(Entry::Gone) => level.progress = true,
                    Ok(Entry::Full) => level.full.push(name.to_owned()),
                    Err(error) => return Err(at(above, &[&level.name, name], error)),
                }
            }
            if entries.is_buffer_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes the last level, which was read to its end; if it is not empty, reads it again.
    fn ascend(&mut self, watch: &mut Watch<'_>) -> Result<()> {
        let Some((level, above)) = self.levels.split_last_mut() else {
            return Ok(());
        };
        let parent = above.last().map_or(self.dir, |l| l.dir.as_fd());
        match watch.remove_entry(parent, &level.name) {
            Ok(Entry::Gone) => {
                self.levels.pop();
                if let Some(parent) = self.levels.last_mut() {
                    parent.progress = true;
                }
                Ok(())
            }
            Ok(Entry::Full) => level
                .rewind()
                .map_err(|error| at(above, &[&level.name], error)),
            Err(error) => Err(at(above, &[&level.name], error)),
        }
    }

    /// Says where in the tree an error happened.
    fn at(&self, name: &CStr, error: Error) -> Error {
        at(&self.levels, &[name], error)
    }
}

/// Of a deep path only both ends are shown: a tenant chose its length.
fn at(levels: &[Level], names: &[&CStr], error: Error) -> Error {
    if error.kind() == ErrorKind::Interrupted {
        return error;
    }
    let mut path = PathBuf::new();
    let depth = levels.len() + names.len();
    let components = levels.iter().map(|l| l.name.as_c_str());
    for (at, name) in components.chain(names.iter().copied()).enumerate() {
        if at < 4 || at + 4 >= depth {
            path.push(OsStr::from_bytes(name.to_bytes()));
        } else if at == 4 {
            path.push("...");
        }
    }
    error.context(format!("cannot remove {path:?}"))
}

/// Removes single entries, and notices what speaks against going on.
struct Watch<'h> {
    host: &'h Host,
    started: Timespec,
    removed: u64,
    newborn: u32,
}

impl<'h> Watch<'h> {
    fn new(host: &'h Host) -> Self {
        Self {
            host,
            started: clock_gettime(ClockId::Realtime),
            removed: 0,
            newborn: 0,
        }
    }

    /// Removes an entry if it is no directory, or an empty one.
    fn remove_entry(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<Entry> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        let want = StatxFlags::TYPE | StatxFlags::BTIME;
        let stat = match fs::statx(dir, name, flags, want) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Entry::Gone),
            Err(errno) => return Err(Error::io(errno, "cannot look at it")),
        };
        if stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            return Err(mounted());
        }
        self.count_newborn(&stat)?;
        let is_dir = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory;
        let how = if is_dir {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        match fs::unlinkat(dir, name, how) {
            Ok(()) => self.count_removed(),
            Err(Errno::NOENT) => {}
            // Not empty; or in the meantime a directory where a file was, or the reverse.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ISDIR | Errno::NOTDIR) => {
                return Ok(Entry::Full);
            }
            Err(Errno::BUSY) => return Err(mounted()),
            Err(Errno::ROFS) => return Err(subvolume::read_only(dir)),
            Err(errno) => return Err(refused(&stat, errno)),
        }
        Ok(Entry::Gone)
    }

    fn count_removed(&mut self) {
        self.removed += 1;
        if self.removed.is_multiple_of(PROGRESS_STEP) {
            self.host.progress(self.removed, 0, "removing files");
        }
    }

    /// Counts what was made after removal began. A time of birth in the future is a clock that was
    /// wrong once, not a writer.
    fn count_newborn(&mut self, stat: &Statx) -> Result<()> {
        let birth = (stat.stx_btime.tv_sec, i64::from(stat.stx_btime.tv_nsec));
        if stat.stx_mask & StatxFlags::BTIME.bits() == 0 || birth <= pair(self.started) {
            return Ok(());
        }
        if birth <= pair(clock_gettime(ClockId::Realtime)) {
            self.newborn += 1;
        }
        if self.newborn > MAX_NEWBORN {
            return Err(written());
        }
        Ok(())
    }
}

fn pair(time: Timespec) -> (i64, i64) {
    (time.tv_sec, time.tv_nsec)
}

/// A name that nobody in the tree can know beforehand.
fn fresh_name() -> CString {
    let now = clock_gettime(ClockId::Monotonic);
    let pid = rustix::process::getpid().as_raw_nonzero();
    let name = format!(".mosaic-{pid}-{}-{:09}", now.tv_sec, now.tv_nsec);
    CString::new(name).unwrap_or_default()
}

fn open_directory(parent: BorrowedFd<'_>, name: &CStr, how: OFlags) -> rustix::io::Result<OwnedFd> {
    fs::openat2(
        parent,
        name,
        how | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
    )
}

/// Gives a directory of ours back the permissions that its removal needs.
///
/// By way of an `O_PATH` descriptor and its entry in /proc, so that nothing put in the directory's
/// place in between is changed instead (openat(2), `O_PATH`).
fn make_accessible(parent: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    use std::os::fd::AsRawFd;
    let failed = || "cannot get access to the directory".to_owned();
    let dir = open_directory(parent, name, OFlags::PATH).context(failed)?;
    fs::chmod(format!("/proc/self/fd/{}", dir.as_raw_fd()), Mode::RWXU).context(failed)
}

fn mounted() -> Error {
    Error::new(ErrorKind::Busy, "something is mounted there")
}

fn written() -> Error {
    Error::new(ErrorKind::Busy, "somebody still writes there")
}

/// Why the kernel did not let an entry go.
fn refused(stat: &Statx, errno: Errno) -> Error {
    let fixed = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
    if errno == Errno::PERM && stat.stx_attributes.intersects(fixed) {
        let text = "it is immutable or append-only (chattr -i -a mends that)";
        return Error::new(ErrorKind::Permission, text);
    }
    Error::io(errno, "the kernel keeps it")
}
