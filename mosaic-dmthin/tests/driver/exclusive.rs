// SPDX-License-Identifier: MIT OR Apache-2.0
//! What only one volume has, held against the numbers of thin_ls.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::common::{LEN, MIB, Thins};
use mosaic_core::Driver;
use mosaic_tests::{requires_program, requires_thin_pools, stdout_of};

/// Mapped and exclusive MiB by name.
fn listed(thins: &Thins) -> Vec<(String, u64, u64)> {
    let mut volumes = thins.driver.list().unwrap();
    volumes.sort_by(|a, b| a.stored.cmp(&b.stored));
    let mib = |size: Option<mosaic_core::Bytes>| size.unwrap().0 / MIB;
    volumes
        .iter()
        .map(|v| (v.stored.clone(), mib(v.used), mib(v.exclusive)))
        .collect()
}

fn write(device: &Path, byte: u8, from: usize, length: usize) {
    let file = File::options().write(true).open(device).unwrap();
    let bytes = vec![byte; length * LEN];
    file.write_all_at(&bytes, (from * LEN) as u64).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn root_what_only_one_volume_has_comes_back_when_it_is_dropped() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_disk("a", 64 * MIB).unwrap();
    thins.create_disk("empty", 64 * MIB).unwrap();
    let a = thins.attach("a").unwrap().device;
    write(&a, 1, 0, 8);
    let is = |expected: &[(&str, u64, u64)]| {
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, used, own)| ((*name).to_owned(), *used, *own))
            .collect();
        assert_eq!(listed(&thins), expected);
    };
    is(&[("a", 8, 8), ("empty", 0, 0)]);
    thins.clone_volume("a", "b", None).unwrap();
    is(&[("a", 8, 0), ("b", 8, 0), ("empty", 0, 0)]);
    let b = thins.attach("b").unwrap().device;
    write(&b, 2, 1, 2);
    write(&a, 3, 5, 1);
    write(&a, 3, 20, 4);
    is(&[("a", 12, 7), ("b", 8, 3), ("empty", 0, 0)]);
    let info = thins.find("b").unwrap();
    assert_eq!(info.exclusive.unwrap().0, 3 * MIB);
    thins.detach("b").unwrap();
    thins.detach("a").unwrap();
    thins.clone_volume("b", "c", None).unwrap();
    is(&[("a", 12, 7), ("b", 8, 0), ("c", 8, 0), ("empty", 0, 0)]);
    let before = listed(&thins);
    if requires_program("thin_ls") {
        thins.pool.deactivate().unwrap();
        let words = ["--no-headers", "-o", "DEV,EXCLUSIVE_BLOCKS"].map(Path::new);
        let metadata = thins.pool.metadata().device();
        let said = stdout_of("thin_ls", &[&words[..], &[metadata]].concat()).unwrap();
        for (name, _, own) in &before {
            let facts = thins.find(name).unwrap().facts;
            let (_, id) = facts.iter().find(|(fact, _)| fact == "thin id").unwrap();
            let line = said
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>())
                .find(|words| words[0] == id)
                .unwrap();
            assert_eq!(line[1], (own * 16).to_string(), "{name}: {said}");
        }
    }
    thins.drop_volume("b").unwrap();
    thins.drop_volume("a").unwrap();
    is(&[("c", 8, 8), ("empty", 0, 0)]);
}

#[test]
fn root_much_that_is_mapped_is_counted_beside_a_writer() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_disk("a", 256 * MIB).unwrap();
    let a = thins.attach("a").unwrap().device;
    // More than one node.
    write(&a, 1, 0, 24);
    thins.create_disk("busy", 64 * MIB).unwrap();
    let busy = thins.attach("busy").unwrap().device;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (0..8).for_each(|mib| write(&busy, 1, mib, 1)));
        while !writer.is_finished() {
            let volumes = thins.driver.list().unwrap();
            let own = volumes.iter().find(|v| v.stored == "a").unwrap().exclusive;
            assert!(own.is_none_or(|own| own.0 == 24 * MIB), "{own:?}");
        }
    });
    assert_eq!(
        listed(&thins),
        [("a".into(), 24, 24), ("busy".into(), 8, 8)]
    );
}
