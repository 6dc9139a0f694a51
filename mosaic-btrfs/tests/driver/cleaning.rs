// SPDX-License-Identifier: MIT OR Apache-2.0
//! The space of dropped volumes: said where it is, and waited for.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::common::drops::{helpers_driver, scratch};
use crate::common::{ALL_QUOTAS, MIB, Quotas, Site, open, site, volume};
use mosaic_btrfs::{Btrfs, ioctl};
use mosaic_core::volume::Dropped;
use mosaic_core::{Driver, ErrorKind, Host, Level, Place, Services, Settings};
use mosaic_tests::eventually;

/// The kernel cleans by itself every 30 s. Less than that shows that it was woken.
const SOON: Duration = Duration::from_secs(15);

/// Bytes that can be written.
fn free(path: &Path) -> u64 {
    let stat = rustix::fs::statvfs(path).unwrap();
    stat.f_bfree * stat.f_frsize
}

/// What `info` says of dropped subvolumes.
fn notes(site: &Site) -> Vec<String> {
    let notes = site.driver.about().unwrap().notes;
    let about_dropped = notes.into_iter().filter(|note| note.contains("dropped"));
    about_dropped.collect()
}

#[test]
fn root_a_wait_ends_when_the_space_is_back() {
    for quotas in ALL_QUOTAS {
        let Some(site) = site(quotas) else { return };
        site.subvolume("v");
        site.subvolume("v/nested");
        site.commit();
        let before = free(&site.path);
        site.write("v/file", 8 * MIB);
        site.write("v/nested/file", 8 * MIB);
        site.commit();
        assert!(free(&site.path) < before - 14 * MIB);
        let dropped = site.drop_volume("v").unwrap();
        assert_eq!(dropped.pending.len(), 2);
        let start = Instant::now();
        site.driver.await_space(&dropped).unwrap();
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        let now = free(&site.path);
        assert!(now > before - 4 * MIB, "{quotas:?}: {now} of {before}");
        assert_eq!(notes(&site), [""; 0]);
        // What is gone is not waited for.
        site.driver.await_space(&dropped).unwrap();
        site.driver.await_space(&Dropped::default()).unwrap();
    }
}

#[test]
fn root_an_open_file_is_waited_for() {
    for quotas in ALL_QUOTAS {
        let Some(site) = site(quotas) else { return };
        site.subvolume("v");
        site.write("v/file", 4 * MIB);
        site.commit();
        let file = open(&site.at("v/file"));
        let dropped = site.drop_volume("v").unwrap();
        let said = notes(&site).join("\n");
        assert!(
            said.contains("1 dropped subvolume is being cleaned"),
            "{said}"
        );
        assert_eq!(
            said.contains("back about 4"),
            quotas != Quotas::Off,
            "{said}"
        );
        let start = Instant::now();
        std::thread::scope(|scope| {
            let wait = scope.spawn(|| site.driver.await_space(&dropped));
            std::thread::sleep(Duration::from_millis(200));
            assert!(!wait.is_finished());
            drop(file);
            wait.join().unwrap().unwrap();
        });
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        assert_eq!(notes(&site), [""; 0]);
    }
}

/// Asks to stop once it is told to.
#[derive(Debug, Default)]
struct Impatient(AtomicBool);

impl Services for Impatient {
    fn log(&self, _: Level, _: &str) {}
    fn progress(&self, _: u64, _: u64, _: &str) {}
    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn root_a_wait_can_be_ended() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.subvolume("v");
    let file = open(&site.at("v"));
    let dropped = site.drop_volume("v").unwrap();
    let user = Arc::new(Impatient::default());
    let driver = Btrfs::open(Host::new(user.clone()), &Settings::new(&site.path)).unwrap();
    let error = std::thread::scope(|scope| {
        let wait = scope.spawn(|| driver.await_space(&dropped));
        std::thread::sleep(Duration::from_millis(50));
        user.0.store(true, Ordering::Relaxed);
        wait.join().unwrap().unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    drop(file);
}

/// Not a test: what the test below runs as another user.
#[test]
#[ignore = "a helper of other tests"]
#[expect(
    clippy::print_stdout,
    reason = "its answers are read by the test below"
)]
fn helper_waits_for_a_volume_of_its_own() {
    let Some((driver, path, _)) = helpers_driver() else {
        return;
    };
    ioctl::create(open(&path).as_fd(), "v", None).unwrap();
    std::fs::write(path.join("v/file"), vec![1; 1 << 20]).unwrap();
    let file = open(&path.join("v/file"));
    let dropped = driver.drop_volume(&volume("v"), &scratch()).unwrap();
    driver.remove_leftover(Place::Trash, &scratch()).unwrap();
    println!("about: {:?}", driver.about().unwrap().notes);
    let waited = std::thread::scope(|scope| {
        let wait = scope.spawn(|| driver.await_space(&dropped));
        std::thread::sleep(Duration::from_millis(200));
        println!("done: {}", wait.is_finished());
        drop(file);
        wait.join().unwrap()
    });
    println!("waited: {:?}", waited.map_err(|error| error.chain()));
}

#[test]
fn root_an_owner_without_privilege_waits_too() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    let start = Instant::now();
    let said = site.as_user("cleaning::helper_waits_for_a_volume_of_its_own");
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert!(said.contains("only root can see"), "{said}");
    assert!(said.contains("done: false"), "{said}");
    let waited = said.contains("waited: Ok(())");
    // Before Linux 6.13 it is said that nobody else can know.
    assert!(waited || said.contains("Linux 6.13"), "{said}");
    assert!(!waited || notes(&site).is_empty());
    site.ends_clear();
}

#[test]
fn root_what_clones_hold_of_dropped_volumes_is_said() {
    let Some(site) = site(Quotas::Simple) else {
        return;
    };
    site.subvolume("origin");
    site.write("origin/file", 8 * MIB);
    site.snapshot("origin", "clone", false);
    let dropped = site.drop_volume("origin").unwrap();
    site.driver.await_space(&dropped).unwrap();
    assert_eq!(
        notes(&site),
        ["clones hold 8 MiB that dropped subvolumes wrote, and that count for no volume"]
    );
    let dropped = site.drop_volume("clone").unwrap();
    site.driver.await_space(&dropped).unwrap();
    assert!(eventually(|| notes(&site).is_empty()));
}
