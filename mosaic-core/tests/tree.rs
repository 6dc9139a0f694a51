// SPDX-License-Identifier: MIT OR Apache-2.0
//! Removal of trees as tenants make them: deep, wide, hostile, mounted into, still changing.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use mosaic_core::host_services::Silent;
use mosaic_core::{ErrorKind, Host, Level, Services, tree};
use mosaic_tests::{copy_of_own_program, is_quick, left_out, requires_root};
use rustix::fs::{CWD, FileType, Mode, OFlags, mkdirat, mknodat, openat, renameat};
use tempfile::TempDir;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

fn host() -> Host {
    Host::new(Arc::new(Silent))
}

/// A folder with a tree `t` in it that is to be removed.
struct Folder {
    dir: TempDir,
    open: File,
}

impl Folder {
    fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    /// In memory, for trees that would take a disk long to make.
    fn in_memory() -> Self {
        Self::at(tempfile::tempdir_in("/dev/shm").unwrap())
    }

    fn at(dir: TempDir) -> Self {
        fs::create_dir(dir.path().join("t")).unwrap();
        let open = File::open(dir.path()).unwrap();
        Self { dir, open }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn remove(&self) -> mosaic_core::Result<()> {
        tree::remove(self.open.as_fd(), "t", &host())
    }

    fn is_removed(&self) -> bool {
        fs::symlink_metadata(self.path("t")).is_err()
    }
}

/// Makes `depth` directories below each other, with a file in each hundredth.
fn dig(top: &Path, depth: u64) {
    let mut dir: OwnedFd = File::open(top).unwrap().into();
    for level in 0..depth {
        mkdirat(&dir, "d", Mode::RWXU).unwrap();
        if level % 100 == 0 {
            openat(&dir, "f", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
        }
        dir = openat(&dir, "d", DIRECTORY, Mode::empty()).unwrap();
    }
}

#[test]
fn nothing_a_file_and_a_link_are_removed_alike() {
    let folder = Folder::new();
    fs::write(folder.path("file"), "x").unwrap();
    fs::write(folder.path("kept"), "x").unwrap();
    symlink("kept", folder.path("link")).unwrap();
    for name in ["nothing", "file", "link", "t"] {
        tree::remove(folder.open.as_fd(), name, &host()).unwrap();
        assert!(fs::symlink_metadata(folder.path(name)).is_err(), "{name}");
    }
    assert!(folder.path("kept").exists());
}

#[test]
fn links_in_the_tree_are_never_followed() {
    let folder = Folder::new();
    let outside = folder.path("outside");
    fs::create_dir_all(outside.join("below")).unwrap();
    fs::write(outside.join("below/file"), "x").unwrap();
    symlink(&outside, folder.path("t/absolute")).unwrap();
    symlink("../outside", folder.path("t/relative")).unwrap();
    symlink("..", folder.path("t/up")).unwrap();
    folder.remove().unwrap();
    assert!(folder.is_removed());
    assert!(outside.join("below/file").exists());
}

/// How many of something there are: in a quick run fewer.
fn in_quick(few: u64, all: u64) -> u64 {
    if is_quick() {
        left_out(&format!("{} of {all}", all - few));
        return few;
    }
    all
}

#[test]
fn depth_beyond_any_path_and_any_descriptor_limit_is_removed() {
    let folder = Folder::in_memory();
    dig(&folder.path("t"), in_quick(10_000, 100_000));
    folder.remove().unwrap();
    assert!(folder.is_removed());
}

#[test]
fn few_directories_are_open_at_one_time() {
    let folder = Folder::new();
    dig(&folder.path("t"), 2000);
    let watched = Arc::new(Watched::default());
    tree::remove(folder.open.as_fd(), "t", &Host::new(watched.clone())).unwrap();
    // The other tests of this process have some open too.
    let open = watched.open.load(Ordering::Relaxed);
    assert!(open > 0 && open < 1000, "{open}");
}

#[test]
fn many_deep_branches_are_removed() {
    let folder = Folder::in_memory();
    for branch in 0..40 {
        let top = folder.path(&format!("t/{branch}"));
        fs::create_dir(&top).unwrap();
        dig(&top, 150);
    }
    folder.remove().unwrap();
    assert!(folder.is_removed());
}

#[test]
fn ten_levels_and_a_hundred_thousand_files_are_removed() {
    let number = in_quick(1000, 10_000);
    let folder = Folder::new();
    let mut path = folder.path("t");
    for level in 0..10 {
        path.push(format!("level {level}"));
        fs::create_dir(&path).unwrap();
        let first = path.join("a file of some length 0");
        for file in 0..number {
            // Mostly links, which are cheaper to make than files and just as many entries.
            let name = path.join(format!("a file of some length {file}"));
            match file % 100 {
                0 => fs::write(name, "").unwrap(),
                _ => fs::hard_link(&first, name).unwrap(),
            }
        }
    }
    let watched = Arc::new(Watched::default());
    tree::remove(folder.open.as_fd(), "t", &Host::new(watched.clone())).unwrap();
    assert!(folder.is_removed());
    assert!(watched.progress.load(Ordering::Relaxed) >= 10 * number);
}

#[test]
fn hostile_names_are_just_names() {
    let folder = Folder::new();
    let long = "x".repeat(255);
    let names: [&[u8]; 12] = [
        b"-rf",
        b" ",
        b"*",
        b"a\nb",
        b"\xff\xfe",
        b"\x1b[31m",
        b"...",
        b"$(reboot)",
        b".mosaic",
        b".mosaic-1-2-3",
        b"\\",
        long.as_bytes(),
    ];
    for name in names {
        let path = folder.path("t").join(OsStr::from_bytes(name));
        fs::create_dir(&path).unwrap();
        fs::write(path.join(OsStr::from_bytes(name)), "x").unwrap();
    }
    folder.remove().unwrap();
    assert!(folder.is_removed());
}

#[test]
fn fifos_and_sockets_do_not_block() {
    let folder = Folder::new();
    mknodat(CWD, folder.path("t/fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path("t/socket")).unwrap();
    folder.remove().unwrap();
    assert!(folder.is_removed());
}

#[test]
fn an_interrupted_removal_is_resumed() {
    let folder = Folder::new();
    for file in 0..5000 {
        fs::write(folder.path(&format!("t/{file}")), "").unwrap();
    }
    let services = Watched {
        stop_after: 2,
        ..Watched::default()
    };
    let host = Host::new(Arc::new(services));
    let error = tree::remove(folder.open.as_fd(), "t", &host).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    let left = fs::read_dir(folder.path("t")).unwrap().count();
    assert!(left > 0 && left < 5000, "{left}");
    folder.remove().unwrap();
    assert!(folder.is_removed());
}

#[test]
fn a_writer_in_the_tree_ends_in_an_error_and_not_in_a_race() {
    let number = in_quick(4000, 20_000);
    for how in [Writer::Files, Writer::Deeper, Writer::Renames] {
        let folder = Folder::in_memory();
        let stop = Arc::new(AtomicBool::new(false));
        let written = Arc::new(AtomicU64::new(0));
        let writers: Vec<_> = (0..3)
            .map(|number| how.spawn(&folder.path("t"), number, &stop, &written))
            .collect();
        while written.load(Ordering::Relaxed) < number {
            thread::yield_now();
        }
        let outcome = folder.remove();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().unwrap();
        }
        // Slow writers lose the race; that is an end too.
        if let Err(error) = outcome {
            assert_eq!(error.kind(), ErrorKind::Busy, "{}", error.chain());
        }
        folder.remove().unwrap();
        assert!(folder.is_removed());
    }
}

/// What somebody in the tree goes on doing.
#[derive(Debug, Clone, Copy)]
enum Writer {
    Files,
    Deeper,
    Renames,
}

impl Writer {
    fn spawn(
        self,
        top: &Path,
        number: usize,
        stop: &Arc<AtomicBool>,
        written: &Arc<AtomicU64>,
    ) -> JoinHandle<()> {
        let (stop, written) = (Arc::clone(stop), Arc::clone(written));
        let mut dir: OwnedFd = File::open(top).unwrap().into();
        openat(&dir, format!("w{number}"), OFlags::CREATE, Mode::RWXU).unwrap();
        thread::spawn(move || {
            let mut count = 0u64;
            while !stop.load(Ordering::Relaxed) {
                count += 1;
                written.fetch_add(1, Ordering::Relaxed);
                self.write(&mut dir, number, count);
            }
        })
    }

    /// Whatever fails fails: the directory may be gone.
    fn write(self, dir: &mut OwnedFd, number: usize, count: u64) {
        match self {
            Self::Files => {
                let name = format!("{number}-{count}");
                let _ = openat(&*dir, name, OFlags::CREATE, Mode::RWXU);
            }
            Self::Deeper => {
                let name = format!("d{number}");
                let _ = mkdirat(&*dir, &name, Mode::RWXU);
                if let Ok(next) = openat(&*dir, &name, DIRECTORY, Mode::empty()) {
                    *dir = next;
                }
            }
            Self::Renames => {
                let (from, to) = (format!("w{number}"), format!("v{number}"));
                let _ = renameat(&*dir, &from, &*dir, &to);
                let _ = renameat(&*dir, &to, &*dir, &from);
            }
        }
    }
}

#[test]
fn two_removals_of_one_tree_do_not_hurt_each_other() {
    let folder = Folder::new();
    for branch in 0..200 {
        let top = folder.path(&format!("t/{branch}"));
        fs::create_dir(&top).unwrap();
        dig(&top, 5);
    }
    thread::scope(|scope| {
        let removals: Vec<_> = (0..2).map(|_| scope.spawn(|| folder.remove())).collect();
        for removal in removals {
            removal.join().unwrap().unwrap();
        }
    });
    assert!(folder.is_removed());
}

#[test]
fn root_a_mount_in_the_tree_is_named_and_nothing_beyond_it_is_touched() {
    if !requires_root() {
        return;
    }
    let folder = Folder::new();
    let outside = folder.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "x").unwrap();
    fs::create_dir_all(folder.path("t/a/dir")).unwrap();
    fs::write(folder.path("t/a/file"), "").unwrap();
    for (name, source) in [("dir", outside.clone()), ("file", outside.join("file"))] {
        let target = folder.path("t/a").join(name);
        fs::create_dir_all(folder.path("t/a")).unwrap();
        match source.is_dir() {
            true => fs::create_dir_all(&target).unwrap(),
            false => fs::write(&target, "").unwrap(),
        }
        let mount = Bound::new(&source, &target);
        let error = folder.remove().unwrap_err();
        drop(mount);
        assert_eq!(error.kind(), ErrorKind::Busy);
        let told = format!("cannot remove \"t/a/{name}\": something is mounted there");
        assert_eq!(error.chain(), told);
        assert!(outside.join("file").exists());
    }
    folder.remove().unwrap();
    assert!(folder.is_removed());
}

#[test]
fn root_an_immutable_file_stays_is_named_and_removal_goes_on_later() {
    if !requires_root() {
        return;
    }
    let folder = Folder::new();
    let (top, file) = (folder.path("t"), folder.path("t/fixed"));
    fs::write(&file, "x").unwrap();
    for attribute in ["i", "a"] {
        chattr(&format!("+{attribute}"), &file);
        let error = folder.remove().unwrap_err();
        chattr(&format!("-{attribute}"), &file);
        assert_eq!(error.kind(), ErrorKind::Permission);
        assert_eq!(
            error.chain(),
            "cannot remove \"t/fixed\": it is immutable or append-only (chattr -i -a mends that)"
        );
    }
    chattr("+i", &top);
    let error = folder.remove().unwrap_err();
    chattr("-i", &top);
    let told = "cannot remove \"t\": it is immutable or append-only";
    assert!(error.chain().starts_with(told), "{}", error.chain());
    folder.remove().unwrap();
    assert!(folder.is_removed());
}

#[test]
fn directories_without_permissions_are_removed_by_their_owner() {
    let folder = Folder::new();
    let deep = folder.path("t/a/b");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), "x").unwrap();
    dig(&deep, 70);
    for closed in [deep, folder.path("t/a"), folder.path("t")] {
        fs::set_permissions(closed, fs::Permissions::from_mode(0o000)).unwrap();
    }
    if rustix::process::geteuid().is_root() {
        // Permissions do not bind root, so somebody else does it.
        remove_as_nobody(folder.dir.path());
    } else {
        folder.remove().unwrap();
    }
    assert!(folder.is_removed());
}

/// Gives a folder to nobody and lets the helper below remove the tree in it.
fn remove_as_nobody(dir: &Path) {
    const NOBODY: u32 = 65534;
    let mut chown = Command::new("chown");
    let given = chown.args(["-R", "65534:65534"]).arg(dir).status();
    assert!(given.unwrap().success());
    let output = Command::new(copy_of_own_program(dir))
        .args(["--exact", "helper_that_removes_as_another_user"])
        .env("MOSAIC_TEST_REMOVE_IN", dir)
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

/// Tests nothing by itself: see [`remove_as_nobody`].
#[test]
fn helper_that_removes_as_another_user() {
    if let Some(dir) = std::env::var_os("MOSAIC_TEST_REMOVE_IN") {
        assert!(!rustix::process::geteuid().is_root());
        let dir = File::open(dir).unwrap();
        tree::remove(dir.as_fd(), "t", &host()).unwrap();
    }
}

fn chattr(how: &str, path: &Path) {
    let status = Command::new("chattr").arg(how).arg(path).status().unwrap();
    assert!(status.success(), "chattr {how} {path:?}");
}

/// A bind mount that goes with its owner.
struct Bound<'p>(&'p Path);

impl<'p> Bound<'p> {
    fn new(source: &Path, target: &'p Path) -> Self {
        rustix::mount::mount_bind(source, target).unwrap();
        Self(target)
    }
}

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Notes progress and open descriptors, and stops after so many questions.
#[derive(Default)]
struct Watched {
    progress: AtomicU64,
    open: AtomicU64,
    questions: AtomicU64,
    stop_after: u64,
}

impl Services for Watched {
    fn log(&self, _: Level, _: &str) {}

    fn progress(&self, done: u64, _: u64, _: &str) {
        self.progress.store(done, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        let open = fs::read_dir("/proc/self/fd").unwrap().count();
        self.open.fetch_max(open as u64, Ordering::Relaxed);
        let asked = self.questions.fetch_add(1, Ordering::Relaxed);
        self.stop_after != 0 && asked >= self.stop_after
    }
}
