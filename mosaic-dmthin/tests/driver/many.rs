// SPDX-License-Identifier: MIT OR Apache-2.0
//! 10,000 volumes: each verb reads a path of the pool's trees and writes one slot, no more.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{MIB, Thins, catalog_of, message};
use mosaic_core::finding::Repair;
use mosaic_core::{Bytes, Driver, Result};
use mosaic_dmthin::block_device::{self, BlockDevice};
use mosaic_dmthin::catalog::slot::PAGE;
use mosaic_dmthin::catalog::store::Medium;
use mosaic_dmthin::catalog::{Content, Entry, store};
use mosaic_dmthin::target::ThinId;
use mosaic_tests::{
    ThinPool, requires_program, requires_thin_pools, requires_time, run, stdout_of, volume,
};
use rustix::fs::OFlags;

const VOLUMES: u32 = 10_000;

/// Has the pool's metadata name many more thin devices, with nothing in them.
fn restore_with_many(pool: &ThinPool) {
    pool.deactivate().unwrap();
    let metadata = pool.metadata_device();
    let dump = stdout_of("thin_dump", &[&metadata]).unwrap();
    let mut text = String::new();
    for line in dump.lines() {
        // By number: after the metadata's, before the catalog's.
        if line.contains("dev_id=\"16777215\"") {
            for id in 1..=VOLUMES {
                writeln!(
                    text,
                    "<device dev_id=\"{id}\" mapped_blocks=\"0\" transaction=\"0\" \
                     creation_time=\"0\" snap_time=\"0\"></device>"
                )
                .unwrap();
            }
        }
        writeln!(text, "{line}").unwrap();
    }
    let file = pool.data().folder().join("dump");
    std::fs::write(&file, text).unwrap();
    let words = ["-i".as_ref(), &*file, "-o".as_ref(), &*metadata];
    run("thin_restore", &words).unwrap();
    pool.check().unwrap();
}

/// The catalog's device, open.
struct Slots(BlockDevice);

impl Medium for Slots {
    fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        self.0.read(offset, length)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.0.write(offset, bytes)
    }

    fn sync(&self) -> Result<()> {
        self.0.sync()
    }
}

/// The catalog's device.
/// Writes a next state that names them all; its bytes.
fn name_many(pool: &ThinPool) -> u64 {
    let device = catalog_of(pool);
    let number = block_device::number(Path::new(&device)).unwrap();
    let device = BlockDevice::open(number, OFlags::RDWR | OFlags::DIRECT);
    let medium = Slots(device.unwrap());
    let transaction: u64 = pool.status().unwrap()[0].parse().unwrap();
    let truth = store::read(&medium, transaction).unwrap();
    let mut catalog = truth.catalog.clone();
    for id in 1..=VOLUMES {
        let entry = Entry {
            id: ThinId::new(id).unwrap(),
            made_in: 0,
            user: None,
            content: Content::Disk,
            size: Bytes(MIB),
            origin: (id > 1).then(|| ThinId::new(id - 1).unwrap()),
            created: 1_700_000_000,
        };
        let name = format!("customers/of/that/reseller/{id:05}");
        catalog.insert(&name, entry).unwrap();
    }
    catalog.skip_ids_to(ThinId::new(VOLUMES + 1).unwrap());
    let capacity = store::wanted_capacity(&catalog, 64 << 10).unwrap();
    store::provision(&medium, truth.header.capacity, capacity).unwrap();
    let (to, index) = (transaction + 1, truth.index.other());
    store::write(&medium, index, truth.header.pool, to, capacity, &catalog).unwrap();
    message(pool, &format!("set_transaction_id {transaction} {to}"));
    capacity
}

/// Bytes read and written so far, by the kernel's count (Documentation/block/stat.rst).
fn count(device: &str) -> [u64; 2] {
    let leaf = device.trim_start_matches("/dev/");
    let text = std::fs::read_to_string(format!("/sys/block/{leaf}/stat")).unwrap();
    let fields: Vec<u64> = text
        .split_whitespace()
        .map(|f| f.parse().unwrap())
        .collect();
    [fields[2] * 512, fields[6] * 512]
}

#[test]
fn root_ten_thousand_volumes_cost_a_verb_no_more_than_a_slot() {
    if !requires_time()
        || !requires_thin_pools()
        || !["thin_dump", "thin_restore"]
            .into_iter()
            .all(requires_program)
    {
        return;
    }
    // Each has a block of its own there.
    let metadata = 4 * MIB + u64::from(VOLUMES) * 6 * 1024;
    let thins = Thins::with(256 * MIB, metadata, &[]);
    restore_with_many(&thins.pool);
    thins.driver.recover().unwrap();
    let capacity = name_many(&thins.pool);
    let slot = capacity + PAGE as u64;
    let devices = [
        catalog_of(&thins.pool),
        thins.pool.metadata().device().to_str().unwrap().to_owned(),
    ];
    let listed = Instant::now();
    assert_eq!(thins.driver.list().unwrap().len(), VOLUMES as usize);
    let listed = listed.elapsed();
    assert!(listed < Duration::from_secs(120), "{listed:?}");
    let some = "customers/of/that/reseller/00150";
    let costs = |what: &str, verb: &dyn Fn()| {
        let before = devices.clone().map(|device| count(&device));
        verb();
        let after = devices.clone().map(|device| count(&device));
        let [[slots_read, slots_written], [read, written]] =
            [0, 1].map(|at| [0, 1].map(|which| after[at][which] - before[at][which]));
        assert!(
            slots_read <= 4 * slot,
            "{what}: {slots_read} of the catalog read"
        );
        assert!(
            slots_written <= slot,
            "{what}: {slots_written} of the catalog written"
        );
        // Paths of trees, with the superblocks around them; all details are more.
        let path = 32 * 4096;
        assert!(
            read <= path && written <= path,
            "{what}: {read} {written} of the metadata"
        );
    };
    costs("find", &|| assert!(thins.find(some).is_some()));
    costs("new", &|| thins.create_disk("new", MIB).unwrap());
    costs("clone", &|| {
        thins.clone_volume(some, "clone", None).unwrap()
    });
    costs("rename", &|| {
        let (from, to) = (volume("clone"), volume("renamed"));
        thins.driver.rename(&from, &to).unwrap();
    });
    costs("attach", &|| drop(thins.attach(some).unwrap()));
    costs("detach", &|| thins.detach(some).unwrap());
    costs("resize", &|| thins.resize(some, 2 * MIB).unwrap());
    costs("drop", &|| thins.drop_volume(some).unwrap());
    assert!(thins.find(some).is_none() && thins.find("renamed").is_some());
    let found = thins.driver.check(&Repair::Nothing).unwrap();
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(thins.driver.list().unwrap().len(), VOLUMES as usize + 1);
}
