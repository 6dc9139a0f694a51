// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pool, catalog and devices that are not of one mind, and pools that grew.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use crate::common::{LEN, MIB, Thins, catalog_of, message};
use mosaic_core::finding::{Finding, Repair};
use mosaic_core::volume::Lifetime;
use mosaic_core::{Driver, ErrorKind};
use mosaic_tests::{Part, requires_thin_pools, run, stdout_of, volume};

/// Takes another state, which has to be asked for by its name.
fn take_state(thins: &Thins) -> Vec<Finding> {
    let found = thins.check(true);
    assert!(!found[0].repaired, "{found:?}");
    let repair = Repair::classes(&["state".to_owned()]).unwrap();
    thins.driver.check(&repair).unwrap()
}

#[track_caller]
fn one(findings: Vec<Finding>, words: &[&str]) -> Finding {
    let [finding] = findings.as_slice() else {
        panic!("{findings:?}");
    };
    assert!(
        words.iter().all(|word| finding.fault.contains(word)),
        "{finding:?}"
    );
    finding.clone()
}

#[test]
fn root_ids_that_only_one_of_both_knows_are_told_and_not_deleted() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_disk("a", MIB).unwrap();
    assert!(thins.check(false).is_empty());
    message(&thins.pool, "create_thin 77");
    let found = one(thins.check(true), &["thin id 77", "delete 77"]);
    assert!(!found.repaired && found.remedy.is_none() && found.volume.is_none());
    // Neither deleted nor given away.
    thins.create_disk("b", MIB).unwrap();
    message(&thins.pool, "delete 77");
    message(&thins.pool, "delete 1");
    let found = one(thins.check(true), &["thin id 1", "lost"]);
    assert_eq!(found.volume.as_deref(), Some("a"));
    assert!(!found.repaired);
    let notes = thins.find("a").unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("lost")), "{notes:?}");
    assert_eq!(thins.attach("a").unwrap_err().kind(), ErrorKind::Corrupt);
    thins.drop_volume("a").unwrap();
    assert!(thins.check(false).is_empty());
    assert_eq!(thins.names(), ["b"]);
}

#[test]
fn root_a_metadata_snapshot_that_somebody_holds_is_told() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_disk("a", MIB).unwrap();
    let notes = || thins.driver.about().unwrap().notes;
    assert_eq!(notes(), [""; 0]);
    // What a backup leaves that was killed.
    message(&thins.pool, "reserve_metadata_snap");
    let release = format!(
        "dmsetup message {} 0 release_metadata_snap",
        thins.pool.name()
    );
    let found = one(thins.check(true), &[&release]);
    assert!(found.remedy.is_none());
    assert_eq!(notes(), [found.fault]);
    thins.create_disk("b", MIB).unwrap();
    message(&thins.pool, "release_metadata_snap");
    assert!(thins.check(false).is_empty());
    assert_eq!(notes(), [""; 0]);
}

#[test]
fn root_a_metadata_file_system_that_is_lost_or_another_one_is_told() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    assert!(thins.check(false).is_empty());
    let told = |words: &[&str]| {
        let found = one(thins.check(true), words);
        assert!(found.volume.is_none() && found.remedy.is_none());
        let shown = thins.driver.metadata().unwrap();
        assert_eq!(shown.used, None);
        assert!(words.iter().all(|word| shown.notes[0].contains(word)));
        let error = thins.driver.mount_source(None, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.chain());
    };
    message(&thins.pool, "delete 0");
    told(&["metadata file system", "thin id 0", "lost"]);
    // Made after init.
    thins.create_disk("a", MIB).unwrap();
    message(&thins.pool, "create_thin 0");
    told(&["metadata file system", "thin id 0", "another thin device"]);
}

#[test]
fn root_an_id_that_is_taken_is_passed_over() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    message(&thins.pool, "create_thin 1");
    message(&thins.pool, "create_thin 2");
    thins.create_disk("a", MIB).unwrap();
    let facts = thins.find("a").unwrap().facts;
    assert!(facts.contains(&("thin id".into(), "3".into())), "{facts:?}");
    assert_eq!(thins.check(false).len(), 2);
}

#[test]
fn root_a_pool_and_a_catalog_of_two_times_are_refused_until_repair_takes_the_newest() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_disk("a", MIB).unwrap();
    thins.create_disk("b", MIB).unwrap();
    let transaction = thins.pool.status().unwrap()[0].clone();
    let now: u64 = transaction.parse().unwrap();
    message(
        &thins.pool,
        &format!("set_transaction_id {now} {}", now - 2),
    );
    for error in [
        thins.driver.list().unwrap_err(),
        thins.create_disk("c", MIB).unwrap_err(),
        thins.drop_volume("a").unwrap_err(),
        thins.attach("a").unwrap_err(),
    ] {
        let text = error.chain();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{text}");
        for number in [now, now - 1, now - 2] {
            assert!(text.contains(&number.to_string()), "{text}");
        }
        assert!(text.contains("check --repair=state"), "{text}");
    }
    let state = format!("state of transaction {now}");
    let found = one(thins.check(false), &["transaction"]);
    let remedy = found.remedy.unwrap();
    assert!(remedy.is_by_name && remedy.action.contains(&state));
    let found = one(take_state(&thins), &["transaction"]);
    assert!(found.repaired);
    assert_eq!(thins.names(), ["a", "b"]);
    thins.create_disk("c", MIB).unwrap();
}

#[test]
fn root_a_pool_grows_when_its_devices_grew() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::with(128 * MIB, 4 * MIB, &[]);
    thins.create_fs("a", "ext4", 16 * MIB).unwrap();
    let mounted = thins.mount("a", "").unwrap();
    std::fs::write(mounted.file("file"), "kept").unwrap();
    let total = |class: usize| thins.driver.space().unwrap()[class].total.0;
    assert_eq!((total(0), total(1)), (128 * MIB, 4 * MIB));
    thins.pool.enlarge(Part::Data, 192 * MIB).unwrap();
    thins.pool.enlarge(Part::Metadata, 8 * MIB).unwrap();
    let found = thins.check(false);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|f| f.remedy.is_some() && !f.repaired));
    assert_eq!(total(0), 128 * MIB);
    // While a volume is in use.
    let found = thins.check(true);
    assert!(found.iter().all(|f| f.repaired), "{found:?}");
    assert_eq!((total(0), total(1)), (192 * MIB, 8 * MIB));
    assert!(thins.check(false).is_empty());
    std::fs::write(mounted.file("more"), vec![7; LEN]).unwrap();
    mounted.umount();
    thins.pool.deactivate().unwrap();
    thins.pool.check().unwrap();
    assert_eq!(total(0), 192 * MIB);
}

#[test]
fn root_devices_that_do_not_fit_the_catalog_are_put_right() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_disk("a", 4 * MIB).unwrap();
    thins.create_disk("b", 4 * MIB).unwrap();
    let device = thins.attach("a").unwrap().device;
    thins.attach("b").unwrap();
    // As a kill between the commit and the device leaves it.
    let pool = thins.pool.device().unwrap();
    let name = format!("{}-mosaic-1", thins.pool.name());
    let table = format!("0 2048 thin {} 1", pool.display());
    run("dmsetup", &["load", &name, "--table", &table]).unwrap();
    run("dmsetup", &["resume", &name]).unwrap();
    let shown = thins.find("a").unwrap();
    assert_eq!(shown.size.unwrap().0, MIB);
    assert!(shown.notes[0].contains("resize again"), "{:?}", shown.notes);
    let found = one(thins.check(false), &[device.to_str().unwrap(), "cut short"]);
    assert_eq!(found.volume.as_deref(), Some("a"));
    assert!(one(thins.check(true), &["cut short"]).repaired);
    assert_eq!(std::fs::read(&device).unwrap().len(), 4 * LEN);
    assert_eq!(thins.attachment("a").unwrap().lifetime, Lifetime::Explicit);
    // A device of ours for an id that is no volume any more.
    message(&thins.pool, "create_thin 50");
    let uuid = stdout_of(
        "dmsetup",
        &["info", "-c", "--noheadings", "-o", "uuid", &name],
    );
    let uuid = uuid.unwrap().trim().replace("-1", "-50");
    let stray = format!("{}-mosaic-50", thins.pool.name());
    let table = format!("0 2048 thin {} 50", pool.display());
    run(
        "dmsetup",
        &["create", &stray, "-u", &uuid, "--table", &table],
    )
    .unwrap();
    let found = thins.check(true);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(!stdout_of("dmsetup", &["ls"]).unwrap().contains(&stray));
    message(&thins.pool, "delete 50");
}

#[test]
fn root_a_check_beside_a_command_waits_and_says_what_it_did_not_look_at() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_disk("a", MIB).unwrap();
    thins.attach("a").unwrap();
    let name = format!("{}-mosaic-1", thins.pool.name());
    run("dmsetup", &["suspend", &name]).unwrap();
    let look = || thins.driver.check(&Repair::Nothing).unwrap();
    thins.said.take();
    one(look(), &["killed"]);
    assert_eq!(thins.said.take(), [""; 0]);
    let command = File::options()
        .write(true)
        .custom_flags(rustix::fs::OFlags::EXCL.bits().cast_signed())
        .open(catalog_of(&thins.pool))
        .unwrap();
    let start = std::time::Instant::now();
    assert_eq!(look(), []);
    assert!(start.elapsed().as_secs() >= 4, "it did not wait");
    let said = thins.said.take().join("\n");
    assert!(said.contains("not looked at"), "{said}");
    drop(command);
    // One that is just done.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| one(look(), &["killed"]));
        }
    });
    assert_eq!(thins.said.take(), [""; 0]);
    // The recovery before it resumes the device.
    assert_eq!(thins.check(true), []);
}

#[test]
fn root_a_state_that_is_taken_again_deletes_nothing_of_another() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    let transaction = || -> u64 { thins.pool.status().unwrap()[0].parse().unwrap() };
    let first = transaction();
    thins.create_disk("a", MIB).unwrap();
    thins.create_disk("b", MIB).unwrap();
    let device = thins.attach("b").unwrap().device;
    std::fs::write(&device, vec![7; LEN]).unwrap();
    thins.detach("b").unwrap();
    // The payload of the true slot is damaged, and comes back later.
    let catalog = File::options()
        .read(true)
        .write(true)
        .custom_flags(rustix::fs::OFlags::SYNC.bits().cast_signed())
        .open(catalog_of(&thins.pool))
        .unwrap();
    let mut page = vec![0; 4096];
    // The state of init is in the first slot; each change writes the other one.
    let changes = transaction() - first;
    let at = [4096, (1 << 30) + 4096][usize::from(changes % 2 == 1)];
    catalog.read_exact_at(&mut page, at).unwrap();
    catalog.write_all_at(&[0x55; 4096], at).unwrap();
    let error = thins.driver.list().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.chain());
    let found = take_state(&thins);
    assert!(found[0].repaired, "{found:?}");
    // The last change is not in that state, and its volume is not deleted.
    assert_eq!(thins.names(), ["a"]);
    assert!(
        found.iter().any(|f| f.fault.contains("thin id 2")),
        "{found:?}"
    );
    assert!(
        found.iter().all(|f| !f.fault.contains("delete")),
        "{found:?}"
    );
    thins.create_disk("c", MIB).unwrap();
    assert!(
        one(thins.check(false), &["thin id 2", "delete 2"])
            .remedy
            .is_none()
    );
}

#[test]
fn root_a_thin_id_that_was_made_again_is_neither_used_nor_deleted() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_disk("a", MIB).unwrap();
    thins.create_fs("b", "ext4", 16 * MIB).unwrap();
    for id in [1, 2] {
        message(&thins.pool, &format!("delete {id}"));
        message(&thins.pool, &format!("create_thin {id}"));
    }
    for error in [
        thins.attach("a").unwrap_err(),
        thins.clone_volume("a", "c", None).unwrap_err(),
        thins.resize("a", 2 * MIB).unwrap_err(),
        thins
            .driver
            .mount_source(Some(&volume("b")), false)
            .unwrap_err(),
    ] {
        let text = error.chain();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{text}");
        assert!(text.contains("another thin device"), "{text}");
    }
    let found = thins.check(true);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|f| f.volume.is_some() && !f.repaired));
    let shown = thins.driver.list().unwrap();
    for volume in shown.into_iter().chain([thins.find("a").unwrap()]) {
        assert_eq!((volume.used, volume.exclusive), (None, None));
        let text = volume.notes.join("\n");
        assert!(
            text.contains("another thin device") && text.contains("drop"),
            "{text}"
        );
    }
    thins.said.take();
    thins.drop_volume("a").unwrap();
    let said = thins.said.take().join("\n");
    assert!(said.contains("thin id 1 stays"), "{said}");
    thins.drop_volume("b").unwrap();
    let found = thins.check(true);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].fault.contains("thin id 1") && found[1].fault.contains("thin id 2"));
}
