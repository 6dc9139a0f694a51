// SPDX-License-Identifier: MIT OR Apache-2.0
//! Verbs on real volumes, as the command line gives them their arguments.

mod common;

use std::path::Path;

use common::{make, plain};
use mosaic_tests::{Moctl, is_mountpoint, requires_program, requires_root};

/// Any user but root.
const SOMEBODY: u32 = 54321;

/// Makes a file; false if the file system is read-only.
fn can_write(folder: &Path) -> bool {
    match std::fs::write(folder.join("file"), "x") {
        Ok(()) => true,
        Err(error) if error.raw_os_error() == Some(nix::libc::EROFS) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn root_mount_options_hold_wherever_they_stand() {
    if !requires_root() {
        return;
    }
    let (moctl, location) = plain();
    make(&moctl, &["v"]);
    std::fs::create_dir(location.join("meta")).unwrap();
    let mountpoint = moctl.make_folder("mnt").unwrap();
    let path = mountpoint.to_str().unwrap();
    for (line, writable) in [
        (vec!["web", "mount", "v", path], true),
        (vec!["web", "mount", "v", path, "-o", "ro,noexec"], false),
        (vec!["web", "mount", "-o", "ro", "v", path], false),
        (
            vec!["web", "mount", "v", "-o", "noexec", path, "-o", "ro"],
            false,
        ),
        (vec!["web", "mount", "v", path, "--options=ro,rw"], true),
        (vec!["web", "mount", "-", path, "-o", "ro"], false),
    ] {
        moctl.ok(&line);
        let could = can_write(&mountpoint);
        let volume = if line.contains(&"-") { "-" } else { "v" };
        moctl.ok(&["web", "umount", volume, path]);
        assert_eq!(could, writable, "{line:?}");
        assert!(!is_mountpoint(&mountpoint));
    }
    moctl.expect(2, &["web", "mount", "v", path, "-o", "ro,nonsense"]);
    assert!(!is_mountpoint(&mountpoint));
}

#[test]
fn root_metadata_that_is_not_there_is_made_with_init() {
    if !requires_root() {
        return;
    }
    let (moctl, _) = plain();
    let at = moctl.make_folder("at").unwrap();
    let at = at.to_str().unwrap();
    let output = moctl.expect(3, &["web", "mount", "-", at]);
    assert!(output.stderr.contains("make it with init"), "{output:?}");
    moctl.ok(&["web", "init"]);
    moctl.ok(&["web", "mount", "-", at]);
    moctl.ok(&["web", "umount", "-", at]);
}

#[test]
fn root_somebody_works_on_a_location_of_their_own() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    let moctl = Moctl::as_user(SOMEBODY).unwrap();
    let folder = moctl.make_folder("own").unwrap();
    for (driver, kind) in [("plain", "fs"), ("loop", "fs"), ("loop", "disk")] {
        let location = moctl.make_folder("own").unwrap_or_else(|_| folder.clone());
        moctl.mosaic("own", driver, &location, "").unwrap();
        moctl.ok(&["own", "new", kind, "v", "16M", "-q"]);
        assert!(moctl.ok(&["own", "list"]).contains("v "));
        assert_eq!(moctl.ok(&["own", "have", "v"]), "v exists: yes\n");
        moctl.ok(&["own", "info", "v"]);
        moctl.ok(&["own", "check"]);
        if driver == "loop" {
            let output = moctl.expect(9, &["own", "attach", "v"]);
            assert!(output.stderr.contains("needs root"), "{}", output.stderr);
        }
        let output = moctl.run(&["own", "mount", "v", "/mnt"]);
        let refused = [9, 2].contains(&output.status);
        assert!(refused, "{}", output.stderr);
        moctl.ok(&["own", "rename", "v", "w"]);
        moctl.ok(&["own", "drop", "w"]);
        assert_eq!(moctl.ok(&["own", "have", "w"]), "w exists: no\n");
    }
}

#[test]
fn root_check_reads_a_file_system_when_a_volume_is_named() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    let moctl = Moctl::new().unwrap();
    let location = moctl.make_folder("images").unwrap();
    moctl
        .mosaic("img", "loop", &location, "default_fs: ext4\n")
        .unwrap();
    moctl.ok(&["img", "new", "fs", "v", "16M"]);
    assert_eq!(moctl.ok(&["img", "check", "v"]), "no faults found\n");
    assert_eq!(moctl.ok(&["img", "check", "v", "-q"]), "");
    damage(&location.join("v"));
    let output = moctl.expect(10, &["img", "check", "v"]);
    assert!(
        output.stdout.starts_with("volume \"v\": ext4: "),
        "{}",
        output.stdout
    );
    assert!(
        output.stdout.contains("--repair=file-system would"),
        "{}",
        output.stdout
    );
    let output = moctl.expect(0, &["img", "check", "v", "--repair"]);
    assert!(output.stdout.contains("; repaired: "), "{}", output.stdout);
    assert_eq!(moctl.ok(&["img", "check", "v"]), "no faults found\n");
}

/// Zeroes the block bitmap of an ext4 image's first group, which e2fsck can make again.
fn damage(image: &Path) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(image)
        .unwrap();
    let mut word = [0; 4];
    file.read_exact_at(&mut word, 1024 + 24).unwrap();
    let block_size = 1024 << u32::from_le_bytes(word);
    // The group descriptors are in the block behind the superblock's.
    let descriptors = if block_size == 1024 { 2048 } else { block_size };
    file.read_exact_at(&mut word, descriptors).unwrap();
    let bitmap = u64::from(u32::from_le_bytes(word)) * block_size;
    file.write_all_at(&vec![0; usize::try_from(block_size).unwrap()], bitmap)
        .unwrap();
}
