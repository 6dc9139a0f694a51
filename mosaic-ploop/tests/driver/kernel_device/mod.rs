// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks that are shown by the `ploop` tool, on real device-mapper. The tool is a stand-in, which
//! makes devices of the target `linear`: no kernel here has the target `ploop`.

mod stand_in;

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mosaic_core::dm::{By, Dm, open_control};
use mosaic_core::volume::{Lifetime, MountSource, capability};
use mosaic_core::{Driver, ErrorKind};
use mosaic_ploop::files::DiskFolder;
use mosaic_ploop::format::disk::Disk;
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::locks::{Hold, ImageLock};
use mosaic_tests::{
    Moctl, MountedFs, block_servers_beneath, eventually, requires_program, requires_vm, run,
};

use super::common::{Disks, MIB, assert_refused, disks, volume};
use stand_in::StandIn;

/// A location of disks that the stand-in can show.
fn in_kernel(label: &str) -> (mosaic_tests::Scratch, Disks) {
    disks(label, &[("preallocate", "true"), ("device", "kernel")])
}

fn open(device: &Path) -> File {
    let mut options = File::options();
    options.read(true).write(true).open(device).unwrap()
}

/// What is mounted of the volume `a`, and what keeps it there.
fn mount_source(disks: &Disks) -> (PathBuf, OwnedFd) {
    match disks.driver.mount_source(Some(&volume("a")), false) {
        Ok(MountSource::Device { path, handle }) => (path, handle),
        other => panic!("it is a device: {other:?}"),
    }
}

/// Its name in device-mapper.
fn name_of(device: &Path) -> String {
    let node = device.file_name().unwrap().to_str().unwrap();
    let name = fs::read_to_string(format!("/sys/block/{node}/dm/name"));
    let name = name.unwrap_or_else(|error| panic!("{device:?}: {error}"));
    name.trim_end().to_owned()
}

#[test]
fn root_a_disk_is_attached_found_and_detached_by_the_tool() {
    if !requires_vm() {
        return;
    }
    let _tool = StandIn::install();
    let (_scratch, disks) = in_kernel("kernel-device");
    disks.create_disk("a", 8 * MIB).unwrap();
    disks.create_disk("b", 8 * MIB).unwrap();
    disks.write("a", MIB, &[1; 4096]);
    let attached = disks.driver.attach(&volume("a"), false).unwrap();
    assert_eq!(attached.lifetime, Lifetime::Explicit);
    assert!(!attached.foreign && !attached.read_only);
    let name = name_of(&attached.device);
    let folder = fs::canonicalize(disks.file("a")).unwrap();
    let descriptor = folder.join("DiskDescriptor.xml");
    let mount = format!("mount -d /dev/mapper/{name} {}", descriptor.display());
    assert_eq!(StandIn::calls(), [mount]);
    // A number that libploop does not choose for its own, and that minor numbers have.
    let number: u32 = name.strip_prefix("ploop").unwrap().parse().unwrap();
    assert!((100_000..1 << 20).contains(&number));
    // It is known by its uuid, and by nothing else; the other disk is not taken for it.
    let control = open_control().unwrap();
    let dm = Dm::unlogged(&control);
    let uuid = dm.info(By::Name(&name)).unwrap().unwrap().uuid;
    assert!(uuid.starts_with("MOSAIC-PLOOP-"), "{uuid}");
    let again = dm.give_uuid(&name, "MOSAIC-PLOOP-1-2");
    assert_eq!(again, Err(rustix::io::Errno::INVAL));
    assert_eq!(disks.find("a").unwrap().attachment, Some(attached.clone()));
    assert_eq!(disks.fact("a", "served by"), "the kernel's ploop");
    assert_eq!(disks.find("b").unwrap().attachment, None);
    assert!(block_servers_beneath(&disks.path).is_empty());
    let device = open(&attached.device);
    let mut read = [0; 4096];
    device.read_exact_at(&mut read, MIB).unwrap();
    assert_eq!(read, [1; 4096]);
    device.write_all_at(&[2; 4096], 2 * MIB).unwrap();
    device.sync_all().unwrap();
    for error in [
        disks.drop("a").unwrap_err(),
        disks.rename("a", "c").unwrap_err(),
        disks.resize("a", 16 * MIB).unwrap_err(),
        disks.driver.attach(&volume("a"), false).unwrap_err(),
        disks.driver.detach(&volume("a")).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Busy);
        let why = error.chain();
        let at = format!("attached at {}", attached.device.display());
        assert!(why.contains(&at) && why.contains("kernel's ploop"), "{why}");
    }
    let capabilities = disks.driver.capabilities(Some(&volume("a"))).unwrap();
    let grow = capabilities.iter().find(|c| c.name == "grow").unwrap();
    let why = grow.refusal.as_deref().unwrap();
    assert!(why.contains("kernel's ploop"), "{why}");
    drop(device);
    disks.driver.detach(&volume("a")).unwrap();
    assert_eq!(StandIn::calls().len(), 2, "{:?}", StandIn::calls());
    let umount = format!("umount {}", descriptor.display());
    assert_eq!(StandIn::calls()[1], umount);
    assert_eq!(disks.find("a").unwrap().attachment, None);
    let error = disks.driver.detach(&volume("a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(disks.read("a", 2 * MIB, 4096), [2; 4096]);
    disks.resize("a", 16 * MIB).unwrap();
    // For reading only.
    let attached = disks.driver.attach(&volume("b"), true).unwrap();
    assert!(attached.read_only);
    assert_eq!(disks.find("b").unwrap().attachment, Some(attached.clone()));
    let device = open(&attached.device);
    assert!(device.write_all_at(&[9; 512], 0).is_err());
    drop(device);
    assert!(StandIn::calls()[2].starts_with("mount -r -d /dev/mapper/ploop"));
    disks.driver.detach(&volume("b")).unwrap();
    disks.drop("b").unwrap();
}

#[test]
fn root_a_disk_in_the_kernels_device_is_cloned_as_the_tool_has_frozen_it() {
    if !requires_vm() {
        return;
    }
    let _tool = StandIn::install();
    let (_scratch, disks) = in_kernel("kernel-clone");
    disks.create_disk("a", 8 * MIB).unwrap();
    let made = StandIn::file("frozen");
    run("cp", &["-r".as_ref(), disks.file("a").as_path(), &made]).unwrap();
    let guid: Guid = "{11111111-2222-3333-4444-555555555555}".parse().unwrap();
    let mut copy = Disk::open(DiskFolder::open(&made).unwrap()).unwrap();
    copy.snapshot(guid).unwrap();
    let attached = disks.driver.attach(&volume("a"), false).unwrap();
    let device = open(&attached.device);
    device.write_all_at(&[5; 4096], 3 * MIB).unwrap();
    device.sync_all().unwrap();
    // One that does not close what it froze is found out.
    StandIn::set("unclosed");
    assert_refused(
        disks.clone("a", "b", None),
        ErrorKind::Unsupported,
        "marked as in use",
    );
    StandIn::unset("unclosed");
    disks.said.take();
    disks.clone("a", "b", None).unwrap();
    assert_eq!(disks.read("b", 3 * MIB, 4096), [5; 4096]);
    disks.assert_warned("power cut");
    let shots = disks.disk("a").descriptor().shots().len();
    assert_eq!(shots, 2);
    let asked: Guid = fs::read_to_string(StandIn::file("uuid"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(disks.disk("a").descriptor().shot(asked).is_some());
    // The clone is nobody's: it has a file of what is attached, and is not taken for it.
    disks.write("b", 0, &[6; 512]);
    disks.resize("b", 16 * MIB).unwrap();
    disks.drop("b").unwrap();
    drop(device);
    // Attached for reading it has no top to freeze.
    disks.create_disk("c", 8 * MIB).unwrap();
    let read_only = disks.driver.attach(&volume("c"), true).unwrap();
    let error = disks.clone("c", "d", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    disks.driver.detach(&volume("c")).unwrap();
    assert!(read_only.read_only);
    assert_eq!(disks.names(), ["a", "c"]);
    assert_eq!(disks.leftovers(), [""; 0].map(PathBuf::from));
}

#[test]
fn root_a_file_system_in_the_kernels_device_is_mounted_cloned_and_not_taken_away() {
    if !requires_vm() {
        return;
    }
    let _tool = StandIn::install();
    let (scratch, disks) = in_kernel("kernel-mount");
    disks.create_fs("a", "ext4", 64 * MIB).unwrap();
    let attached = disks.driver.attach(&volume("a"), false).unwrap();
    let (path, handle) = mount_source(&disks);
    assert_eq!(path, attached.device);
    let at = scratch.folder("at").unwrap();
    run("mount", &[&path, &at]).unwrap();
    drop(handle);
    fs::write(at.join("file"), "before").unwrap();
    assert_refused(
        disks.driver.detach(&volume("a")),
        ErrorKind::Busy,
        "mounted at",
    );
    assert_eq!(StandIn::calls().len(), 1, "the tool would unmount it");
    // The tool is asked for a snapshot of our name. This one makes none.
    let error = disks.clone("a", "b", None).unwrap_err();
    assert!(
        error.chain().contains("no such snapshot"),
        "{}",
        error.chain()
    );
    assert_eq!(disks.names(), ["a"]);
    let guid = fs::read_to_string(StandIn::file("uuid")).unwrap();
    let folder = fs::canonicalize(disks.file("a")).unwrap();
    let asked = format!(
        "snapshot -u {} {}/DiskDescriptor.xml",
        guid.trim(),
        folder.display()
    );
    assert_eq!(StandIn::calls()[1], asked);
    run("umount", &[&at]).unwrap();
    disks.driver.detach(&volume("a")).unwrap();
    // What is there for a mount only goes by a block server, which goes with it.
    let (path, handle) = mount_source(&disks);
    assert!(path.starts_with("/dev") && path.display().to_string().contains("loop"));
    drop(handle);
    assert!(eventually(|| disks.find("a").unwrap().attachment.is_none()));
    assert_eq!(StandIn::calls().len(), 3);
    // A partition that the tool made of it goes with it.
    let attached = disks.driver.attach(&volume("a"), false).unwrap();
    let name = name_of(&attached.device);
    let make =
        "DM_DISABLE_UDEV=1 dmsetup create $0p1 --table \"0 2048 linear /dev/mapper/$0 2048\"";
    run("sh", &["-c", make, &name]).unwrap();
    let opened = open(Path::new(&format!("/dev/mapper/{name}p1")));
    let error = disks.driver.detach(&volume("a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    drop(opened);
    disks.driver.detach(&volume("a")).unwrap();
}

#[test]
fn root_moctl_goes_through_the_kernels_device_and_says_so() {
    if !requires_vm() {
        return;
    }
    let _tool = StandIn::install();
    let moctl = Moctl::new().unwrap();
    let location = moctl.make_folder("vz").unwrap();
    let more = "default_fs: ext4\npreallocate: true\ndevice: kernel\n";
    moctl.mosaic("m", "ploop", &location, more).unwrap();
    moctl.ok(&["m", "new", "fs", "a", "64M"]);
    let said = moctl.ok(&["m", "attach", "a"]);
    assert!(said.starts_with("Device: /dev/dm-"), "{said}");
    let info = moctl.ok(&["m", "info", "a"]);
    assert!(info.contains("the kernel's ploop"), "{info}");
    let again = moctl.ok(&["m", "attach", "a", "--exist-ok"]);
    assert!(again.contains(said.trim()), "{again}");
    let at = moctl.make_folder("at").unwrap();
    let at = at.to_str().unwrap();
    moctl.ok(&["m", "mount", "a", at]);
    fs::write(Path::new(at).join("file"), "on it").unwrap();
    for (args, status, words) in [
        (&["m", "detach", "a"][..], 5, "mounted at"),
        (&["m", "resize", "a", "128M"], 6, "until it is detached"),
        (&["m", "drop", "a"], 5, "mounted at"),
    ] {
        let said = moctl.expect(status, args).stderr;
        assert!(said.contains(words), "{args:?}: {said}");
    }
    moctl.ok(&["m", "umount", "a", at]);
    // An attachment of its own outlives a mount.
    assert!(moctl.ok(&["m", "list"]).contains("attached"));
    moctl.ok(&["m", "detach", "a"]);
    moctl.ok(&["m", "resize", "a", "128M"]);
    moctl.ok(&["m", "mount", "a", at]);
    assert_eq!(fs::read(Path::new(at).join("file")).unwrap(), b"on it");
    moctl.ok(&["m", "umount", "a", at]);
    moctl.ok(&["m", "drop", "a"]);
    assert_eq!(StandIn::calls().len(), 2);
}

/// What `ploop init` makes: the volume's device is the one that the tool makes of the partition.
#[test]
fn root_a_file_system_on_a_partition_is_shown_alone() {
    if !requires_vm() {
        return;
    }
    let _tool = StandIn::install();
    let options = [
        ("preallocate", "true"),
        ("device", "kernel"),
        ("partition", "gpt"),
    ];
    let (scratch, disks) = disks("kernel-part", &options);
    disks.create_fs("a", "ext4", 64 * MIB).unwrap();
    // Without that device the disk is not shown at all.
    StandIn::set("noparts");
    let error = disks.driver.attach(&volume("a"), false).unwrap_err();
    assert!(
        error.chain().contains("no device for the partition"),
        "{}",
        error.chain()
    );
    assert_eq!(disks.find("a").unwrap().attachment, None);
    assert_eq!(StandIn::calls().len(), 2, "it is taken away again");
    StandIn::unset("noparts");
    let attached = disks.driver.attach(&volume("a"), false).unwrap();
    assert!(name_of(&attached.device).ends_with("p1"));
    assert_eq!(disks.find("a").unwrap().attachment, Some(attached.clone()));
    let (path, handle) = mount_source(&disks);
    assert_eq!(path, attached.device);
    let at = scratch.folder("at").unwrap();
    run("mount", &[&path, &at]).unwrap();
    drop(handle);
    fs::write(at.join("file"), "on it").unwrap();
    assert_refused(
        disks.driver.detach(&volume("a")),
        ErrorKind::Busy,
        "mounted at",
    );
    run("umount", &[&at]).unwrap();
    // Without the partition's device there is none: the whole is not the volume.
    let remove = "DM_DISABLE_UDEV=1 dmsetup remove --retry $0";
    run("sh", &["-c", remove, &name_of(&attached.device)]).unwrap();
    let source = disks.driver.mount_source(Some(&volume("a")), false);
    assert_refused(source, ErrorKind::Io, "partition is gone");
    let found = disks.find("a").unwrap();
    assert_eq!(found.attachment, None);
    assert!(found.notes.iter().any(|note| note.contains("detach it")));
    let error = disks.drop("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    disks.driver.detach(&volume("a")).unwrap();
    assert_eq!(disks.find("a").unwrap().attachment, None);
    // A disk is shown whole, whatever is on it.
    disks.label("a");
    let attached = disks.driver.attach(&volume("a"), false).unwrap();
    assert!(!name_of(&attached.device).ends_with("p1"));
    disks.driver.detach(&volume("a")).unwrap();
}

#[test]
fn root_where_the_tool_fails_a_block_server_shows_the_disk_and_nothing_is_left() {
    if !requires_vm() {
        return;
    }
    let tool = StandIn::install();
    let (_scratch, disks) = in_kernel("kernel-fails");
    disks.create_disk("a", 8 * MIB).unwrap();
    StandIn::set("mount");
    let error = disks.driver.attach(&volume("a"), false).unwrap_err();
    let why = error.chain();
    assert!(
        why.contains("cannot show it") && why.contains("told to fail"),
        "{why}"
    );
    assert_eq!(disks.find("a").unwrap().attachment, None);
    StandIn::unset("mount");
    // Closed by nobody: that is an error, and the next attach is a server's, which repairs it.
    disks.driver.attach(&volume("a"), false).unwrap();
    StandIn::set("unclosed");
    assert_refused(
        disks.driver.detach(&volume("a")),
        ErrorKind::Io,
        "not closed",
    );
    assert_eq!(disks.find("a").unwrap().attachment, None);
    let error = disks.driver.attach(&volume("a"), false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    tool.forget();
    let auto = Disks::open(&disks.path, &[]);
    let attached = auto.driver.attach(&volume("a"), false).unwrap();
    assert!(attached.device.display().to_string().contains("loop"));
    // This kernel has no target of that name, so the tool is not even asked.
    assert_eq!(StandIn::calls(), [""; 0]);
    let about = auto.driver.about().unwrap();
    assert!(about.facts.contains(&("kernel ploop".into(), "no".into())));
    auto.driver.detach(&volume("a")).unwrap();
    assert!(eventually(|| block_servers_beneath(&disks.path).is_empty()));
    disks.driver.attach(&volume("a"), false).unwrap();
    StandIn::set("umount");
    let error = disks.driver.detach(&volume("a")).unwrap_err();
    assert!(error.chain().contains("told to fail"), "{}", error.chain());
    assert!(disks.find("a").unwrap().attachment.is_some());
    StandIn::unset("umount");
    disks.driver.detach(&volume("a")).unwrap();
}

#[test]
fn root_the_tool_is_only_sent_where_nobody_else_can_lead_it_astray() {
    if !requires_vm() {
        return;
    }
    let _tool = StandIn::install();
    let (_scratch, disks) = in_kernel("kernel-paths");
    disks.create_disk("a", 8 * MIB).unwrap();
    let refused = |why: &str| {
        let error = disks.driver.attach(&volume("a"), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.chain().contains(why), "{}", error.chain());
    };
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(&disks.file("a"), 0o770);
    refused("others than root can change");
    // Also where everybody may change what is his: the disk's own folder is not for that.
    set_mode(&disks.file("a"), 0o1777);
    refused("others than root can change");
    set_mode(&disks.file("a"), 0o700);
    set_mode(&disks.path, 0o777);
    refused("others than root can change");
    set_mode(&disks.path, 0o755);
    std::os::unix::fs::chown(&disks.path, Some(1000), None).unwrap();
    refused("others than root can change");
    std::os::unix::fs::chown(&disks.path, Some(0), None).unwrap();
    // The descriptor says which files the tool opens, and those are its alone as long as it has them.
    for name in ["DiskDescriptor.xml", "root.hds"] {
        let file = disks.file("a").join(name);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        std::os::unix::fs::chown(&file, Some(1000), None).unwrap();
        refused(name);
        std::os::unix::fs::chown(&file, Some(0), None).unwrap();
        set_mode(&file, 0o664);
        refused(name);
        set_mode(&file, mode & 0o7777);
    }
    let other = Disks::open(&disks.path, &[("version", "1")]);
    other.create_disk("c", 64 * MIB).unwrap();
    let error = disks.driver.attach(&volume("c"), false).unwrap_err();
    assert!(error.chain().contains("version 1"), "{}", error.chain());
    disks.drop("c").unwrap();
    assert_eq!(StandIn::calls(), [""; 0]);
    disks.driver.attach(&volume("a"), false).unwrap();
    disks.driver.detach(&volume("a")).unwrap();
    assert_eq!(StandIn::calls().len(), 2);
}

/// For each operation the tool takes locks on the base of a disk, for which it waits for a minute,
/// and whoever shows another disk that has the base has locks there for as long.
#[test]
fn root_a_disk_that_shares_images_is_not_the_kernels() {
    if !requires_vm() || !requires_program("mkfs.ext4") {
        return;
    }
    let _tool = StandIn::install();
    // Without reflink.
    let location = MountedFs::new("ext4").unwrap();
    let options = [("preallocate", "true"), ("device", "kernel")];
    let disks = Disks::open(location.path(), &options);
    let by_server = Disks::open(location.path(), &[("device", "server")]);
    let refusal = |name: &str| {
        let all = disks.driver.capabilities(Some(&volume(name))).unwrap();
        let clone = all.into_iter().find(|can| can.name == capability::CLONE);
        clone.unwrap().refusal
    };
    disks.create_disk("a", 8 * MIB).unwrap();
    disks.driver.attach(&volume("a"), false).unwrap();
    let why = assert_refused(
        disks.clone("a", "b", None),
        ErrorKind::Unsupported,
        "reflink",
    );
    assert!(why.contains(&refusal("a").unwrap()), "{why}");
    assert_eq!(StandIn::calls().len(), 1, "the tool would freeze it");
    assert_eq!(disks.disk("a").descriptor().shots().len(), 1);
    assert!(disks.leftovers().is_empty());
    // Somebody has it after all: it stays as it is, and he is named.
    let base = File::open(disks.file("a").join("root.hds")).unwrap();
    let theirs = ImageLock::take(base.into(), "root.hds", &Hold::READ).unwrap();
    let error = disks.driver.detach(&volume("a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{}", error.chain());
    let us = format!("locked by pid {}", std::process::id());
    assert!(error.chain().contains(&us), "{}", error.chain());
    assert_eq!(StandIn::calls().len(), 1, "the tool would wait");
    drop(theirs);
    disks.driver.detach(&volume("a")).unwrap();
    // Idle it is cloned, and then a server shows it.
    assert_eq!(refusal("a"), None);
    disks.clone("a", "b", None).unwrap();
    for name in ["a", "b"] {
        let error = disks.driver.attach(&volume(name), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.chain().contains("shares images"), "{}", error.chain());
        by_server.driver.attach(&volume(name), false).unwrap();
    }
    for name in ["a", "b"] {
        disks.driver.detach(&volume(name)).unwrap();
    }
    assert_eq!(StandIn::calls().len(), 2, "{:?}", StandIn::calls());
}

/// What the target would answer goes through what device-mapper itself answers here.
#[test]
fn root_device_mapper_says_its_targets_and_answers_messages() {
    if !requires_vm() {
        return;
    }
    let control = open_control().unwrap();
    let dm = Dm::unlogged(&control);
    assert!(Path::new("/sys/class/misc/device-mapper").exists());
    assert!(dm.has_target("linear").unwrap());
    assert!(!dm.has_target("ploop").unwrap());
    let name = "ploop-kernel-facts";
    let table = ["create", "--noudevsync", name, "--table", "0 8 error"];
    let made = run("dmsetup", &table);
    let answers = [
        "@stats_create - 8 program aux",
        "@stats_list",
        "get_img_name 0",
    ]
    .map(|message| dm.ask(By::Name(name), message));
    let listed = dm.devices().unwrap();
    run("dmsetup", &["remove", "--noudevsync", name]).unwrap();
    made.unwrap();
    assert_eq!(answers[0], Ok(Some("0".to_owned())));
    let list = answers[1].as_ref().unwrap().as_deref().unwrap();
    assert!(list.starts_with("0: 0+8 8 program"), "{list}");
    assert_eq!(answers[2], Err(rustix::io::Errno::INVAL));
    assert!(listed.iter().any(|device| device.name == name));
}
