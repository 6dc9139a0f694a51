// SPDX-License-Identifier: MIT OR Apache-2.0
//! File systems on the partition of a ploop disk: partition, both copies of its table and file system
//! follow the size of the disk, whoever made it.

use std::path::{Path, PathBuf};

use mosaic_tests::{
    Site, is_quick, left_out, mounted_size, requires_program, requires_root, run, run_status,
    stdout_of,
};
use rustix::fs::XattrFlags;

const MIB: u64 = 1 << 20;
const SECTOR: u64 = 512;

fn ready(fs: &str) -> bool {
    requires_root() && requires_program(&format!("mkfs.{fs}")) && requires_program("parted")
}

fn site(fs: &str) -> Site {
    let config = format!("default_fs: {fs}\npartition: gpt\n");
    Site::on("xfs", "ploop", &config).unwrap()
}

/// Calls a volume a disk, or what it was.
fn label(site: &Site, name: &str, kind: &str) {
    let folder = site.location().join(name);
    rustix::fs::setxattr(
        folder,
        "user.mosaic.kind",
        kind.as_bytes(),
        XattrFlags::empty(),
    )
    .unwrap();
}

fn attach(site: &Site, name: &str) -> PathBuf {
    let attached = site.json(&["attach", name]);
    PathBuf::from(attached["attachment"]["device"].as_str().unwrap())
}

fn size_of(device: &Path) -> u64 {
    let said = stdout_of("blockdev", &["--getsize64".as_ref(), device.as_os_str()]).unwrap();
    said.trim().parse().unwrap()
}

/// First and last sector of the partition, as parted finds them on the whole disk. It asks for the
/// copy at the end as well, and says what it would mend.
fn partition(site: &Site, name: &str, fs: &str) -> (u64, u64) {
    label(site, name, "disk");
    let device = attach(site, name);
    let device = device.to_str().unwrap();
    let output = std::process::Command::new("parted")
        .args(["-m", "-s", device, "unit", "s", "print"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let wrong = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && wrong.is_empty(),
        "{said} {wrong}"
    );
    assert!(said.contains(":gpt:"), "{said}");
    site.ok(&["detach", name]);
    label(site, name, &format!("fs:{fs}"));
    let line = said.lines().find(|line| line.starts_with("1:")).unwrap();
    let number = |field: usize| {
        let word = line.split(':').nth(field).unwrap();
        word.trim_end_matches('s').parse().unwrap()
    };
    (number(1), number(2))
}

/// The partition and the file system on it are as large as a disk of that size has room for.
fn assert_follows(site: &Site, name: &str, fs: &str, size: u64) {
    let volume = site.json(&["info", name])["volume"].clone();
    assert_eq!(volume["size"], size, "{volume}");
    assert_eq!(
        volume["notes"].as_array().map_or(0, Vec::len),
        0,
        "{volume}"
    );
    let (first, last) = partition(site, name, fs);
    assert_eq!((first, last), (2048, size / SECTOR - 2048 - 1));
    let device = attach(site, name);
    assert_eq!(size_of(&device), size - 2 * MIB);
    assert_sound(&device, fs);
    site.ok(&["detach", name]);
    site.ok(&["check"]);
}

fn assert_sound(device: &Path, fs: &str) {
    let device = device.as_os_str();
    let (program, args): (_, &[&str]) = match fs {
        "ext4" => ("e2fsck", &["-fn"]),
        "xfs" => ("xfs_repair", &["-n"]),
        // It takes any other btrfs on ploop that is mounted for this one.
        _ => ("btrfs", &["check", "--readonly", "--force"]),
    };
    let mut all: Vec<_> = args.iter().map(|arg| arg.as_ref()).collect();
    all.push(device);
    assert_eq!(run_status(program, &all).unwrap(), Some(0), "{fs}");
}

/// Grows it, idle, and finds nothing more to do.
fn grow(site: &Site, name: &str, size: u64) {
    let words = ["resize", name, &format!("{}M", size / MIB)];
    let done = site.json(&words);
    assert_eq!(done["changed"], true, "{done}");
    let done = site.json(&words);
    assert_eq!(done["changed"], false, "{done}");
}

#[test]
fn root_an_idle_file_system_on_a_partition_grows_and_shrinks() {
    let all: &[&str] = &["ext4", "xfs", "btrfs"];
    if is_quick() {
        left_out("xfs and btrfs");
    }
    for fs in &all[..if is_quick() { 1 } else { all.len() }] {
        if !ready(fs) {
            return;
        }
        let site = site(fs);
        site.ok(&["new", "fs", "a", "512M"]);
        assert_follows(&site, "a", fs, 512 * MIB);
        grow(&site, "a", 768 * MIB);
        assert_follows(&site, "a", fs, 768 * MIB);
        site.ok(&["attach", "a"]);
        grow(&site, "a", 800 * MIB);
        site.ok(&["detach", "a"]);
        assert_follows(&site, "a", fs, 800 * MIB);
        if *fs == "xfs" {
            site.expect(6, &["resize", "a", "512M", "--shrink"]);
            continue;
        }
        site.ok(&["resize", "a", "400M", "--shrink"]);
        assert_follows(&site, "a", fs, 400 * MIB);
        grow(&site, "a", 500 * MIB);
        assert_follows(&site, "a", fs, 500 * MIB);
        let too_small = site.expect(2, &["resize", "a", "2M", "--shrink"]);
        assert!(too_small.stderr.contains("beside"), "{too_small:?}");
        assert_follows(&site, "a", fs, 500 * MIB);
        assert!(site.leftovers().is_empty());
    }
}

#[test]
fn root_a_mounted_file_system_on_a_partition_grows_and_is_cloned_larger() {
    let all: &[&str] = &["xfs", "btrfs"];
    if is_quick() {
        left_out("btrfs");
    }
    for fs in &all[..if is_quick() { 1 } else { all.len() }] {
        if !ready(fs) {
            return;
        }
        let site = site(fs);
        site.ok(&["new", "fs", "a", "512M"]);
        let at = site.mountpoint("at");
        site.ok(&["mount", "a", at.to_str().unwrap()]);
        std::fs::write(at.join("file"), vec![5; 3 << 20]).unwrap();
        let before = mounted_size(&at);
        grow(&site, "a", 1024 * MIB);
        assert!(mounted_size(&at) > before + 400 * MIB);
        // While another one is mounted as well: no program takes the one for the other.
        site.ok(&["new", "fs", "other", "512M"]);
        let other = site.mountpoint("other");
        site.ok(&["mount", "other", other.to_str().unwrap()]);
        site.ok(&["clone", "a", "b", "--size", "1536M"]);
        site.ok(&["umount", "a", at.to_str().unwrap()]);
        site.ok(&["clone", "other", "d"]);
        site.ok(&["umount", "other", other.to_str().unwrap()]);
        site.ok(&["clone", "a", "c", "--size", "2G"]);
        for (name, size) in [("a", 1024), ("b", 1536), ("c", 2048)] {
            assert_follows(&site, name, fs, size * MIB);
            site.ok(&["mount", name, at.to_str().unwrap()]);
            assert!(mounted_size(&at) > (size - 100) * MIB, "{name}");
            let file = std::fs::read(at.join("file")).unwrap();
            assert!(file == vec![5; 3 << 20], "{name}");
            site.ok(&["umount", name, at.to_str().unwrap()]);
        }
    }
}

/// As `ploop init` makes them (with parted), as `ploop resize` leaves them, and as parted does when
/// it is asked for all of the disk.
#[test]
fn root_partitions_that_other_programs_made_follow_their_disk() {
    if !ready("ext4") {
        return;
    }
    let disk = 64 * MIB / SECTOR;
    let cases = [
        ("primary", disk - 2048 - 1, 2048),
        ("", disk - 2048, 2047),
        ("primary", disk - 34, 33),
    ];
    for (name, last, tail) in cases {
        let site = Site::on("ext4", "ploop", "default_fs: ext4\n").unwrap();
        site.ok(&["new", "disk", "a", "64M"]);
        let device = attach(&site, "a");
        let device = device.to_str().unwrap();
        let words = format!("-s {device} mklabel gpt mkpart primary 2048s {last}s");
        let mut words: Vec<_> = words.split(' ').collect();
        words.extend(["name", "1", name].iter().filter(|_| name.is_empty()));
        run("parted", &words).unwrap();
        let kib = (last + 1 - 2048) / 2;
        let words = format!("-q -F -E offset={MIB} {device} {kib}k");
        run("mkfs.ext4", &words.split(' ').collect::<Vec<_>>()).unwrap();
        site.ok(&["detach", "a"]);
        label(&site, "a", "fs:ext4");
        grow(&site, "a", 128 * MIB);
        let sectors = 128 * MIB / SECTOR;
        assert_eq!(
            partition(&site, "a", "ext4"),
            (2048, sectors - tail - 1),
            "{name:?} {last}"
        );
        site.ok(&["clone", "a", "b", "--size", "256M"]);
        let sectors = 256 * MIB / SECTOR;
        assert_eq!(partition(&site, "b", "ext4"), (2048, sectors - tail - 1));
        for name in ["a", "b"] {
            let device = attach(&site, name);
            assert_sound(&device, "ext4");
            site.ok(&["detach", name]);
        }
    }
}

#[test]
fn root_what_another_partition_is_behind_keeps_its_size() {
    if !ready("ext4") {
        return;
    }
    let site = Site::on("ext4", "ploop", "default_fs: ext4\n").unwrap();
    site.ok(&["new", "disk", "a", "64M"]);
    let device = attach(&site, "a");
    let device = device.to_str().unwrap();
    let words = format!("-s {device} mklabel gpt mkpart one 2048s 65535s mkpart two 65536s 98303s");
    run("parted", &words.split(' ').collect::<Vec<_>>()).unwrap();
    let words = format!("-q -F -E offset={MIB} {device} 31744k");
    run("mkfs.ext4", &words.split(' ').collect::<Vec<_>>()).unwrap();
    site.ok(&["detach", "a"]);
    label(&site, "a", "fs:ext4");
    for words in [
        &["resize", "a", "128M"][..],
        &["resize", "a", "48M", "--shrink"],
        &["clone", "a", "b", "--size", "128M"],
    ] {
        let said = site.expect(6, words).stderr;
        assert!(said.contains("another one is behind"), "{said}");
    }
    assert_eq!(site.json(&["info", "a"])["volume"]["size"], 64 * MIB);
    assert_eq!(partition(&site, "a", "ext4"), (2048, 65535));
    site.ok(&["clone", "a", "b"]);
    assert_eq!(partition(&site, "b", "ext4"), (2048, 65535));
}
