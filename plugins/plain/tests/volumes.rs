// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes that are directories: made, found, renamed, dropped, and what is none.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use common::{Directories, MIB};
use mosaic_core::busy::mounts_of_device;
use mosaic_core::finding::Repair;
use mosaic_core::host_services::Silent;
use mosaic_core::volume::{
    Access, CloneOptions, InitOptions, Kind, NewKind, NewVolume, capability,
};
use mosaic_core::{Bytes, Driver, ErrorKind, Host, Settings, VolumeName};
use mosaic_plain::Plain;
use mosaic_tests::{Scratch, eventually, requires_program, requires_root, scratch, volume};

#[test]
fn a_volume_appears_is_found_and_goes() {
    let location = Directories::new();
    assert_eq!(location.find("a").unwrap(), None);
    location.create("a").unwrap();
    fs::write(location.at("a/file"), "x").unwrap();
    let found = location.found("a");
    assert_eq!(
        (found.stored.as_str(), found.access),
        ("a", Access::Directory)
    );
    assert_eq!(
        found.kind,
        Kind::Fs {
            fs: None,
            assumed: false
        }
    );
    assert_eq!(
        (found.user, found.attachment, found.read_only),
        (None, None, false)
    );
    assert_eq!(location.names(), ["a"]);
    location.drop("a").unwrap();
    assert!(location.names().is_empty() && !location.at("a").exists());
    assert!(location.leftovers().is_empty());
}

#[test]
fn a_size_that_is_not_enforced_is_said_at_once_and_later() {
    let location = Directories::new();
    location.create("a").unwrap();
    let said = location.said.lines();
    let [warning] = said.as_slice() else {
        panic!("{said:?}");
    };
    assert!(warning.starts_with("size is not enforced: "), "{warning}");
    let found = location.found("a");
    assert_eq!((found.size, found.used), (None, None));
    assert_eq!(found.notes, said);
    let error = location
        .driver
        .resize(&volume("a"), Bytes(MIB))
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.chain()),
        (ErrorKind::Unsupported, warning.clone())
    );
}

#[test]
fn a_file_system_that_was_configured_is_said_not_to_be_used() {
    let location = Directories::new();
    let new = NewVolume {
        kind: NewKind::Fs(Some("xfs".into())),
        size: Bytes(MIB),
        scratch: scratch(),
    };
    location.driver.create(&volume("a"), &new).unwrap();
    let said = location.said.lines();
    assert!(said[0].starts_with("default_fs is not used"), "{said:?}");
}

#[test]
fn a_name_that_is_taken_is_taken_by_whatever() {
    let location = Directories::new();
    location.create("volume").unwrap();
    fs::write(location.at("volume/file"), "x").unwrap();
    fs::create_dir(location.at("empty")).unwrap();
    fs::write(location.at("file"), "x").unwrap();
    symlink("nowhere", location.at("link")).unwrap();
    for name in ["volume", "empty", "file", "link"] {
        let error = location.create(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exists, "{name}: {}", error.chain());
        assert!(location.leftovers().is_empty(), "{name}");
    }
    assert!(location.at("volume/file").exists());
    assert_eq!(fs::read_to_string(location.at("file")).unwrap(), "x");
    assert!(
        fs::symlink_metadata(location.at("link"))
            .unwrap()
            .is_symlink()
    );
}

#[test]
fn what_is_no_directory_is_no_volume() {
    let location = Directories::new();
    fs::write(location.at("file"), "x").unwrap();
    symlink("/etc", location.at("link")).unwrap();
    let fifo = location.at("fifo");
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    for name in ["file", "link", "fifo"] {
        let errors = [
            location.find(name).unwrap_err(),
            location.drop(name).unwrap_err(),
            location.rename(name, "new").unwrap_err(),
            location.source(Some(name)).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Exists, "{name}: {}", error.chain());
        }
    }
    let told = location.find("file").unwrap_err().chain();
    assert!(
        told.ends_with("is not a directory, so not a volume"),
        "{told}"
    );
    assert!(location.names().is_empty());
    let findings = location.driver.check(&Repair::Nothing).unwrap();
    assert_eq!(findings.len(), 3);
    let mut faults: Vec<_> = findings.into_iter().map(|finding| finding.fault).collect();
    faults.sort();
    assert_eq!(
        faults[1],
        "\"file\" is in the place of a volume, and no directory"
    );
}

#[test]
fn mosaics_own_things_the_metadata_and_lost_found_are_not_listed() {
    let location = Directories::new();
    for name in [
        "meta/fs/inside",
        "lost+found",
        ".mosaic-old",
        "volume",
        ".hidden",
    ] {
        fs::create_dir_all(location.at(name)).unwrap();
    }
    location.create("made").unwrap();
    assert_eq!(location.names(), [".hidden", "made", "volume"]);
    assert!(location.driver.check(&Repair::Nothing).unwrap().is_empty());
    let location = location.with_depth(2);
    for name in ["meta/beside", "volume/deep"] {
        fs::create_dir_all(location.at(name)).unwrap();
    }
    assert_eq!(location.names(), ["meta/beside", "volume/deep"]);
    assert_eq!(location.with_depth(3).names(), [""; 0]);
}

#[test]
fn names_that_no_volume_can_have_are_left_alone_and_found_by_check() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let location = Directories::new();
    for name in [&b"-n"[..], b"\xff\xfe", b"a\nb"] {
        fs::create_dir(location.path.join(OsStr::from_bytes(name))).unwrap();
    }
    assert!(location.names().is_empty());
    let findings = location.driver.check(&Repair::Usual).unwrap();
    assert_eq!(findings.len(), 3);
    assert!(
        findings
            .iter()
            .all(|f| f.fault.ends_with("has a name that no volume can have"))
    );
    assert!(
        findings
            .iter()
            .all(|f| !f.fault.contains('\n') && !f.repaired)
    );
}

#[test]
fn only_the_depth_of_the_map_is_taken() {
    let location = Directories::new();
    for (depth, good, bad) in [(1, "a", "a/b"), (2, "a/b", "a"), (3, "a/b/c", "a/b")] {
        let location = Directories::open(&location.path, depth);
        location.driver.validate_name(&volume(good)).unwrap();
        let error = location.driver.validate_name(&volume(bad)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let here = format!("volumes here have {depth}");
        assert!(error.chain().ends_with(&here), "{}", error.chain());
    }
}

#[test]
fn mapped_volumes_have_folders_that_come_and_go_and_keep_their_users_name() {
    let location = Directories::new().with_depth(3);
    let name = VolumeName::with_stored("123", "1/12/123").unwrap();
    location.create_sized(&name, MIB).unwrap();
    assert_eq!(location.names(), ["1/12/123"]);
    assert_eq!(location.found("1/12/123").user.as_deref(), Some("123"));
    let to = VolumeName::with_stored("145", "1/14/145").unwrap();
    location.driver.rename(&name, &to).unwrap();
    assert_eq!(location.names(), ["1/14/145"]);
    assert_eq!(location.found("1/14/145").user.as_deref(), Some("145"));
    assert!(!location.at("1/12").exists());
    location.drop("1/14/145").unwrap();
    assert!(!location.at("1").exists());
}

#[test]
fn a_rename_that_fails_changes_nothing() {
    let location = Directories::new().with_depth(2);
    let name = VolumeName::with_stored("12", "1/12").unwrap();
    location.create_sized(&name, MIB).unwrap();
    location.create("2/23").unwrap();
    let to = VolumeName::with_stored("23", "2/23").unwrap();
    let error = location.driver.rename(&name, &to).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists, "{}", error.chain());
    assert_eq!(location.names(), ["1/12", "2/23"]);
    assert_eq!(location.found("1/12").user.as_deref(), Some("12"));
    // A file where a folder would have to be.
    fs::write(location.at("3"), "").unwrap();
    let error = location.driver.rename(&name, &volume("3/33")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists, "{}", error.chain());
    let error = location.create("3/33").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists, "{}", error.chain());
    assert_eq!(location.found("1/12").user.as_deref(), Some("12"));
    assert!(location.leftovers().is_empty());
}

#[test]
fn what_the_historic_tool_left_is_used_as_it_is() {
    let location = Directories::new().with_depth(2);
    fs::create_dir_all(location.at("1/12")).unwrap();
    fs::write(location.at("1/12/file"), "x").unwrap();
    assert_eq!(location.names(), ["1/12"]);
    let found = location.found("1/12");
    assert_eq!((found.user, found.size), (None, None));
    assert!(!location.at(".mosaic").exists());
    assert!(location.source(Some("1/12")).is_ok());
    location.rename("1/12", "1/13").unwrap();
    assert_eq!(fs::read_to_string(location.at("1/13/file")).unwrap(), "x");
    location.drop("1/13").unwrap();
    assert!(!location.at("1").exists());
}

#[test]
fn a_link_swapped_in_for_a_volume_is_removed_and_not_followed() {
    let location = Directories::new();
    let outside = location.path.parent().unwrap().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "x").unwrap();
    location.create("a").unwrap();
    // After the driver has looked: what a drop would move to the trash is the link.
    let scratch = scratch();
    location.driver.drop_volume(&volume("a"), &scratch).unwrap();
    let trash = location.at(".mosaic/trash").join(scratch.as_str());
    fs::remove_dir(&trash).unwrap();
    symlink(&outside, &trash).unwrap();
    let place = mosaic_core::Place::Trash;
    location.driver.remove_leftover(place, &scratch).unwrap();
    assert!(fs::symlink_metadata(&trash).is_err());
    assert!(outside.join("file").exists());
    // Before it has looked: it is no volume any more.
    symlink(&outside, location.at("a")).unwrap();
    assert_eq!(location.drop("a").unwrap_err().kind(), ErrorKind::Exists);
    // A folder of volumes is a link: names beneath it lead nowhere.
    let location = location.with_depth(2);
    for error in [
        location.find("a/file").unwrap_err(),
        location.create("a/new").unwrap_err(),
        location.drop("a/file").unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Exists, "{}", error.chain());
    }
    assert!(location.names().is_empty());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn what_is_missing_is_not_found() {
    let location = Directories::new();
    for error in [
        location.drop("a").unwrap_err(),
        location.rename("a", "b").unwrap_err(),
        location.source(Some("a")).unwrap_err(),
        location.source(None).unwrap_err(),
        location
            .driver
            .resize(&volume("a"), Bytes(MIB))
            .unwrap_err(),
        location
            .driver
            .capabilities(Some(&volume("a")))
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.chain());
    }
    let nowhere = Settings::new(location.at("nowhere"));
    let error = Plain::open(Host::new(std::sync::Arc::new(Silent)), &nowhere).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn the_mounts_source_is_the_directory() {
    let location = Directories::new();
    location.create("a").unwrap();
    fs::create_dir_all(location.at("meta/fs")).unwrap();
    let inode = |name: &str| fs::metadata(location.at(name)).unwrap().ino();
    assert_eq!(location.source(Some("a")).unwrap(), inode("a"));
    assert_eq!(location.source(None).unwrap(), inode("meta/fs"));
}

#[test]
fn what_the_capabilities_refuse_the_methods_refuse() {
    let location = Directories::new();
    location.create("a").unwrap();
    let (driver, a) = (&location.driver, volume("a"));
    let disk = NewVolume {
        kind: NewKind::Disk,
        size: Bytes(MIB),
        scratch: scratch(),
    };
    let how = CloneOptions {
        size: None,
        scratch: scratch(),
    };
    for name in [None, Some(&a)] {
        for capability in driver.capabilities(name).unwrap() {
            let outcomes = match capability.name.as_str() {
                capability::CLONE => vec![driver.clone_volume(&a, &volume("b"), &how)],
                capability::BDEV => vec![driver.attach(&a, false).map(drop), driver.detach(&a)],
                capability::DISK => vec![driver.create(&volume("c"), &disk)],
                capability::VOLSIZE | capability::GROW | capability::SHRINK => {
                    vec![driver.resize(&a, Bytes(MIB))]
                }
                capability::FS | capability::RENAME => {
                    assert_eq!(capability.refusal, None);
                    continue;
                }
                other => panic!("{other}"),
            };
            for outcome in outcomes {
                let refused = outcome.as_ref().err().map(|error| error.kind());
                let expected = capability.refusal.as_ref().map(|_| ErrorKind::Unsupported);
                assert_eq!(refused, expected, "{}", capability.name);
            }
        }
    }
    assert_eq!(location.names(), ["a"]);
    assert!(location.leftovers().is_empty());
}

#[test]
fn space_is_that_of_the_file_system() {
    let location = Directories::new();
    let [space] = &location.driver.space().unwrap()[..] else {
        panic!("more than one class");
    };
    assert_eq!(space.class, "data");
    assert!(space.used.0 > 0 && space.used <= space.total);
    assert!(space.free.0 + space.used.0 <= space.total.0);
}

#[test]
fn init_makes_what_is_missing_and_never_over_anything() {
    let scratch = Scratch::new("plain-init").unwrap();
    let path = scratch.path().join("location");
    let host = Host::new(std::sync::Arc::new(Silent));
    let mut settings = Settings::new(&path);
    let init = |settings: &Settings| Plain::init(&host, settings, &InitOptions::default());
    assert_eq!(init(&settings).unwrap().len(), 1);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(init(&settings).unwrap_err().kind(), ErrorKind::Exists);
    settings.layout_fs = Some("./meta/fs".into());
    fs::create_dir(path.join("volume")).unwrap();
    assert_eq!(init(&settings).unwrap().len(), 2);
    assert_eq!(
        fs::metadata(path.join("meta/fs")).unwrap().mode() & 0o7777,
        0o755
    );
    assert_eq!(init(&settings).unwrap_err().kind(), ErrorKind::Exists);
    fs::remove_dir(path.join("meta/fs")).unwrap();
    for target in ["../volume", "/etc"] {
        symlink(target, path.join("meta/fs")).unwrap();
        assert_eq!(init(&settings).unwrap_err().kind(), ErrorKind::Exists);
        fs::remove_file(path.join("meta/fs")).unwrap();
    }
    settings.location = scratch.path().join("no/location");
    assert_eq!(init(&settings).unwrap_err().kind(), ErrorKind::NotFound);
    fs::write(scratch.path().join("file"), "x").unwrap();
    settings.location = scratch.path().join("file");
    assert_eq!(init(&settings).unwrap_err().kind(), ErrorKind::Exists);
}

#[test]
fn root_a_mounted_volume_is_neither_dropped_nor_renamed() {
    if !requires_root() {
        return;
    }
    let location = Directories::new();
    location.create("a").unwrap();
    fs::create_dir(location.at("a/inner")).unwrap();
    let at = location.path.parent().unwrap().join("mnt");
    fs::create_dir(&at).unwrap();
    // The volume itself elsewhere, a part of it elsewhere, something else within it.
    for (source, target) in [
        ("a", at.clone()),
        ("a/inner", at.clone()),
        ("", location.at("a/inner")),
    ] {
        let mount = Bound::new(&location.at(source), &target);
        for error in [
            location.drop("a").unwrap_err(),
            location.rename("a", "b").unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Busy);
            let told = error.chain();
            assert!(
                told.contains(&format!("mounted at {}", target.display())),
                "{told}"
            );
        }
        drop(mount);
    }
    // A namespace that another test made meanwhile has a copy of the mount for as long as it lives.
    assert!(eventually(|| location.rename("a", "b").is_ok()));
    assert!(eventually(|| location.drop("b").is_ok()));
}

#[test]
fn root_a_new_private_folder_belongs_to_the_locations_owner() {
    if !requires_root() {
        return;
    }
    let location = Directories::new();
    std::os::unix::fs::chown(&location.path, Some(1234), Some(4321)).unwrap();
    location.create("a").unwrap();
    for name in [".mosaic", ".mosaic/tmp"] {
        let made = fs::metadata(location.at(name)).unwrap();
        assert_eq!(
            (made.uid(), made.gid(), made.mode() & 0o7777),
            (1234, 4321, 0o700)
        );
    }
}

#[test]
fn root_each_step_survives_a_power_cut() {
    let create = |name: &'static str| move |l: &Directories| l.create(name).unwrap();
    let rename = |l: &Directories| l.rename("1/12", "3/31").unwrap();
    let drop = |l: &Directories| {
        let volume = volume("1/11");
        l.driver.drop_volume(&volume, &scratch()).unwrap();
    };
    type Step<'s> = (&'s dyn Fn(&Directories), &'s [&'s str]);
    let steps: [Step<'_>; 4] = [
        (&create("1/11"), &["1/11"]),
        (&create("1/12"), &["1/11", "1/12"]),
        (&rename, &["1/11", "3/31"]),
        (&drop, &["3/31"]),
    ];
    for fs in ["ext4", "xfs"] {
        if !requires_root()
            || !requires_program("xfs_io")
            || !requires_program(&format!("mkfs.{fs}"))
        {
            return;
        }
        let mounted = mosaic_tests::MountedFs::new(fs).unwrap();
        for (at, (step, left)) in steps.iter().enumerate() {
            step(&Directories::open(mounted.path(), 2));
            power_cut(mounted.path());
            mounted.umount().unwrap();
            // Copied into another test's namespace it lives on there, and would come back dead.
            let device = mounted.device();
            assert!(eventually(|| mounts_of_device(device).unwrap().is_empty()));
            mounted.mount().unwrap();
            let location = Directories::open(mounted.path(), 2);
            assert_eq!(location.names(), *left, "{fs}, step {at}");
        }
    }
}

/// `FS_IOC_SHUTDOWN` without flushing the log: ext4 and xfs forget what is not on disk (`_IOR('X',
/// 125, __u32)` with 2 in fs/ext4/ext4.h and fs/xfs/libxfs/xfs_fs.h).
fn power_cut(at: &Path) {
    let done = std::process::Command::new("xfs_io")
        .args(["-x", "-c", "shutdown"])
        .arg(at)
        .status()
        .unwrap();
    assert!(done.success());
}

/// A bind mount that goes with its owner.
struct Bound<'p>(&'p Path);

impl<'p> Bound<'p> {
    fn new(source: &Path, target: &'p Path) -> Self {
        rustix::mount::mount_bind(source, target).unwrap();
        Self(target)
    }
}

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0, rustix::mount::UnmountFlags::DETACH);
    }
}
