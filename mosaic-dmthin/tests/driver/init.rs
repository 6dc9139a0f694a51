// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making a pool, taking one over, activating one after a boot; and what is refused.

use std::sync::Arc;

use crate::common::{ADOPT, FORCE, LEN, MIB, PLAIN, Thins, host, init, message, refused, settings};
use mosaic_core::finding::Repair;
use mosaic_core::{Driver, ErrorKind, Host, Settings};
use mosaic_dmthin::DmThin;
use mosaic_tests::{Said, ThinPool, requires_thin_pools, run};

/// Settings that name the pool only.
fn active(pool: &ThinPool) -> Settings {
    let mut settings = Settings::new(format!("/etc/mosaic/{}", pool.name()));
    settings.set("location", pool.name());
    settings.set("metadata_size", (64 * MIB).to_string());
    settings
}

#[test]
fn root_a_pool_is_made_once_and_only_on_blank_devices() {
    if !requires_thin_pools() {
        return;
    }
    let pool = ThinPool::new(256 * MIB, 4 * MIB).unwrap();
    let settings = settings(&pool);
    std::fs::write(pool.data().device(), vec![1; 512]).unwrap();
    let data = pool.data().device().to_str().unwrap();
    let error = init(&settings, &PLAIN).unwrap_err();
    refused(error, ErrorKind::Exists, &[data, "data", "--force"]);
    std::fs::write(pool.data().device(), vec![0; 512]).unwrap();
    run(
        "mkfs.ext4",
        &["-q", pool.metadata().device().to_str().unwrap()],
    )
    .unwrap();
    let metadata = pool.metadata().device().to_str().unwrap();
    let error = init(&settings, &PLAIN).unwrap_err();
    refused(error, ErrorKind::Exists, &[metadata, "ext4", "--force"]);
    assert_eq!(pool.device(), None);
    let said = Arc::new(Said::default());
    let made = DmThin::init(&Host::new(said.clone()), &settings, &FORCE).unwrap();
    assert_eq!(made.len(), 3, "{made:?}");
    let said = said.lines();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("ext4") && said[0].contains(metadata),
        "{said:?}"
    );
    let error = init(&settings, &PLAIN).unwrap_err();
    refused(error, ErrorKind::Exists, &[pool.name()]);
    // Not even by force, as long as it is active.
    refused(
        init(&settings, &FORCE).unwrap_err(),
        ErrorKind::Exists,
        &[pool.name()],
    );
    pool.deactivate().unwrap();
    pool.check().unwrap();
    let error = init(&settings, &PLAIN).unwrap_err();
    refused(error, ErrorKind::Exists, &["thin pool", "--force"]);
}

#[test]
fn root_devices_in_use_are_refused_with_who_uses_them() {
    if !requires_thin_pools() {
        return;
    }
    let pool = ThinPool::new(256 * MIB, 8 * MIB).unwrap();
    let settings = settings(&pool);
    let device = pool.metadata().device();
    run("mkfs.ext4", &["-q", device.to_str().unwrap()]).unwrap();
    let at = pool.metadata().folder().join("at");
    std::fs::create_dir(&at).unwrap();
    run("mount", &[device, &at]).unwrap();
    let error = init(&settings, &FORCE).unwrap_err();
    run("umount", &[&at]).unwrap();
    refused(error, ErrorKind::Busy, &[at.to_str().unwrap()]);
    let other = ThinPool::new(64 * MIB, 4 * MIB).unwrap();
    let table = format!("0 131072 linear {} 0", pool.data().device().display());
    let name = format!("{}-linear", other.name());
    run("dmsetup", &["create", &name, "--table", &table]).unwrap();
    let error = init(&settings, &FORCE).unwrap_err();
    run("dmsetup", &["remove", "--retry", &name]).unwrap();
    refused(error, ErrorKind::Busy, &[&name]);
    assert_eq!(pool.device(), None);
}

#[test]
fn root_an_active_pool_is_taken_over_only_when_asked_to_and_never_used() {
    if !requires_thin_pools() {
        return;
    }
    let pool = ThinPool::new(256 * MIB, 4 * MIB).unwrap();
    let settings = active(&pool);
    refused(
        init(&settings, &ADOPT).unwrap_err(),
        ErrorKind::NotFound,
        &[pool.name()],
    );
    let closed = DmThin::open(host(), &settings).unwrap_err();
    refused(closed, ErrorKind::NotFound, &[pool.name()]);
    pool.activate(256).unwrap();
    refused(
        init(&settings, &PLAIN).unwrap_err(),
        ErrorKind::Exists,
        &["--adopt"],
    );
    let driver = DmThin::open(host(), &settings).unwrap();
    refused(
        driver.list().unwrap_err(),
        ErrorKind::Unsupported,
        &["--adopt"],
    );
    assert!(pool.devices().unwrap().is_empty());
    message(&pool, "create_thin 3");
    let error = init(&settings, &ADOPT).unwrap_err();
    refused(error, ErrorKind::Unsupported, &[pool.name()]);
    message(&pool, "delete 3");
    message(&pool, "set_transaction_id 0 4");
    let error = init(&settings, &ADOPT).unwrap_err();
    refused(error, ErrorKind::Unsupported, &[pool.name()]);
    message(&pool, "set_transaction_id 4 0");
    init(&settings, &ADOPT).unwrap();
    assert_eq!(driver.list().unwrap().len(), 0);
    assert_eq!(driver.metadata().unwrap().size.unwrap().0, 64 * MIB);
    refused(
        init(&settings, &ADOPT).unwrap_err(),
        ErrorKind::Exists,
        &["catalog"],
    );
    // By a path it is the same one.
    for path in [
        pool.device().unwrap(),
        format!("/dev/mapper/{}", pool.name()).into(),
    ] {
        let mut by_path = settings.clone();
        by_path.set("location", path.to_str().unwrap());
        by_path.location = path;
        let driver = DmThin::open(host(), &by_path).unwrap();
        assert_eq!(driver.list().unwrap().len(), 0);
    }
}

#[test]
fn root_other_peoples_pools_are_refused_by_every_verb() {
    if !requires_thin_pools() {
        return;
    }
    let pool = ThinPool::new(64 * MIB, 4 * MIB).unwrap();
    let sectors = 64 * MIB / 512;
    let table = format!(
        "0 {sectors} thin-pool {} {} 128 0",
        pool.metadata().device().display(),
        pool.data().device().display()
    );
    for (name, uuid, owner) in [
        (pool.name().to_owned(), Some("LVM-abcdef-tpool"), "LVM"),
        (
            pool.name().to_owned(),
            Some("stratis-1-0123-thinpool-pool"),
            "stratis",
        ),
        (
            format!("docker-7:0-{}-pool", std::process::id()),
            None,
            "docker",
        ),
    ] {
        let mut words = vec!["create", &name, "--table", &table];
        words.extend(uuid.iter().flat_map(|uuid| ["-u", uuid]));
        run("dmsetup", &words).unwrap();
        let mut settings = active(&pool);
        settings.set("location", &*name);
        let opened = DmThin::open(host(), &settings).map(drop);
        let made = init(&settings, &ADOPT).map(drop);
        run("dmsetup", &["remove", "--retry", &name]).unwrap();
        for outcome in [opened, made] {
            refused(outcome.unwrap_err(), ErrorKind::Unsupported, &[owner]);
        }
    }
    // What is no pool at all.
    let linear = format!("0 {sectors} linear {} 0", pool.data().device().display());
    run("dmsetup", &["create", pool.name(), "--table", &linear]).unwrap();
    let error = DmThin::open(host(), &active(&pool)).unwrap_err();
    refused(error, ErrorKind::Unsupported, &["linear"]);
}

#[test]
fn root_an_init_that_was_killed_begins_again() {
    if !requires_thin_pools() {
        return;
    }
    let pool = ThinPool::new(256 * MIB, 4 * MIB).unwrap();
    let settings = settings(&pool);
    // Killed before the pool had a table.
    let uuid = mosaic_dmthin::naming::pool_uuid(
        mosaic_dmthin::block_device::number(pool.metadata().device()).unwrap(),
    );
    run(
        "dmsetup",
        &["create", pool.name(), "-u", &uuid, "--notable"],
    )
    .unwrap();
    init(&settings, &PLAIN).unwrap();
    // Killed before the first state was the true one: with both thin devices, or the first.
    for messages in [
        &["create_thin 16777215"][..],
        &["create_thin 16777215", "create_thin 0"],
    ] {
        pool.deactivate().unwrap();
        for device in [pool.metadata().device(), pool.data().device()] {
            std::fs::write(device, vec![0; 4 * LEN]).unwrap();
        }
        let table = format!(
            "0 {} thin-pool {} {} 128 0 1 error_if_no_space",
            256 * MIB / 512,
            pool.metadata().device().display(),
            pool.data().device().display()
        );
        let words = ["create", pool.name(), "-u", &uuid, "--table", &table];
        run("dmsetup", &words).unwrap();
        for text in messages {
            message(&pool, text);
        }
        let error = DmThin::open(host(), &settings).unwrap().list().unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unsupported),
            "{}",
            error.chain()
        );
        init(&settings, &PLAIN).unwrap();
        let driver = DmThin::open(host(), &settings).unwrap();
        assert_eq!(driver.list().unwrap().len(), 0);
        assert!(driver.check(&Repair::Nothing).unwrap().is_empty());
    }
    // The same after a boot: an inactive pool that holds nothing.
    pool.deactivate().unwrap();
    pool.check().unwrap();
}

#[test]
fn root_a_pool_too_small_for_what_is_asked_is_refused_with_both_numbers() {
    if !requires_thin_pools() {
        return;
    }
    let pool = ThinPool::new(64 * MIB, MIB).unwrap();
    let error = init(&settings(&pool), &PLAIN).unwrap_err();
    refused(error, ErrorKind::NoSpace, &["1 MiB", "2 MiB"]);
    let tiny = ThinPool::new(MIB / 2, 4 * MIB).unwrap();
    let error = init(&settings(&tiny), &PLAIN).unwrap_err();
    refused(error, ErrorKind::NoSpace, &["512 KiB"]);
    // An error on the way leaves nothing that the next try trips over.
    let narrow = ThinPool::new(4 * MIB, 4 * MIB).unwrap();
    let error = init(&settings(&narrow), &PLAIN).unwrap_err();
    assert_ne!(error.kind(), ErrorKind::Exists, "{}", error.chain());
    let again = init(&settings(&narrow), &PLAIN).unwrap_err();
    assert_eq!(again.kind(), error.kind(), "{}", again.chain());
}

#[test]
fn root_a_pool_is_activated_by_whoever_comes_first_after_a_boot() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_fs("a", "ext4", 16 * MIB).unwrap();
    thins.pool.deactivate().unwrap();
    assert_eq!(thins.pool.device(), None);
    assert_eq!(thins.names(), ["a"]);
    // Many at once.
    thins.pool.deactivate().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(thins.again().list().unwrap().len(), 1));
        }
    });
    assert_eq!(thins.pool.devices().unwrap().len(), 1);
    // One that was killed on the way.
    thins.pool.deactivate().unwrap();
    let metadata = mosaic_dmthin::block_device::number(thins.pool.metadata().device());
    let uuid = mosaic_dmthin::naming::pool_uuid(metadata.unwrap());
    run(
        "dmsetup",
        &["create", thins.pool.name(), "-u", &uuid, "--notable"],
    )
    .unwrap();
    assert_eq!(thins.names(), ["a"]);
}

#[test]
fn root_a_damaged_pool_is_not_activated() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_fs("a", "ext4", 16 * MIB).unwrap();
    thins.pool.deactivate().unwrap();
    let device = thins.pool.metadata().device();
    let good = std::fs::read(device).unwrap();
    let mut bad = good.clone();
    // All but the superblock: the kernel would take it without a word.
    bad[4096..LEN].iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(device, &bad).unwrap();
    let error = thins.driver.list().unwrap_err();
    let path = device.to_str().unwrap();
    refused(error, ErrorKind::Corrupt, &[path, "thin_repair"]);
    assert_eq!(thins.pool.device(), None);
    std::fs::write(device, &good).unwrap();
    assert_eq!(thins.names(), ["a"]);
    thins.pool.deactivate().unwrap();
    std::fs::write(device, vec![0; 4096]).unwrap();
    let error = thins.driver.list().unwrap_err();
    refused(error, ErrorKind::NotFound, &[path, "init"]);
}

#[test]
fn root_a_pool_of_other_devices_is_not_taken_for_ours() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    let other = ThinPool::new(64 * MIB, 4 * MIB).unwrap();
    let mut wrong = thins.settings.clone();
    wrong.set("pool.data", other.data().device().to_str().unwrap());
    let error = DmThin::open(host(), &wrong).unwrap().list().unwrap_err();
    let device = other.data().device().to_str().unwrap();
    refused(error, ErrorKind::Unsupported, &[device]);
}
