// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounts of block devices.

use super::*;

/// A loop device with a file system of this type.
fn device(fs: &str) -> LoopFile {
    let file = LoopFile::new(if fs == "xfs" { 320 << 20 } else { 128 << 20 }).unwrap();
    run(&format!("mkfs.{fs}"), &[Path::new("-q"), file.device()]).unwrap();
    file
}

/// A read-only loop device; the folder that the image is in takes it along when it goes.
fn attach_read_only(image: &Path) -> String {
    let arguments = ["--find", "--show", "--read-only", image.to_str().unwrap()];
    let text = mosaic_tests::stdout_of("losetup", &arguments).unwrap();
    text.trim().to_owned()
}

#[test]
fn root_a_device_is_mounted_with_its_attributes_and_recognized() {
    let _alone = no_new_namespaces();
    for fs in ["ext4", "xfs", "btrfs"] {
        if !requires_root() || !requires_program(&format!("mkfs.{fs}")) {
            return;
        }
        let file = device(fs);
        let at = file.folder().join("at");
        fs::create_dir(&at).unwrap();
        let mount = |words, read_only| {
            let target = open_target(&at).unwrap();
            mount_device(
                &host(),
                fs,
                file.device(),
                &target,
                &options(words),
                read_only,
            )
        };
        mount("noexec", false).unwrap();
        fs::write(at.join("file"), "content").unwrap();
        let words = words_of(&at);
        assert!(
            ["noexec", "nosuid", "nodev", "rw"]
                .iter()
                .all(|w| words.iter().any(|g| g == w))
        );
        assert!(is_mount_of_device(&at, file.device()).unwrap(), "{fs}");
        let another = LoopFile::new(1 << 20).unwrap();
        assert!(!is_mount_of_device(&at, another.device()).unwrap(), "{fs}");
        assert!(
            !is_mount_of_device(file.folder(), file.device()).unwrap(),
            "{fs}"
        );
        let table = MountTable::read().unwrap();
        assert_eq!(
            table.of_device(file.device()).unwrap(),
            paths(&[&at]),
            "{fs}"
        );
        assert!(
            table.of_device(another.device()).unwrap().is_empty(),
            "{fs}"
        );
        // One superblock cannot be both: the refusal says where it is mounted.
        let second = file.folder().join("second");
        fs::create_dir(&second).unwrap();
        let target = open_target(&second).unwrap();
        let error =
            mount_device(&host(), fs, file.device(), &target, &options("ro"), true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{fs}: {}", error.chain());
        assert!(
            error.chain().contains(at.to_str().unwrap()),
            "{}",
            error.chain()
        );
        // As an attribute of the mount it can be read-only beside the other.
        mount_device(&host(), fs, file.device(), &target, &options("ro"), false).unwrap();
        assert!(fs::write(second.join("file"), "other").is_err());
        fs::write(at.join("file"), "other").unwrap();
        umount(&second).unwrap();
        umount(&at).unwrap();
        // A mount namespace that another test made meanwhile may have a copy of it for a moment.
        let is_free = || mount("ro", true).is_ok();
        assert!(mosaic_tests::eventually(is_free), "{fs}");
        assert_eq!(fs::read(at.join("file")).unwrap(), b"other");
        assert!(fs::write(at.join("file"), "").is_err());
        // A second one shares that superblock, whatever it asks for, unless it wants to write.
        mount_device(&host(), fs, file.device(), &target, &options("ro"), false).unwrap();
        assert!(fs::write(second.join("file"), "").is_err());
        assert!(
            entry(&at).super_options.to_str().unwrap().starts_with("ro"),
            "{fs}"
        );
        umount(&second).unwrap();
        umount(&at).unwrap();
        assert_eq!(
            mountpoints_beneath(file.folder()),
            Vec::<std::path::PathBuf>::new()
        );
    }
}

#[test]
fn root_a_read_only_superblock_writes_nothing_even_after_a_crash() {
    let _alone = no_new_namespaces();
    for fs in ["ext4", "xfs", "btrfs"] {
        if !requires_root() || !requires_program(&format!("mkfs.{fs}")) {
            return;
        }
        let file = device(fs);
        let at = file.folder().join("at");
        fs::create_dir(&at).unwrap();
        run("mount", &[file.device(), at.as_path()]).unwrap();
        fs::write(at.join("file"), "content").unwrap();
        File::open(at.join("file")).unwrap().sync_all().unwrap();
        // The image now has a journal or log that a mount would replay.
        let copy = file.folder().join("copy");
        run(
            "cp",
            &["--sparse=always".as_ref(), file.image(), copy.as_path()],
        )
        .unwrap();
        umount(&at).unwrap();
        let before = fs::read(&copy).unwrap();
        let attached = attach_read_only(&copy);
        let target = open_target(&at).unwrap();
        let device = Path::new(&attached);
        mount_device(&host(), fs, device, &target, &options("ro"), true).unwrap();
        umount(&at).unwrap();
        run("losetup", &[Path::new("--detach"), device]).unwrap();
        assert!(before == fs::read(&copy).unwrap(), "{fs}");
    }
}

#[test]
fn root_a_read_only_device_is_mounted_read_only_or_not_at_all() {
    let _alone = no_new_namespaces();
    for fs in ["ext4", "xfs", "btrfs"] {
        if !requires_root() || !requires_program(&format!("mkfs.{fs}")) {
            return;
        }
        let scratch = Scratch::new("read-only").unwrap();
        let image = scratch.path().join("image");
        File::create_new(&image)
            .unwrap()
            .set_len(320 << 20)
            .unwrap();
        run(&format!("mkfs.{fs}"), &[Path::new("-q"), &image]).unwrap();
        let attached = attach_read_only(&image);
        let at = scratch.folder("at").unwrap();
        let mount = |words| {
            let target = open_target(&at).unwrap();
            let device = Path::new(&attached);
            mount_device(&host(), fs, device, &target, &options(words), false)
        };
        let error = mount("").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permission, "{}", error.chain());
        assert!(error.to_string().contains("mount with ro"), "{error}");
        mount("ro").unwrap();
        umount(&at).unwrap();
    }
}

#[test]
fn root_a_mount_that_fails_says_why_and_leaves_nothing() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    let file = device("ext4");
    let at = file.folder().join("at");
    fs::create_dir(&at).unwrap();
    let target = open_target(&at).unwrap();
    let mount = |fs, device: &Path| {
        mount_device(&host(), fs, device, &target, &options(""), false).unwrap_err()
    };
    let error = mount("nonesuch", file.device());
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(
        error.to_string(),
        "this kernel has no file system \"nonesuch\""
    );
    for fs in ["tmpfs", "proc", "sysfs", "cgroup2"] {
        let error = mount(fs, file.device());
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{fs}");
    }
    let error = mount("xfs", file.device());
    assert!(
        error.to_string().contains("no file system of this type"),
        "{error}"
    );
    let error = mount("ext4", Path::new("/dev/nonesuch"));
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(mountpoints_beneath(file.folder()).is_empty());
}
