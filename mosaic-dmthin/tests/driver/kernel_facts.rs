// SPDX-License-Identifier: MIT OR Apache-2.0
//! Facts about device-mapper that the driver leans on, each tried by itself.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use mosaic_core::Host;
use mosaic_core::dm::By;
use mosaic_core::dm::{Audience, Dm, open_control};
use mosaic_dmthin::block_device::{BlockDevice, node, number};
use mosaic_dmthin::target::{
    DeviceNumber, Message, PoolMode, PoolStatus, Sectors, ThinId, ThinStatus, ThinTable,
    WorkingPool,
};
use mosaic_dmthin::thin_metadata::{self, Blocks, Superblock};
use mosaic_dmthin::transaction::is_proof;
use mosaic_tests::{Fault, Part, ThinPool, eventually, requires_thin_pools};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::common::MIB;

/// A pool activated by dmsetup, with devices made by hand.
struct Bench {
    control: OwnedFd,
    host: Host,
    pool: ThinPool,
    number: DeviceNumber,
}

const LENGTH: Sectors = Sectors(32 * MIB / 512);

impl Bench {
    fn new() -> Self {
        Self::with(ThinPool::new(128 * MIB, 4 * MIB).unwrap())
    }

    fn with(pool: ThinPool) -> Self {
        pool.activate(128).unwrap();
        let number = number(&pool.device().unwrap()).unwrap();
        Self {
            control: open_control().unwrap(),
            host: Host::new(std::sync::Arc::new(mosaic_core::host_services::Silent)),
            pool,
            number,
        }
    }

    fn dm(&self) -> Dm<'_> {
        Dm::new(&self.control, &self.host)
    }

    fn send(&self, message: Message) -> Result<(), Errno> {
        self.dm()
            .message(By::Number(self.number.dev()), &message.to_string())
    }

    fn status(&self) -> WorkingPool {
        let lines = self.dm().status(By::Number(self.number.dev()), true);
        match PoolStatus::of(&lines.unwrap()).unwrap() {
            Some(PoolStatus::Working(status)) => status,
            other => panic!("{other:?}"),
        }
    }

    fn name(&self, id: ThinId) -> String {
        format!("{}-{id}", self.pool.name())
    }

    fn uuid(&self, id: ThinId) -> String {
        format!("TEST-{}", self.name(id))
    }

    fn load(&self, id: ThinId) {
        let (name, uuid) = (self.name(id), self.uuid(id));
        self.dm().create(&name, &uuid).unwrap();
        self.dm()
            .load(By::Uuid(&uuid), &self.line(id), false)
            .unwrap();
    }

    fn line(&self, id: ThinId) -> mosaic_core::dm::Line {
        let table = ThinTable {
            pool: self.number,
            id,
            external_origin: None,
        };
        table.line(LENGTH)
    }

    fn resume(&self, id: ThinId) -> PathBuf {
        let uuid = self.uuid(id);
        let info = self
            .dm()
            .resume(By::Uuid(&uuid), Audience::Ourselves)
            .unwrap();
        node(info.dev.into()).unwrap()
    }

    fn activate(&self, id: ThinId) -> PathBuf {
        self.load(id);
        self.resume(id)
    }

    fn is_there(&self, id: ThinId) -> bool {
        let uuid = self.uuid(id);
        self.dm().info(By::Uuid(&uuid)).unwrap().is_some()
    }

    fn metadata(&self) -> BlockDevice {
        let number = number(&self.pool.metadata_device()).unwrap();
        BlockDevice::open(number, OFlags::RDONLY | OFlags::DIRECT).unwrap()
    }
}

fn id(number: u32) -> ThinId {
    ThinId::new(number).unwrap()
}

fn fill(device: &Path, byte: u8) {
    std::fs::write(device, vec![byte; 1 << 20]).unwrap();
    File::open(device).unwrap().sync_all().unwrap();
}

#[test]
fn root_ids_are_made_once_and_deleted_once() {
    if !requires_thin_pools() {
        return;
    }
    let bench = Bench::new();
    assert!(bench.dm().version().unwrap()[0] == 4);
    for number in [0, 7, (1 << 24) - 1] {
        bench.send(Message::CreateThin(id(number))).unwrap();
        assert_eq!(
            bench.send(Message::CreateThin(id(number))),
            Err(Errno::EXIST)
        );
    }
    let missing = Message::CreateSnap {
        id: id(9),
        origin: id(8),
    };
    assert_eq!(bench.send(missing), Err(Errno::NODATA));
    bench.send(Message::Delete(id(7))).unwrap();
    assert_eq!(bench.send(Message::Delete(id(7))), Err(Errno::NODATA));
    bench.send(Message::SetTransactionId(0, 1)).unwrap();
    assert_eq!(
        bench.send(Message::SetTransactionId(0, 1)),
        Err(Errno::INVAL)
    );
    assert_eq!(bench.status().transaction, 1);
}

#[test]
fn root_the_metadata_tell_beside_the_kernel_which_ids_there_are() {
    if !requires_thin_pools() {
        return;
    }
    let bench = Bench::new();
    let metadata = bench.metadata();
    assert_eq!(thin_metadata::list(&metadata).unwrap(), []);
    // Enough for a tree of two levels.
    for number in 0..300 {
        bench.send(Message::CreateThin(id(number * 3))).unwrap();
    }
    bench.send(Message::SetTransactionId(0, 5)).unwrap();
    let device = bench.activate(id(3));
    fill(&device, 1);
    let snapshot = Message::CreateSnap {
        id: id(1),
        origin: id(3),
    };
    bench.send(snapshot).unwrap();
    let list = thin_metadata::list(&metadata).unwrap();
    assert_eq!(list.len(), 301);
    for (id, details) in &list {
        assert_eq!(thin_metadata::find(&metadata, *id).unwrap(), Some(*details));
        let of_snapshot = id.number() == 1;
        assert_eq!(details.made_in, if of_snapshot { 5 } else { 0 });
        let written = of_snapshot || id.number() == 3;
        assert_eq!(details.mapped, if written { 16 } else { 0 });
    }
    assert_eq!(thin_metadata::find(&metadata, id(2)).unwrap(), None);
    let superblock = Superblock::decode(&metadata.block(0).unwrap()[..]).unwrap();
    assert_eq!(superblock.transaction, 5);
    assert_eq!(superblock.data_block, Sectors(128));
    assert_eq!(superblock.metadata_blocks, bench.status().metadata.total);
    assert_eq!(superblock.data_blocks, bench.status().data.total);
    for number in 0..100 {
        bench.send(Message::Delete(id(number * 3 + 6))).unwrap();
    }
    assert_eq!(thin_metadata::list(&metadata).unwrap().len(), 201);
}

#[test]
fn root_metadata_are_read_whole_while_they_change() {
    if !requires_thin_pools() {
        return;
    }
    let bench = Bench::new();
    let metadata = bench.metadata();
    for number in 0..200 {
        bench.send(Message::CreateThin(id(number))).unwrap();
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut number = 200;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                bench.send(Message::CreateThin(id(number))).unwrap();
                bench.send(Message::Delete(id(number))).unwrap();
                number += 1;
            }
            number
        });
        let lists: Vec<_> = (0..25).map(|_| thin_metadata::list(&metadata)).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(writer.join().unwrap() > 210);
        for list in lists {
            let count = list.unwrap().len();
            assert!((200..=201).contains(&count), "{count}");
        }
    });
}

#[test]
fn root_a_uuid_is_taken_once_and_an_id_shown_any_number_of_times() {
    if !requires_thin_pools() {
        return;
    }
    let bench = Bench::new();
    bench.send(Message::CreateThin(id(1))).unwrap();
    bench.activate(id(1));
    let other = format!("{}-other", bench.name(id(1)));
    let again = bench.dm().create(&other, &bench.uuid(id(1)));
    assert_eq!(again.unwrap_err(), Errno::BUSY);
    // This is what the uuid is for.
    let (name, uuid) = (bench.name(id(2)), bench.uuid(id(2)));
    bench.dm().create(&name, &uuid).unwrap();
    bench
        .dm()
        .load(By::Uuid(&uuid), &bench.line(id(1)), false)
        .unwrap();
    bench.resume(id(2));
    assert_eq!(bench.send(Message::Delete(id(1))), Err(Errno::BUSY));
    bench.dm().remove(By::Uuid(&uuid)).unwrap();
    assert_eq!(bench.send(Message::Delete(id(1))), Err(Errno::BUSY));
    bench.dm().remove(By::Uuid(&bench.uuid(id(1)))).unwrap();
    bench.send(Message::Delete(id(1))).unwrap();
}

#[test]
fn root_a_table_of_an_id_that_is_not_there_is_refused_with_enodata() {
    if !requires_thin_pools() {
        return;
    }
    let bench = Bench::new();
    let uuid = bench.uuid(id(1));
    bench.dm().create(&bench.name(id(1)), &uuid).unwrap();
    let loaded = bench.dm().load(By::Uuid(&uuid), &bench.line(id(1)), false);
    assert_eq!(loaded, Err(Errno::NODATA));
    let info = bench.dm().info(By::Uuid(&uuid)).unwrap().unwrap();
    assert!(!info.is_active() && !info.is_loaded());
    bench.dm().remove(By::Uuid(&uuid)).unwrap();
}

#[test]
fn root_a_device_bound_to_go_goes_with_its_last_close_and_no_sooner() {
    if !requires_thin_pools() {
        return;
    }
    let bench = Bench::new();
    bench.send(Message::CreateThin(id(1))).unwrap();
    bench.load(id(1));
    let uuid = bench.uuid(id(1));
    let by = By::Uuid(&uuid);
    // The node is there before the device is active, and it can be opened.
    let info = bench.dm().info(by).unwrap().unwrap();
    assert!(!info.is_active() && info.is_loaded());
    let device = BlockDevice::open(info.dev.into(), OFlags::RDWR).unwrap();
    bench.dm().remove_at_close(by).unwrap();
    let path = bench.resume(id(1));
    fill(&path, 2);
    bench.dm().suspend(by).unwrap();
    bench.dm().resume(by, Audience::Ourselves).unwrap();
    let info = bench.dm().info(by).unwrap().unwrap();
    assert!(info.is_active() && info.goes_at_close());
    let second = File::open(&path).unwrap();
    drop(device);
    assert!(bench.is_there(id(1)));
    drop(second);
    assert!(eventually(|| !bench.is_there(id(1))));
    bench.send(Message::Delete(id(1))).unwrap();
}

#[test]
fn root_a_suspend_works_while_the_device_is_held_exclusively() {
    if !requires_thin_pools() {
        return;
    }
    let bench = Bench::new();
    bench.send(Message::CreateThin(id(1))).unwrap();
    bench.activate(id(1));
    let uuid = bench.uuid(id(1));
    let info = bench.dm().info(By::Uuid(&uuid)).unwrap().unwrap();
    let claim = BlockDevice::open(info.dev.into(), OFlags::RDWR | OFlags::EXCL).unwrap();
    let second = BlockDevice::open(info.dev.into(), OFlags::RDWR | OFlags::EXCL);
    assert_eq!(second.unwrap_err().kind(), mosaic_core::ErrorKind::Busy);
    // What is not exclusive works beside it.
    BlockDevice::open(info.dev.into(), OFlags::RDWR | OFlags::DIRECT).unwrap();
    bench.dm().suspend(By::Uuid(&uuid)).unwrap();
    bench
        .dm()
        .resume(By::Uuid(&uuid), Audience::Ourselves)
        .unwrap();
    assert_eq!(bench.dm().remove(By::Uuid(&uuid)), Err(Errno::BUSY));
    drop(claim);
}

#[test]
fn root_a_clone_of_a_device_that_is_not_suspended_is_taken_all_the_same() {
    if !requires_thin_pools() {
        return;
    }
    let bench = Bench::new();
    bench.send(Message::CreateThin(id(1))).unwrap();
    bench.activate(id(1));
    let snapshot = Message::CreateSnap {
        id: id(2),
        origin: id(1),
    };
    assert_eq!(bench.send(snapshot), Ok(()));
}

#[test]
fn root_one_resume_takes_a_new_table_also_in_use() {
    if !requires_thin_pools() {
        return;
    }
    let bench = Bench::new();
    bench.send(Message::CreateThin(id(1))).unwrap();
    let path = bench.activate(id(1));
    let open = File::open(&path).unwrap();
    let uuid = bench.uuid(id(1));
    let by = By::Uuid(&uuid);
    let mut line = bench.line(id(1));
    line.length *= 2;
    bench.dm().load(by, &line, false).unwrap();
    let info = bench.dm().resume(by, Audience::Ourselves).unwrap();
    assert!(!info.is_suspended() && !info.is_loaded());
    let (_, length) = ThinTable::of(&bench.dm().table(by).unwrap())
        .unwrap()
        .unwrap();
    assert_eq!(length.0, line.length);
    drop(open);
    let lines = bench.dm().status(by, false).unwrap();
    let status = ThinStatus::of(&lines).unwrap().unwrap();
    let nothing = ThinStatus::Working {
        mapped: Sectors(0),
        highest: None,
    };
    assert_eq!(status, nothing);
}

#[test]
fn root_a_full_pool_still_overwrites_creates_and_deletes() {
    if !requires_thin_pools() {
        return;
    }
    let bench = Bench::new();
    for number in 1..=5 {
        bench.send(Message::CreateThin(id(number))).unwrap();
    }
    let kept = bench.activate(id(1));
    fill(&kept, 1);
    bench.send(Message::SetTransactionId(0, 1)).unwrap();
    for number in 2..=5 {
        let device = bench.activate(id(number));
        let size = bench.status().data.free() * (64 << 10);
        let size = size.min(LENGTH.bytes());
        let written = std::fs::write(&device, vec![3; usize::try_from(size).unwrap()]);
        written.unwrap();
        File::open(&device).unwrap().sync_all().unwrap();
    }
    let status = bench.status();
    assert_eq!(status.data.free(), 0);
    assert!(status.mode.takes_messages());
    // Provisioned blocks are written, ids made and deleted, the transaction changed.
    fill(&kept, 9);
    bench.send(Message::CreateThin(id(9))).unwrap();
    bench.send(Message::SetTransactionId(1, 2)).unwrap();
    bench.send(Message::Delete(id(9))).unwrap();
    let status = bench.status();
    assert_eq!((status.transaction, status.needs_check), (2, false));
    assert_ne!(status.mode, PoolMode::ReadOnly);
}

/// `transaction`: what a message answers is no proof.
#[test]
fn root_messages_succeed_on_a_metadata_device_that_takes_no_writes() {
    if !requires_thin_pools() {
        return;
    }
    let bench = Bench::with(ThinPool::with_fragile(Part::Metadata, 128 * MIB, 4 * MIB).unwrap());
    bench.send(Message::CreateThin(id(1))).unwrap();
    bench.send(Message::SetTransactionId(0, 1)).unwrap();
    bench.pool.fail(Fault::Writes).unwrap();
    assert_eq!(bench.send(Message::SetTransactionId(1, 2)), Ok(()));
    let status = bench.status();
    assert_eq!(
        (status.mode, status.needs_check),
        (PoolMode::ReadOnly, true)
    );
    assert!(!is_proof(&PoolStatus::Working(status), 2));
    assert_eq!(
        bench.send(Message::CreateThin(id(2))),
        Err(Errno::OPNOTSUPP)
    );
    bench.pool.mend().unwrap();
    // What is on disk is the last commit.
    let metadata = bench.metadata();
    assert_eq!(thin_metadata::list(&metadata).unwrap().len(), 1);
    let superblock = Superblock::decode(&metadata.block(0).unwrap()[..]).unwrap();
    assert_eq!(superblock.transaction, 1);
}
