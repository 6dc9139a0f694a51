// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pools whose metadata are full: floors keep them from it, and there is a way back.

use std::fs;
use std::os::unix::fs::FileExt;

use mosaic_tests::{
    Output, Part, Site, ThinPool, assert_filled, fill, requires_program, requires_thin_pools, run,
    stdout_of, word,
};

use crate::{MIB, assert_sound};

/// Volumes that have more blocks than could be written here.
const LARGE: [&str; 4] = ["large", "large-2", "large-3", "large-4"];

/// A mosaic on a pool of 2 MiB of metadata, 512 blocks, of which all but so many are in use, by a hand
/// on its metadata.
fn nearly_full(lines: &[&str], free: u64) -> Option<Site> {
    if !requires_thin_pools()
        || !["thin_dump", "thin_restore"]
            .into_iter()
            .all(requires_program)
    {
        return None;
    }
    let pool = ThinPool::new(2 << 30, 2 * MIB).unwrap();
    let pool = lines.iter().fold(pool, |pool, line| pool.with(line));
    let site = Site::on_pool(pool, "dmthin", "").unwrap();
    for name in LARGE {
        site.ok(&["new", "disk", name, "2G"]);
    }
    site.ok(&["new", "fs", "kept", "16M"]);
    let at = site.mountpoint("kept");
    site.ok(&["mount", "kept", word(&at)]);
    fill(&at.join("file"), 2).unwrap();
    site.ok(&["umount", "kept", word(&at)]);
    // A node of the tree has room for 252 and is half full, and there is more than nodes.
    give_blocks(&site, (blocks_free(&site) - free) * 105 / 4);
    let left = blocks_free(&site);
    assert!(left.abs_diff(free) < 30, "{left}");
    Some(site)
}

fn blocks_free(site: &Site) -> u64 {
    site.ok(&["info"]);
    let status = site.pool().unwrap().status().unwrap();
    let (used, total) = status[1].split_once('/').unwrap();
    total.parse::<u64>().unwrap() - used.parse::<u64>().unwrap()
}

/// Has each of the large volumes own so many data blocks, which they share.
fn give_blocks(site: &Site, blocks: u64) {
    let pool = site.pool().unwrap();
    pool.deactivate().unwrap();
    let metadata = pool.metadata_device();
    let dump = stdout_of("thin_dump", &[&metadata]).unwrap();
    let mut text = String::new();
    for line in dump.lines() {
        let id = (1..=LARGE.len()).find(|id| line.contains(&format!("dev_id=\"{id}\"")));
        text += &match id {
            Some(_) => {
                let has = format!("mapped_blocks=\"{blocks}\"");
                let line = line.replace("mapped_blocks=\"0\"", &has);
                format!(
                    "{line}\n<range_mapping origin_begin=\"0\" data_begin=\"1000\" \
                     length=\"{blocks}\" time=\"0\"/>\n"
                )
            }
            None => format!("{line}\n"),
        };
    }
    let file = pool.data().folder().join("dump");
    fs::write(&file, text).unwrap();
    let (from, to) = (["-i".as_ref(), file.as_path()], ["-o".as_ref(), &*metadata]);
    run("thin_restore", &[from, to].concat()).unwrap();
    pool.check().unwrap();
}

/// Clones `large` and writes to each clone a little here and there, until something is refused.
fn clone_until_refused(site: &Site) -> (usize, Output) {
    for number in 0..200 {
        let name = format!("clone-{number}");
        let output = site.run(&["clone", "large", &name]);
        if output.status != 0 {
            return (number, output);
        }
        let device = site.json(&["attach", &name])["attachment"]["device"].clone();
        let device = fs::File::options()
            .write(true)
            .open(device.as_str().unwrap());
        let device = device.unwrap();
        // The kernel tells of the end here too, and then to the next command.
        let _ = (0..8).try_for_each(|at| device.write_all_at(&[7; 4096], at << 24));
        let _ = device.sync_all();
        drop(device);
        site.ok(&["detach", &name]);
    }
    panic!("there is no end to it");
}

fn assert_kept(site: &Site) {
    let at = site.mountpoint("kept-again");
    site.ok(&["mount", "kept", word(&at)]);
    assert_filled(&at.join("file"), 2);
    site.ok(&["umount", "kept", word(&at)]);
}

#[test]
fn root_the_floor_of_metadata_refuses_before_they_run_out() {
    let Some(site) = nearly_full(&["skip_zeroing: true"], 140) else {
        return;
    };
    let (_, output) = clone_until_refused(&site);
    assert_eq!(output.status, 7, "{}", output.stderr);
    for part in [
        site.pool().unwrap().name(),
        "of 512 metadata blocks free, and 128 are kept free",
        "grow its metadata device /dev/loop",
        "run check --repair, or drop volumes",
    ] {
        assert!(output.stderr.contains(part), "{}", output.stderr);
    }
    assert_eq!(site.pool().unwrap().status().unwrap()[4], "rw");
    assert_eq!(
        site.expect(7, &["resize", "kept", "32M"])
            .stderr
            .lines()
            .count(),
        1
    );
    // The first way out.
    site.pool()
        .unwrap()
        .enlarge(Part::Metadata, 4 * MIB)
        .unwrap();
    site.ok(&["check", "--repair"]);
    site.ok(&["clone", "kept", "more"]);
    // The other.
    for name in site.names().iter().filter(|name| *name != "kept") {
        site.ok(&["drop", name]);
    }
    assert_kept(&site);
    assert_sound(&site);
}

#[test]
fn root_a_pool_full_of_metadata_comes_back_when_they_grow() {
    let lines = ["skip_zeroing: true", "min_free_metadata: 4K"];
    let Some(site) = nearly_full(&lines, 40) else {
        return;
    };
    let (made, output) = clone_until_refused(&site);
    assert!(made > 1, "{}", output.stderr);
    let pool = site.pool().unwrap();
    let status = pool.status().unwrap();
    assert_eq!((&*status[1], &*status[4]), ("512/512", "ro"), "{status:?}");
    let large = site.ok(&["list"]).matches("large").count();
    for words in [
        &["new", "disk", "more", "8M"][..],
        &["clone", "kept", "more"],
        &["resize", "kept", "32M"],
        &["drop", "kept"],
        &["rename", "kept", "more"],
    ] {
        let refused = site.expect(1, words).stderr;
        for part in ["out of metadata", "512/512", pool.name(), "check --repair"] {
            assert!(refused.contains(part), "{refused}");
        }
        assert!(
            refused.contains(word(pool.metadata().device())),
            "{refused}"
        );
        assert_eq!(refused.lines().count(), 1, "{refused}");
    }
    let found = site.expect(10, &["check"]).stdout;
    assert!(found.contains("out of metadata"), "{found}");
    let names = site.names();
    pool.enlarge(Part::Metadata, 4 * MIB).unwrap();
    site.ok(&["check", "--repair"]);
    assert_eq!(pool.status().unwrap()[4], "rw");
    assert_eq!(site.names(), names);
    assert_eq!(site.ok(&["list"]).matches("large").count(), large);
    site.ok(&["clone", "kept", "more"]);
    assert_kept(&site);
    for name in names.iter().filter(|name| *name != "kept") {
        site.ok(&["drop", name]);
    }
    assert_sound(&site);
}
