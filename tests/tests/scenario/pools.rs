// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds of a thin pool after a disturbed command.
//!
//! A device that a killed command left without an active table is nobody's: no reader takes it for
//! an attached one, and the next changing command removes it. So for stray devices is looked after
//! that one.

use mosaic_tests::{Site, ThinPool, eventually, run};
use serde_json::Value;

use super::Scenario;

/// A mosaic on a pool of its own.
pub fn site(scenario: &Scenario) -> Site {
    let pool = ThinPool::new(512 << 20, 4 << 20).unwrap();
    Site::on_pool(pool, scenario.driver, scenario.config).unwrap()
}

/// After the next changing command devices, catalog and pool are of one mind, and nothing waits.
/// What only failed left no device even before.
///
/// The size of a volume in use is what its device shows: for a while that may be the one before, when
/// the growth is in the catalog already. The next command has it shown.
pub fn verify(site: &Site, pool: &ThinPool, seen: [&Value; 2], killed: bool, place: &str) {
    let [state, after] = seen;
    if !killed {
        assert_devices(site, pool, state, place);
    }
    site.ok(&["new", "disk", "next", "1M"]);
    assert_devices(site, pool, state, place);
    site.ok(&["drop", "next"]);
    let now = site.state();
    let is_finished = now == *after && in_use(after) > 0 && names(state) == names(after);
    assert!(
        now == *state || is_finished,
        "{place}\nnow {now}\nbefore the next command {state}"
    );
    let volumes = || now.as_array().into_iter().flatten();
    site.ok(&["check"]);
    // That of the metadata is the one besides.
    assert_eq!(pool.entries().len(), volumes().count() + 1, "{place}");
    pool.check().expect(place);
    for volume in volumes().filter(|v| v["fs"] == "ext4" && v["state"] == "idle") {
        site.ok(&["check", volume["name"].as_str().unwrap()]);
    }
}

fn assert_devices(site: &Site, pool: &ThinPool, state: &Value, place: &str) {
    let expected = in_use(state);
    assert!(
        eventually(|| site.thin_devices().len() == expected),
        "{place}\nthin devices {:?}, {expected} expected",
        site.thin_devices()
    );
    let waiting = pool.devices_at_a_stand().unwrap();
    assert!(waiting.is_empty(), "{place}\nat a stand: {waiting:?}");
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
