// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds of a thin pool after a disturbed command.
//!
//! A device that a killed command left without an active table is nobody's: no reader takes it for
//! an attached one, and the next changing command removes it. So for stray devices is looked after
//! that one.

use mosaic_tests::{Site, ThinPool, ThinPoolDevice, eventually, is_long, left_out, run};
use serde_json::{Value, json};

use super::Scenario;

/// A volume of the commands that are run after those disturbed.
pub const NEXT: &str = "next";

/// What `moctl` calls the metadata volume.
pub const METADATA: &str = "-";

/// The state of the metadata volume, which is not listed, like that of a volume.
pub fn metadata(site: &Site) -> Value {
    let mounts = site.mounts().len();
    let state = if mounts > 0 { "mounted" } else { "idle" };
    json!({ "name": METADATA, "state": state, "mounts": mounts })
}

/// A mosaic on a pool of its own.
pub fn site(scenario: &Scenario) -> Site {
    let pool = ThinPool::new(512 << 20, 4 << 20).unwrap();
    Site::on_pool(pool, scenario.driver, scenario.config).unwrap()
}

/// Of so many disturbed commands any run but a long one audits one.
const AUDITS: usize = 3;

/// What is known of a disturbed command.
#[derive(Debug)]
pub struct Disturbed<'d> {
    /// How many commands were disturbed before.
    pub turn: usize,
    /// It was killed.
    pub killed: bool,
    /// In words.
    pub place: &'d str,
    /// The volumes that it left.
    pub state: &'d Value,
    /// Those that it leaves undisturbed.
    pub after: &'d Value,
}

/// After the next changing command nothing waits, and no device is left over; what only failed left
/// none even before. `now` tells the volumes.
///
/// Commands take their time where processors are emulated. So the next command makes a volume, or
/// drops the one that the turn before made; and only each third time all is held against all, unless
/// in a long run.
pub fn verify(site: &Site, pool: &ThinPool, disturbed: &Disturbed<'_>, now: &dyn Fn() -> Value) {
    let Disturbed {
        turn, place, state, ..
    } = *disturbed;
    if !disturbed.killed {
        assert_devices(pool, state, place);
    }
    let has_next = turn % 2 == 0;
    if has_next {
        site.ok(&["new", "disk", NEXT, "1M"]);
    } else {
        site.ok(&["drop", NEXT]);
    }
    assert_devices(pool, state, place);
    match is_long() || turn % AUDITS == 0 {
        true => audit(site, pool, disturbed, &now(), usize::from(has_next)),
        false if turn == 1 => left_out("the audit after two of three disturbed commands"),
        false => {}
    }
}

/// Pool, catalog and devices are of one mind, thin_check finds nothing, and file systems are clean.
///
/// The size of a volume in use is what its device shows: for a while that may be the one before, when
/// the growth is in the catalog already. The next command has it shown.
fn audit(site: &Site, pool: &ThinPool, disturbed: &Disturbed<'_>, now: &Value, more: usize) {
    let Disturbed {
        place,
        state,
        after,
        ..
    } = *disturbed;
    let is_finished = now == after && in_use(after) > 0 && names(state) == names(after);
    assert!(
        now == state || is_finished,
        "{place}\nnow {now}\nbefore the next command {state}"
    );
    let volumes = || now.as_array().into_iter().flatten();
    site.ok(&["check"]);
    // That of the metadata is the one besides.
    let named = volumes().filter(|volume| volume["name"] != METADATA);
    assert_eq!(pool.entries().len(), named.count() + 1 + more, "{place}");
    pool.check().expect(place);
    for volume in volumes().filter(|v| v["fs"] == "ext4" && v["state"] == "idle") {
        site.ok(&["check", volume["name"].as_str().unwrap()]);
    }
}

fn assert_devices(pool: &ThinPool, state: &Value, place: &str) {
    // The catalog's stays.
    let expected = in_use(state) + 1;
    let mut devices = Vec::new();
    let is_sound = eventually(|| {
        devices = pool.look().unwrap();
        devices.len() == expected && devices.iter().all(ThinPoolDevice::works)
    });
    assert!(is_sound, "{place}\n{expected} expected: {devices:?}");
}

fn names(state: &Value) -> Vec<&Value> {
    let volumes = state.as_array().into_iter().flatten();
    volumes.map(|volume| &volume["name"]).collect()
}

fn in_use(state: &Value) -> usize {
    let volumes = state.as_array().into_iter().flatten();
    volumes.filter(|v| v["state"] != "idle").count()
}

/// At last, when nothing uses it.
pub fn verify_inactive(site: &Site, pool: &ThinPool) {
    for at in site.mounts() {
        run("umount", &[at]).unwrap();
    }
    pool.deactivate().unwrap();
    pool.check().unwrap();
}
