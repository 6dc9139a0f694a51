// SPDX-License-Identifier: MIT OR Apache-2.0
//! What needs no privilege: make, list, find, rename, drop, resize, check on a folder of one's own.

mod common;

use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Images, MIB};
use mosaic_core::finding::Repair;
use mosaic_core::fs::FsType;
use mosaic_core::volume::{InitOptions, Kind, NewKind, capability};
use mosaic_core::{Driver, ErrorKind, Host, Settings, VolumeName};
use mosaic_loop::Loop;
use mosaic_tests::{
    MountedFs, Scratch, copy_of_own_program, requires, requires_program, requires_root, scratch,
    volume,
};
use nix::sys::stat::Mode;

fn images(label: &str) -> (Scratch, Images) {
    let scratch = Scratch::new(label).unwrap();
    let images = Images::open(scratch.path());
    (scratch, images)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn entries(path: &Path) -> usize {
    std::fs::read_dir(path).unwrap().count()
}

#[test]
fn a_volume_is_a_sparse_private_file_with_a_label() {
    if !requires_program("mkfs.ext4") {
        return;
    }
    let (_scratch, images) = images("volume");
    images.create_fs("a b", "ext4", 64 * MIB).unwrap();
    images.create_disk("1/12/disk", 10 << 40).unwrap();
    assert_eq!(images.names(), ["1/12/disk", "a b"]);
    let fs = images.find("a b").unwrap();
    let ext4 = Kind::Fs {
        fs: Some("ext4".into()),
        assumed: false,
    };
    assert_eq!(fs.kind, ext4);
    assert_eq!(fs.size.unwrap().0, 64 * MIB);
    assert!(fs.used.unwrap().0 < 32 * MIB, "{:?}", fs.used);
    assert!(fs.attachment.is_none());
    let disk = images.find("1/12/disk").unwrap();
    assert_eq!(disk.kind, Kind::Disk);
    assert_eq!(disk.size.unwrap().0, 10 << 40);
    assert_eq!(mode(&images.image("a b")), 0o600);
    assert_eq!(mode(&images.image("1/12/disk")), 0o600);
    images.drop_volume("1/12/disk").unwrap();
    assert!(
        !images.image("1").exists(),
        "folders go with the last volume"
    );
    images.drop_volume("a b").unwrap();
    assert_eq!(entries(&images.path), 0);
}

#[test]
fn the_second_of_two_has_no_success() {
    let (_scratch, images) = images("exists");
    images.create_disk("a", MIB).unwrap();
    let error = images.create_disk("a", MIB).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    let error = images.create_disk("a/b", MIB).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists, "{}", error.chain());
    images.create_disk("f/x", MIB).unwrap();
    let error = images.create_disk("f", MIB).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists, "a folder has the name");
    assert_eq!(images.names(), ["a", "f/x"]);
}

#[test]
fn of_many_that_make_one_name_exactly_one_succeeds() {
    let (_scratch, images) = images("race");
    for round in 0..20 {
        let name = format!("folder/{round}");
        let made: usize = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| images.create_disk(&name, MIB).is_ok()))
                .collect();
            makers
                .into_iter()
                .map(|maker| usize::from(maker.join().unwrap()))
                .sum()
        });
        assert_eq!(made, 1);
    }
}

#[test]
fn neighbours_under_one_folder_never_fail_each_other() {
    let (_scratch, images) = images("neighbours");
    std::thread::scope(|scope| {
        for neighbour in 0..4 {
            let images = &images;
            scope.spawn(move || {
                let name = format!("1/12/{neighbour}");
                for _ in 0..25 {
                    images.create_disk(&name, MIB).unwrap();
                    images.drop_volume(&name).unwrap();
                }
            });
        }
    });
    assert_eq!(entries(&images.path), 0);
}

#[test]
fn what_cannot_be_made_leaves_nothing() {
    let (_scratch, images) = images("refused");
    let too_small = images.create_fs("a/b", "xfs", MIB);
    let unknown = images.create_fs("a/b", "nonesuch", MIB);
    let word = images.create_fs("a/b", "../../bin/sh", MIB);
    assert_eq!(unknown.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(word.unwrap_err().kind(), ErrorKind::Invalid);
    assert!(too_small.is_err());
    // On xfs and btrfs a file can be that long.
    match images.create_disk("a/b", u64::MAX / 2 / 512 * 512) {
        Ok(()) => images.drop_volume("a/b").unwrap(),
        Err(error) => assert_eq!(error.kind(), ErrorKind::NoSpace),
    }
    assert_eq!(entries(&images.path), 0);
}

#[test]
fn a_mkfs_that_fails_leaves_nothing() {
    // It wants a folder to put in, which is not what it is given.
    if !requires_program("mkfs.cramfs") {
        return;
    }
    let (_scratch, images) = images("mkfs");
    let error = images.create_fs("a/b", "cramfs", MIB).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.chain().contains("mkfs.cramfs"), "{}", error.chain());
    assert_eq!(entries(&images.path), 0);
}

#[test]
fn any_other_mkfs_makes_a_volume_that_is_not_cloned_or_resized() {
    if !requires_program("mkfs.minix") {
        return;
    }
    let (_scratch, images) = images("minix");
    images.create_fs("a", "minix", MIB).unwrap();
    let all = images.driver.capabilities(Some(&volume("a"))).unwrap();
    for what in [capability::CLONE, capability::GROW, capability::SHRINK] {
        assert!(all.iter().any(|c| c.name == what && c.refusal.is_some()));
    }
    let error = images.clone_volume("a", "b", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(images.names(), ["a"]);
}

#[test]
fn a_volume_with_a_bad_label_is_shown_and_can_be_dropped_but_nothing_else() {
    let (_scratch, images) = images("label");
    images.create_disk("a", MIB).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    let label = "user.mosaic.kind";
    rustix::fs::setxattr(images.image("a"), label, b"fs:../sh", flags).unwrap();
    assert!(images.find("a").unwrap().notes[0].contains(label));
    let all = images.driver.capabilities(Some(&volume("a"))).unwrap();
    for what in [capability::CLONE, capability::GROW, capability::SHRINK] {
        assert!(all.iter().any(|c| c.name == what && c.refusal.is_some()));
    }
    let error = images.clone_volume("a", "b", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let error = images.driver.mount_source(Some(&volume("a")), true);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(images.driver.check(&Repair::Usual).unwrap().len(), 1);
    images.drop_volume("a").unwrap();
}

#[test]
fn a_historic_image_is_a_volume_of_the_default_kind() {
    let (_scratch, images) = images("historic");
    std::fs::create_dir_all(images.image("1/12")).unwrap();
    std::fs::write(images.image("1/12/old"), vec![0; 4096]).unwrap();
    std::fs::create_dir(images.image("meta")).unwrap();
    std::fs::write(images.image("meta/file"), "x").unwrap();
    assert_eq!(images.names(), ["1/12/old"]);
    let old = images.find("1/12/old").unwrap();
    let assumed = Kind::Fs {
        fs: Some("ext4".into()),
        assumed: true,
    };
    assert_eq!(old.kind, assumed);
    images.drop_volume("1/12/old").unwrap();
    assert_eq!(images.names(), [""; 0]);
}

#[test]
fn what_is_no_image_is_refused_and_never_waited_for() {
    let (_scratch, images) = images("odd");
    nix::unistd::mkfifo(&images.image("fifo"), Mode::S_IRWXU).unwrap();
    symlink("/etc/passwd", images.image("link")).unwrap();
    std::fs::create_dir(images.image("folder")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(images.image("socket")).unwrap();
    let start = Instant::now();
    for name in ["fifo", "link", "folder", "socket"] {
        let error = images.driver.find(&volume(name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exists, "{}", error.chain());
        for error in [
            images.drop_volume(name).unwrap_err(),
            images.attach(name).unwrap_err(),
            images.resize(name, MIB).unwrap_err(),
            images.clone_volume(name, "clone", None).unwrap_err(),
            images
                .driver
                .rename(&volume(name), &volume("new"))
                .unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Exists, "{}", error.chain());
        }
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(images.names(), [""; 0]);
    assert_eq!(images.driver.check(&Repair::Usual).unwrap().len(), 3);
    assert_eq!(
        std::fs::read_link(images.image("link")).unwrap(),
        Path::new("/etc/passwd")
    );
}

#[test]
fn rename_is_one_step_that_replaces_nothing_and_keeps_the_users_name() {
    let (_scratch, images) = images("rename");
    let from = VolumeName::with_stored("12", "1/12").unwrap();
    let to = VolumeName::with_stored("23", "2/23").unwrap();
    let new = mosaic_core::volume::NewVolume {
        kind: NewKind::Disk,
        size: mosaic_core::Bytes(MIB),
        scratch: scratch(),
    };
    images.driver.create(&from, &new).unwrap();
    assert_eq!(images.find("1/12").unwrap().user.as_deref(), Some("12"));
    images.create_disk("2/23", MIB).unwrap();
    let error = images.driver.rename(&from, &to).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    assert_eq!(images.find("1/12").unwrap().user.as_deref(), Some("12"));
    images.drop_volume("2/23").unwrap();
    images.driver.rename(&from, &to).unwrap();
    assert_eq!(images.names(), ["2/23"]);
    assert_eq!(images.find("2/23").unwrap().user.as_deref(), Some("23"));
    assert!(!images.image("1").exists());
    images.driver.rename(&to, &volume("plain")).unwrap();
    assert_eq!(images.find("plain").unwrap().user, None);
    let error = images.driver.rename(&from, &to).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn an_idle_disk_grows_and_shrinks() {
    let (_scratch, images) = images("resize");
    images.create_disk("a", MIB).unwrap();
    images.resize("a", 3 * MIB).unwrap();
    images.resize("a", 3 * MIB).unwrap();
    assert_eq!(images.find("a").unwrap().size.unwrap().0, 3 * MIB);
    images.resize("a", MIB / 2).unwrap();
    assert_eq!(images.find("a").unwrap().size.unwrap().0, MIB / 2);
}

#[test]
fn an_image_that_somebody_has_open_is_neither_dropped_nor_renamed_nor_shrunk() {
    let (_scratch, images) = images("open");
    images.create_disk("a", MIB).unwrap();
    let image = images.image("a");
    let mut child = std::process::Command::new("sleep")
        .arg("1000")
        .stdin(std::fs::File::open(image).unwrap())
        .spawn()
        .unwrap();
    let expected = format!("pid {}", child.id());
    let errors = [
        images.drop_volume("a").unwrap_err(),
        images.resize("a", MIB / 2).unwrap_err(),
        images
            .driver
            .rename(&volume("a"), &volume("b"))
            .unwrap_err(),
    ];
    let grown = images.resize("a", 2 * MIB);
    child.kill().unwrap();
    child.wait().unwrap();
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.chain().contains(&expected), "{}", error.chain());
    }
    grown.unwrap();
    images.drop_volume("a").unwrap();
}

#[test]
fn locks_of_others_hold_nothing_up() {
    let (_scratch, images) = images("locks");
    images.create_disk("a", MIB).unwrap();
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(images.image("a"))
        .unwrap();
    let held = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).unwrap();
    let start = Instant::now();
    assert!(images.find("a").unwrap().attachment.is_none());
    images.resize("a", 2 * MIB).unwrap();
    assert_eq!(images.names(), ["a"]);
    assert!(start.elapsed() < Duration::from_secs(2));
    drop(held);
    images.drop_volume("a").unwrap();
}

#[test]
fn reading_never_makes_a_drop_fail() {
    let (_scratch, images) = images("readers");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (images, done) = (&images, &done);
        for _ in 0..2 {
            scope.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    images.driver.list().unwrap();
                    images.driver.find(&volume("a")).unwrap();
                }
            });
        }
        let mut slowest = Duration::ZERO;
        for _ in 0..50 {
            images.create_disk("a", MIB).unwrap();
            let start = Instant::now();
            images.drop_volume("a").unwrap();
            slowest = slowest.max(start.elapsed());
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    });
}

#[test]
fn check_tells_what_is_odd_and_mends_the_mode() {
    let (_scratch, images) = images("check");
    images.create_disk("good", MIB).unwrap();
    assert_eq!(images.driver.check(&Repair::Nothing).unwrap(), []);
    std::fs::write(images.image("odd"), [0; 1000]).unwrap();
    std::fs::write(images.image("-n"), "").unwrap();
    let loose = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(images.image("good"), loose).unwrap();
    let faults = |repair| {
        let findings = images.driver.check(repair).unwrap();
        let mut faults: Vec<_> = findings
            .into_iter()
            .map(|f| (f.volume.unwrap_or_default(), f.repaired))
            .collect();
        faults.sort();
        faults
    };
    let odd = [(String::new(), false), ("odd".into(), false)];
    let good = |repaired| ("good".to_owned(), repaired);
    let expected = |good| [odd[0].clone(), good, odd[1].clone()];
    assert_eq!(faults(&Repair::Nothing), expected(good(false)));
    assert_eq!(faults(&Repair::Usual), expected(good(true)));
    assert_eq!(faults(&Repair::Nothing), odd);
    assert_eq!(mode(&images.image("good")), 0o600);
}

#[test]
fn capabilities_say_why_not() {
    let (_scratch, images) = images("capabilities");
    images.create_disk("disk", MIB).unwrap();
    std::fs::write(images.image("old"), "").unwrap();
    let refusal = |name: Option<&str>, what: &str| {
        let name = name.map(volume);
        let all = images.driver.capabilities(name.as_ref()).unwrap();
        let found = all.into_iter().find(|c| c.name == what).unwrap();
        found.refusal
    };
    for what in [capability::FS, capability::DISK, capability::VOLSIZE] {
        assert_eq!(refusal(None, what), None);
    }
    let cloned = images.clone_volume("disk", "clone", None);
    match refusal(Some("disk"), capability::CLONE) {
        None => cloned.unwrap(),
        Some(reason) => {
            let error = cloned.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert_eq!(error.to_string(), reason);
            assert!(reason.ends_with("has no reflink"), "{reason}");
            assert!(images.find("clone").is_none());
        }
    }
    if !rustix::process::geteuid().is_root() {
        // What a user may do is not what the storage can do.
        assert_eq!(refusal(None, capability::BDEV), None);
        let error = images.attach("disk").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permission);
    }
}

#[test]
fn an_idle_ext4_is_cloned_and_grown_without_privilege_where_there_is_reflink() {
    if !requires_program("mkfs.ext4") || !requires_program("tune2fs") {
        return;
    }
    let (_scratch, images) = images("reflink");
    let all = images.driver.capabilities(None).unwrap();
    let clone = all.into_iter().find(|c| c.name == capability::CLONE);
    if let Some(reason) = clone.unwrap().refusal {
        requires(false, &reason);
        return;
    }
    images.create_fs("a", "ext4", 16 * MIB).unwrap();
    images.clone_volume("a", "1/b", Some(32 * MIB)).unwrap();
    let ext4 = FsType::parse("ext4").unwrap();
    let [a, b] = ["a", "1/b"].map(|name| std::fs::File::open(images.image(name)).unwrap());
    assert_ne!(ext4.uuid(a.as_fd()).unwrap(), ext4.uuid(b.as_fd()).unwrap());
    assert_eq!(ext4.size(b.as_fd()).unwrap().0, 32 * MIB);
    assert_eq!(mode(&images.image("1/b")), 0o600);
    assert_eq!(images.said.take(), [""; 0]);
}

#[test]
fn init_makes_the_location_once_and_never_over_anything() {
    let scratch = Scratch::new("init").unwrap();
    let at = scratch.path().join("img");
    let host = Host::new(std::sync::Arc::new(mosaic_tests::Said::default()));
    let mut settings = Settings::new(&at);
    settings.layout_fs = Some("a/meta".into());
    let init = |settings: &Settings| Loop::init(&host, settings, &InitOptions::default());
    let made = init(&settings).unwrap();
    assert_eq!(made.len(), 3, "{made:?}");
    assert_eq!(mode(&at), 0o700);
    assert!(at.join("a/meta").is_dir());
    let error = init(&settings).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    let file = scratch.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = init(&Settings::new(&file)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    let nowhere = Settings::new(scratch.path().join("no/where"));
    let error = init(&nowhere).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(std::fs::read(&file).unwrap(), b"x");
}

/// Runs the other tests here as a user, with locations in a folder.
fn as_user(folder: &Path) {
    const NOBODY: u32 = 65534;
    std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
    let output = std::process::Command::new(copy_of_own_program(folder))
        // One by one: what another test forks has our images open until it becomes a program.
        .args(["--skip", "root_", "--test-threads", "1"])
        .env("TMPDIR", folder)
        .env_remove("MOSAIC_TEST_REQUIRED")
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("capabilities_say_why_not ... ok"), "{said}");
}

#[test]
fn root_all_of_this_works_for_a_user_without_privilege() {
    if requires_root() {
        as_user(Scratch::new("user").unwrap().path());
    }
}

#[test]
fn root_all_of_this_works_for_a_user_on_reflink() {
    if !requires_root() || !requires_program("mkfs.xfs") {
        return;
    }
    let location = MountedFs::new("xfs").unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(location.path().parent().unwrap(), open).unwrap();
    as_user(location.path());
}
