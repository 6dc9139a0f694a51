// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pools without space, and pools whose metadata failed: clear errors, nothing lost, and the way
//! back.

use std::fs::File;
use std::io::Write;

use crate::common::{LEN, MIB, Thins};
use mosaic_core::finding::Repair;
use mosaic_core::{Driver, ErrorKind};
use mosaic_tests::{Fault, Part, ThinPool, requires_thin_pools, run};

#[test]
fn root_a_floor_is_kept_free() {
    if !requires_thin_pools() {
        return;
    }
    let floor = 64 * MIB;
    let thins = Thins::with(
        128 * MIB,
        4 * MIB,
        &[("pool.min_free_data", &floor.to_string())],
    );
    thins.create_disk("a", 96 * MIB).unwrap();
    let device = thins.attach("a").unwrap().device;
    std::fs::write(&device, vec![1; 64 * LEN]).unwrap();
    File::open(&device).unwrap().sync_all().unwrap();
    let free = thins.driver.space().unwrap()[0].free.0;
    assert_eq!(free, 0);
    for error in [
        thins.create_disk("b", MIB).unwrap_err(),
        thins.clone_volume("a", "b", None).unwrap_err(),
        thins.resize("a", 100 * MIB).unwrap_err(),
    ] {
        let text = error.chain();
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{text}");
        assert!(text.contains("1024 are kept free"), "{text}");
        assert!(text.contains(thins.pool.name()), "{text}");
    }
    let found = thins.driver.check(&Repair::Nothing).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    thins.detach("a").unwrap();
    thins.drop_volume("a").unwrap();
    thins.create_disk("b", MIB).unwrap();
}

#[test]
fn root_a_pool_full_of_data_fails_writes_drops_volumes_and_comes_back() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::with(64 * MIB, 4 * MIB, &[]);
    thins.create_disk("kept", 4 * MIB).unwrap();
    let kept = thins.attach("kept").unwrap().device;
    std::fs::write(&kept, vec![1; 4 * LEN]).unwrap();
    File::open(&kept).unwrap().sync_all().unwrap();
    thins.create_disk("full", 96 * MIB).unwrap();
    let full = thins.attach("full").unwrap().device;
    let mut file = File::options().write(true).open(&full).unwrap();
    let written = file
        .write_all(&vec![2; 96 * LEN])
        .and_then(|()| file.sync_all());
    assert!(written.is_err());
    drop(file);
    assert_eq!(thins.pool.status().unwrap()[4], "out_of_data_space");
    let error = thins.create_disk("b", MIB).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(
        error.chain().contains("0 of 1024 data blocks free"),
        "{}",
        error.chain()
    );
    // What has blocks is written.
    std::fs::write(&kept, vec![3; 4 * LEN]).unwrap();
    File::open(&kept).unwrap().sync_all().unwrap();
    thins.driver.recover().unwrap();
    thins.detach("full").unwrap();
    thins.drop_volume("full").unwrap();
    assert_eq!(thins.names(), ["kept"]);
    assert_eq!(thins.pool.status().unwrap()[4], "rw");
    thins.create_disk("b", MIB).unwrap();
    assert!(std::fs::read(&kept).unwrap().iter().all(|byte| *byte == 3));
    thins.detach("kept").unwrap();
    thins.pool.deactivate().unwrap();
    thins.pool.check().unwrap();
}

#[test]
fn root_a_full_pool_that_was_grown_has_no_fault_left() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::with(64 * MIB, 4 * MIB, &[]);
    thins.create_disk("full", 96 * MIB).unwrap();
    let full = thins.attach("full").unwrap().device;
    let mut file = File::options().write(true).open(&full).unwrap();
    let written = file
        .write_all(&vec![2; 96 * LEN])
        .and_then(|()| file.sync_all());
    assert!(written.is_err());
    drop(file);
    assert_eq!(thins.driver.check(&Repair::Nothing).unwrap().len(), 1);
    let image = File::options().write(true).open(thins.pool.data().image());
    image.unwrap().set_len(192 * MIB).unwrap();
    let device = thins.pool.data().device();
    run("losetup", &["--set-capacity".as_ref(), device]).unwrap();
    let found = thins.driver.check(&Repair::Usual).unwrap();
    assert!(found.iter().all(|f| f.repaired), "{found:?}");
    assert_eq!(thins.pool.status().unwrap()[4], "rw");
    assert!(thins.driver.check(&Repair::Nothing).unwrap().is_empty());
    std::fs::write(&full, vec![3; 96 * LEN]).unwrap();
    File::open(&full).unwrap().sync_all().unwrap();
    thins.detach("full").unwrap();
}

#[test]
fn root_a_pool_short_of_metadata_makes_nothing_new() {
    if !requires_thin_pools() {
        return;
    }
    let most = 2 * MIB - 400 * 1024;
    let more = [("pool.min_free_metadata", &*most.to_string())];
    let thins = Thins::with(128 * MIB, 2 * MIB, &more);
    let mut made = 0;
    let error = loop {
        match thins.create_disk(&format!("v{made}"), MIB) {
            Ok(()) => made += 1,
            Err(error) => break error,
        }
        assert!(made < 1000, "there is no end to it");
    };
    let text = error.chain();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{text}");
    assert!(text.contains("metadata blocks free"), "{text}");
    assert!(text.contains("of 512"), "{text}");
    let names = thins.names();
    assert_eq!(names.len(), made);
    for name in names {
        thins.drop_volume(&name).unwrap();
    }
    assert!(thins.names().is_empty());
}

#[test]
fn root_metadata_that_fail_lose_nothing_that_was_acknowledged() {
    if !requires_thin_pools() {
        return;
    }
    let pool = ThinPool::with_fragile(Part::Metadata, 128 * MIB, 4 * MIB).unwrap();
    let thins = Thins::on(pool, &[]);
    thins.create_fs("a", "ext4", 16 * MIB).unwrap();
    thins.create_disk("b", MIB).unwrap();
    let mounted = thins.mount("a", "").unwrap();
    std::fs::write(mounted.file("file"), "kept").unwrap();
    File::open(mounted.file("file"))
        .unwrap()
        .sync_all()
        .unwrap();
    thins.pool.fail(Fault::Writes).unwrap();
    let first = thins.drop_volume("b").unwrap_err();
    assert_eq!(first.kind(), ErrorKind::Io);
    // The kernel may have met it before us: it commits each second.
    let text = first.chain();
    assert!(
        text.contains("unknown") || text.contains("needs a check"),
        "{text}"
    );
    for error in [
        thins.create_disk("c", MIB).unwrap_err(),
        thins.clone_volume("a", "c", None).unwrap_err(),
        thins.drop_volume("a").unwrap_err(),
        thins.resize("a", 32 * MIB).unwrap_err(),
    ] {
        let text = error.chain();
        assert_eq!(error.kind(), ErrorKind::Io, "{text}");
        for word in [
            thins.pool.name(),
            "thin_check --clear-needs-check-flag",
            "thin_repair",
        ] {
            assert!(text.contains(word), "{text}");
        }
    }
    let found = thins.driver.check(&Repair::Nothing).unwrap();
    assert!(
        !found.is_empty() && found[0].fault.contains("needs a check"),
        "{found:?}"
    );
    let about = thins.driver.about().unwrap();
    assert!(
        about.notes.iter().any(|note| note.contains("thin_check")),
        "{about:?}"
    );
    // What is there is still read and unmounted.
    assert_eq!(
        std::fs::read_to_string(mounted.file("file")).unwrap(),
        "kept"
    );
    thins.driver.recover().unwrap();
    mounted.umount();
    thins.pool.mend().unwrap();
    thins.pool.deactivate().unwrap();
    // Not activated before it was checked.
    let error = thins.driver.list().unwrap_err();
    assert!(
        error.chain().contains("--clear-needs-check-flag"),
        "{}",
        error.chain()
    );
    let metadata = thins.pool.metadata_device();
    let words = ["--clear-needs-check-flag".as_ref(), metadata.as_path()];
    run("thin_check", &words).unwrap();
    assert_eq!(thins.names(), ["a", "b"]);
    thins.driver.recover().unwrap();
    let mounted = thins.mount("a", "").unwrap();
    assert_eq!(
        std::fs::read_to_string(mounted.file("file")).unwrap(),
        "kept"
    );
    mounted.umount();
    thins.drop_volume("b").unwrap();
    assert!(thins.driver.check(&Repair::Nothing).unwrap().is_empty());
}

#[test]
fn root_what_a_dropped_volume_took_goes_back_to_the_disk_if_asked_for() {
    if !requires_thin_pools() {
        return;
    }
    for (discard, least) in [("false", 32 * MIB), ("true", 0)] {
        let thins = Thins::with(128 * MIB, 4 * MIB, &[("discard_on_drop", discard)]);
        let taken = || {
            use std::os::unix::fs::MetadataExt;
            std::fs::metadata(thins.pool.data().image())
                .unwrap()
                .blocks()
                * 512
        };
        thins.create_disk("a", 32 * MIB).unwrap();
        let before = taken();
        let device = thins.attach("a").unwrap().device;
        std::fs::write(&device, vec![1; 32 * LEN]).unwrap();
        File::open(&device).unwrap().sync_all().unwrap();
        thins.detach("a").unwrap();
        assert!(taken() >= before + 32 * MIB);
        thins.drop_volume("a").unwrap();
        let more = taken().saturating_sub(before);
        assert!(more >= least && more < least + 8 * MIB, "{discard}: {more}");
    }
}
