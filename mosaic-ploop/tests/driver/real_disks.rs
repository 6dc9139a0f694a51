// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks that `ploop` itself has made, as they are in `tests/data`.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use mosaic_core::Driver;
use mosaic_core::finding::Repair;
use mosaic_core::volume::MountSource;
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::units::DiskOffset;
use mosaic_tests::{
    MountedFs, block_servers_beneath, eventually, requires_program, requires_root, run, run_status,
};

use super::common::{Disks, MIB, disks, volume};

/// Archives, deltas, and whether the file `top` is there.
const ARCHIVES: [(&str, &str, bool); 4] = [
    ("version-1", "3", true),
    ("version-2", "3", true),
    ("raw", "1", false),
    ("upon-raw", "2", true),
];
/// The volume, called as OpenVZ would.
const NAME: &str = "101/root.hdd";

/// Puts the disk of an archive into a location.
fn unpack(disks: &Disks, archive: &str) {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let archive = data.join(format!("{archive}.tar.gz"));
    let to = disks.file("101");
    fs::create_dir_all(&to).unwrap();
    let words = [archive.to_str().unwrap(), "-C", to.to_str().unwrap()];
    run("tar", &[&["-xzf"], &words[..]].concat()).unwrap();
}

/// Calls the images by their paths, as old programs did.
fn use_paths(disks: &Disks) {
    let folder = disks.file(NAME).canonicalize().unwrap();
    let descriptor = folder.join("DiskDescriptor.xml");
    let text = fs::read_to_string(&descriptor).unwrap();
    let paths = format!("<File>{}/", folder.display());
    fs::write(&descriptor, text.replace("<File>", &paths)).unwrap();
}

fn holds(data: &[u8], text: &str) -> bool {
    data.windows(text.len()).any(|part| part == text.as_bytes())
}

#[test]
fn disks_of_ploop_are_what_they_were() {
    if !requires_program("tar") || !requires_program("gzip") {
        return;
    }
    for (archive, deltas, has_top) in ARCHIVES {
        let (_scratch, disks) = disks("real", &[]);
        unpack(&disks, archive);
        assert_eq!(disks.names(), [NAME]);
        assert_eq!(disks.size(NAME), 16 * MIB);
        assert_eq!(disks.fact(NAME, "deltas"), deltas);
        assert_eq!(disks.check(&Repair::Nothing), [], "{archive}");
        let now = disks.read(NAME, 0, 16 << 20);
        assert!(holds(&now, "EFI PART") && holds(&now, "in the base\n"));
        assert_eq!(holds(&now, "in the top\n"), has_top, "{archive}");
        // As it was when the snapshot was made, and as a whole file system.
        let disk = disks.disk(NAME);
        let base = disk.descriptor().chain(Guid::TOP)[0];
        let mut then = vec![0; 16 << 20];
        let chain = disk.read(base).unwrap();
        chain.read(&mut then, DiskOffset(0)).unwrap();
        drop(chain);
        assert!(holds(&then, "in the base\n") && !holds(&then, "in the top\n"));
        if requires_program("e2fsck") {
            for state in [&now, &then] {
                let image = disks.file("state");
                fs::write(&image, &state[1 << 20..15 << 20]).unwrap();
                run("e2fsck", &["-fn", image.to_str().unwrap()]).unwrap();
                fs::remove_file(image).unwrap();
            }
        }
        // Whatever is done to it.
        disks.label(NAME);
        disks.clone(NAME, "b", Some(32 * MIB)).unwrap();
        disks.write(NAME, 5 * MIB, b"new");
        let clone = disks.read("b", 0, 16 << 20);
        assert!(clone == now, "{archive}");
        disks.rename(NAME, "c").unwrap();
        assert_eq!(disks.read("c", 5 * MIB, 3), b"new");
        assert_eq!(disks.check(&Repair::Nothing), [], "{archive}");
    }
}

#[test]
fn root_disks_of_ploop_are_attached_and_mounted() {
    let programs = ["tar", "gzip", "mkfs.ext4", "mount", "umount", "e2fsck"];
    if !requires_root() || !programs.into_iter().all(requires_program) {
        return;
    }
    let location = MountedFs::new("ext4").unwrap();
    let disks = Disks::open(location.path(), &[]);
    for (archive, _, has_top) in ARCHIVES {
        for by_path in [false, true] {
            unpack(&disks, archive);
            if by_path {
                use_paths(&disks);
            }
            let attached = disks.driver.attach(&volume(NAME), false).unwrap();
            // A volume of no known kind is taken for a file system: its partition is shown.
            let device = attached.device.to_str().unwrap();
            run("e2fsck", &["-fn", device]).unwrap();
            let detached = || disks.driver.detach(&volume(NAME)).is_ok();
            assert!(eventually(detached), "{archive}");
            let source = disks.driver.mount_source(Some(&volume(NAME)), false);
            let MountSource::Device { path, handle } = source.unwrap() else {
                panic!("a disk is mounted by a device");
            };
            let point = tempfile::tempdir().unwrap();
            let words = [path.to_str().unwrap(), point.path().to_str().unwrap()];
            run("mount", &words).unwrap();
            drop(handle);
            let read = |name: &str| fs::read_to_string(point.path().join(name)).ok();
            let (base, top) = (read("base"), read("top"));
            let written = fs::write(point.path().join("new"), "of ours");
            run("umount", &words[1..]).unwrap();
            written.unwrap();
            assert_eq!(base.as_deref(), Some("in the base\n"), "{archive}");
            let expected = has_top.then_some("in the top\n");
            assert_eq!(top.as_deref(), expected, "{archive}");
            let gone = || disks.find(NAME).unwrap().attachment.is_none();
            assert!(eventually(gone), "{archive}");
            assert!(eventually(|| block_servers_beneath(&disks.path).is_empty()));
            assert!(
                holds(&disks.read(NAME, 0, 16 << 20), "of ours"),
                "{archive}"
            );
            assert_eq!(disks.check(&Repair::Nothing), [], "{archive}");
            if requires_program("ploop") {
                // For one that takes it back: nothing is left of us that it would not know.
                disks.check(&Repair::classes(&["holes".to_owned()]).unwrap());
                let descriptor = disks.file(NAME).join("DiskDescriptor.xml");
                run("ploop", &["check", descriptor.to_str().unwrap()]).unwrap();
                let delta = disks
                    .disk(NAME)
                    .descriptor()
                    .file(Guid::TOP)
                    .unwrap()
                    .to_owned();
                if archive != "raw" {
                    let delta = disks.file(NAME).join(delta);
                    let check = ["check", "-f", "-c", delta.to_str().unwrap()];
                    run("ploop", &check).unwrap();
                }
            }
            disks.drop(NAME).unwrap();
        }
    }
}

#[test]
fn root_ploop_keeps_away_from_an_attached_disk() {
    let programs = ["tar", "gzip", "mkfs.ext4", "ploop", "timeout"];
    if !requires_root() || !programs.into_iter().all(requires_program) {
        return;
    }
    let location = MountedFs::new("ext4").unwrap();
    let disks = Disks::open(location.path(), &[]);
    for archive in ["version-1", "version-2"] {
        unpack(&disks, archive);
        let attached = disks.driver.attach(&volume(NAME), false).unwrap();
        let device = fs::File::options().write(true).open(attached.device);
        // Space that the file system does not use.
        device.unwrap().write_all_at(&[7; 4096], 13 << 20).unwrap();
        let descriptor = disks.file(NAME).join("DiskDescriptor.xml");
        let stored = fs::read(&descriptor).unwrap();
        let top = disks
            .disk(NAME)
            .descriptor()
            .file(Guid::TOP)
            .unwrap()
            .to_owned();
        let mark = || fs::read(disks.file(NAME).join(&top)).unwrap()[44..48].to_owned();
        assert_eq!(mark(), b"Ynot");
        for command in [
            &["snapshot"][..],
            &["snapshot-merge"],
            &[
                "snapshot-delete",
                "-u",
                "{11111111-1111-4111-8111-111111111111}",
            ],
            &[
                "snapshot-switch",
                "-u",
                "{11111111-1111-4111-8111-111111111111}",
            ],
            &["check"],
        ] {
            // It waits a minute for its lock.
            let wait = ["-s", "KILL", "0.3", "ploop"];
            let words = [&wait, command, &[descriptor.to_str().unwrap()]].concat();
            let status = run_status("timeout", &words).unwrap();
            // Killed while it waited, and not refused for any other reason.
            assert!(
                matches!(status, Some(137) | None),
                "{command:?}: {status:?}"
            );
            assert_eq!(fs::read(&descriptor).unwrap(), stored, "{command:?}");
            assert_eq!(mark(), b"Ynot", "{command:?}");
        }
        assert!(eventually(|| disks.driver.detach(&volume(NAME)).is_ok()));
        assert_eq!(disks.read(NAME, 14 * MIB, 4096), [7; 4096]);
        assert_eq!(disks.check(&Repair::Nothing), [], "{archive}");
        disks.drop(NAME).unwrap();
    }
    assert!(eventually(|| block_servers_beneath(&disks.path).is_empty()));
}
