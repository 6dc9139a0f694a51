// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ploop` itself (libploop 1.15, which needs no kernel module for a disk that is not shown) and we on
//! the same disks.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use mosaic_ploop::files::DiskFolder;
use mosaic_ploop::format::check::Repair;
use mosaic_ploop::format::descriptor::Base;
use mosaic_ploop::format::disk::{Disk, Kind, NewDisk};
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::header::Version;
use mosaic_ploop::format::units::{ClusterSize, DiskOffset, Sectors};
use mosaic_tests::{is_quick, left_out, requires_program, requires_root};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tempfile::TempDir;

use crate::disk::{CLUSTER, MIB, V1, V2, guid};

/// Clusters that a disk has at most.
const MOST: u64 = 40;
/// Sectors of a cluster.
pub const SMALL: u32 = 64;

/// Shows it the parameter of a kernel module which says that version 2 is known. First it lets go of
/// the mounts of tests that run beside this one: for them it would be one who uses their volumes.
const WITH_V2: &str = "while read -r _ _ _ _ at _; do \
        case $at in */mosaic-test-*) umount -l \"$at\" 2>/dev/null;; esac; \
    done </proc/self/mountinfo; \
    mount -t tmpfs none /sys/module \
    && mkdir -p /sys/module/ploop/parameters \
    && echo 1 > /sys/module/ploop/parameters/large_disk_support \
    && exec \"$@\"";

/// The program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// As it is where the kernel has no ploop: it makes images of version 1 only.
    V1,
    /// In a mount namespace of its own, which needs root.
    V2,
}

impl Tool {
    /// Runs it in a folder.
    pub fn run(self, folder: &Path, arguments: &[&str]) -> Output {
        self.run_traced(folder, &[], arguments)
    }

    /// The same under strace with these arguments, if there are any.
    pub fn run_traced(self, folder: &Path, trace: &[&str], arguments: &[&str]) -> Output {
        let tracer: &[&str] = if trace.is_empty() { &[] } else { &["strace"] };
        let tool = [tracer, trace, &["/usr/sbin/ploop"]].concat();
        let within = ["unshare", "-m", "sh", "-c", WITH_V2, "ploop"];
        let words = match self {
            Self::V1 => tool,
            Self::V2 => [&within, &tool[..]].concat(),
        };
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        // `init` copies 4096 bytes from where its last argument begins, and the stack has to have
        // them.
        command.env("FILLS_THE_STACK", "x".repeat(8192));
        command.args(arguments).current_dir(folder);
        command.output().unwrap()
    }

    /// Runs it, and it must be content.
    #[track_caller]
    pub fn does(self, folder: &Path, arguments: &[&str]) {
        let done = self.run(folder, arguments);
        assert!(done.status.success(), "ploop {arguments:?}: {done:?}");
    }
}

pub fn open(folder: &Path) -> Disk<DiskFolder> {
    Disk::open(DiskFolder::open(folder).unwrap()).unwrap()
}

pub fn create(folder: &Path, file: &str, kind: Kind, cluster: u32, size: u64) -> Disk<DiskFolder> {
    let new = NewDisk {
        file,
        size: Sectors(size / 512),
        cluster: ClusterSize::new(cluster).unwrap(),
        kind,
    };
    Disk::create(DiskFolder::open(folder).unwrap(), &new).unwrap()
}

pub fn read(disk: &Disk<DiskFolder>, shot: Guid) -> Vec<u8> {
    let chain = disk.read(shot).unwrap();
    let mut data = vec![0xee; usize::try_from(chain.size().bytes()).unwrap()];
    chain.read(&mut data, DiskOffset(0)).unwrap();
    data
}

pub fn write(disk: &Disk<DiskFolder>, at: u64, data: &[u8]) {
    let mut chain = disk.write().unwrap();
    chain.write(data, DiskOffset(at)).unwrap();
    chain.close().unwrap();
}

/// The images of a disk that have a header.
pub fn with_header(disk: &Disk<DiskFolder>) -> Vec<String> {
    let descriptor = disk.descriptor();
    let is_raw = |guid| {
        let base = descriptor.chain(guid).first() == Some(&guid);
        base && descriptor.base() == Base::Raw
    };
    let images = descriptor.images().iter();
    let images = images.filter(|image| !is_raw(image.guid));
    images.map(|image| image.file.clone()).collect()
}

/// Asserts that neither finds a fault in any file of the disk.
#[track_caller]
fn assert_both_content(folder: &Path, when: &str) {
    let mut disk = open(folder);
    let report = disk.check(None).unwrap();
    assert!(report.is_clean(), "{when}: {report:?}");
    assert_eq!(report.stale_size, None, "{when}");
    for file in with_header(&disk) {
        // All of it though it is closed, duplicates too, and nothing is changed.
        let done = Tool::V1.run(folder, &["check", "-f", "-c", "-r", &file]);
        assert!(done.status.success(), "{when}: {done:?}");
    }
    Tool::V1.does(folder, &["snapshot-list", "DiskDescriptor.xml"]);
}

#[test]
fn what_we_make_is_to_the_byte_what_ploop_makes() {
    if requires_program("ploop") {
        assert_same_from_the_start(Tool::V1);
    }
}

#[test]
fn root_what_we_make_of_version_2_is_to_the_byte_what_ploop_makes() {
    if requires_root() && requires_program("ploop") && requires_program("unshare") {
        assert_same_from_the_start(Tool::V2);
    }
}

fn assert_same_from_the_start(tool: Tool) {
    let (number, version) = match tool {
        Tool::V1 => ("1", Version::V1),
        Tool::V2 => ("2", Version::V2),
    };
    let kinds = [
        (Kind::Expanded(version), "expanded"),
        (Kind::Preallocated(version), "preallocated"),
        (Kind::Raw, "raw"),
    ];
    let sizes = [(64, MIB), (2048, 64 * MIB), (512, 12 * MIB)];
    for (kind, format) in kinds {
        for (cluster, size) in sizes {
            let [ours, theirs] = [TempDir::new().unwrap(), TempDir::new().unwrap()];
            create(ours.path(), "root.hdd", kind, cluster, size);
            let [sectors, blocks] = [size / 512, u64::from(cluster)].map(|it| it.to_string());
            let how = ["-s", &sectors, "-b", &blocks, "-f", format, "-v", number];
            let arguments = [&["init"], &how[..], &["-t", "none", "root.hdd"]].concat();
            tool.does(theirs.path(), &arguments);
            if format == "preallocated" {
                // It leaves the flag of an empty image, for its own check to complain of.
                tool.does(theirs.path(), &["check", "-f", "root.hdd"]);
            }
            if kind != Kind::Raw {
                // On ext4 also that no part of a cluster is space that was never written.
                tool.does(ours.path(), &["check", "-f", "-c", "-r", "root.hdd"]);
            }
            for file in ["root.hdd", "DiskDescriptor.xml"] {
                let [ours, theirs] =
                    [&ours, &theirs].map(|dir| std::fs::read(dir.path().join(file)).unwrap());
                assert!(ours == theirs, "{format} {cluster} {size} {file}");
            }
        }
    }
}

/// Who does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Ploop,
    We,
}

/// Something done to a disk. Numbers pick among what is there.
#[derive(Debug, Clone)]
enum Step {
    Write {
        at: u64,
        bytes: u64,
        byte: u8,
    },
    Snapshot(Who),
    Switch(Who, usize),
    Delete(Who, usize),
    /// What the top has into what is beneath it, whose name goes.
    MergeTop,
    Grow(Who, u64),
}

/// A disk that both change in turn, and what it should hold.
struct Turns {
    tool: Tool,
    folder: TempDir,
    top: Vec<u8>,
    snapshots: BTreeMap<Guid, Vec<u8>>,
    names: u8,
}

impl Turns {
    fn new(tool: Tool, kind: Kind) -> Self {
        let folder = TempDir::new().unwrap();
        let bytes = 12 * CLUSTER;
        create(folder.path(), "root.hdd", kind, SMALL, bytes);
        Self {
            tool,
            folder,
            top: vec![0; usize::try_from(bytes).unwrap()],
            snapshots: BTreeMap::new(),
            names: 0,
        }
    }

    fn disk(&self) -> Disk<DiskFolder> {
        open(self.folder.path())
    }

    fn ploop(&self, arguments: &[&str]) {
        let arguments = [arguments, &["DiskDescriptor.xml"]].concat();
        self.tool.does(self.folder.path(), &arguments);
        self.set_flags();
    }

    /// `ploop` takes the flag of an empty image away from those that it has just merged or grown, for
    /// its own check to complain of.
    fn set_flags(&self) {
        for name in with_header(&self.disk()) {
            self.tool.does(self.folder.path(), &["check", "-f", &name]);
        }
    }

    /// Does it; `false` if there was nothing to do it to.
    fn step(&mut self, step: &Step) -> bool {
        match *step {
            Step::Write { at, bytes, byte } => {
                let size = self.top.len() as u64;
                let at = at % size;
                let bytes = bytes.min(size - at);
                let [start, end] = [at, at + bytes].map(|at| usize::try_from(at).unwrap());
                self.top[start..end].fill(byte);
                write(&self.disk(), at, &self.top[start..end]);
            }
            Step::Snapshot(who) => {
                self.names += 1;
                let name = guid(self.names);
                match who {
                    Who::We => self.disk().snapshot(name).unwrap(),
                    Who::Ploop => self.ploop(&["snapshot", "-u", &name.to_string()]),
                }
                self.snapshots.insert(name, self.top.clone());
            }
            Step::Switch(who, to) => {
                let Some(to) = self.pick(to) else {
                    return false;
                };
                match who {
                    Who::We => self.disk().switch(to, None).unwrap(),
                    Who::Ploop => self.ploop(&["snapshot-switch", "-u", &to.to_string()]),
                }
                self.top = self.snapshots[&to].clone();
                // ploop leaves the size of the disk that was.
                self.disk().check(Some(Repair::Safe)).unwrap();
            }
            Step::Delete(who, shot) => {
                let Some(shot) = self.pick(shot) else {
                    return false;
                };
                match who {
                    Who::We => drop(self.disk().delete(shot).unwrap()),
                    Who::Ploop => self.ploop(&["snapshot-delete", "-u", &shot.to_string()]),
                }
                self.snapshots.remove(&shot);
            }
            Step::MergeTop => {
                let disk = self.disk();
                let descriptor = disk.descriptor();
                let below = descriptor.shot(Guid::TOP).unwrap().parent;
                if below == Guid::NONE || descriptor.children(below).count() > 1 {
                    return false;
                }
                self.ploop(&["snapshot-merge"]);
                self.snapshots.remove(&below);
            }
            Step::Grow(who, clusters) => {
                let size = self.top.len() as u64 + clusters * CLUSTER;
                let disk = self.disk();
                let top = disk.descriptor().file(Guid::TOP).unwrap().to_owned();
                let is_raw =
                    disk.descriptor().images().len() == 1 && disk.descriptor().base() == Base::Raw;
                if size > MOST * CLUSTER || who == Who::Ploop && is_raw {
                    return false;
                }
                match who {
                    Who::We => self.disk().grow(Sectors(size / 512)).unwrap(),
                    Who::Ploop => {
                        let sectors = (size / 512).to_string();
                        self.tool
                            .does(self.folder.path(), &["grow", "-s", &sectors, &top]);
                        self.set_flags();
                        // It is for one file: the descriptor is the caller's.
                        self.disk().check(Some(Repair::Safe)).unwrap();
                    }
                }
                self.top.resize(usize::try_from(size).unwrap(), 0);
            }
        }
        true
    }

    fn compare(&self, when: &str) {
        let disk = self.disk();
        for image in disk.descriptor().images() {
            disk.fill_holes(&image.file, || true).unwrap();
        }
        assert_both_content(self.folder.path(), when);
        assert!(read(&disk, Guid::TOP) == self.top, "{when}: the disk");
        for (guid, data) in &self.snapshots {
            assert!(read(&disk, *guid) == *data, "{when}: snapshot {guid}");
        }
    }

    fn pick(&self, number: usize) -> Option<Guid> {
        let number = number.checked_rem(self.snapshots.len())?;
        self.snapshots.keys().nth(number).copied()
    }
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![1 => Just(Who::We), 2 => Just(Who::Ploop)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..MOST * CLUSTER, 1..3 * CLUSTER, any::<u8>())
            .prop_map(|(at, bytes, byte)| Step::Write { at, bytes, byte }),
        3 => who().prop_map(Step::Snapshot),
        1 => (who(), 0..8_usize).prop_map(|(who, to)| Step::Switch(who, to)),
        2 => (who(), 0..8_usize).prop_map(|(who, shot)| Step::Delete(who, shot)),
        1 => Just(Step::MergeTop),
        1 => (who(), 1..12_u64).prop_map(|(who, clusters)| Step::Grow(who, clusters)),
    ]
}

#[test]
fn ploop_and_we_change_the_same_disk_in_turn() {
    if requires_program("ploop") {
        // Our deltas upon a raw base are of version 2.
        take_turns(Tool::V1, &[V1, Kind::Preallocated(Version::V1)]);
    }
}

#[test]
fn root_ploop_and_we_change_the_same_disk_of_version_2_in_turn() {
    if requires_root() && requires_program("ploop") && requires_program("unshare") {
        take_turns(Tool::V2, &[V2, Kind::Preallocated(Version::V2), Kind::Raw]);
    }
}

fn take_turns(tool: Tool, kinds: &[Kind]) {
    let mut sequences = 36;
    if is_quick() {
        left_out("all but 3 sequences");
        sequences = 3;
    }
    let mut runner = TestRunner::deterministic();
    let steps = proptest::collection::vec(step(), 10..25);
    let mut done = 0;
    for number in 0..sequences {
        let kind = kinds[number % kinds.len()];
        let mut turns = Turns::new(tool, kind);
        let steps = steps.new_tree(&mut runner).unwrap().current();
        for (at, step) in steps.iter().enumerate() {
            let when = format!("{kind:?}, step {at} of {steps:?}");
            done += usize::from(turns.step(step));
            turns.compare(&when);
        }
    }
    assert!(done > sequences * 8, "{done}");
}

#[test]
fn root_we_convert_and_grow_to_the_byte_as_ploop_does() {
    if !requires_root() || !requires_program("ploop") || !requires_program("unshare") {
        return;
    }
    for (from, to, number) in [(V1, Version::V2, "2"), (V2, Version::V1, "1")] {
        let [ours, theirs] = [TempDir::new().unwrap(), TempDir::new().unwrap()];
        let mut disk = create(ours.path(), "root.hdd", from, SMALL, 256 * MIB);
        write(&disk, 0, &[1; 300_000]);
        disk.snapshot(guid(1)).unwrap();
        write(&disk, 255 * MIB, &[2; 300_000]);
        disk.snapshot(guid(2)).unwrap();
        write(&disk, 100_000, &[3; 200_000]);
        for entry in std::fs::read_dir(ours.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), theirs.path().join(entry.file_name())).unwrap();
        }
        let same = |what: &str| {
            for name in with_header(&open(ours.path())) {
                let [ours, theirs] =
                    [&ours, &theirs].map(|dir| std::fs::read(dir.path().join(&name)).unwrap());
                assert!(ours == theirs, "{what} to {to:?}: {name}");
            }
        };
        disk.convert(to).unwrap();
        let convert = ["convert", "-v", number, "DiskDescriptor.xml"];
        Tool::V2.does(theirs.path(), &convert);
        same("conversion");
        disk.grow(Sectors(2048 * MIB / 512)).unwrap();
        let top = disk.descriptor().file(Guid::TOP).unwrap();
        let sectors = (2048 * MIB / 512).to_string();
        Tool::V2.does(theirs.path(), &["grow", "-s", &sectors, top]);
        same("growth");
    }
}
