// SPDX-License-Identifier: MIT OR Apache-2.0
//! What init and activation must not touch: other people's data, other people's pools, and each
//! other's work.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::common::{FORCE, LEN, MIB, PLAIN, Thins, host, init, message, refused, settings};
use mosaic_core::finding::Repair;
use mosaic_core::volume::InitOptions;
use mosaic_core::{Driver, ErrorKind};
use mosaic_dmthin::DmThin;
use mosaic_tests::{Part, ThinPool, requires_thin_pools, run, stdout_of};

#[test]
fn root_an_empty_pools_metadata_do_not_make_any_disk_its_data() {
    if !requires_thin_pools() {
        return;
    }
    // An init that was killed when the pool was made and had nothing in it yet; after the boot the
    // config names another disk, on which somebody has a file system.
    let pool = ThinPool::new(128 * MIB, 4 * MIB).unwrap();
    pool.activate(128).unwrap();
    pool.deactivate().unwrap();
    let data = pool.data().device().to_str().unwrap();
    run("mkfs.ext4", &["-q", "-F", data]).unwrap();
    let before = std::fs::read(data).unwrap();
    let error = init(&settings(&pool), &PLAIN).unwrap_err();
    let words = ["ext4", data, "thin pool with 0 devices", "--force"];
    refused(error, ErrorKind::Exists, &words);
    assert_eq!(pool.device(), None);
    assert!(std::fs::read(data).unwrap() == before, "it was written to");
    // On the disk that it was, it is finished.
    std::fs::write(data, vec![0; 128 * LEN]).unwrap();
    init(&settings(&pool), &PLAIN).unwrap();
}

#[test]
fn root_what_is_at_the_end_of_a_disk_counts_too() {
    if !requires_thin_pools() {
        return;
    }
    let pool = ThinPool::new(128 * MIB, 4 * MIB).unwrap();
    let device = pool.data().device();
    let file = File::options().write(true).open(device).unwrap();
    let mark = 0xa92b_4efc_u32.to_le_bytes();
    file.write_all_at(&mark, 128 * MIB - 8192).unwrap();
    drop(file);
    let path = device.to_str().unwrap();
    let error = init(&settings(&pool), &PLAIN).unwrap_err();
    refused(error, ErrorKind::Exists, &["array", path, "--force"]);
    init(&settings(&pool), &FORCE).unwrap();
}

#[test]
fn root_a_disk_that_somebody_writes_to_is_not_taken_though_nobody_claims_it() {
    if !requires_thin_pools() {
        return;
    }
    let pool = ThinPool::new(128 * MIB, 4 * MIB).unwrap();
    let device = pool.data().device().to_str().unwrap();
    // As a virtual machine has its disk.
    let script = format!("exec 7<>{device}; echo; read x");
    let mut writer = std::process::Command::new("sh")
        .args(["-c", &script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let is_open = writer.stdout.as_mut().unwrap().read_exact(&mut [0]);
    let refusal = init(&settings(&pool), &FORCE);
    drop(writer.stdin.take());
    writer.wait().unwrap();
    is_open.unwrap();
    let pid = writer.id().to_string();
    refused(refusal.unwrap_err(), ErrorKind::Busy, &[device, &pid]);
    assert_eq!(pool.device(), None);
}

#[test]
fn root_an_idle_pool_of_somebody_else_is_not_activated() {
    if !requires_thin_pools() {
        return;
    }
    let pool = ThinPool::new(128 * MIB, 4 * MIB).unwrap();
    pool.activate(128).unwrap();
    message(&pool, "create_thin 0");
    message(&pool, "create_thin 1");
    message(&pool, "set_transaction_id 0 2");
    pool.deactivate().unwrap();
    let settings = settings(&pool);
    let before = std::fs::read(pool.metadata().device()).unwrap();
    let metadata = pool.metadata().device().to_str().unwrap();
    let error = DmThin::open(host(), &settings).unwrap().list().unwrap_err();
    let words = [metadata, "without a catalog", "2 thin devices"];
    refused(error, ErrorKind::Unsupported, &words);
    let error = init(&settings, &PLAIN).unwrap_err();
    let words = [metadata, "thin pool with 2 devices", "--force"];
    refused(error, ErrorKind::Exists, &words);
    assert_eq!(pool.device(), None);
    assert!(std::fs::read(pool.metadata().device()).unwrap() == before);
}

#[test]
fn root_data_and_metadata_of_two_pools_are_told_apart_before_they_are_activated() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_fs("a", "ext4", 16 * MIB).unwrap();
    thins.pool.deactivate().unwrap();
    let other = ThinPool::new(512 * MIB, 4 * MIB).unwrap();
    let data = other.data().device().to_str().unwrap();
    let mut wrong = thins.settings.clone();
    wrong.set("pool.data", data);
    let driver = DmThin::open(host(), &wrong).unwrap();
    refused(driver.list().unwrap_err(), ErrorKind::Corrupt, &[data]);
    assert_eq!(thins.pool.device(), None);
    wrong.set(
        "pool.data",
        thins.pool.metadata().device().to_str().unwrap(),
    );
    let error = DmThin::open(host(), &wrong).unwrap_err();
    assert_eq!(error.key(), Some("pool.metadata"), "{}", error.chain());
    assert_eq!(thins.names(), ["a"]);
}

#[test]
fn root_the_catalogs_id_alone_does_not_make_a_pool_an_inits() {
    if !requires_thin_pools() {
        return;
    }
    let pool = ThinPool::new(128 * MIB, 4 * MIB).unwrap();
    let mut settings = settings(&pool);
    settings.set("pool.data", pool.data().device().to_str().unwrap());
    pool.activate(128).unwrap();
    message(&pool, "create_thin 16777215");
    let name = format!("{}-x", pool.name());
    let device = pool.device().unwrap();
    let table = format!("0 8192 thin {} 16777215", device.display());
    run("dmsetup", &["create", &name, "--table", &table]).unwrap();
    let node = || {
        let words = ["info", "-c", "--noheadings", "-o", "blkdevname", &name];
        format!("/dev/{}", stdout_of("dmsetup", &words).unwrap().trim())
    };
    std::fs::write(node(), vec![7; LEN]).unwrap();
    run("dmsetup", &["remove", "--retry", &name]).unwrap();
    let error = init(&settings, &PLAIN).unwrap_err();
    refused(error, ErrorKind::Exists, &["--adopt"]);
    let adopt = InitOptions {
        adopt: true,
        ..PLAIN
    };
    let error = init(&settings, &adopt).unwrap_err();
    refused(error, ErrorKind::Unsupported, &["not Mosaic's"]);
    // What was on it is there.
    run("dmsetup", &["create", &name, "--table", &table]).unwrap();
    let read = std::fs::read(node()).unwrap();
    run("dmsetup", &["remove", "--retry", &name]).unwrap();
    assert!(read[..LEN].iter().all(|byte| *byte == 7));
}

#[test]
fn root_an_init_killed_before_its_last_step_is_finished_and_keeps_what_is_there() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    let now = thins.pool.status().unwrap()[0].clone();
    message(&thins.pool, &format!("set_transaction_id {now} 0"));
    let error = thins.driver.list().unwrap_err();
    refused(error, ErrorKind::NotFound, &["run it again"]);
    // After a boot, too.
    thins.pool.deactivate().unwrap();
    assert!(thins.again().list().is_err());
    thins.pool.deactivate().unwrap();
    let made = init(&thins.settings, &PLAIN).unwrap();
    assert!(made[0].contains("finished"), "{made:?}");
    assert_eq!(thins.names(), [""; 0]);
    assert!(thins.again().metadata().is_ok());
    let error = init(&thins.settings, &PLAIN).unwrap_err();
    refused(error, ErrorKind::Exists, &["catalog"]);
}

#[test]
fn root_a_pool_that_a_killed_init_left_without_a_catalog_wants_init_again() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    let name = thins.pool.name();
    let now = thins.pool.status().unwrap()[0].clone();
    run("dmsetup", &["remove", &format!("{name}-mosaic-catalog")]).unwrap();
    message(&thins.pool, &format!("set_transaction_id {now} 0"));
    message(&thins.pool, "delete 0");
    message(&thins.pool, "delete 16777215");
    let error = thins.driver.list().unwrap_err();
    assert!(!error.chain().contains("--adopt"), "{}", error.chain());
    refused(error, ErrorKind::NotFound, &["run it again"]);
    init(&thins.settings, &PLAIN).unwrap();
    assert_eq!(thins.names(), [""; 0]);
}

/// Writes to a device where nobody has written.
fn put(device: &Path, at: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(device).unwrap();
    file.write_all_at(bytes, at).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn root_a_pool_that_the_kernel_was_making_when_power_was_cut_is_made_again() {
    if !requires_thin_pools() {
        return;
    }
    let pool = ThinPool::new(128 * MIB, 4 * MIB).unwrap();
    pool.activate(128).unwrap();
    pool.deactivate().unwrap();
    // It writes the superblock last.
    let (data, metadata) = (pool.data().device(), pool.metadata().device());
    put(metadata, 0, &[0; 4096]);
    // With data, it was a pool that somebody used.
    put(data, 4096, &[1]);
    let error = init(&settings(&pool), &PLAIN).unwrap_err();
    refused(error, ErrorKind::Exists, &["--force"]);
    put(data, 4096, &[0]);
    init(&settings(&pool), &PLAIN).unwrap();
}

#[test]
fn root_a_catalog_that_a_power_cut_tore_is_made_again() {
    if !requires_thin_pools() {
        return;
    }
    let pool = ThinPool::new(128 * MIB, 4 * MIB).unwrap();
    let data = pool.data().device();
    let btrfs = (65536 + 64, b"_BHRfS_M");
    pool.activate(128).unwrap();
    pool.deactivate().unwrap();
    put(data, btrfs.0, btrfs.1);
    let error = init(&settings(&pool), &PLAIN).unwrap_err();
    refused(error, ErrorKind::Exists, &["btrfs", "--force"]);
    pool.activate(128).unwrap();
    message(&pool, "create_thin 16777215");
    pool.deactivate().unwrap();
    let error = init(&settings(&pool), &PLAIN).unwrap_err();
    refused(error, ErrorKind::Exists, &["btrfs", "--force"]);
    put(data, btrfs.0, &[0; 8]);
    // The first page of the first state is lost, the rest is there.
    put(data, 4096, &[1; 512]);
    init(&settings(&pool), &PLAIN).unwrap();
}

#[test]
fn root_of_many_inits_at_once_one_makes_the_pool() {
    if !requires_thin_pools() {
        return;
    }
    // The kernel counts who has this one open, those that wait too.
    let pool = ThinPool::with_fragile(Part::Metadata, 256 * MIB, 4 * MIB).unwrap();
    let settings = settings(&pool);
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let inits: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| init(&settings, &PLAIN)))
            .collect();
        inits.into_iter().map(|init| init.join().unwrap()).collect()
    });
    let made = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(made, 1, "{outcomes:?}");
    for error in outcomes.into_iter().filter_map(Result::err) {
        refused(error, ErrorKind::Exists, &["catalog"]);
    }
    let driver = DmThin::open(host(), &settings).unwrap();
    assert!(driver.check(&Repair::Nothing).unwrap().is_empty());
    pool.deactivate().unwrap();
    pool.check().unwrap();
}

#[test]
fn root_data_of_another_pool_of_mosaic_are_not_taken() {
    if !requires_thin_pools() {
        return;
    }
    let (one, other) = (Thins::new(), Thins::with(600 * MIB, 4 * MIB, &[]));
    let mut wrong = one.settings.clone();
    wrong.set("pool.data", other.pool.data().device().to_str().unwrap());
    let driver = DmThin::open(host(), &wrong).unwrap();
    // As young as each other, without volumes and with the same thin ids.
    for names in [&[][..], &["a"]] {
        for thins in [&one, &other] {
            names
                .iter()
                .for_each(|name| thins.create_disk(name, MIB).unwrap());
            thins.pool.deactivate().unwrap();
        }
        let error = driver.list().unwrap_err();
        let text = error.chain();
        assert!(!text.contains("dmsetup"), "{text}");
        let words = [
            "are at transaction",
            "has a catalog of transaction",
            "not of one pool",
        ];
        refused(error, ErrorKind::Corrupt, &words);
        assert_eq!(one.pool.device(), None);
        assert_eq!(one.names(), names);
        assert_eq!(other.names(), names);
    }
}

#[test]
fn root_an_activation_grows_nothing_until_it_is_asked_for() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::with(128 * MIB, 4 * MIB, &[]);
    thins.pool.deactivate().unwrap();
    thins.pool.enlarge(Part::Data, 192 * MIB).unwrap();
    let total = || thins.driver.space().unwrap()[0].total.0;
    assert_eq!(total(), 128 * MIB);
    let found = thins.driver.check(&Repair::Nothing).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(thins.driver.check(&Repair::Usual).unwrap()[0].repaired);
    assert_eq!(total(), 192 * MIB);
    thins.pool.deactivate().unwrap();
    assert_eq!(total(), 192 * MIB);
}
