// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each fault that `check` knows, made, found, and where that is possible mended.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::common::drops::helpers_driver;
use crate::common::{ALL_QUOTAS, MIB, Quotas, Site, open, site, site_with};
use mosaic_btrfs::Btrfs;
use mosaic_btrfs::stale;
use mosaic_core::finding::{Finding, Repair};
use mosaic_core::{Driver, Host, Settings};
use mosaic_tests::{
    Said, Scratch, eventually, requires_program, requires_root, run, run_status, stdout_of,
};

fn check(site: &Site) -> Vec<Finding> {
    site.driver.check(&Repair::Nothing).unwrap()
}

/// The only fault is this one, of this volume or of the location, and nothing can be done about it.
#[track_caller]
fn is_only(findings: &[Finding], volume: Option<&str>, words: &[&str]) {
    let [found] = findings else {
        panic!("{findings:?}");
    };
    assert_eq!(found.volume.as_deref(), volume, "{found:?}");
    for word in words {
        assert!(found.fault.contains(word), "{word}: {found:?}");
    }
    assert_eq!((&found.remedy, found.repaired), (&None, false));
}

#[test]
fn root_a_sound_location_has_no_faults() {
    for quotas in ALL_QUOTAS {
        let Some(site) = site(quotas) else { return };
        site.subvolume("v");
        site.subvolume("v/nested");
        site.snapshot("v", "frozen", true);
        site.write("v/file", MIB);
        assert_eq!(check(&site), [], "{quotas:?}");
        assert_eq!(site.driver.check(&Repair::Usual).unwrap(), []);
        assert_eq!(site.said.take(), [""; 0]);
    }
}

#[test]
fn root_what_stands_in_the_place_of_a_volume_is_found() {
    let layout = |settings: &mut Settings| settings.layout_fs = Some("meta".into());
    let Some(site) = site_with(Quotas::Off, layout) else {
        return;
    };
    for folder in ["meta", "plain", ".mosaic"] {
        std::fs::create_dir(site.at(folder)).unwrap();
    }
    std::fs::write(site.at("file"), "x").unwrap();
    std::os::unix::fs::symlink("plain", site.at("link")).unwrap();
    site.subvolume("-name");
    site.subvolume("covered");
    let at = site.at("covered");
    let at = at.to_str().unwrap();
    run("mount", &["-t", "tmpfs", "none", at]).unwrap();
    let mut faults: Vec<String> = check(&site).into_iter().map(|f| f.fault).collect();
    run("umount", &[at]).unwrap();
    faults.sort();
    let words = [
        ("\"-name\"", "has a name that no volume can have"),
        ("\"file\"", "no directory"),
        ("\"link\"", "no directory"),
        ("\"plain\"", "is not a subvolume"),
        ("\"covered\"", "mounted over"),
    ];
    assert_eq!(faults.len(), words.len(), "{faults:?}");
    for (what, why) in words {
        let found = |fault: &String| fault.contains(what) && fault.contains(why);
        assert!(faults.iter().any(found), "{what}: {faults:?}");
    }
}

#[test]
fn root_dead_quota_groups_are_no_fault_and_a_repair_removes_them() {
    let Some(site) = site(Quotas::Simple) else {
        return;
    };
    let dead = || stale::dead_groups(site.dir().as_fd()).unwrap();
    site.subvolume("origin");
    site.write("origin/file", MIB);
    site.snapshot("origin", "clone", false);
    let origin = site.drop_volume("origin").unwrap();
    site.driver.await_space(&origin).unwrap();
    assert_eq!(dead().len(), 1);
    assert_eq!(check(&site), [], "what still counts is no fault");
    let clone = site.drop_volume("clone").unwrap();
    site.driver.await_space(&clone).unwrap();
    assert!(eventually(|| dead().iter().any(|group| group.is_empty())));
    assert_eq!(check(&site), [], "each drop leaves one for a while");
    assert_eq!(dead().len(), 1, "a check changes nothing");
    let groups = Repair::classes(&["quota-groups".to_owned()]).unwrap();
    assert_eq!(site.driver.check(&Repair::Usual).unwrap(), []);
    assert_eq!(dead().len(), 1, "they have to be named");
    let found = site.driver.check(&groups).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].fault.contains("of a subvolume that is gone"));
    assert_eq!(found[0].remedy.as_ref().unwrap().action, "remove it");
    assert!(found[0].repaired);
    assert_eq!((dead(), check(&site)), (vec![], vec![]));
}

#[test]
fn root_inconsistent_quota_groups_are_found() {
    let Some(site) = site(Quotas::Full) else {
        return;
    };
    let id = site.subvolume("v");
    site.write("v/file", MIB);
    site.snapshot("v", "clone", false);
    let at = site.path.to_str().unwrap();
    run("btrfs", &["qgroup", "create", "1/7", at]).unwrap();
    let member = format!("0/{id}");
    // It says by its status that the numbers are wrong now.
    let words = ["qgroup", "assign", "--no-rescan", &member, "1/7", at];
    run_status("btrfs", &words).unwrap();
    is_only(&check(&site), None, &["inconsistent", "btrfs quota rescan"]);
    run("btrfs", &["quota", "rescan", "-w", at]).unwrap();
    assert_eq!(check(&site), []);
}

#[test]
fn root_volumes_beyond_their_size_are_found() {
    for quotas in [Quotas::Simple, Quotas::Full] {
        let Some(site) = site(quotas) else { return };
        site.subvolume("v");
        site.write("v/file", 8 * MIB);
        site.btrfs(&["qgroup", "limit", "16M"], "v");
        site.commit();
        assert_eq!(check(&site), []);
        site.btrfs(&["qgroup", "limit", "4M"], "v");
        site.commit();
        is_only(&check(&site), Some("v"), &["8.0 MiB", "of 4 MiB", "resize"]);
    }
}

#[test]
fn root_sizes_that_do_not_bind_although_they_have_to_are_found() {
    let required = |settings: &mut Settings| settings.set("quota", "required");
    for quotas in ALL_QUOTAS {
        let Some(site) = site_with(quotas, required) else {
            return;
        };
        site.subvolume("free");
        site.subvolume("bound");
        if quotas == Quotas::Off {
            is_only(&check(&site), None, &["quotas are off", "quota: required"]);
            continue;
        }
        site.btrfs(&["qgroup", "limit", "16M"], "bound");
        site.commit();
        let words = ["no limit", "quota: required", "resize"];
        is_only(&check(&site), Some("free"), &words);
    }
}

#[test]
fn root_errors_of_a_device_are_found() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.subvolume("v");
    std::fs::write(site.at("v/file"), vec![b'#'; 64 << 10]).unwrap();
    site.commit();
    let fs = site.fs;
    drop(site.driver);
    fs.umount().unwrap();
    let image = File::options().read(true).write(true).open(fs.image());
    let image = image.unwrap();
    let mut start = [0; 8];
    let is_block = |at: &u64| {
        image.read_exact_at(&mut start, *at).unwrap();
        start == *b"########"
    };
    let at = (0..).step_by(4096).find(is_block).unwrap();
    image.write_all_at(b"?", at).unwrap();
    run("blockdev", &["--flushbufs".as_ref(), fs.device()]).unwrap();
    fs.mount().unwrap();
    assert!(std::fs::read(site.path.join("v/file")).is_err());
    let (driver, said) = driver(&site.path);
    let found = driver.check(&Repair::Nothing).unwrap();
    let device = fs.device().to_str().unwrap();
    is_only(&found, None, &[device, "corruption", "btrfs device stats"]);
    let at = fs.path().to_str().unwrap();
    run("btrfs", &["device", "stats", "-z", at]).unwrap();
    assert_eq!(driver.check(&Repair::Nothing).unwrap(), []);
    assert_eq!(said.take(), [""; 0]);
}

fn driver(path: &Path) -> (Btrfs, Arc<Said>) {
    let said = Arc::new(Said::default());
    let host = Host::new(said.clone());
    (Btrfs::open(host, &Settings::new(path)).unwrap(), said)
}

#[test]
fn root_a_file_system_that_has_stopped_is_found() {
    if !requires_root() || !requires_program("mkfs.btrfs") {
        return;
    }
    let scratch = Scratch::new("stopped").unwrap();
    let (memory, at) = (
        scratch.folder("memory").unwrap(),
        scratch.folder("at").unwrap(),
    );
    // Its device takes no more writes once the memory is full.
    let words = ["-t", "tmpfs", "-o", "size=160M", "none"].map(Path::new);
    run("mount", &[&words[..], &[&memory]].concat()).unwrap();
    let image = memory.join("image");
    File::create(&image).unwrap().set_len(512 << 20).unwrap();
    run("mkfs.btrfs", &[Path::new("-q"), Path::new("-K"), &image]).unwrap();
    let words = ["--find", "--show"].map(Path::new);
    let device = stdout_of("losetup", &[&words[..], &[&image]].concat()).unwrap();
    let words = ["-t", "btrfs", device.trim()].map(Path::new);
    run("mount", &[&words[..], &[&at]].concat()).unwrap();
    let path = at.join("ct");
    std::fs::create_dir(&path).unwrap();
    open(&path).sync_all().unwrap();
    let (driver, _) = driver(&path);
    assert_eq!(driver.check(&Repair::Nothing).unwrap(), []);
    // What is only mounted read-only is no fault.
    let remount = |how: &str| {
        let words = ["-o", how].map(Path::new);
        run("mount", &[&words[..], &[&at]].concat()).unwrap();
    };
    remount("remount,ro");
    assert_eq!(driver.check(&Repair::Nothing).unwrap(), []);
    remount("remount,rw");
    let fill = |path: &Path| {
        let block = vec![7; 1 << 20];
        let file = File::create(path).unwrap();
        (0..512).find_map(|at| file.write_all_at(&block, at << 20).err())
    };
    fill(&memory.join("rest")).unwrap();
    let stopped = || run_status("touch", &[at.join("file")]).unwrap() != Some(0);
    assert!(eventually(|| {
        fill(&path.join("more"));
        let _ = run_status("sync", &["-f".as_ref(), at.as_os_str()]);
        stopped()
    }));
    let found = driver.check(&Repair::Nothing).unwrap();
    let fault = &found[0].fault;
    assert!(fault.contains("takes no changes any more"), "{found:?}");
    assert!(fault.contains("btrfs check"), "{found:?}");
    std::mem::drop(driver);
    run("umount", &[&at]).unwrap();
}

/// Not a test: what the test below runs as another user.
#[test]
#[ignore = "a helper of other tests"]
#[expect(
    clippy::print_stdout,
    reason = "its answers are read by the test below"
)]
fn helper_checks_a_location_of_its_own() {
    let Some((driver, path, said)) = helpers_driver() else {
        return;
    };
    std::fs::create_dir(path.join("plain")).unwrap();
    let groups = Repair::classes(&["quota-groups".to_owned()]).unwrap();
    for repair in [Repair::Nothing, groups] {
        let found = driver.check(&repair).unwrap();
        println!("found: {} {}", found.len(), found[0].fault);
        println!("said: {:?}", said.take());
    }
}

#[test]
fn root_without_privilege_it_is_said_what_was_not_looked_at() {
    let Some(site) = site(Quotas::Simple) else {
        return;
    };
    let said = site.as_user("check::helper_checks_a_location_of_its_own");
    let found = said.matches("found: 1 \"plain\"").count();
    assert_eq!(found, 2, "{said}");
    // By the repair, which would have removed something.
    assert_eq!(said.matches("only root can see").count(), 1, "{said}");
}
