// SPDX-License-Identifier: MIT OR Apache-2.0
//! Open files, devices and locks.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;

use mosaic_tests::{LoopFile, Scratch, requires_program, requires_root, run, stdout_of};
use nix::fcntl::{FcntlArg, fcntl};

use super::Running;
use crate::busy::{
    Use, claimants_of_device, command_of, lock_holder, openers_of_device, openers_of_file,
    writers_of_device,
};

fn open_in(process: &Running, command: &str, path: impl Into<PathBuf>) -> Use {
    Use::OpenFile {
        pid: process.pid(),
        command: command.to_owned(),
        path: path.into(),
    }
}

/// Asks until the answer is as expected: a process that another test is just starting has our own
/// descriptors until it executes its program, and another's losetup may look at a device.
fn becomes(expected: &[Use], found: impl Fn() -> crate::busy::Uses) {
    let is = || found().uses == expected;
    assert!(mosaic_tests::eventually(is), "{:?}", found());
}

/// A file `image` in a folder of its own, and the file open.
fn image() -> (Scratch, PathBuf, File) {
    let scratch = Scratch::new("files").unwrap();
    let path = scratch.path().join("image");
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    file.set_len(1 << 20).unwrap();
    (scratch, path, file)
}

#[test]
fn a_process_that_has_a_file_open_is_named_and_we_are_not() {
    let (_scratch, path, file) = image();
    let _again = File::open(&path).unwrap();
    let found = || openers_of_file(file.as_fd()).unwrap();
    becomes(&[], found);
    let script = format!("exec 7<{}; echo; read x", path.display());
    let process = Running::start("sh", &["-c", &script]);
    becomes(&[open_in(&process, "sh", &path)], found);
    assert_eq!(command_of(process.pid()), "sh");
    // By whatever name, and without one.
    std::fs::remove_file(&path).unwrap();
    let gone = format!("{} (deleted)", path.display());
    becomes(&[open_in(&process, "sh", gone)], found);
    drop(process);
    becomes(&[], found);
}

#[test]
fn root_a_loop_device_on_a_file_is_named() {
    if !requires_root() {
        return;
    }
    let loop_file = LoopFile::new(1 << 20).unwrap();
    let device = || Use::LoopDevice {
        device: loop_file.device().to_owned(),
    };
    let file = File::open(loop_file.image()).unwrap();
    becomes(&[device()], || openers_of_file(file.as_fd()).unwrap());
    std::fs::remove_file(loop_file.image()).unwrap();
    becomes(&[device()], || openers_of_file(file.as_fd()).unwrap());
    // Another file of that name is not in use.
    std::fs::write(loop_file.image(), "").unwrap();
    let other = File::open(loop_file.image()).unwrap();
    becomes(&[], || openers_of_file(other.as_fd()).unwrap());
}

#[test]
fn root_openers_of_a_device_are_found_by_any_node() {
    if !requires_root() {
        return;
    }
    let file = LoopFile::new(1 << 20).unwrap();
    let number = stdout_of("stat", &["-c", "%Hr %Lr", file.device().to_str().unwrap()]).unwrap();
    let node = file.folder().join("node");
    let mut arguments = vec![node.to_str().unwrap(), "b"];
    arguments.extend(number.split_whitespace());
    run("mknod", &arguments).unwrap();
    let found = || openers_of_device(file.device()).unwrap();
    becomes(&[], found);
    let script = format!("exec 7<{}; echo; read x", node.display());
    let process = Running::start("sh", &["-c", &script]);
    becomes(&[open_in(&process, "sh", &node)], found);
}

#[test]
fn root_a_reader_of_a_device_is_no_writer() {
    if !requires_root() {
        return;
    }
    let file = LoopFile::new(1 << 20).unwrap();
    let device = file.device();
    let found = || writers_of_device(device).unwrap();
    becomes(&[], found);
    let reads = format!("exec 7<{}; echo; read x", device.display());
    let reader = Running::start("sh", &["-c", &reads]);
    let claimants = || claimants_of_device(device).unwrap();
    becomes(&[open_in(&reader, "sh", device)], claimants);
    let writes = format!("exec 7<>{}; echo; read x", device.display());
    let writer = Running::start("sh", &["-c", &writes]);
    becomes(&[open_in(&writer, "sh", device)], found);
    becomes(&[open_in(&writer, "sh", device)], claimants);
    drop(writer);
    becomes(&[], found);
    let on_it = OnDevice::new(device.to_str().unwrap());
    let device = PathBuf::from(&on_it.0);
    becomes(&[Use::LoopDevice { device }], found);
}

/// A loop device on a block device.
struct OnDevice(String);

impl OnDevice {
    fn new(device: &str) -> Self {
        let text = stdout_of("losetup", &["--find", "--show", device]).unwrap();
        Self(text.trim().to_owned())
    }
}

impl Drop for OnDevice {
    fn drop(&mut self) {
        let _ = run("losetup", &["--detach", &self.0]);
    }
}

#[test]
fn root_a_loop_device_on_a_device_and_swap_are_holders() {
    if !requires_root() || !requires_program("mkswap") {
        return;
    }
    let file = LoopFile::new(8 << 20).unwrap();
    let found = || openers_of_device(file.device()).unwrap();
    let device = file.device().to_str().unwrap();
    let second = OnDevice::new(device);
    let expected = Use::LoopDevice {
        device: second.0.clone().into(),
    };
    becomes(&[expected], found);
    drop(second);
    run("mkswap", &[device]).unwrap();
    if run("swapon", &[device]).is_err() {
        return mosaic_tests::skip("swapon is not allowed here");
    }
    let seen = mosaic_tests::eventually(|| {
        let name = "swap".to_owned();
        found().uses == [Use::Holder { name }]
    });
    run("swapoff", &[device]).unwrap();
    assert!(seen, "{:?}", found());
}

fn lock(file: &File, kind: i32, start: i64, len: i64) {
    let lock = libc::flock {
        l_type: i16::try_from(kind).unwrap(),
        l_whence: 0,
        l_start: start,
        l_len: len,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
}

#[test]
fn the_holder_of_a_byte_range_is_named_and_its_neighbour_is_not() {
    let (_scratch, path, file) = image();
    assert_eq!(lock_holder(file.as_fd(), 0, 0), None);
    // The shell has no way to lock a range; it is handed a descriptor that holds one. Ours is closed
    // then: the lock belongs to what is open, not to who opened it.
    let locked = File::options().read(true).write(true).open(&path).unwrap();
    lock(&locked, libc::F_WRLCK, 17, 1);
    lock(&locked, libc::F_RDLCK, 0, 1);
    let process = Running::spawn(
        std::process::Command::new("sh")
            .args(["-c", "exec 7>&2; exec 2>/dev/null; echo; read x"])
            .stderr(locked),
    );
    let holder = Some((process.pid(), "sh".to_owned()));
    assert_eq!(lock_holder(file.as_fd(), 17, 1), holder);
    assert_eq!(lock_holder(file.as_fd(), 0, 1), holder);
    assert_eq!(lock_holder(file.as_fd(), 0, 0), holder);
    assert_eq!(lock_holder(file.as_fd(), 1, 16), None);
    assert_eq!(lock_holder(file.as_fd(), 18, 0), None);
    drop(process);
    assert_eq!(lock_holder(file.as_fd(), 0, 0), None);
    // Another thread of this process may be the holder.
    let own = File::options().read(true).write(true).open(&path).unwrap();
    lock(&own, libc::F_WRLCK, 5, 1);
    let holder = lock_holder(file.as_fd(), 5, 1).map(|(pid, _)| pid);
    assert_eq!(holder, Some(std::process::id()));
}
