// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the keeper holds for as long as a disk is attached, whatever becomes of its workers.

use mosaic_core::ErrorKind;
use mosaic_ploop::attachment::{self, How};
use mosaic_ploop::lock_file::{LOCK_FILE, LockFile, Purpose};
use mosaic_tests::{eventually, requires_program, requires_root, run};

use crate::site::{HOW, Site};

/// Kills the worker; whether another one has followed it.
fn kill_worker(site: &Site) -> bool {
    let worker = site.servers()[1];
    run("kill", &["-KILL", &worker.to_string()]).unwrap();
    let followed = || site.servers().get(1).is_some_and(|next| *next != worker);
    // On a kernel that sends no request again the keeper ends.
    assert!(eventually(|| followed() || site.servers().is_empty()));
    followed()
}

/// The lock of libploop up to 7, which knows no other.
#[test]
fn root_libploops_lock_is_held_as_long_as_the_disk_is_attached() {
    if !requires_root() || !requires_program("flock") {
        return;
    }
    let site = Site::new("flock", 64);
    let lock = site.volume().join(LOCK_FILE);
    let is_free = || {
        let lock = lock.to_str().unwrap();
        run("flock", &["--nonblock", lock, "true"]).is_ok()
    };
    site.attach();
    assert!(!is_free());
    for _ in 0..3 {
        if !kill_worker(&site) {
            break;
        }
        assert!(!is_free());
    }
    if let [keeper, _] = site.servers()[..] {
        run("kill", &["-KILL", &keeper.to_string()]).unwrap();
        assert!(eventually(|| site.servers().len() == 1));
        assert!(!is_free());
    }
    site.detach();
    assert!(is_free());
    let how = How {
        read_only: true,
        ..HOW
    };
    site.attach_how(&how);
    assert!(!is_free());
    site.detach();
    assert!(is_free());
    let held = LockFile::take(site.place().folder, Purpose::Look, || Ok(())).unwrap();
    let refused = attachment::attach(&site.host, &site.place(), &HOW).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Busy);
    let me = format!("pid {}", std::process::id());
    assert!(refused.chain().contains(&me), "{}", refused.chain());
    site.assert_nothing_left();
    drop(held);
    site.attach();
}
