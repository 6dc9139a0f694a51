// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the pool is told by its table: growth, and what the config says of it.

use std::path::Path;
use std::sync::Arc;

use crate::common::{LEN, MIB, Reaction, Thins, refused};
use mosaic_core::dm::By;
use mosaic_core::dm::{Dm, open_control};
use mosaic_core::finding::Repair;
use mosaic_core::{Bytes, Driver, ErrorKind, Host};
use mosaic_tests::{Fault, Part, Said, ThinPool, requires_thin_pools, run};

#[test]
fn root_a_table_unlike_the_config_is_told_and_loaded_when_asked_for() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_fs("a", "ext4", 16 * MIB).unwrap();
    assert!(thins.check(false).is_empty());
    let mut settings = thins.settings.clone();
    settings.set("pool.low_water", (MIB + 1).to_string());
    settings.set("pool.error_if_no_space", "false");
    settings.set("pool.block_size", (128 << 10).to_string());
    let thins = Thins { settings, ..thins };
    let driver = thins.again();
    let notes = driver.about().unwrap().notes;
    for key in ["low_water", "error_if_no_space", "block_size"] {
        let key = format!("pool.{key}: ");
        assert!(notes.iter().any(|note| note.starts_with(&key)), "{notes:?}");
    }
    let mounted = thins.mount("a", "").unwrap();
    let found = driver.check(&Repair::Nothing).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].fault.contains("pool.low_water: 0 B,"), "{found:?}");
    assert!(!found[0].repaired);
    assert!(driver.check(&Repair::Usual).unwrap()[0].repaired);
    assert!(driver.check(&Repair::Nothing).unwrap().is_empty());
    assert_eq!(thins.pool.status().unwrap()[6], "queue_if_no_space");
    // 1 MiB and a byte, in blocks of 64 KiB.
    let facts = driver.about().unwrap().facts;
    let low_water = ("low water".to_owned(), Bytes(17 << 16).to_string());
    assert!(facts.contains(&low_water), "{facts:?}");
    std::fs::write(mounted.file("file"), vec![1; LEN]).unwrap();
    mounted.umount();
}

#[test]
fn root_a_pool_that_is_suspended_for_a_moment_is_waited_for() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_disk("a", MIB).unwrap();
    let name = thins.pool.name().to_owned();
    run("dmsetup", &["suspend", &name]).unwrap();
    let told = thins.driver.list().unwrap_err();
    let words = ["is suspended", &format!("dmsetup resume {name}")];
    refused(told, ErrorKind::Busy, &words);
    // As by a reload that another command is in the midst of.
    let resume = move || run("dmsetup", &["resume", &name]).unwrap();
    let user = Reaction::new(&["DM_DEV_STATUS", thins.pool.name()], resume);
    let names = thins.with_user(user.clone()).list().unwrap();
    assert!(user.was_called_for() && names.len() == 1);
}

#[test]
fn root_a_pool_that_has_to_be_checked_is_not_said_to_have_grown() {
    if !requires_thin_pools() {
        return;
    }
    let pool = ThinPool::with_fragile(Part::Metadata, 128 * MIB, 4 * MIB).unwrap();
    let thins = Thins::on(pool, &[]);
    thins.create_disk("a", MIB).unwrap();
    thins.pool.fail(Fault::Writes).unwrap();
    thins.drop_volume("a").unwrap_err();
    thins.pool.mend().unwrap();
    thins.pool.enlarge(Part::Data, 192 * MIB).unwrap();
    let found = thins.check(true);
    assert!(found.iter().all(|finding| !finding.repaired), "{found:?}");
    let words = [
        "needs_check",
        "thin_check --clear-needs-check-flag",
        "dmsetup remove",
    ];
    let fault = &found[0].fault;
    assert!(words.iter().all(|word| fault.contains(word)), "{fault}");
    assert_eq!(thins.driver.space().unwrap()[0].total.0, 128 * MIB);
}

#[test]
fn root_a_pool_out_of_metadata_comes_back_when_they_grew() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::with(64 * MIB, 2 * MIB, &[]);
    thins.create_disk("a", MIB).unwrap();
    let control = open_control().unwrap();
    let host = Host::new(Arc::new(Said::default()));
    let dm = Dm::new(&control, &host);
    for id in 1000..3000 {
        if dm
            .message(By::Name(thins.pool.name()), &format!("create_thin {id}"))
            .is_err()
        {
            break;
        }
    }
    let status = thins.pool.status().unwrap();
    let error = thins.create_disk("b", MIB).unwrap_err();
    let text = error.chain();
    let metadata = thins.pool.metadata().device();
    let shown = |path: &Path| text.contains(path.to_str().unwrap());
    assert!(shown(metadata), "{text}");
    assert_eq!((&*status[4], &*status[7]), ("ro", "-"));
    assert!(text.contains("out of metadata"), "{text}");
    assert!(text.contains("grow its metadata device"), "{text}");
    thins.pool.enlarge(Part::Metadata, 8 * MIB).unwrap();
    let found = thins.check(true);
    assert!(found[0].repaired, "{found:?}");
    thins.create_disk("b", MIB).unwrap();
    assert_eq!(thins.names(), ["a", "b"]);
}
