// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clones of volumes without subvolumes in them: what they hold, their limit, their cost.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::common::changes::{StopAtEnd, fill, fill_to_the_brim, mapped};
use crate::common::{ALL_QUOTAS, MIB, Quotas, fact, site, site_with, volume};
use mosaic_core::{Bytes, Driver, ErrorKind, Settings, label};
use mosaic_tests::{run, stdout_of};
use rustix::io::Errno;

#[test]
fn root_a_clone_shares_its_data_and_goes_its_own_way() {
    let Some(site) = site(Quotas::Full) else {
        return;
    };
    site.new_volume("a", 64 * MIB).unwrap();
    site.write("a/file", 8 * MIB);
    site.clone_volume("a", "b", None).unwrap();
    let (a, b) = (site.at("a/file"), site.at("b/file"));
    assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
    site.commit();
    assert!(site.found("b").exclusive < Some(Bytes(MIB)));
    assert_eq!(
        fact(&site.found("b"), "parent uuid"),
        fact(&site.found("a"), "uuid")
    );
    std::fs::write(&b, "b").unwrap();
    assert_eq!(std::fs::metadata(&a).unwrap().len(), 8 * MIB);
    assert_eq!(site.leftovers(), [""; 0]);
}

/// Nobody syncs anything: what a writer was told to be written is in the clone.
#[test]
fn root_a_clone_of_a_busy_volume_has_all_that_was_written_before() {
    for quotas in ALL_QUOTAS {
        let Some(site) = site(quotas) else { return };
        site.new_volume("a", 256 * MIB).unwrap();
        let (written, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut file = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(site.at("a/log"))
                    .unwrap();
                for number in 0..1_000_000_u64 {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    file.write_all(&number.to_le_bytes()).unwrap();
                    written.store(number + 1, Ordering::Release);
                }
            });
            let _stop = StopAtEnd(&stop);
            for turn in 0..5 {
                let enough = (turn + 1) * 2000;
                while written.load(Ordering::Acquire) < enough {
                    std::thread::yield_now();
                }
                let clone = format!("b{turn}");
                let before = written.load(Ordering::Acquire);
                site.clone_volume("a", &clone, None).unwrap();
                let log = std::fs::read(site.at(&clone).join("log")).unwrap();
                assert!(log.len() as u64 / 8 >= before, "{quotas:?}");
                for (at, number) in (0..).zip(log.chunks_exact(8)) {
                    // What is written at the same time may have got its length already, and not yet
                    // its data (fs/btrfs/file-item.c `btrfs_inode_safe_disk_i_size_write`).
                    let is_later = at >= before && number == [0; 8];
                    assert!(is_later || number == u64::to_le_bytes(at), "{at} {before}");
                }
            }
        });
    }
}

#[test]
fn root_a_clones_limit_is_the_one_asked_for_or_its_sources() {
    for quotas in [Quotas::Simple, Quotas::Full] {
        let Some(site) = site(quotas) else { return };
        site.new_volume("a", 16 * MIB).unwrap();
        site.subvolume("free");
        let size = |name: &str| site.found(name).size.map(|size| size.0 / MIB);
        for (source, asked, limit) in [
            ("a", None, Some(16)),
            ("a", Some(16 * MIB), Some(16)),
            ("a", Some(24 * MIB), Some(24)),
            ("free", None, None),
            ("free", Some(24 * MIB), Some(24)),
        ] {
            for name in [volume("1/c"), mapped("user", "1/c")] {
                site.clone_named(&volume(source), &name, asked).unwrap();
                assert_eq!(size("1/c"), limit, "{quotas:?} {source} {asked:?}");
                let stopped = fill(&site.at("1/c/file"), 32 * MIB);
                assert_eq!(stopped, limit.map(|_| Errno::DQUOT));
                site.btrfs(&["subvolume", "delete"], "1/c");
            }
        }
        assert_eq!(size("a"), Some(16));
        assert_eq!(site.said.take(), [""; 0]);
    }
}

#[test]
fn root_without_quotas_a_clones_size_is_said_not_to_bind() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.subvolume("a");
    site.clone_volume("a", "b", None).unwrap();
    assert_eq!(site.said.take(), [""; 0]);
    site.clone_volume("a", "c", Some(8 * MIB)).unwrap();
    assert!(site.said.take()[0].starts_with("size is not enforced: "));
    let required = |settings: &mut Settings| settings.set("quota", "required");
    let Some(site) = site_with(Quotas::Full, required) else {
        return;
    };
    site.subvolume("a");
    let error = site.clone_volume("a", "b", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.chain());
    site.clone_volume("a", "b", Some(8 * MIB)).unwrap();
    assert_eq!(site.found("b").size, Some(Bytes(8 * MIB)));
}

/// With full quotas a clone counts all that its source does.
#[test]
fn root_a_clone_is_not_full_from_the_start() {
    for quotas in [Quotas::Simple, Quotas::Full] {
        let Some(site) = site(quotas) else { return };
        site.subvolume("a");
        site.write("a/file", 8 * MIB);
        site.commit();
        let cloned = site.clone_volume("a", "b", Some(4 * MIB));
        if quotas == Quotas::Simple {
            cloned.unwrap();
            continue;
        }
        let error = cloned.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.chain().contains("more than 4 MiB"));
        assert_eq!(site.entries(), ["a"]);
    }
}

/// The kernel gives a snapshot both limit and usage of its source.
#[test]
fn root_a_full_volume_is_cloned_with_a_label_and_its_limit() {
    for quotas in [Quotas::Simple, Quotas::Full] {
        let Some(site) = site(quotas) else { return };
        site.new_volume("a", 8 * MIB).unwrap();
        fill_to_the_brim(&site.at("a"));
        let name = mapped("user", "b");
        site.clone_named(&volume("a"), &name, None).unwrap();
        assert_eq!(site.found("b").size, Some(Bytes(8 * MIB)), "{quotas:?}");
        let clone = site.driver.volume(&name).unwrap();
        assert_eq!(label::name(clone.dir()).unwrap().as_deref(), Some("user"));
    }
}

#[test]
fn root_a_clone_that_needs_nothing_else_costs_one_commit() {
    for quotas in ALL_QUOTAS {
        let Some(site) = site(quotas) else { return };
        site.new_volume("a", 16 * MIB).unwrap();
        // The folder of half-made things is made once, and synced by itself.
        site.new_named(&mapped("user", "labelled"), 16 * MIB)
            .unwrap();
        let cost = |from: &str, to: &str, size: Option<u64>| {
            site.commits(|| site.clone_volume(from, to, size).unwrap())
        };
        assert_eq!(cost("a", "1/b", None), 1, "{quotas:?}");
        assert_eq!(cost("a", "c", Some(16 * MIB)), 1, "{quotas:?}");
        // Its own, and that of the limit, which full quotas take only afterwards.
        let limited = if quotas == Quotas::Full { 2 } else { 1 };
        assert_eq!(cost("a", "d", Some(32 * MIB)), limited, "{quotas:?}");
        // Its own, and that of label and rename.
        assert_eq!(cost("labelled", "e", None), 2, "{quotas:?}");
        let mapped = || {
            let name = mapped("other", "f");
            site.clone_named(&volume("a"), &name, None).unwrap();
        };
        assert_eq!(site.commits(mapped), 2, "{quotas:?}");
        assert_eq!(site.leftovers(), [""; 0]);
    }
}

#[test]
fn root_a_clone_carries_its_own_label_only() {
    let Some(site) = site_with(Quotas::Off, |settings| settings.mapped = true) else {
        return;
    };
    site.new_named(&mapped("first", "1/a"), MIB).unwrap();
    site.clone_named(&mapped("first", "1/a"), &mapped("second", "2/b"), None)
        .unwrap();
    site.clone_named(&mapped("first", "1/a"), &volume("c"), None)
        .unwrap();
    let user = |name: &str| site.found(name).user;
    assert_eq!(user("1/a").as_deref(), Some("first"));
    assert_eq!(user("2/b").as_deref(), Some("second"));
    assert_eq!(user("c"), None);
}

#[test]
fn root_a_clone_belongs_to_whom_its_source_does() {
    let Some(site) = site(Quotas::Simple) else {
        return;
    };
    site.new_volume("a", MIB).unwrap();
    chown(site.at("a"), Some(1000), Some(1001)).unwrap();
    let mode = std::fs::Permissions::from_mode(0o2751);
    std::fs::set_permissions(site.at("a"), mode).unwrap();
    run(
        "touch",
        &["-d", "2001-02-03", site.at("a").to_str().unwrap()],
    )
    .unwrap();
    site.clone_volume("a", "b", None).unwrap();
    site.clone_named(&volume("a"), &mapped("user", "c"), None)
        .unwrap();
    let seen = |name: &str| {
        let found = std::fs::metadata(site.at(name)).unwrap();
        (found.uid(), found.gid(), found.mode(), found.mtime())
    };
    assert_eq!(seen("b"), seen("a"));
    assert_eq!(seen("c"), seen("a"));
}

/// Sends a read-only snapshot of a volume, and receives it in the same place.
fn receive(site: &crate::common::Site, from: &str, to: &str) {
    site.snapshot(from, to, true);
    let stream = site.fs.path().join("stream");
    let at = |name: &str| site.at(name).to_string_lossy().into_owned();
    run(
        "btrfs",
        &["-q", "send", "-f", stream.to_str().unwrap(), &at(to)],
    )
    .unwrap();
    site.btrfs(&["subvolume", "delete"], to);
    let into = site.path.to_str().unwrap();
    run(
        "btrfs",
        &["-q", "receive", "-f", stream.to_str().unwrap(), into],
    )
    .unwrap();
}

#[test]
fn root_a_clone_of_a_received_volume_is_writable_and_not_received() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.new_volume("a", MIB).unwrap();
    site.write("a/file", MIB);
    receive(&site, "a", "r");
    assert!(fact(&site.found("r"), "received uuid").is_some());
    for name in [volume("b"), mapped("user", "c")] {
        site.clone_named(&volume("r"), &name, None).unwrap();
        let found = site.found(name.stored());
        assert!(!found.read_only);
        assert_eq!(fact(&found, "received uuid"), None);
        std::fs::write(site.at(name.stored()).join("file"), "x").unwrap();
    }
    assert!(site.found("r").read_only);
}

#[test]
fn root_a_name_that_is_taken_is_left_alone() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.subvolume("a");
    site.subvolume("b");
    std::fs::write(site.at("file"), "x").unwrap();
    let before = site.id("b");
    for name in ["b", "file", "file/c"] {
        for name in [volume(name), mapped("user", name)] {
            let error = site.clone_named(&volume("a"), &name, None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Exists, "{}", error.chain());
        }
    }
    let error = site.clone_volume("none", "1/c", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(site.id("b"), before);
    assert_eq!(site.entries(), ["a", "b", "file"]);
    assert_eq!(site.leftovers(), [""; 0]);
}

/// An active swap file, taken out of use again also when the test fails.
struct Swap<'p>(&'p Path);

impl Drop for Swap<'_> {
    fn drop(&mut self) {
        let _ = run("swapoff", &[self.0]);
    }
}

#[test]
fn root_a_swap_file_in_use_is_named_as_what_is_in_the_way() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.new_volume("a", MIB).unwrap();
    let file = site.at("a/swap");
    let path = file.to_str().unwrap();
    run("touch", &[path]).unwrap();
    run("chattr", &["+C", path]).unwrap();
    run(
        "dd",
        &[
            "if=/dev/zero",
            &format!("of={path}"),
            "bs=1M",
            "count=8",
            "status=none",
        ],
    )
    .unwrap();
    run("chmod", &["600", path]).unwrap();
    run("mkswap", &["-q", path]).unwrap();
    let swap = run("swapon", &[path]).map(|()| Swap(&file));
    if !mosaic_tests::requires(swap.is_ok(), "this kernel swaps to no file on btrfs") {
        return;
    }
    for name in [volume("1/b"), mapped("user", "1/b")] {
        let error = site.clone_named(&volume("a"), &name, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.chain().contains("swapoff"), "{}", error.chain());
    }
    assert_eq!(site.entries(), ["a"]);
    drop(swap);
    site.clone_volume("a", "b", None).unwrap();
}

/// Full quotas stay right when a clone joins the group of its source.
#[test]
fn root_a_clone_is_in_the_groups_of_its_source() {
    let Some(site) = site(Quotas::Full) else {
        return;
    };
    site.new_volume("a", 64 * MIB).unwrap();
    site.btrfs(&["qgroup", "create", "1/7"], "");
    let source = format!("0/{}", site.id("a"));
    site.btrfs(&["qgroup", "assign", "--rescan", &source, "1/7"], "");
    site.btrfs(&["quota", "rescan", "-w"], "");
    site.clone_volume("a", "b", None).unwrap();
    site.clone_volume("a", "c", Some(128 * MIB)).unwrap();
    let path = site.path.to_str().unwrap();
    let shown = stdout_of("btrfs", &["qgroup", "show", "-pc", "--sync", path]).unwrap();
    assert!(!shown.contains("inconsistent"), "{shown}");
    for name in ["a", "b", "c"] {
        let group = format!("0/{} ", site.id(name));
        let line = shown.lines().find(|line| line.starts_with(&group)).unwrap();
        assert!(line.contains("1/7"), "{shown}");
    }
    let name = mosaic_core::VolumeName::parse("b").unwrap();
    assert_eq!(site.driver.find(&name).unwrap().unwrap().notes, [""; 0]);
}
