// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a server is told: by whom, which one, and what if it does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mosaic_core::{ErrorKind, Host, Level, Services};
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::units::Sectors;
use mosaic_tests::{eventually, requires_root, run};

use crate::site::{MIB, Site};

/// The private folder may be its location's owner's: what he puts in a socket's place does not lead to
/// another disk's server.
#[test]
fn root_commands_reach_no_other_disks_server() {
    if !requires_root() {
        return;
    }
    let [mine, other] = ["mine", "other"].map(|name| Site::new(name, 64));
    mine.attach();
    other.attach();
    let [socket, theirs] = [&mine, &other].map(Site::socket);
    let attached = mine.find().unwrap();
    for name in ["link", "second name"] {
        std::fs::remove_file(&socket).unwrap();
        match name {
            "link" => std::os::unix::fs::symlink(&theirs, &socket).unwrap(),
            _ => std::fs::hard_link(&theirs, &socket).unwrap(),
        }
        let size = Sectors(128 * MIB / 512);
        assert!(attached.grow(&mine.host, &mine.place(), size).is_err());
        let guid = Guid::from_random([1; 16]);
        assert!(attached.freeze(&mine.host, &mine.place(), guid).is_err());
        let theirs = other.disk();
        let size = theirs.read(theirs.descriptor().top()).unwrap().size();
        assert_eq!(size, Sectors(64 * MIB / 512), "{name}");
        assert_eq!(theirs.descriptor().shots().len(), 1, "{name}");
    }
    std::fs::remove_file(&socket).unwrap();
    other.detach();
    mine.detach();
    other.assert_nothing_left();
}

/// A user who loses patience.
#[derive(Default)]
struct User(AtomicBool);

impl Services for User {
    fn log(&self, _: Level, _: &str) {}
    fn progress(&self, _: u64, _: u64, _: &str) {}
    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn root_a_server_that_does_not_answer_is_not_waited_for_against_the_users_will() {
    if !requires_root() {
        return;
    }
    let site = Site::new("silent", 64);
    // The one that it has.
    let size = Sectors(64 * MIB / 512);
    site.attach();
    let attached = site.find().unwrap();
    let worker = site.servers()[1].to_string();
    run("kill", &["-STOP", &worker]).unwrap();
    let user = Arc::new(User::default());
    let host = Host::new(user.clone());
    let done = std::thread::scope(|scope| {
        let asked = scope.spawn(|| attached.grow(&host, &site.place(), size));
        let is_waiting = !eventually_over(|| asked.is_finished());
        user.0.store(true, Ordering::Relaxed);
        let is_heard = eventually(|| asked.is_finished());
        run("kill", &["-CONT", &worker]).unwrap();
        assert!(is_waiting && is_heard, "{is_waiting}, {is_heard}");
        asked.join().unwrap()
    });
    assert_eq!(done.unwrap_err().kind(), ErrorKind::Interrupted);
    attached.grow(&site.host, &site.place(), size).unwrap();
    site.detach();
    site.assert_nothing_left();
}

/// Whether it comes true within the time that a server needs for an answer.
fn eventually_over(condition: impl FnMut() -> bool) -> bool {
    mosaic_tests::eventually_within(std::time::Duration::from_millis(300), condition)
}
