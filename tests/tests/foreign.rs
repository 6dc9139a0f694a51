// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mosaic in the process of a program that is not its own: with signals that interrupt system calls, with
//! other threads that fork, with many threads on one open mosaic.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mosaic_core::finding::Repair;
use mosaic_core::host_services::{Level, Services};
use mosaic_core::loader::{Beside, SearchPath};
use mosaic_core::mosaic::{DropOptions, Earlier, Environment, Mosaic, ResizeTo, VolumeRequest};
use mosaic_core::mounts::MountOptions;
use mosaic_core::volume::capability;
use mosaic_core::{Bytes, Error, ErrorKind};
use mosaic_tests::{
    Interrupts, Lingering, Site, ThinPool, requires_program, requires_root, requires_thin_pools,
    requires_time,
};

const MIB: u64 = 1 << 20;
/// Set for the copy of this test program that runs one test alone.
const ALONE: &str = "MOSAIC_TEST_ALONE";
/// What that copy ends with if the test was run, and nothing was wrong.
const PASSED: i32 = 77;

/// What the program has to say to a line of the log.
type OnLine = Box<dyn Fn(Level, &str) + Send + Sync>;

struct Program {
    on_line: OnLine,
}

impl Services for Program {
    fn log(&self, level: Level, message: &str) {
        (self.on_line)(level, message);
    }
    fn progress(&self, _: u64, _: u64, _: &str) {}
    fn cancelled(&self) -> bool {
        false
    }
}

fn open(site: &Site, on_line: OnLine) -> Mosaic {
    let drivers = vec![mosaic_tests::target_folder().unwrap()];
    let environment = Environment {
        config_dir: site.moctl().folder().to_owned(),
        search: SearchPath::new(drivers, Vec::new(), Beside::Program),
        lock_timeout: Duration::from_secs(2),
        services: Arc::new(Program { on_line }),
    };
    Mosaic::open(&environment, "m".as_ref()).unwrap()
}

/// Driver, file system, further lines of the config.
const PLACES: [(&str, &str, &str); 6] = [
    ("loop", "xfs", "default_fs: ext4\n"),
    ("loop", "btrfs", "default_fs: xfs\n"),
    ("ploop", "ext4", "default_fs: ext4\n"),
    ("plain", "ext4", ""),
    ("btrfs", "btrfs+simple", ""),
    ("btrfs", "btrfs+full", ""),
];

fn site(driver: &str, fs: &str, config: &str) -> Site {
    Site::on(fs, driver, config).unwrap()
}

fn can_run() -> bool {
    let programs = ["mkfs.ext4", "mkfs.xfs", "mkfs.btrfs"];
    requires_root() && programs.into_iter().all(requires_program)
}

#[track_caller]
fn done<T>(step: &str, result: Result<T, Error>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{step}: {}", error.chain()),
    }
}

/// As [`done`], where what this driver cannot do is refused.
#[track_caller]
fn done_or_unsupported<T>(step: &str, result: Result<T, Error>) -> Option<T> {
    match result {
        Err(error) if error.kind() == ErrorKind::Unsupported => None,
        other => Some(done(step, other)),
    }
}

/// Every verb, at least once.
fn all_verbs(mosaic: &Mosaic, site: &Site, name: &str) {
    let at = site.mountpoint(&format!("at-{name}"));
    let [clone, renamed] = ["clone", "renamed"].map(|what| format!("{name}-{what}"));
    let size = Bytes(320 * MIB);
    let has = |volume: &str, what: &str| {
        let (_, capabilities) = done("info", mosaic.volume_info(volume));
        capabilities
            .iter()
            .any(|c| c.name == what && c.refusal.is_none())
    };
    done("new", mosaic.create(name, VolumeRequest::Fs, size, false));
    done(
        "mount",
        mosaic.mount(Some(name), &at, &MountOptions::default()),
    );
    std::fs::write(at.join("file"), vec![7; 2 << 20]).unwrap();
    if has(name, capability::GROW) {
        let to = ResizeTo::Grow(Bytes(64 * MIB));
        match mosaic.resize(name, to, false) {
            // A container may lack CAP_SYS_RESOURCE: then it is grown when it is idle.
            Err(error) if error.kind() == ErrorKind::Permission => {}
            other => drop(done("grow mounted", other)),
        }
    }
    if has(name, capability::CLONE) {
        done("clone", mosaic.clone_volume(name, &clone, None, false));
        done(
            "drop clone",
            mosaic.drop_volume(&clone, &DropOptions::default()),
        );
    }
    done("umount", mosaic.umount(Some(name), &at));
    if has(name, capability::GROW) {
        let to = ResizeTo::Grow(Bytes(64 * MIB));
        done("grow idle", mosaic.resize(name, to, false));
    }
    if has(name, capability::SHRINK) {
        let to = ResizeTo::Shrink(Bytes(32 * MIB));
        done_or_unsupported("shrink", mosaic.resize(name, to, true));
    }
    if has(name, capability::BDEV) {
        done("attach", mosaic.attach(name, false, Earlier::Refused));
        done("detach", mosaic.detach(name, false));
    }
    done("check volume", mosaic.check_volume(name, &Repair::Nothing));
    if has(name, capability::RENAME) {
        done("rename", mosaic.rename(name, &renamed));
        done("rename", mosaic.rename(&renamed, name));
    }
    done("list", mosaic.list());
    done("check", mosaic.check(&Repair::Nothing));
    let wait = DropOptions {
        wait: true,
        ..DropOptions::default()
    };
    done("drop", mosaic.drop_volume(name, &wait));
}

#[test]
fn root_signals_that_interrupt_system_calls_interrupt_no_verb() {
    if !can_run() {
        return;
    }
    for (driver, fs, config) in PLACES {
        let site = site(driver, fs, config);
        let mosaic = open(&site, Box::new(|_, _| ()));
        let interrupts = Interrupts::every(Duration::from_micros(500));
        all_verbs(&mosaic, &site, "v");
        let count = interrupts.count();
        drop(interrupts);
        assert!(count >= 10, "{driver} on {fs}: only {count} signals");
        site.assert_idle();
    }
}

/// The suspend before the clone of a mounted volume is the one call that a signal can really end.
#[test]
fn root_signals_that_interrupt_system_calls_interrupt_no_suspend() {
    if !requires_time() || !requires_thin_pools() || !requires_program("mkfs.ext4") {
        return;
    }
    let pool = ThinPool::new(1 << 30, 4 << 20).unwrap();
    let site = Site::on_pool(pool, "dmthin", "default_fs: ext4\n").unwrap();
    let mosaic = open(&site, Box::new(|_, _| ()));
    let interrupts = Interrupts::every(Duration::from_micros(500));
    all_verbs(&mosaic, &site, "v");
    assert!(interrupts.count() >= 10);
    drop(interrupts);
    site.assert_idle();
}

/// In a process of its own: its children would hold what the tests of the other threads have open.
#[test]
fn root_a_child_that_was_forked_in_the_middle_holds_no_lock() {
    if !can_run() {
        return;
    }
    if std::env::var_os(ALONE).is_none() {
        let name = "root_a_child_that_was_forked_in_the_middle_holds_no_lock";
        let ended = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "yes")
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(PASSED), "{words}");
        return;
    }
    for (driver, fs, config) in PLACES {
        let site = site(driver, fs, config);
        let children = Arc::new(Mutex::new(Vec::new()));
        let made = Arc::clone(&children);
        let forks: OnLine = Box::new(move |_, _| made.lock().unwrap().push(Lingering::fork()));
        let forking = open(&site, forks);
        let size = Bytes(320 * MIB);
        done("new", forking.create("v", VolumeRequest::Fs, size, false));
        assert!(!children.lock().unwrap().is_empty(), "{driver} on {fs}");
        let mosaic = open(&site, Box::new(|_, _| ()));
        done("new", mosaic.create("x", VolumeRequest::Fs, size, false));
        done("check", mosaic.check(&Repair::Usual));
        // Images are another matter: the child really has them open.
        if let Err(error) = mosaic.rename("v", "y") {
            let why = error.chain();
            assert!(!["plain", "btrfs"].contains(&driver), "{driver}: {why}");
            assert_eq!(error.kind(), ErrorKind::Busy, "{why}");
            assert!(why.contains("open in pid"), "{why}");
            children.lock().unwrap().clear();
            done("rename", mosaic.rename("v", "y"));
        }
        done("drop", mosaic.drop_volume("y", &DropOptions::default()));
        done("drop", mosaic.drop_volume("x", &DropOptions::default()));
    }
    std::process::exit(PASSED);
}

#[test]
fn root_eight_threads_share_an_open_mosaic() {
    if !can_run() {
        return;
    }
    for (driver, fs, config) in [PLACES[0], PLACES[3], PLACES[4]] {
        let site = site(driver, fs, config);
        let mosaic = open(&site, Box::new(|_, _| ()));
        let size = Bytes(320 * MIB);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (mosaic, site) = (&mosaic, &site);
                scope.spawn(move || {
                    // Two threads each want the same name; one of them makes it.
                    let shared = format!("shared-{}", thread / 2);
                    let made = mosaic.create(&shared, VolumeRequest::Fs, size, true);
                    done("new shared", made);
                    all_verbs(mosaic, site, &format!("own-{thread}"));
                    assert!(done("have", mosaic.have(&shared)));
                });
            }
        });
        let names: Vec<_> = mosaic.list().unwrap().into_iter().map(|v| v.name).collect();
        assert_eq!(names, ["shared-0", "shared-1", "shared-2", "shared-3"]);
        site.assert_idle();
    }
}

/// What is open can be used from all threads, and be given to another.
#[test]
fn an_open_mosaic_belongs_to_no_thread() {
    const fn is_shared<T: Send + Sync>() {}
    const { is_shared::<Mosaic>() }
    const { is_shared::<Environment>() }
    const { is_shared::<Error>() }
}
