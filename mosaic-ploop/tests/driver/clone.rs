// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clones share what they have in common, and nothing that one does is seen by the other.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use mosaic_core::ErrorKind;
use mosaic_core::finding::Repair;
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::units::DiskOffset;
use mosaic_tests::{MountedFs, requires_program, requires_root, requires_time, run, stdout_of};

use super::common::{Disks, MIB, disks};

/// The files of a volume by name, with the number of their names.
fn links(disks: &Disks, name: &str) -> Vec<(String, u64)> {
    let entries = std::fs::read_dir(disks.file(name)).unwrap();
    let files = entries.map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, entry.metadata().unwrap().nlink())
    });
    let mut files: Vec<_> = files.filter(|(name, _)| name.starts_with("root")).collect();
    files.sort();
    files
}

/// Lets the descriptor name another size, as `ploop snapshot-switch` does after a growth.
pub fn describe_with(disks: &Disks, name: &str, from: u64, to: u64) {
    let descriptor = disks.file(name).join("DiskDescriptor.xml");
    let mut text = std::fs::read_to_string(&descriptor).unwrap();
    for key in ["Disk_size", "End"] {
        let [from, to] = [from, to].map(|bytes| format!("<{key}>{}<", bytes / 512));
        assert!(text.contains(&from), "{text}");
        text = text.replace(&from, &to);
    }
    std::fs::write(descriptor, text).unwrap();
}

#[test]
fn a_clone_grows_whatever_size_the_descriptor_of_its_source_has() {
    let (_scratch, disks) = disks("stale-size", &[]);
    disks.create_disk("a", 8 * MIB).unwrap();
    disks.write("a", 0, &[1; 9]);
    describe_with(&disks, "a", 8 * MIB, 16 * MIB);
    assert_eq!(disks.size("a"), 8 * MIB);
    disks.clone("a", "b", Some(12 * MIB)).unwrap();
    disks.clone("a", "c", None).unwrap();
    for (name, mib) in [("b", 12), ("c", 8)] {
        assert_eq!(disks.size(name), mib * MIB, "{name}");
        assert_eq!(disks.disk(name).descriptor().size().bytes(), mib * MIB);
        assert_eq!(disks.read(name, 0, 9), [1; 9], "{name}");
    }
}

fn clones_are_disks_of_their_own(disks: &Disks, shares_names: bool) {
    disks.create_disk("a", 8 * MIB).unwrap();
    disks.write("a", 0, &[1; 3000]);
    disks.clone("a", "b", None).unwrap();
    let shared = if shares_names { 2 } else { 1 };
    let counts: Vec<_> = links(disks, "b").iter().map(|(_, links)| *links).collect();
    assert_eq!(counts, [shared, 1]);
    assert_eq!(disks.read("b", 0, 3000), [1; 3000]);
    // Unchanged: no further snapshot. Nor in the clone, which becomes a source.
    disks.clone("a", "c", Some(16 * MIB)).unwrap();
    disks.clone("b", "d", None).unwrap();
    for name in ["a", "b", "c", "d"] {
        assert_eq!(disks.fact(name, "deltas"), "2", "{name}");
    }
    assert_eq!(disks.size("c"), 16 * MIB);
    for (name, byte) in [("a", 2), ("b", 3), ("c", 4), ("d", 5)] {
        disks.write(name, 1000, &[byte; 1000]);
    }
    for (name, byte) in [("a", 2), ("b", 3), ("c", 4), ("d", 5)] {
        let expected = [[1; 1000], [byte; 1000], [1; 1000]].concat();
        assert_eq!(disks.read(name, 0, 3000), expected, "{name}");
    }
    // Changed: one more.
    disks.clone("a", "e", None).unwrap();
    assert_eq!(disks.fact("a", "deltas"), "3");
    assert_eq!(disks.read("e", 1000, 1000), [2; 1000]);
    // A snapshot that goes is merged without a write to what others have.
    for name in ["a", "e"] {
        let mut disk = disks.disk(name);
        let base = disk.descriptor().chain(disk.descriptor().top())[0];
        disk.delete(base).unwrap();
        assert_eq!(disks.fact(name, "deltas"), "2");
    }
    for (name, byte) in [("a", 2), ("b", 3), ("c", 4), ("d", 5), ("e", 2)] {
        let expected = [[1; 1000], [byte; 1000], [1; 1000]].concat();
        assert_eq!(disks.read(name, 0, 3000), expected, "{name}");
        if requires_program("qemu-img") {
            for (file, _) in links(disks, name) {
                let file = disks.file(name).join(file);
                run(
                    "qemu-img",
                    &["check", "-f", "parallels", file.to_str().unwrap()],
                )
                .unwrap();
            }
        }
    }
    assert_eq!(disks.check(&Repair::Nothing), []);
    for name in ["a", "c", "e"] {
        disks.drop(name).unwrap();
    }
    assert_eq!(disks.read("b", 0, 1000), [1; 1000]);
    assert_eq!(disks.read("d", 1000, 1000), [5; 1000]);
    assert!(disks.leftovers().is_empty());
}

#[test]
fn root_clones_share_files_where_there_is_no_reflink() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    let fs = MountedFs::new("ext4").unwrap();
    clones_are_disks_of_their_own(&Disks::open(fs.path(), &[]), true);
}

#[test]
fn root_clones_share_blocks_where_there_is_reflink() {
    for (fs, package) in [("xfs", "mkfs.xfs"), ("btrfs", "mkfs.btrfs")] {
        if !requires_root() || !requires_program(package) {
            return;
        }
        let fs = MountedFs::new(fs).unwrap();
        clones_are_disks_of_their_own(&Disks::open(fs.path(), &[("version", "1")]), false);
    }
}

/// The extents of a file on disk, one a line.
fn extents(file: &Path) -> Vec<String> {
    let file = file.to_str().unwrap();
    let listed = stdout_of("filefrag", &["-s", "-v", file]).unwrap();
    let is_extent = |line: &&str| {
        let number = line.split_once(':').map(|(number, _)| number.trim());
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    listed
        .lines()
        .filter(is_extent)
        .map(str::to_owned)
        .collect()
}

#[test]
fn root_clones_with_reflink_have_the_blocks_of_their_source() {
    for (fs, package) in [("xfs", "mkfs.xfs"), ("btrfs", "mkfs.btrfs")] {
        if !requires_root() || !requires_program(package) || !requires_program("filefrag") {
            return;
        }
        let fs = MountedFs::new(fs).unwrap();
        let disks = Disks::open(fs.path(), &[]);
        disks.create_disk("a", 64 * MIB).unwrap();
        disks.write("a", 0, &[1; 16 << 20]);
        let own = extents(&disks.file("a").join("root.hds"));
        assert!(
            own.iter().all(|extent| !extent.contains("shared")),
            "{own:?}"
        );
        disks.clone("a", "b", None).unwrap();
        let found = extents(&disks.file("b").join("root.hds"));
        assert!(!found.is_empty());
        assert!(
            found.iter().all(|extent| extent.contains("shared")),
            "{found:?}"
        );
    }
}

#[test]
fn a_clone_of_a_raw_disk_has_a_header_of_its_own() {
    let (_scratch, disks) = disks("raw", &[]);
    super::foreign_disks::raw(&disks, "a", &[9; 2 << 20]);
    disks.label("a");
    disks.clone("a", "b", None).unwrap();
    disks.write("b", 100, b"mine");
    assert_eq!(disks.read("a", 100, 4), [9; 4]);
    assert_eq!(disks.read("b", 98, 8), b"\x09\x09mine\x09\x09");
    assert_eq!(disks.fact("b", "base"), "raw");
}

#[test]
fn a_clone_that_fails_leaves_the_source_as_good_as_it_was() {
    let (_scratch, disks) = disks("fail", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    disks.write("a", 0, b"data");
    disks.create_disk("b", MIB).unwrap();
    let error = disks.clone("a", "b", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    let error = disks.clone("a", "c", Some(4 * MIB + 512)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(disks.read("a", 0, 4), b"data");
    assert_eq!(disks.names(), ["a", "b"]);
    assert!(disks.leftovers().is_empty());
    assert_eq!(disks.check(&Repair::Nothing), []);
}

#[test]
fn a_disk_with_snapshots_keeps_its_size() {
    let (_scratch, disks) = disks("keep", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    disks.clone("a", "b", None).unwrap();
    for name in ["a", "b"] {
        let error = disks.resize(name, MIB).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", error.chain());
        disks.resize(name, 6 * MIB).unwrap();
        assert_eq!(disks.size(name), 6 * MIB);
    }
}

#[test]
fn a_disk_that_is_cloned_again_and_again_keeps_no_snapshot_that_no_clone_has() {
    if !requires_time() {
        return;
    }
    let (_scratch, disks) = disks("again", &[("cluster_size", "32K")]);
    disks.create_disk("a", 8 * MIB).unwrap();
    disks.clone("a", "kept", None).unwrap();
    for turn in 1..=72_u8 {
        let at = u64::from(turn % 40) * 50_000;
        disks.write("a", at, &[turn; 1000]);
        disks.clone("a", "b", None).unwrap();
        assert_eq!(disks.read("b", at, 1000), [turn; 1000]);
        disks.drop("b").unwrap();
    }
    let deltas: usize = disks.fact("a", "deltas").parse().unwrap();
    assert!(deltas <= 66, "{deltas}");
    // 33 to 72 are the last that were written to each place.
    for turn in 33..=72_u8 {
        let at = u64::from(turn % 40) * 50_000;
        assert_eq!(disks.read("a", at, 1000), [turn; 1000]);
    }
    assert_eq!(disks.read("kept", 0, 100_000), [0; 100_000]);
    assert_eq!(disks.check(&Repair::Nothing), []);
}

#[test]
fn a_snapshot_of_the_users_outlives_all_that_were_made_for_clones() {
    if !requires_time() {
        return;
    }
    let (_scratch, disks) = disks("theirs", &[("cluster_size", "32K")]);
    disks.create_disk("a", MIB).unwrap();
    let mut theirs = Vec::new();
    for turn in 1..=40_u8 {
        disks.write("a", u64::from(turn) * 1000, &[turn; 1000]);
        disks.clone("a", "b", None).unwrap();
        disks.drop("b").unwrap();
        disks.write("a", 0, &[turn; 1000]);
        let guid = Guid::from_random([turn; 16]);
        disks.disk("a").snapshot(guid).unwrap();
        theirs.push((turn, guid));
    }
    let disk = disks.disk("a");
    let deltas = disk.descriptor().images().len();
    // Some of the others have gone, or nothing is shown.
    assert!((41..=66).contains(&deltas), "{deltas}");
    for (turn, guid) in theirs {
        let chain = disk.read(guid).unwrap();
        let mut bytes = [0; 1000];
        for at in [0, u64::from(turn) * 1000] {
            chain.read(&mut bytes, DiskOffset(at)).unwrap();
            assert_eq!(bytes, [turn; 1000], "{turn}");
        }
    }
    assert_eq!(disks.check(&Repair::Nothing), []);
}

#[test]
fn a_snapshot_that_cannot_be_merged_is_no_obstacle() {
    if !requires_time() {
        return;
    }
    let (_scratch, disks) = disks("stuck", &[("cluster_size", "32K")]);
    disks.create_disk("a", MIB).unwrap();
    for turn in 1..=65_u8 {
        disks.write("a", 0, &[turn; 1000]);
        disks.clone("a", "b", None).unwrap();
        disks.drop("b").unwrap();
    }
    assert_eq!(disks.said.lines(), [""; 0]);
    // An entry that leads nowhere, in what would be merged into the base.
    let disk = disks.disk("a");
    let descriptor = disk.descriptor();
    let second = descriptor.chain(descriptor.top())[1];
    let file = disks.file("a").join(descriptor.file(second).unwrap());
    let opened = File::options().write(true).open(file).unwrap();
    let entry = 1000_u32.to_le_bytes();
    opened.write_all_at(&entry, 64 + 4 * 31).unwrap();
    drop(opened);
    disks.write("a", 0, &[66; 1000]);
    disks.clone("a", "b", None).unwrap();
    let said = disks.said.take();
    assert!(
        said.len() == 1 && said[0].contains("is not merged"),
        "{said:?}"
    );
    assert_eq!(disks.read("b", 0, 1000), [66; 1000]);
    disks.write("a", 0, &[67; 1000]);
    assert_eq!(disks.read("a", 0, 1000), [67; 1000]);
}
