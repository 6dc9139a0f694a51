// SPDX-License-Identifier: MIT OR Apache-2.0
//! `check --repair` of a pool whose devices have grown, and with a device that shows no volume.

use std::cell::Cell;

use mosaic_tests::{Action, Part, Tracee, run, stdout_of};

use super::points::{self, Most, Verdict};
use super::pool_start::Start;

/// A thin id that the catalog does not know.
const ORPHAN: u32 = 77;

/// By how much the devices grow each time, in bytes; so many blocks of each.
const DATA_STEP: u64 = 4 << 20;
const DATA_BLOCKS: u64 = DATA_STEP >> 16;
const METADATA_STEP: u64 = 1 << 20;
const METADATA_BLOCKS: u64 = METADATA_STEP >> 12;

impl Start {
    /// Each of the things that are wrong is mended or as it was; the next command that changes
    /// something can do that, and the next repair does the rest.
    pub fn disturb_repair(&self, action: Action) {
        let (moctl, pool) = (&self.moctl, &self.pool);
        moctl.ok(&["m", "init"]);
        moctl.ok(&["m", "new", "disk", "a", "1M"]);
        let number = stdout_of(
            "dmsetup",
            &[
                "info",
                "-c",
                "--noheadings",
                "-o",
                "major,minor",
                pool.name(),
            ],
        );
        let number = number.unwrap().trim().to_owned();
        let stray = format!("{}-mosaic-{ORPHAN}", pool.name());
        let sizes = Cell::new((256 << 20, 4 << 20));
        let totals = Cell::new(self.totals());
        let break_it = || {
            let (data, metadata) = sizes.get();
            sizes.set((data + DATA_STEP, metadata + METADATA_STEP));
            pool.enlarge(Part::Data, data + DATA_STEP).unwrap();
            pool.enlarge(Part::Metadata, metadata + METADATA_STEP)
                .unwrap();
            totals.set(self.totals());
            run(
                "dmsetup",
                &[
                    "message",
                    pool.name(),
                    "0",
                    &format!("create_thin {ORPHAN}"),
                ],
            )
            .unwrap();
            let table = format!("0 2048 thin {number} {ORPHAN}");
            let uuid = format!("MOSAIC-{number}-{ORPHAN}");
            run(
                "dmsetup",
                &["create", &stray, "--uuid", &uuid, "--table", &table],
            )
            .unwrap();
        };
        let command = ["m", "check", "--repair"];
        let tracee = || {
            break_it();
            Tracee::new(&moctl.command(&command))
        };
        let judge = |place: &str| {
            let before = totals.get();
            let after = (before.0 + DATA_BLOCKS, before.1 + METADATA_BLOCKS);
            let now = self.totals();
            assert!(
                [before.0, after.0].contains(&now.0),
                "{place}\n{now:?}, before {before:?}"
            );
            assert!(
                [before.1, after.1].contains(&now.1),
                "{place}\n{now:?}, before {before:?}"
            );
            let has_stray = || pool.devices().unwrap().contains(&stray);
            let is_done = now == after && !has_stray();
            let is_begun = now != before || !has_stray();
            moctl.ok(&["m", "new", "disk", "next", "1M"]);
            moctl.ok(&["m", "drop", "next"]);
            // The thin id itself is nobody's to delete.
            let said = moctl.expect(10, &command);
            assert!(
                said.stdout.contains(&format!("thin id {ORPHAN}")),
                "{place}\n{said:?}"
            );
            assert_eq!(self.totals(), after, "{place}\n{said:?}");
            // The kernel does not, while a device shows it.
            run(
                "dmsetup",
                &["message", pool.name(), "0", &format!("delete {ORPHAN}")],
            )
            .expect(place);
            self.assert_sound(place);
            match (is_begun, is_done) {
                (_, true) => Verdict::After,
                (true, _) => Verdict::Between,
                (false, _) => Verdict::Before,
            }
        };
        let mut calls = Vec::new();
        let traced = tracee().run(|call| {
            calls.push(*call);
            Action::Continue
        });
        assert_eq!(judge(&format!("{traced:?}")), Verdict::After);
        let most = Most {
            changes: usize::MAX,
            least: 5,
            is_part: false,
            asks: 2,
            others: 100,
        };
        points::disturb_each(action, most, &calls, &tracee, &|traced, place| {
            judge(&format!("{command:?} with {place}: {traced:?}"))
        });
        pool.deactivate().unwrap();
        pool.check().unwrap();
    }

    /// How many blocks the pool has, of data and of metadata.
    fn totals(&self) -> (u64, u64) {
        let status = self.pool.status().unwrap();
        let total = |at: usize| status[at].split_once('/').unwrap().1.parse().unwrap();
        (total(2), total(1))
    }
}
