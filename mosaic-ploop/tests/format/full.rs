// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writers in a location without space, and others that follow them there.

use mosaic_core::ErrorKind;
use mosaic_ploop::format::check::Repair;
use mosaic_ploop::format::disk::Disk;
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::units::DiskOffset;
use mosaic_ploop::format::{Error, Result};

use crate::disk::{CLUSTER, V1, V2, assert_clean, unclaimed};
use crate::ledger::{LEDGER, killed, put, seen, take_over, take_over_by, with_data_below, zero};
use crate::storage::{Loss, MemFolder, after_crash};

/// What was to be flushed is in the notes, and what was not written of the table is known.
#[test]
fn a_full_location_breaks_no_disk() {
    for kind in [V1, V2] {
        // The table, behind the data; the notes, behind the table.
        let cases = [(1, "write"), (3, "forget notes on")];
        let cases = cases.map(|case| [(case, false), (case, true)]);
        for ((good, what), is_killed) in cases.into_iter().flatten() {
            let (mut disk, _) = killed(kind);
            let (_, mut chain) = take_over(disk.folder());
            put(&mut chain, 7 * CLUSTER, 6);
            zero(&mut chain, 5 * CLUSTER);
            let answered = seen(&chain);
            disk.folder().fill_after(good, false);
            let error = chain.flush().unwrap_err();
            assert!(disk.folder().heal());
            let failed = matches!(&error, Error::Io { action, .. } if *action == what);
            assert!(failed, "{error:?}");
            if is_killed {
                drop(chain);
                chain = take_over(disk.folder()).1;
            }
            assert!(seen(&chain) == answered, "{kind:?}, killed {is_killed}");
            chain.flush().unwrap();
            put(&mut chain, 8 * CLUSTER, 7);
            let answered = seen(&chain);
            drop(chain);
            let (_, chain) = take_over(disk.folder());
            assert!(seen(&chain) == answered, "{kind:?}, killed {is_killed}");
            chain.close().unwrap();
            assert!(seen(&disk.read(Guid::TOP).unwrap()) == answered);
            disk.folder().remove_name(LEDGER);
            assert_clean(&mut disk);
        }
    }
}

fn assert_no_space(tried: Result<()>, when: &str) {
    let error = tried.expect_err(when);
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{when}: {error:?}");
}

/// Where each write takes new blocks there is none for whoever takes over, who needs none.
#[test]
fn a_writer_that_is_killed_without_space_is_followed() {
    for kind in [V1, V2] {
        let start = with_data_below(kind).folder().content();
        let (mut disk, answered) = killed(kind);
        let folder = disk.folder().clone();
        let notes = MemFolder::default();
        notes.put(LEDGER, &folder.bytes(LEDGER));
        folder.fill_after(0, true);
        for turn in 0..3 {
            let when = format!("{kind:?}, turn {turn}");
            let (mut disk, mut chain) = take_over_by(&notes, &folder).unwrap();
            assert!(seen(&chain) == answered, "{when}");
            // In place, the same that is there.
            assert_no_space(chain.write(&[4; 512], DiskOffset(5 * CLUSTER)), &when);
            assert_no_space(chain.write(&[7; 512], DiskOffset(7 * CLUSTER)), &when);
            match chain.flush() {
                // A write that failed has done a half, with all that there was to write.
                Ok(()) => assert!(turn > 0, "{when}"),
                refused => assert_no_space(refused, &when),
            }
            assert_no_space(
                disk.snapshot_open(Guid::from_random([7; 16]), &mut chain, unclaimed),
                &when,
            );
            assert!(seen(&chain) == answered, "{when}");
        }
        assert!(folder.heal());
        let (_, mut chain) = take_over_by(&notes, &folder).unwrap();
        put(&mut chain, 7 * CLUSTER, 6);
        let answered = seen(&chain);
        chain.flush().unwrap();
        drop(chain);
        let cut = after_crash(&start, &folder.take_steps(), Loss::All);
        let (_, chain) = take_over_by(&notes, &folder).unwrap();
        assert!(seen(&chain) == answered, "{kind:?}");
        chain.close().unwrap();
        folder.remove_name(LEDGER);
        assert_clean(&mut disk);
        cut.remove_name(LEDGER);
        let mut disk = Disk::open(cut).unwrap();
        disk.check(Some(Repair::Safe)).unwrap();
        assert!(seen(&disk.read(Guid::TOP).unwrap()) == answered, "{kind:?}");
        assert_clean(&mut disk);
    }
}
