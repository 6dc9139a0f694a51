// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes come, change and go.

use std::os::unix::fs::{FileExt, PermissionsExt};

use mosaic_core::ErrorKind;
use mosaic_core::fs::FsType;
use mosaic_core::volume::{Kind, NewKind};
use mosaic_core::{Driver, VolumeName, volume::NewVolume};
use mosaic_tests::{Scratch, requires_program, run, stdout_of};

use super::common::{Disks, MIB, disks, scratch, volume};

#[test]
fn a_new_disk_is_what_its_options_say_and_qemu_finds_nothing_wrong() {
    let sizes = [
        ("1", "64K", "true"),
        ("1", "1M", "false"),
        ("2", "32K", "false"),
    ];
    for (version, cluster, preallocate) in sizes {
        let options = [
            ("version", version),
            ("cluster_size", cluster),
            ("preallocate", preallocate),
        ];
        let (_scratch, disks) = disks("new", &options);
        disks.create_disk("a", 8 * MIB).unwrap();
        let found = disks.find("a").unwrap();
        assert_eq!(found.kind, Kind::Disk);
        assert_eq!(disks.size("a"), 8 * MIB);
        assert_eq!(disks.fact("a", "version"), version);
        assert_eq!(disks.fact("a", "deltas"), "1");
        let base = if preallocate == "true" {
            "preallocated"
        } else {
            "expanded"
        };
        assert_eq!(disks.fact("a", "base"), base);
        let allocated = if preallocate == "true" {
            "8 MiB"
        } else {
            "0 B"
        };
        assert_eq!(disks.fact("a", "allocated"), allocated, "{options:?}");
        assert_eq!(found.used.unwrap().0 >= 8 * MIB, preallocate == "true");
        for (file, mode) in [
            ("a", 0o700),
            ("a/root.hds", 0o600),
            ("a/DiskDescriptor.xml", 0o644),
        ] {
            let meta = disks.file(file).metadata().unwrap();
            assert_eq!(meta.permissions().mode() & 0o777, mode, "{file}");
        }
        if requires_program("qemu-img") {
            let image = disks.file("a/root.hds");
            run(
                "qemu-img",
                &["check", "-f", "parallels", image.to_str().unwrap()],
            )
            .unwrap();
        }
        assert_eq!(disks.leftovers(), [""; 0].map(std::path::PathBuf::from));
    }
}

#[test]
fn a_size_that_is_no_whole_cluster_is_refused_with_one_that_is() {
    let (_scratch, disks) = disks("odd", &[]);
    let error = disks.create_disk("a", MIB + 512).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error.chain().contains("2097152 bytes are"),
        "{}",
        error.chain()
    );
    disks.create_disk("a", MIB).unwrap();
    let error = disks.resize("a", 2 * MIB - 512).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(disks.size("a"), MIB);
}

#[test]
fn a_disk_too_large_for_its_version_is_refused_and_leaves_nothing() {
    let (_scratch, disks) = disks("large", &[("version", "1")]);
    let error = disks.create_disk("a", 4 << 40).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.chain());
    assert!(disks.names().is_empty() && disks.leftovers().is_empty());
}

#[test]
fn a_new_file_system_is_on_the_disk_whole() {
    for fs in ["ext4", "xfs", "btrfs"] {
        if !requires_program(&format!("mkfs.{fs}")) {
            continue;
        }
        for partition in ["none", "gpt"] {
            let (scratch, disks) = disks("fs", &[("partition", partition)]);
            disks.create_fs("a", fs, 320 * MIB).unwrap();
            let kind = Kind::Fs {
                fs: Some(fs.to_owned()),
                assumed: false,
            };
            assert_eq!(disks.find("a").unwrap().kind, kind);
            let image = flat(&scratch, &disks, partition);
            let open = std::fs::File::open(&image).unwrap();
            let size = FsType::parse(fs)
                .unwrap()
                .size(std::os::fd::AsFd::as_fd(&open));
            let most = if partition == "gpt" { 318 } else { 320 } * MIB;
            assert!(
                (300 * MIB..=most).contains(&size.unwrap().0),
                "{fs} {partition}"
            );
            let image = image.to_str().unwrap();
            match fs {
                "ext4" => run("e2fsck", &["-fn", image]).unwrap(),
                "xfs" => run("xfs_repair", &["-n", "-f", image]).unwrap(),
                _ => run("btrfs", &["check", "--force", image]).unwrap(),
            }
            // What mkfs did not write takes nothing.
            let used = disks.find("a").unwrap().used.unwrap().0;
            assert!(used < 200 * MIB, "{fs}: {used}");
            assert!(disks.leftovers().is_empty());
        }
    }
}

/// Where a volume's file system is, as a file.
fn flat(scratch: &Scratch, disks: &Disks, partition: &str) -> std::path::PathBuf {
    let path = scratch.path().join("flat");
    let (at, bytes) = match partition {
        "gpt" => (MIB, 318 * MIB),
        _ => (0, 320 * MIB),
    };
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(bytes).unwrap();
    let data = disks.read("a", at, usize::try_from(bytes).unwrap());
    let empty = [0; 64 << 10];
    for (offset, part) in (0..).step_by(empty.len()).zip(data.chunks(empty.len())) {
        if part != &empty[..part.len()] {
            file.write_all_at(part, offset).unwrap();
        }
    }
    path
}

#[test]
fn a_partition_table_is_what_other_programs_read() {
    if !requires_program("mkfs.ext4") || !requires_program("sfdisk") {
        return;
    }
    let (scratch, disks) = disks("gpt", &[("partition", "gpt")]);
    disks.create_fs("a", "ext4", 64 * MIB).unwrap();
    let path = scratch.path().join("flat");
    std::fs::write(&path, disks.read("a", 0, 64 << 20)).unwrap();
    let path = path.to_str().unwrap();
    let said = stdout_of("sfdisk", &["--dump", path]).unwrap();
    assert!(said.contains("label: gpt"), "{said}");
    let place = "start=        2048, size=      126976, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4";
    assert!(said.contains(place), "{said}");
    run("sfdisk", &["--verify", path]).unwrap();
    let error = disks.create_fs("b", "ext4", 2 * MIB).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn a_renamed_volume_keeps_its_data_and_a_dropped_one_is_gone() {
    let (_scratch, disks) = disks("names", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    disks.write("a", MIB + 5, b"kept");
    disks.rename("a", "deep/b").unwrap();
    assert_eq!(disks.names(), ["deep/b"]);
    assert_eq!(disks.read("deep/b", MIB + 5, 4), b"kept");
    disks.create_disk("a", MIB).unwrap();
    assert_eq!(
        disks.rename("a", "deep/b").unwrap_err().kind(),
        ErrorKind::Exists
    );
    let error = disks.create_disk("deep", MIB).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists, "{}", error.chain());
    disks.drop("deep/b").unwrap();
    assert_eq!(disks.names(), ["a"]);
    assert!(!disks.file("deep").exists());
    let error = disks.drop("deep/b").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_users_name_stays_with_the_volume() {
    let (_scratch, disks) = disks("user", &[]);
    let name = VolumeName::with_stored("7", "0/7").unwrap();
    let new = NewVolume {
        kind: NewKind::Disk,
        size: mosaic_core::Bytes(MIB),
        scratch: scratch(),
    };
    disks.driver.create(&name, &new).unwrap();
    let found = &disks.driver.list().unwrap()[0];
    assert_eq!(
        (found.stored.as_str(), found.user.as_deref()),
        ("0/7", Some("7"))
    );
    disks.driver.rename(&name, &volume("8")).unwrap();
    assert_eq!(disks.find("8").unwrap().user, None);
}

#[test]
fn an_idle_disk_grows_and_shrinks() {
    for version in ["1", "2"] {
        let options = [("version", version), ("cluster_size", "32K")];
        let (_scratch, disks) = disks("size", &options);
        disks.create_disk("a", 4 * MIB).unwrap();
        disks.write("a", 0, &[7; 100_000]);
        // So much that the table needs the place of data.
        disks.resize("a", 1 << 30).unwrap();
        assert_eq!(disks.size("a"), 1 << 30);
        assert_eq!(disks.read("a", 0, 100_000), [7; 100_000]);
        disks.write("a", (1 << 30) - 10, b"at the end");
        disks.resize("a", 1 << 30).unwrap();
        disks.resize("a", MIB).unwrap();
        assert_eq!(disks.size("a"), MIB);
        assert_eq!(disks.read("a", 0, 100_000), [7; 100_000]);
        disks.resize("a", 1 << 30).unwrap();
        assert_eq!(disks.read("a", (1 << 30) - 10, 10), [0; 10]);
    }
}

#[test]
fn what_is_no_volume_has_its_name_all_the_same() {
    let (_scratch, disks) = disks("none", &[]);
    std::fs::create_dir(disks.file("folder")).unwrap();
    std::fs::write(disks.file("file"), "").unwrap();
    std::os::unix::fs::symlink("folder", disks.file("link")).unwrap();
    for name in ["folder", "file", "link"] {
        let error = disks.driver.find(&volume(name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exists, "{name}");
    }
    assert!(disks.find("nothing").is_none());
    assert!(disks.names().is_empty());
}
