// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the waiter of a real program has of our memory.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;

mod moved_code;
mod preloaded;

use mosaic_tests::{eventually, requires_root};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::command::Command;
use crate::error::ErrorKind;
use crate::host_services::{Host, Silent};

const MIB: usize = 1 << 20;
/// Of the memory that we touch in these tests.
const MUCH: usize = 256 * MIB;
/// What a waiter may have for itself: stack and thread, and the data of all objects with code.
const LITTLE: usize = 8 * MIB;

/// Lets the program end, also where a check fails.
struct Go(PathBuf);

impl Drop for Go {
    fn drop(&mut self) {
        fs::write(&self.0, "").unwrap();
    }
}

/// Looks at the waiter, by its folder in /proc, while its program runs; it ends as it should.
fn while_it_waits(look: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let [mark, go] = ["mark", "go"].map(|name| folder.path().join(name));
    let script = "echo $PPID > $0.new; mv $0.new $0; until [ -e $1 ]; do sleep 0.01; done; \
                  echo out; exit 3";
    let command = Command::new("sh").args(["-c", script]).args([&mark, &go]);
    std::thread::scope(|scope| {
        let go = Go(go);
        let host = Host::new(Arc::new(Silent));
        let runs = scope.spawn(move || command.accept(&[3]).run(&host));
        assert!(eventually(|| mark.exists()));
        let waiter = fs::read_to_string(&mark).unwrap();
        look(&Path::new("/proc").join(waiter.trim()));
        drop(go);
        let ended = runs.join().unwrap().unwrap();
        assert_eq!((ended.status, &ended.stdout[..]), (3, &b"out\n"[..]));
    });
}

/// A page of a file, mapped as long as this lives.
struct Mapped(*mut std::ffi::c_void);

impl Mapped {
    fn new(path: &Path) -> Self {
        fs::write(path, [7; 4096]).unwrap();
        let file = File::options().read(true).write(true).open(path).unwrap();
        let (both, shared) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping; nobody makes the file shorter.
        let at = unsafe { mmap(ptr::null_mut(), 4096, both, shared, file.as_fd(), 0) }.unwrap();
        // SAFETY: it is mapped.
        assert_eq!(unsafe { at.cast::<u8>().read() }, 7);
        Self(at)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nobody uses it afterwards.
        unsafe { munmap(self.0, 4096) }.unwrap();
    }
}

fn maps_name(process: &Path, file: &Path) -> bool {
    let maps = fs::read_to_string(process.join("maps")).unwrap();
    assert!(
        maps.contains("[vdso]") || !cfg!(target_arch = "x86_64"),
        "{maps}"
    );
    maps.contains(file.to_str().unwrap())
}

/// A line of `/proc/PID/smaps_rollup`, in bytes.
fn memory(process: &Path, what: &str) -> usize {
    let text = fs::read_to_string(process.join("smaps_rollup")).unwrap();
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    let kib = lines.map(|line| {
        line.trim()
            .trim_end_matches(" kB")
            .parse::<usize>()
            .unwrap()
    });
    kib.sum::<usize>() * 1024
}

#[test]
fn a_waiter_has_no_copy_of_much_memory_and_no_mapped_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mapped");
    let mapped = Mapped::new(&path);
    let mut much = vec![1_u8; MUCH];
    while_it_waits(|waiter| {
        assert!(maps_name(Path::new("/proc/self"), &path));
        assert!(eventually(|| !maps_name(waiter, &path)));
        // Each page that it had as well would be copied.
        much.fill(2);
        for what in ["Pss", "Private_Dirty", "Private_Clean"] {
            assert!(eventually(|| memory(waiter, what) < LITTLE), "{what}");
        }
        assert!(memory(waiter, "Rss") > 0);
        // Other tests may have copied this process just now: it is not private then.
        assert!(memory(Path::new("/proc/self"), "Rss") >= MUCH);
    });
    assert!(much.iter().step_by(4096).all(|byte| *byte == 2));
    drop(mapped);
}

#[test]
fn root_a_file_system_of_a_mapped_file_is_not_in_use_by_a_waiter() {
    if !requires_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    with_mounts_of_its_own(|| {
        let flags = MountFlags::empty();
        rustix::mount::mount("none", folder.path(), "tmpfs", flags, None).unwrap();
        let mapped = Mapped::new(&folder.path().join("mapped"));
        while_it_waits(|_| {
            let umount = || rustix::mount::unmount(folder.path(), UnmountFlags::empty());
            assert_eq!(umount(), Err(rustix::io::Errno::BUSY));
            drop(mapped);
            assert!(eventually(|| umount().is_ok()));
        });
    });
}

/// In a thread of its own.
fn with_mounts_of_its_own(run: impl FnOnce() + Send) {
    let there = || {
        // SAFETY: only this thread's directory and namespace are its own from now on.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.unwrap();
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        run();
    };
    std::thread::scope(|scope| scope.spawn(there).join().unwrap());
}

#[test]
fn root_a_program_runs_where_nobody_says_what_is_mapped() {
    if !requires_root() {
        return;
    }
    with_mounts_of_its_own(|| {
        rustix::mount::mount("none", "/proc", "tmpfs", MountFlags::empty(), None).unwrap();
        assert!(!Path::new("/proc/self").exists());
        while_it_waits(|_| ());
    });
}

/// Also where only the waiter knows. Nothing is run there.
#[test]
fn root_children_in_another_pid_namespace_are_refused() {
    if !requires_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let command = Command::new("sh").args(["-c", "echo > $0"]).arg(&mark);
    for command in [command.clone(), command.to_the_end()] {
        for is_told in [true, false] {
            with_mounts_of_its_own(|| {
                // SAFETY: only children of this thread are concerned, which ends soon.
                unsafe { unshare_unsafe(UnshareFlags::NEWPID) }.unwrap();
                if !is_told {
                    let flags = MountFlags::empty();
                    rustix::mount::mount("none", "/proc", "tmpfs", flags, None).unwrap();
                }
                let error = command.run(&Host::new(Arc::new(Silent))).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", error.chain());
                assert!(error.to_string().contains("pid namespace"), "{error}");
            });
            assert!(!mark.exists());
        }
    }
}

#[test]
fn a_program_gets_arguments_that_are_much_memory_themselves() {
    let long = "x".repeat(100_000);
    let script = "echo ${#1} ${#9}; test $1$1 = $1$9";
    let command = Command::new("sh").args(["-c", script, "sh"]);
    let command = command.args(std::iter::repeat_n(&long, 9));
    let output = command.run(&Host::new(Arc::new(Silent))).unwrap();
    assert_eq!(output.stdout, b"100000 100000\n");
}
