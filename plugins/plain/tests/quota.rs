// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sizes that bind: ext4 and xfs with project quota, where the kernel has it.

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Command;

use common::{Directories, MIB, helper_task, start_helper_as};
use mosaic_core::volume::capability;
use mosaic_core::{Bytes, Driver, ErrorKind, Place};
use mosaic_tests::{
    MountedFs, Scratch, requires_program, requires_project_quota, requires_root, scratch, volume,
};

const USER: u32 = 54321;

/// Runs a test on each file system that this kernel has project quota on.
fn on_each(test: impl Fn(&Directories)) {
    for fs in ["ext4", "xfs"] {
        if requires_root() && requires_program(&format!("mkfs.{fs}")) && requires_project_quota(fs)
        {
            let mounted = MountedFs::new(&format!("{fs}+prjquota")).unwrap();
            let location = mounted.path().join("location");
            fs::create_dir(&location).unwrap();
            test(&Directories::open(&location, 1));
        }
    }
}

#[test]
fn root_a_writer_stops_at_the_size() {
    on_each(|location| {
        location.create_sized(&volume("a"), 16 * MIB).unwrap();
        assert!(location.said.lines().is_empty(), "{:?}", location.said);
        fs::create_dir(location.at("a/deep")).unwrap();
        // A user: ext4 does not bind root.
        chown(location.at("a"), Some(USER), Some(USER)).unwrap();
        chown(location.at("a/deep"), Some(USER), Some(USER)).unwrap();
        let written = fill_as_user(location, "a/deep");
        assert!(written > 14 * MIB && written <= 16 * MIB, "{written}");
        let found = location.found("a");
        assert_eq!(found.size, Some(Bytes(16 * MIB)));
        assert!(found.used.unwrap().0 >= written, "{:?}", found.used);
        assert!(found.notes.is_empty());
        // More room at once, and less than is in it never.
        let resize = |size| location.driver.resize(&volume("a"), Bytes(size));
        assert_eq!(resize(8 * MIB).unwrap_err().kind(), ErrorKind::NoSpace);
        resize(32 * MIB).unwrap();
        let written = fill_as_user(location, "a/deep");
        assert!(written > 30 * MIB && written <= 32 * MIB, "{written}");
        fs::remove_file(location.at("a/deep/full")).unwrap();
        resize(8 * MIB).unwrap();
        assert_eq!(location.found("a").size, Some(Bytes(8 * MIB)));
    });
}

/// Writes a file in the folder of a volume until that fails; gives its size.
fn fill_as_user(location: &Directories, folder: &str) -> u64 {
    for above in location.path.ancestors().take(2) {
        fs::set_permissions(above, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let scratch = Scratch::new("plain-fill").unwrap();
    fs::set_permissions(
        scratch.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let path = location.at(folder);
    let task = path.to_str().unwrap();
    let mut helper = start_helper_as(USER, scratch.path(), "helper_that_fills", task);
    assert!(helper.wait().unwrap().success());
    fs::metadata(path.join("full")).unwrap().blocks() * 512
}

/// Tests nothing by itself: see [`fill_as_user`].
#[test]
fn helper_that_fills() {
    let Some(path) = helper_task() else {
        return;
    };
    let mut file = File::create(Path::new(&path).join("full")).unwrap();
    let block = vec![1; 256 << 10];
    let error = loop {
        if let Err(error) = file.write_all(&block).and_then(|()| file.sync_all()) {
            break error;
        }
    };
    let errno = error.raw_os_error().unwrap();
    // ext4 and xfs, in this order.
    assert!([122, 28].contains(&errno), "{error}");
}

#[test]
fn root_capabilities_follow_the_quota() {
    on_each(|location| {
        location.create("a").unwrap();
        fs::create_dir(location.at("empty")).unwrap();
        fs::create_dir_all(location.at("historic/folder")).unwrap();
        for (name, can) in [
            (None, true),
            (Some("a"), true),
            (Some("empty"), true),
            (Some("historic"), false),
        ] {
            let name = name.map(volume);
            for capability in location.driver.capabilities(name.as_ref()).unwrap() {
                if [capability::VOLSIZE, capability::GROW, capability::SHRINK]
                    .contains(&&*capability.name)
                {
                    assert_eq!(capability.refusal.is_none(), can, "{name:?} {capability:?}");
                }
            }
            let Some(name) = name else {
                continue;
            };
            let resized = location.driver.resize(&name, Bytes(32 * MIB));
            let kind = resized.as_ref().err().map(mosaic_core::Error::kind);
            assert_eq!(kind, (!can).then_some(ErrorKind::Unsupported), "{name}");
            let size = can.then_some(Bytes(32 * MIB));
            assert_eq!(location.found(name.stored()).size, size, "{name}");
        }
        let [note] = &location.found("historic").notes[..] else {
            panic!("no note");
        };
        assert!(note.contains("made without a project quota"), "{note}");
    });
}

#[test]
fn root_the_limit_moves_with_the_name_and_goes_with_the_volume() {
    on_each(|location| {
        for _ in 0..3 {
            location.create("a").unwrap();
            let inode = fs::metadata(location.at("a")).unwrap().ino();
            deep(&location.at("a"), 150);
            location.rename("a", "b").unwrap();
            assert_eq!(location.found("b").size, Some(Bytes(64 * MIB)));
            assert_eq!(limit_of(location, inode), 64 << 10);
            location.drop("b").unwrap();
            assert!(location.leftovers().is_empty());
            assert_eq!(limit_of(location, inode), 0);
        }
    });
}

fn deep(top: &Path, depth: usize) {
    let mut dir = top.to_owned();
    for _ in 0..depth {
        dir.push("d");
        fs::create_dir(&dir).unwrap();
    }
}

#[test]
fn root_what_a_killed_drop_or_create_left_is_swept_with_its_limit() {
    on_each(|location| {
        for place in [Place::Trash, Place::Tmp] {
            location.create("a").unwrap();
            fs::write(location.at("a/file"), "x").unwrap();
            let inode = fs::metadata(location.at("a")).unwrap().ino();
            let left = scratch();
            location.driver.drop_volume(&volume("a"), &left).unwrap();
            if place == Place::Tmp {
                let from = location.at(".mosaic/trash").join(left.as_str());
                fs::rename(from, location.at(".mosaic/tmp").join(left.as_str())).unwrap();
            }
            location.driver.remove_leftover(place, &left).unwrap();
            assert_eq!(limit_of(location, inode), 0);
        }
    });
}

#[test]
fn root_an_id_that_is_somebodys_is_not_taken() {
    on_each(|location| {
        location.create("a").unwrap();
        let inode = fs::metadata(location.at("a")).unwrap().ino();
        assert_ne!(limit_of(location, inode), 0);
        // Past Mosaic: the limit stays behind.
        fs::remove_dir(location.at("a")).unwrap();
        match location.create("a") {
            Ok(()) => assert_ne!(fs::metadata(location.at("a")).unwrap().ino(), inode),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Busy);
                let told = error.chain();
                assert!(
                    told.contains(&format!("setquota -P {inode} 0 0 0 0")),
                    "{told}"
                );
                assert!(location.leftovers().is_empty() && location.names().is_empty());
                assert_ne!(limit_of(location, inode), 0);
            }
        }
    });
}

#[test]
fn root_a_location_within_a_project_says_so_and_works() {
    on_each(|location| {
        let given = Command::new("chattr")
            .args(["-p", "7", "+P"])
            .arg(&location.path)
            .status();
        assert!(given.unwrap().success());
        location.create("a").unwrap();
        let [warning] = &location.said.lines()[..] else {
            panic!("no warning");
        };
        assert!(
            warning.contains("belongs as a whole to project 7"),
            "{warning}"
        );
        assert_eq!(location.found("a").size, None);
        deep(&location.at("a"), 150);
        location.rename("a", "b").unwrap();
        location.drop("b").unwrap();
        assert!(location.leftovers().is_empty());
    });
}

#[test]
fn root_an_ordinary_user_is_told_that_quotas_are_roots() {
    on_each(|location| {
        chown(&location.path, Some(USER), Some(USER)).unwrap();
        location.create("a").unwrap();
        chown(location.at("a"), Some(USER), Some(USER)).unwrap();
        let scratch = Scratch::new("plain-user").unwrap();
        for folder in [scratch.path(), location.path.parent().unwrap()] {
            fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .unwrap();
        }
        let task = location.path.to_str().unwrap();
        let mut helper = start_helper_as(USER, scratch.path(), "helper_that_has_no_quota", task);
        assert!(helper.wait().unwrap().success());
        assert_eq!(location.names(), ["b"]);
    });
}

/// Tests nothing by itself: see the test above.
#[test]
fn helper_that_has_no_quota() {
    let Some(path) = helper_task() else {
        return;
    };
    let why = "size is not enforced: project quotas are root's to read and to set";
    let location = Directories::open(Path::new(&path), 1);
    assert_eq!(location.found("a").notes, [why]);
    location.create("b").unwrap();
    assert_eq!(location.said.lines(), [why]);
    let error = location
        .driver
        .resize(&volume("b"), Bytes(MIB))
        .unwrap_err();
    assert_eq!(error.chain(), why);
    // A limit that he cannot take away keeps the rest where it is, for root to sweep.
    let error = location.drop("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission, "{}", error.chain());
}

/// The limit of a project in KiB, as the usual tool says it.
fn limit_of(location: &Directories, id: u64) -> u64 {
    let output = Command::new("repquota")
        .args(["-P", "-n", "-v", "-O", "csv"])
        .arg(mountpoint(location))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("#{id},")));
    // Project,BlockStatus,FileStatus,BlockUsed,BlockSoftLimit,BlockHardLimit,...
    line.map_or(0, |line| line.split(',').nth(5).unwrap().parse().unwrap())
}

fn mountpoint(location: &Directories) -> &Path {
    location.path.parent().unwrap()
}
