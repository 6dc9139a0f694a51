// SPDX-License-Identifier: MIT OR Apache-2.0
//! What only the btrfs driver promises, through the real `moctl` and held against btrfs-progs.
//!
//! Each test that is hard on the file system ends with `Site::assert_sound`.

mod drops;
mod full;
mod many;
mod other_hands;
mod places;
mod power;
mod quota;
mod race;
mod read_only;

use mosaic_tests::{Site, requires_program, requires_root};

/// Every kind of location, by its quotas.
const KINDS: [&str; 3] = ["btrfs", "btrfs+simple", "btrfs+full"];
/// Those whose sizes bind.
const WITH_QUOTAS: [&str; 2] = ["btrfs+simple", "btrfs+full"];

/// A volume map whose stored names are `1/12`: folders come and go with volumes.
const MAP: &str = "volumeMap: ^\\(.\\)\\(.*\\)$ \\1/\\1\\2\n";

const MIB: u64 = 1 << 20;

/// A fresh mosaic; `more` are further lines of its config. None where there is no btrfs to be had:
/// that was said.
fn site(kind: &str, more: &str) -> Option<Site> {
    ready().then(|| Site::on(kind, "btrfs", more).unwrap())
}

fn ready() -> bool {
    requires_root() && requires_program("mkfs.btrfs") && requires_program("btrfs")
}

/// Runs `story` on a fresh mosaic of each kind; all is in order afterwards.
fn on_each(kinds: &[&str], more: &str, story: impl Fn(&str, &Site)) {
    for kind in kinds {
        let Some(site) = site(kind, more) else {
            return;
        };
        story(kind, &site);
        site.assert_sound();
    }
}
