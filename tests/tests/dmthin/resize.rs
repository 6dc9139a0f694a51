// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes that grow in use, shrink at rest, and give back what they do not need.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use mosaic_tests::{
    Site, ThinPool, assert_filled, eventually, fill, mounted_size, requires_program,
    requires_thin_pools, run, run_status, word, write_until,
};

use crate::{MIB, assert_sound, roomy_site, site, with_fs};

/// The size of a mounted file system, in MiB.
fn size_at(path: &Path) -> u64 {
    mounted_size(path) / MIB
}

fn size_of(site: &Site, name: &str) -> u64 {
    let info = site.json(&["info", name]);
    info["volume"]["size"].as_u64().unwrap() / MIB
}

#[test]
fn root_a_mounted_volume_grows_while_it_is_written() {
    for fs in ["ext4", "xfs", "btrfs"] {
        if !requires_program(&format!("mkfs.{fs}")) {
            continue;
        }
        let (more, size) = with_fs(fs);
        let Some(site) = site(512 * MIB, 4 * MIB, &more) else {
            return;
        };
        let at = site.mountpoint("at");
        site.ok(&["new", "fs", "a", size]);
        let before = size_of(&site, "a");
        site.ok(&["mount", "a", word(&at)]);
        let (stop, small) = (AtomicBool::new(false), size_at(&at));
        let rounds = std::thread::scope(|scope| {
            let writer = scope.spawn(|| write_until(&at.join("file"), &stop));
            let grown = ["+32M", "+64M"].map(|more| site.run(&["resize", "a", more]));
            stop.store(true, Ordering::Relaxed);
            assert!(grown.iter().all(|o| o.status == 0), "{fs}: {grown:?}");
            writer.join().unwrap()
        });
        assert!(rounds > 0, "{fs}");
        assert_eq!(size_of(&site, "a"), before + 96, "{fs}");
        // The device, and the file system on it.
        let device = site.json(&["info", "a"])["volume"]["attachment"]["device"].clone();
        let sectors =
            mosaic_tests::stdout_of("blockdev", &["--getsize64", device.as_str().unwrap()]);
        assert_eq!(
            sectors.unwrap().trim().parse::<u64>().unwrap(),
            (before + 96) * MIB
        );
        assert!(size_at(&at) >= small + 80, "{fs}: {small} {}", size_at(&at));
        let again = site.json(&["resize", "a", &format!("{}M", before + 96)]);
        assert_eq!(again["changed"], false, "{again}");
        // In use it does not shrink, with or without leave.
        site.expect(2, &["resize", "a", "-32M"]);
        let expected = if fs == "xfs" { 6 } else { 5 };
        site.expect(expected, &["resize", "a", "-32M", "--shrink"]);
        site.ok(&["umount", "a", word(&at)]);
        site.assert_idle();
        site.ok(&["mount", "a", word(&at)]);
        assert!(size_at(&at) >= small + 80, "{fs}");
        assert_eq!(fs::read(at.join("file")).unwrap().len(), 1 << 20);
        site.ok(&["umount", "a", word(&at)]);
        assert_sound(&site);
    }
}

#[test]
fn root_a_volume_shrinks_after_its_file_system_and_only_if_that_is_said() {
    let Some(site) = roomy_site() else { return };
    let at = site.mountpoint("at");
    site.ok(&["new", "fs", "a", "96M"]);
    site.ok(&["mount", "a", word(&at)]);
    fill(&at.join("file"), 8).unwrap();
    site.ok(&["umount", "a", word(&at)]);
    let said = site.expect(2, &["resize", "a", "64M"]).stderr;
    assert!(said.contains("--shrink"), "{said}");
    assert_eq!(size_of(&site, "a"), 96);
    // What is in it would not fit: nothing has changed.
    site.expect(7, &["resize", "a", "12M", "--shrink"]);
    assert_eq!(size_of(&site, "a"), 96);
    site.ok(&["resize", "a", "64M", "--shrink"]);
    assert_eq!(size_of(&site, "a"), 64);
    let device = site.json(&["attach", "a"])["attachment"]["device"].clone();
    let clean = run_status("e2fsck", &["-fn", device.as_str().unwrap()]);
    assert_eq!(clean.unwrap(), Some(0));
    site.ok(&["detach", "a"]);
    site.ok(&["mount", "a", word(&at)]);
    assert!(size_at(&at) < 64);
    assert_filled(&at.join("file"), 8);
    site.ok(&["umount", "a", word(&at)]);
    // A disk is its user's, who said so.
    site.ok(&["new", "disk", "d", "32M"]);
    site.expect(2, &["resize", "d", "16M"]);
    site.ok(&["resize", "d", "16M", "--shrink"]);
    assert_eq!(size_of(&site, "d"), 16);
    assert_sound(&site);
}

#[test]
fn root_an_xfs_is_not_shrunk() {
    if !requires_program("mkfs.xfs") {
        return;
    }
    let (more, _) = with_fs("xfs");
    let Some(site) = site(512 * MIB, 4 * MIB, &more) else {
        return;
    };
    site.ok(&["new", "fs", "a", "320M"]);
    let said = site.expect(6, &["resize", "a", "300M", "--shrink"]).stderr;
    assert!(said.contains("xfs"), "{said}");
    assert_eq!(size_of(&site, "a"), 320);
    assert_sound(&site);
}

/// Bytes that the file under the pool's data takes.
fn taken(pool: &ThinPool) -> u64 {
    fs::metadata(pool.data().image()).unwrap().blocks() * 512
}

fn used(site: &Site) -> u64 {
    let info = site.json(&["info"]);
    info["space"][0]["used"].as_u64().unwrap()
}

#[test]
fn root_what_is_trimmed_in_a_mounted_volume_goes_back_to_the_pool_and_the_disk() {
    let Some(site) = roomy_site() else { return };
    let pool = site.pool().unwrap();
    let at = site.mountpoint("at");
    site.ok(&["new", "fs", "a", "96M"]);
    site.ok(&["mount", "a", word(&at)]);
    let before = (used(&site), taken(pool));
    fill(&at.join("file"), 48).unwrap();
    assert!(used(&site) >= before.0 + 48 * MIB && taken(pool) >= before.1 + 48 * MIB);
    fs::remove_file(at.join("file")).unwrap();
    run("sync", &[Path::new("-f"), &at]).unwrap();
    assert!(used(&site) >= before.0 + 48 * MIB, "before it is asked for");
    run("fstrim", &[&at]).unwrap();
    let back = || used(&site) < before.0 + 8 * MIB && taken(pool) < before.1 + 8 * MIB;
    assert!(
        eventually(back),
        "{before:?} {} {}",
        used(&site),
        taken(pool)
    );
    site.ok(&["umount", "a", word(&at)]);
    assert_sound(&site);
}

#[test]
fn root_a_drop_gives_blocks_to_the_disk_only_if_asked_to_and_never_those_of_a_clone() {
    if !requires_thin_pools() {
        return;
    }
    for discard in [false, true] {
        let pool = ThinPool::new(256 * MIB, 4 * MIB).unwrap();
        let more = format!("discard_on_drop: {discard}\n");
        let site = Site::on_pool(pool, "dmthin", &more).unwrap();
        let pool = site.pool().unwrap();
        let at = site.mountpoint("at");
        site.ok(&["new", "fs", "a", "96M"]);
        site.ok(&["mount", "a", word(&at)]);
        let before = taken(pool);
        fill(&at.join("file"), 24).unwrap();
        site.ok(&["clone", "a", "b"]);
        fill(&at.join("more"), 24).unwrap();
        site.ok(&["umount", "a", word(&at)]);
        let full = taken(pool);
        assert!(full >= before + 48 * MIB);
        site.ok(&["drop", "a"]);
        let given = full.saturating_sub(taken(pool)) / MIB;
        let expected = if discard { 20..40 } else { 0..1 };
        assert!(expected.contains(&given), "{discard}: {given} MiB");
        site.ok(&["mount", "b", word(&at)]);
        assert_filled(&at.join("file"), 24);
        site.ok(&["umount", "b", word(&at)]);
        assert_sound(&site);
    }
}
