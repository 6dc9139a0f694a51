// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks in the hands of other programs: noticed, named, not touched.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mosaic_core::{ErrorKind, Result};
use mosaic_ploop::lock_file::LOCK_FILE;
use mosaic_tests::{
    eventually, requires, requires_program, requires_root, requires_time, stdout_of,
};

use super::common::{Disks, MIB, disks};

/// A process that is killed when the test ends.
struct Process(Child);

impl Process {
    fn new(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).spawn().unwrap())
    }

    fn word(&self) -> String {
        format!("pid {}", self.0.id())
    }

    fn has_open(&self, path: &Path) -> bool {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.0.id()));
        let mut links = descriptors.into_iter().flatten().flatten();
        links.any(|link| std::fs::read_link(link.path()).is_ok_and(|to| to == path))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Something that changes a disk.
type Verb = fn(&Disks) -> Result<()>;

/// All that changes a disk is refused, and says who uses it.
fn assert_refused(disks: &Disks, word: &str) {
    let before = std::fs::read(disks.file("a/DiskDescriptor.xml")).unwrap();
    let verbs: [(&str, Verb); 4] = [
        ("drop", |disks| disks.drop("a")),
        ("rename", |disks| disks.rename("a", "b")),
        ("resize", |disks| disks.resize("a", 8 * MIB)),
        ("clone", |disks| disks.clone("a", "b", None)),
    ];
    for (verb, run) in verbs {
        let error = run(disks).expect_err(verb);
        assert_eq!(error.kind(), ErrorKind::Busy, "{verb}: {}", error.chain());
        assert!(error.chain().contains(word), "{verb}: {}", error.chain());
    }
    assert_eq!(disks.names(), ["a"]);
    assert_eq!(
        std::fs::read(disks.file("a/DiskDescriptor.xml")).unwrap(),
        before
    );
    assert!(disks.leftovers().is_empty());
}

fn assert_free(disks: &Disks) {
    assert!(eventually(|| disks.clone("a", "b", None).is_ok()));
    disks.drop("b").unwrap();
    disks.drop("a").unwrap();
}

#[test]
fn a_program_that_has_an_image_open_is_named() {
    let (_scratch, disks) = disks("opener", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    for write in [false, true] {
        let image = OpenOptions::new()
            .read(true)
            .write(write)
            .open(disks.file("a/root.hds"));
        let mut sleep = Command::new("sleep");
        let opener = Process::new(sleep.arg("1000").stdin(Stdio::from(image.unwrap())));
        assert_refused(&disks, &opener.word());
    }
    assert_free(&disks);
}

#[test]
fn libploops_lock_is_waited_for_and_its_holder_named() {
    if !requires_program("flock") {
        return;
    }
    let (_scratch, disks) = disks("flock", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    let lock = disks.file("a").join(LOCK_FILE);
    let mut flock = Command::new("flock");
    let holder = Process::new(flock.arg("--no-fork").arg(&lock).args(["sleep", "1000"]));
    assert!(eventually(|| {
        let try_lock = ["--nonblock", lock.to_str().unwrap(), "true"];
        stdout_of("flock", &try_lock).is_err()
    }));
    let error = disks.resize("a", 8 * MIB).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.chain().contains(&holder.word()), "{}", error.chain());
    assert_eq!(disks.size("a"), 4 * MIB);
    drop(holder);
}

#[test]
fn a_disk_that_qemu_has_is_left_to_it() {
    if !requires_program("qemu-nbd") {
        return;
    }
    let (scratch, disks) = disks("qemu", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    for options in [&["--read-only"][..], &[]] {
        let socket = scratch.path().join(format!("nbd{}", options.len()));
        let mut nbd = Command::new("qemu-nbd");
        nbd.args(["--persistent", "--format=parallels", "--socket"])
            .arg(&socket)
            .args(options)
            .arg(disks.file("a/root.hds"));
        let nbd = Process::new(&mut nbd);
        assert!(eventually(|| nbd.has_open(&disks.file("a/root.hds"))));
        assert_refused(&disks, &nbd.word());
        let pid = rustix::process::Pid::from_child(&nbd.0);
        // So that it closes the image.
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut nbd = nbd;
        nbd.0.wait().unwrap();
    }
    assert_free(&disks);
}

/// What is locked by us QEMU does not open.
#[test]
fn qemu_does_not_open_what_is_claimed() {
    if !requires_program("qemu-io") {
        return;
    }
    let (_scratch, disks) = disks("claimed", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    let name = super::common::volume("a");
    let location = mosaic_core::Location::open(&disks.path).unwrap();
    let dir = mosaic_ploop::volume_dir::VolumeDir::require(&location, &name).unwrap();
    let host = mosaic_core::Host::new(disks.said.clone());
    let image = disks.file("a/root.hds");
    let opens = |options: &[&str]| {
        let mut qemu = Command::new("qemu-io");
        let command = qemu
            .args(["-f", "parallels"])
            .args(options)
            .args(["-c", "read 0 512"]);
        command.arg(&image).output().unwrap().status.success()
    };
    assert!(opens(&["-r"]) && opens(&[]));
    let claim = mosaic_ploop::claim::Claim::take(&dir, &host).unwrap();
    assert!(!opens(&["-r"]) && !opens(&[]));
    drop(claim);
    assert!(opens(&["-r"]) && opens(&[]));
}

#[test]
fn root_a_loop_device_on_a_raw_disk_is_named() {
    if !requires_root() {
        return;
    }
    let (_scratch, disks) = disks("loop", &[]);
    super::foreign_disks::raw(&disks, "a", &[3; 2 << 20]);
    disks.label("a");
    let image = disks.file("a/root.hdd");
    let losetup = ["--find", "--show", image.to_str().unwrap()];
    let device = stdout_of("losetup", &losetup).unwrap().trim().to_owned();
    assert_refused(&disks, &device);
    mosaic_tests::run("losetup", &["--detach", &device]).unwrap();
    assert_free(&disks);
}

#[test]
fn a_clone_in_use_is_in_nobodys_way() {
    let (_scratch, disks) = disks("shared", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    disks.write("a", 0, b"both");
    disks.clone("a", "b", None).unwrap();
    // As a server of the clone does it.
    let chain = disks.disk("b").write().unwrap();
    disks.resize("a", 8 * MIB).unwrap();
    disks.clone("a", "c", None).unwrap();
    disks.drop("a").unwrap();
    chain.close().unwrap();
    assert_eq!(disks.read("b", 0, 4), b"both");
    assert!(Path::new(&disks.file("c/root.hds")).exists());
}

/// Whoever may write in a volume's folder can put there what he likes.
#[test]
fn a_folder_with_any_number_of_files_is_claimed() {
    if !requires_time() {
        return;
    }
    let (_scratch, disks) = disks("many-files", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let count = limit.current.unwrap_or(u64::MAX);
    if !requires(
        count < 50_000,
        "so many files may be open that it takes too long to make more",
    ) {
        return;
    }
    let file = |number: u64| disks.file("a").join(format!("root.hds.{{{number:036}}}"));
    for number in 0..=count {
        std::fs::write(file(number), "").unwrap();
    }
    disks.rename("a", "b").unwrap();
    disks.rename("b", "a").unwrap();
    let opened = std::fs::File::open(file(count)).unwrap();
    let mut sleep = Command::new("sleep");
    let opener = Process::new(sleep.arg("1000").stdin(Stdio::from(opened)));
    let error = disks.drop("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.chain().contains(&opener.word()), "{}", error.chain());
    // The command keeps the file open for another run.
    drop((opener, sleep));
    disks.drop("a").unwrap();
}
