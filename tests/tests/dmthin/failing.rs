// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices under a pool that fail, by dm-flakey: what is said, what is kept, and the way back.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mosaic_tests::{
    Fault, Part, Site, ThinPool, assert_filled, eventually, fill, is_long, is_quick, left_out,
    requires_thin_pools, word,
};

use crate::{MIB, assert_sound, run_printed_commands};

/// No command waits for a device to work.
const AT_ONCE: Duration = Duration::from_secs(60);

/// A mosaic on a pool with a device that can fail, with the volume `kept`, which is mounted and has a
/// durable file, and some disks.
struct Fragile {
    site: Site,
    at: PathBuf,
}

impl Fragile {
    fn new(part: Part) -> Option<Self> {
        requires_thin_pools().then(|| {
            let pool = ThinPool::with_fragile(part, 128 * MIB, 4 * MIB).unwrap();
            let site = Site::on_pool(pool, "dmthin", "").unwrap();
            let at = site.mountpoint("kept");
            site.ok(&["new", "fs", "kept", "16M"]);
            for name in VOLUMES.iter().filter(|name| **name != "kept") {
                site.ok(&["new", "disk", name, "8M"]);
            }
            site.ok(&["mount", "kept", word(&at)]);
            fill(&at.join("file"), 2).unwrap();
            Self { site, at }
        })
    }

    fn pool(&self) -> &ThinPool {
        self.site.pool().unwrap()
    }

    /// Runs each of the commands, which fail as `Io` and say it in one line; the lines.
    fn refused(&self, commands: &[&[&str]]) -> Vec<String> {
        let refused = commands.iter().map(|words| {
            let start = Instant::now();
            let output = self.site.expect(1, words);
            assert!(
                start.elapsed() < AT_ONCE,
                "{words:?}: {:?}",
                start.elapsed()
            );
            let lines: Vec<&str> = output.stderr.lines().collect();
            assert!(
                lines
                    .iter()
                    .filter(|line| !line.contains("warning"))
                    .count()
                    == 1,
                "{words:?}: {lines:?}"
            );
            assert!(output.stderr.contains(self.pool().name()) || lines[0].contains("/dev/"));
            output.stderr
        });
        refused.collect()
    }

    /// What is said of the volume that a refused change is about: nothing, if nobody knows what is to
    /// be found of it; else it is as it was.
    fn assert_told(&self, change: &[&str], is_unknown: bool) {
        let name = change.iter().find(|word| ABOUT.contains(word)).unwrap();
        let list = self.site.run(&["list"]);
        self.site.ok(&["info", "kept"]);
        if is_unknown {
            for said in self.refused(&[&["info", name], &["have", name]]) {
                assert!(said.contains("is unknown until"), "{said}");
            }
            assert!(list.stderr.contains("is unknown until"), "{list:?}");
            assert!(list.stdout.contains(name), "{list:?}");
        } else {
            assert!(!list.stderr.contains("unknown"), "{list:?}");
            assert_eq!(
                list.stdout.contains(name),
                VOLUMES.contains(name),
                "{list:?}"
            );
        }
    }

    /// The durable file is there, by a fresh look.
    fn assert_kept(&self) {
        let again = self.site.mountpoint("again");
        self.site.ok(&["mount", "kept", word(&again)]);
        assert_filled(&again.join("file"), 2);
        self.site.ok(&["umount", "kept", word(&again)]);
    }
}

/// Each of them about volumes of its own.
const CHANGES: [&[&str]; 6] = [
    &["new", "disk", "one", "8M"],
    &["new", "fs", "two", "8M"],
    &["clone", "kept", "three"],
    &["rename", "old", "four"],
    &["resize", "spare", "16M"],
    &["drop", "gone"],
];

/// What they are about.
const ABOUT: [&str; 6] = ["one", "two", "three", "old", "spare", "gone"];

/// The volumes before any of the changes.
const VOLUMES: [&str; 4] = ["gone", "kept", "old", "spare"];

#[test]
fn root_metadata_that_take_no_writes_are_not_believed_and_the_way_back_is_printed() {
    if !requires_thin_pools() {
        return;
    }
    let sample = match (is_quick(), is_long()) {
        (true, _) => 1,
        (_, true) => CHANGES.len(),
        _ => 2,
    };
    if sample < CHANGES.len() {
        left_out("most verbs as the first that meets metadata without writes");
    }
    for first in CHANGES.into_iter().rev().take(sample) {
        let Some(fragile) = Fragile::new(Part::Metadata) else {
            return;
        };
        let site = &fragile.site;
        // Nothing is to be committed that the command did not change.
        fragile.pool().status().unwrap();
        fragile.pool().fail(Fault::Writes).unwrap();
        // Whichever comes first: for the kernel each of its messages goes well.
        let said = fragile.refused(&[first]);
        fragile.assert_told(first, said[0].contains("is unknown until"));
        let status = fragile.pool().status().unwrap();
        assert!(
            status.iter().any(|word| word == "needs_check"),
            "{status:?}"
        );
        let others: Vec<_> = CHANGES
            .into_iter()
            .filter(|words| *words != first)
            .collect();
        let said = fragile.refused(&others);
        for said in &said {
            for part in [
                "needs a check",
                "thin_check --clear-needs-check-flag",
                "thin_repair",
            ] {
                assert!(said.contains(part), "{said}");
            }
        }
        let found = site.expect(10, &["check"]);
        assert!(found.stdout.contains("needs a check"), "{}", found.stdout);
        // What is there is read, and let go.
        assert_eq!(fs::read(fragile.at.join("file")).unwrap().len(), 2 << 20);
        fragile.pool().mend().unwrap();
        run_printed_commands(&said[0]);
        // What was not acknowledged is not there.
        assert_eq!(site.names(), VOLUMES, "{first:?}");
        let status = fragile.pool().status().unwrap();
        assert_eq!(status[4], "rw", "{status:?}");
        fragile.assert_kept();
        for words in [&["clone", "kept", "more"][..], &["drop", "spare"]] {
            site.ok(words);
        }
        assert_sound(site);
    }
}

#[test]
fn root_metadata_that_cannot_be_read_are_said_to_be_and_come_back() {
    let Some(fragile) = Fragile::new(Part::Metadata) else {
        return;
    };
    let site = &fragile.site;
    fragile.pool().fail(Fault::All).unwrap();
    let said = fragile.refused(&[&["list"], &["info", "kept"]]);
    assert!(
        said.iter().all(|said| said.contains("/dev/dm-")),
        "{said:?}"
    );
    fragile.refused(&CHANGES);
    // The kernel has tried to write by now, or does within a second.
    let needs_check = || {
        let status = fragile.pool().status().unwrap();
        status
            .iter()
            .any(|word| word == "needs_check" || word == "Fail")
    };
    assert!(eventually(needs_check), "{:?}", fragile.pool().status());
    let said = fragile.refused(&CHANGES);
    fragile.pool().mend().unwrap();
    run_printed_commands(&said[0]);
    assert_eq!(site.names(), VOLUMES);
    fragile.assert_kept();
    site.ok(&["clone", "kept", "more"]);
    assert_sound(site);
}

#[test]
fn root_a_mount_is_let_go_by_a_pool_that_has_failed() {
    let Some(fragile) = Fragile::new(Part::Metadata) else {
        return;
    };
    let site = &fragile.site;
    site.ok(&["attach", "spare"]);
    fragile.pool().fail(Fault::All).unwrap();
    // Without its metadata the kernel cannot even go back.
    let failed = || {
        let _ = fill(&fragile.at.join("other"), 1);
        let status = fragile.pool().status().unwrap();
        status.iter().any(|word| word == "Fail")
    };
    assert!(eventually(failed), "{:?}", fragile.pool().status());
    let said = fragile.refused(&[&["umount", "kept", word(&fragile.at)]]);
    assert!(said[0].contains("umount -A"), "{said:?}");
    fragile.pool().mend().unwrap();
    // What is on the devices can be read again; the pool has failed all the same.
    fragile.refused(&[&["list"], &["new", "disk", "one", "8M"], &["attach", "old"]]);
    let info = site.ok(&["info", "kept"]);
    assert!(info.contains("has failed"), "{info}");
    site.ok(&["umount", "kept", word(&fragile.at)]);
    site.ok(&["detach", "spare"]);
    let said = fragile.refused(&[&["new", "disk", "one", "8M"]]);
    assert!(!said[0].contains("umount -A"), "{said:?}");
    run_printed_commands(&said[0]);
    assert_eq!(site.names(), VOLUMES);
    fragile.assert_kept();
    assert_sound(site);
}

#[test]
fn root_data_that_fail_are_said_to_be_and_come_back_by_themselves() {
    for fault in [Fault::Writes, Fault::All] {
        let Some(fragile) = Fragile::new(Part::Data) else {
            return;
        };
        let site = &fragile.site;
        fragile.pool().fail(fault).unwrap();
        let said = fragile.refused(&CHANGES);
        assert!(
            said.iter().all(|said| said.contains("/dev/dm-")),
            "{said:?}"
        );
        match fault {
            Fault::All => drop(fragile.refused(&[&["list"], &["info", "kept"]])),
            Fault::Writes => assert_eq!(site.names(), VOLUMES),
        }
        // The file system on it has its own troubles, and is let go all the same.
        assert!(fill(&fragile.at.join("other"), 1).is_err());
        fragile.pool().mend().unwrap();
        site.ok(&["umount", "kept", word(&fragile.at)]);
        assert_eq!(site.names(), VOLUMES, "{fault:?}");
        fragile.assert_kept();
        for words in [&["clone", "kept", "more"][..], &["drop", "spare"]] {
            site.ok(words);
        }
        assert_sound(site);
    }
}
