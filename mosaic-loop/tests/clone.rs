// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clones by reflink: whole, with an identity of their own, also of what is being written to.

mod common;

use std::collections::HashSet;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use common::{Images, MIB};
use mosaic_core::fs::FsType;
use mosaic_core::volume::Kind;
use mosaic_core::{Driver, ErrorKind, Host};
use mosaic_tests::{
    MountedFs, Scratch, eventually, is_quick, left_out, loop_devices_beneath, requires_program,
    requires_root, requires_time, run, stdout_of, volume,
};
use rustix::fs::IFlags;

const LOCATIONS: [&str; 2] = ["xfs", "btrfs"];
const VOLUMES: [(&str, u64); 3] = [("ext4", 64), ("xfs", 320), ("btrfs", 128)];

fn ready() -> bool {
    let programs = [
        "mkfs.ext4",
        "tune2fs",
        "mkfs.xfs",
        "xfs_admin",
        "mkfs.btrfs",
        "btrfstune",
    ];
    requires_root() && programs.iter().all(|program| requires_program(program))
}

fn uuid(fs: &str, file: &Path) -> [u8; 16] {
    let file = std::fs::File::open(file).unwrap();
    FsType::parse(fs).unwrap().uuid(file.as_fd()).unwrap()
}

/// fsck by the host's own knowledge of it, on a loop device that goes by itself.
fn assert_sound(images: &Images, name: &str, fs: &str) {
    // The mount namespace that another test makes has copies of our mounts for a while.
    assert!(eventually(|| images.attachment(name).is_none()));
    let source = images.driver.mount_source(Some(&volume(name)), false);
    let mosaic_core::volume::MountSource::Device { path, handle } = source.unwrap() else {
        panic!("no device");
    };
    let host = Host::new(images.said.clone());
    let found = FsType::parse(fs).unwrap().check(&host, &path, false);
    drop(handle);
    assert_eq!(found.unwrap(), None, "{name}, {fs}");
}

#[test]
fn root_a_clone_of_a_mounted_volume_has_all_that_was_written_and_its_own_uuid() {
    if !ready() {
        return;
    }
    for at in LOCATIONS {
        let location = MountedFs::with_size(at, 4 << 30).unwrap();
        let images = Images::open(location.path());
        for (fs, size) in VOLUMES {
            let (name, copy) = (format!("{fs}-source"), format!("{fs}-clone"));
            images.create_fs(&name, fs, size * MIB).unwrap();
            let source = location.folder_beside(&format!("{fs}-1")).unwrap();
            let mounted = images.mount(&name, &source, "").unwrap();
            // No fsync: what was written before the command is in the clone.
            std::fs::write(mounted.at.join("before"), "before").unwrap();
            images.clone_volume(&name, &copy, None).unwrap();
            std::fs::write(mounted.at.join("after"), "after").unwrap();
            assert_eq!(images.said.take(), [""; 0], "{fs} on {at}");
            let of = [&name, &copy].map(|name| uuid(fs, &images.image(name)));
            assert_ne!(of[0], of[1], "{fs} on {at}");
            let second = location.folder_beside(&format!("{fs}-2")).unwrap();
            let clone = images.mount(&copy, &second, "").unwrap();
            let read = std::fs::read_to_string(clone.at.join("before")).unwrap();
            assert_eq!(read, "before", "{fs} on {at}");
            assert!(!clone.at.join("after").exists());
            std::fs::write(clone.at.join("own"), "x").unwrap();
            assert!(!mounted.at.join("own").exists());
            assert_label(&images, &copy, fs);
            clone.umount();
            mounted.umount();
            assert!(eventually(|| images.attachment(&copy).is_none()));
            assert_sound(&images, &copy, fs);
            assert_sound(&images, &name, fs);
        }
        assert!(eventually(
            || loop_devices_beneath(location.path()).is_empty()
        ));
    }
}

fn assert_label(images: &Images, name: &str, fs: &str) {
    let expected = Kind::Fs {
        fs: Some(fs.into()),
        assumed: false,
    };
    assert_eq!(images.find(name).unwrap().kind, expected);
}

#[test]
fn root_a_clone_can_be_larger_with_its_file_system() {
    if !ready() {
        return;
    }
    let location = MountedFs::with_size("btrfs", 4 << 30).unwrap();
    let images = Images::open(location.path());
    for (fs, size) in VOLUMES {
        let (name, copy) = (format!("{fs}-1"), format!("{fs}-2"));
        images.create_fs(&name, fs, size * MIB).unwrap();
        let large = 2 * size * MIB;
        images.clone_volume(&name, &copy, Some(large)).unwrap();
        assert_eq!(images.find(&copy).unwrap().size.unwrap().0, large);
        let file = std::fs::File::open(images.image(&copy)).unwrap();
        let grown = FsType::parse(fs).unwrap().size(file.as_fd()).unwrap();
        assert!(grown.0 > large - large / 10, "{fs}: {grown}");
        drop(file);
        assert_sound(&images, &copy, fs);
        images.drop_volume(&copy).unwrap();
    }
    images.create_disk("disk", MIB).unwrap();
    images.clone_volume("disk", "large", Some(3 * MIB)).unwrap();
    assert_eq!(images.find("large").unwrap().kind, Kind::Disk);
    assert_eq!(images.find("large").unwrap().size.unwrap().0, 3 * MIB);
}

#[test]
fn root_a_clone_shares_its_data_and_outlives_its_origin() {
    if !ready() {
        return;
    }
    for at in LOCATIONS {
        let location = MountedFs::new(at).unwrap();
        let images = Images::open(location.path());
        images.create_disk("a", 64 * MIB).unwrap();
        let content = vec![7; 64 << 20];
        std::fs::write(images.image("a"), &content).unwrap();
        run("sync", &["-f", location.path().to_str().unwrap()]).unwrap();
        let before = images.driver.space().unwrap()[0].used.0;
        for copy in 0..4 {
            images
                .clone_volume("a", &format!("b/{copy}"), None)
                .unwrap();
        }
        run("sync", &["-f", location.path().to_str().unwrap()]).unwrap();
        let grown = images.driver.space().unwrap()[0].used.0 - before;
        assert!(grown < 16 * MIB, "{at}: {grown}");
        images.drop_volume("a").unwrap();
        assert!(std::fs::read(images.image("b/3")).unwrap() == content);
    }
}

#[test]
fn root_a_nocow_image_is_cloned_too() {
    if !ready() {
        return;
    }
    let location = MountedFs::new("btrfs").unwrap();
    let dir = std::fs::File::open(location.path()).unwrap();
    let flags = rustix::fs::ioctl_getflags(&dir).unwrap();
    rustix::fs::ioctl_setflags(&dir, flags | IFlags::NOCOW).unwrap();
    let images = Images::open(location.path());
    images.create_disk("a", MIB).unwrap();
    rustix::fs::ioctl_setflags(&dir, flags).unwrap();
    std::fs::write(images.image("a"), vec![7; 1 << 20]).unwrap();
    images.clone_volume("a", "b", None).unwrap();
    let clone = std::fs::File::open(images.image("b")).unwrap();
    let flags = rustix::fs::ioctl_getflags(&clone).unwrap();
    assert!(flags.contains(IFlags::NOCOW));
    assert_eq!(std::fs::read(images.image("b")).unwrap(), vec![7; 1 << 20]);
}

#[test]
fn root_without_reflink_a_clone_is_refused_with_the_reason() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    let location = MountedFs::new("ext4").unwrap();
    let images = Images::open(location.path());
    images.create_fs("a", "ext4", 16 * MIB).unwrap();
    let error = images.clone_volume("a", "folder/b", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let reason = format!("ext4 at {:?} has no reflink", location.path());
    assert_eq!(error.chain(), reason);
    assert_eq!(images.names(), ["a"]);
    assert!(!images.image("folder").exists());
    let all = images.driver.capabilities(Some(&volume("a"))).unwrap();
    let clone = all.iter().find(|c| c.name == "clone").unwrap();
    assert_eq!(clone.refusal.as_deref(), Some(reason.as_str()));
}

#[test]
fn root_what_is_not_the_file_system_that_it_says_is_not_cloned() {
    if !ready() {
        return;
    }
    let location = MountedFs::new("xfs").unwrap();
    let images = Images::open(location.path());
    // A historic disk, taken for a file system of the default type.
    std::fs::write(images.image("old"), vec![1; 1 << 20]).unwrap();
    let error = images.clone_volume("old", "new", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.chain());
    assert_eq!(images.names(), ["old"]);
}

#[test]
fn root_a_clone_of_what_a_machine_writes_to_is_said_to_be_crash_consistent() {
    if !ready() {
        return;
    }
    let location = MountedFs::new("xfs").unwrap();
    let images = Images::open(location.path());
    images.create_disk("a", 16 * MIB).unwrap();
    let attached = images.attach("a").unwrap();
    images.clone_volume("a", "b", None).unwrap();
    let said = images.said.take();
    assert!(said[0].contains("power cut"), "{said:?}");
    assert!(said[0].contains(attached.device.to_str().unwrap()));
    images.detach("a").unwrap();
    let writer = std::fs::OpenOptions::new()
        .write(true)
        .open(images.image("a"));
    let mut child = Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::from(writer.unwrap()))
        .spawn()
        .unwrap();
    images.clone_volume("a", "c", None).unwrap();
    let said = images.said.take();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(said[0].contains(&format!("pid {}", child.id())), "{said:?}");
    let reader = std::fs::File::open(images.image("a")).unwrap();
    images.clone_volume("a", "d", None).unwrap();
    assert_eq!(images.said.take(), [""; 0], "a reader changes nothing");
    drop(reader);
}

#[test]
fn root_a_source_mounted_only_in_another_namespace_is_synced_there() {
    if !ready() || !requires_program("unshare") {
        return;
    }
    let location = MountedFs::with_size("xfs", 2 << 30).unwrap();
    let images = Images::open(location.path());
    for fs in ["ext4", "btrfs"] {
        images.create_fs(fs, fs, 128 * MIB).unwrap();
        let at = location.folder_beside(fs).unwrap();
        let mounted = images.mount(fs, &at, "").unwrap();
        let mut child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sleep", "1000"])
            .spawn()
            .unwrap();
        let other =
            PathBuf::from(format!("/proc/{}/root", child.id())).join(at.strip_prefix("/").unwrap());
        let own = std::fs::read_link("/proc/self/ns/mnt").unwrap();
        let theirs = format!("/proc/{}/ns/mnt", child.id());
        assert!(eventually(
            || std::fs::read_link(&theirs).is_ok_and(|ns| ns != own)
        ));
        mounted.umount();
        std::fs::write(other.join("file"), "x").unwrap();
        let copy = format!("{fs}-clone");
        let cloned = images.clone_volume(fs, &copy, None);
        let said = images.said.take();
        child.kill().unwrap();
        child.wait().unwrap();
        cloned.unwrap();
        assert_eq!(said, [""; 0]);
        let clone = images.mount(&copy, &at, "").unwrap();
        assert_eq!(std::fs::read_to_string(clone.at.join("file")).unwrap(), "x");
        clone.umount();
        assert!(eventually(|| images.attachment(fs).is_none()));
    }
}

/// fio on files in a folder: random writes whose content can be verified.
struct Writer(Child);

impl Writer {
    fn start(folder: &Path) -> Self {
        let child = Command::new("fio")
            .args(["--name=clone", "--rw=randwrite", "--bs=4k", "--size=16m"])
            .args(["--nrfiles=4", "--verify=crc32c", "--do_verify=0"])
            .args(["--fsync=16", "--time_based", "--runtime=600"])
            .arg("--verify_state_save=0")
            .arg(format!("--directory={}", folder.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let id = self.0.id().to_string();
        // fio writes in children of its own, which end when it is asked to.
        let _ = run("kill", &["-INT", &id]);
        let _ = self.0.wait();
    }
}

/// Writes the same numbers to two files in turns, each synced before the next: a moment of that has
/// as many in the first as in the second, or one more.
struct Turns {
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Turns {
    fn start(folder: &Path) -> Self {
        let (done, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let files = ["first", "second"].map(|name| std::fs::File::create(folder.join(name)));
        let [first, second] = files.map(Result::unwrap);
        let thread = {
            let (done, stop) = (done.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let number = done.load(Ordering::Relaxed);
                    for mut file in [&first, &second] {
                        writeln!(file, "{number}").unwrap();
                        file.sync_data().unwrap();
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        Self {
            done,
            stop,
            thread: Some(thread),
        }
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    fn assert_moment(folder: &Path, at_least: u64) {
        let [first, second] = ["first", "second"].map(|name| count(&folder.join(name)));
        assert!(first >= at_least, "{first} of {at_least} written before");
        assert!(first == second || first == second + 1, "{first}, {second}");
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How many numbers a file holds, which has to be all from 0 on.
fn count(file: &Path) -> u64 {
    let text = std::fs::read_to_string(file).unwrap();
    let mut next = 0;
    for line in text.lines() {
        assert_eq!(line, next.to_string());
        next += 1;
    }
    next
}

fn clones_while_written(at: &str, fs: &str, size: u64, times: usize) {
    let location = MountedFs::with_size(at, 8 << 30).unwrap();
    let images = Images::open(location.path());
    images.create_fs("source", fs, size * MIB).unwrap();
    let source = location.folder_beside("source").unwrap();
    let mounted = images.mount("source", &source, "").unwrap();
    let files = mounted.at.join("files");
    std::fs::create_dir(&files).unwrap();
    let writer = Writer::start(&files);
    let turns = Turns::start(&mounted.at);
    assert!(eventually(
        || std::fs::read_dir(&files).unwrap().count() >= 4
    ));
    let clone_at = location.folder_beside("clone").unwrap();
    let mut seen = HashSet::from([uuid(fs, &images.image("source"))]);
    for _ in 0..times {
        let done = turns.done();
        images.clone_volume("source", "clone", None).unwrap();
        assert_eq!(images.said.take(), [""; 0]);
        assert!(
            seen.insert(uuid(fs, &images.image("clone"))),
            "a UUID twice"
        );
        let clone = images.mount("clone", &clone_at, "").unwrap();
        Turns::assert_moment(&clone.at, done);
        assert_eq!(
            std::fs::read_dir(clone.at.join("files")).unwrap().count(),
            4
        );
        clone.umount();
        assert!(eventually(|| images.attachment("clone").is_none()));
        assert_sound(&images, "clone", fs);
        images.drop_volume("clone").unwrap();
    }
    assert!(turns.done() > 0);
    drop((turns, writer));
    mounted.umount();
}

fn times() -> usize {
    if is_quick() {
        left_out("46 of 50 clones");
        4
    } else {
        50
    }
}

#[test]
fn root_fifty_clones_of_ext4_on_xfs_while_fio_writes_are_each_a_sound_moment() {
    if ready() && requires_program("fio") && requires_time() {
        clones_while_written("xfs", "ext4", 256, times());
    }
}

#[test]
fn root_fifty_clones_of_xfs_on_xfs_while_fio_writes_are_each_a_sound_moment() {
    if ready() && requires_program("fio") {
        clones_while_written("xfs", "xfs", 512, times());
    }
}

#[test]
fn root_fifty_clones_of_btrfs_on_btrfs_while_fio_writes_are_each_a_sound_moment() {
    if ready() && requires_program("fio") && requires_time() {
        clones_while_written("btrfs", "btrfs", 512, times());
    }
}

#[test]
fn root_an_unfinished_clone_leaves_no_device() {
    if !ready() {
        return;
    }
    let scratch = Scratch::new("unfinished").unwrap();
    let location = MountedFs::new("xfs").unwrap();
    let images = Images::open(location.path());
    // Labelled xfs and no xfs inside: the recipe fails on its device.
    images.create_fs("a", "xfs", 320 * MIB).unwrap();
    std::fs::write(scratch.path().join("zeros"), vec![0; 4096]).unwrap();
    let zeros = format!("if={}", scratch.path().join("zeros").display());
    let image = format!("of={}", images.image("a").display());
    run("dd", &[&zeros, &image, "conv=notrunc", "status=none"]).unwrap();
    assert!(images.clone_volume("a", "b", None).is_err());
    assert_eq!(images.names(), ["a"]);
    let devices = stdout_of("losetup", &["--list", "--noheadings"]).unwrap();
    let ours = location.path().to_str().unwrap();
    assert!(eventually(
        || loop_devices_beneath(location.path()).is_empty()
    ));
    let left = devices
        .lines()
        .filter(|line| line.contains(ours) && line.contains("deleted"));
    assert_eq!(left.count(), 0, "{devices}");
}
