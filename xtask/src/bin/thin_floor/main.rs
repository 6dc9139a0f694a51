// SPDX-License-Identifier: MIT OR Apache-2.0
//! The floor under the driver `dmthin`, as `floor` is that of the others: the same messages and
//! tables, and a catalog of the same volumes, written as durably.
//!
//! A program of its own, for each driver exports the same symbols.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mosaic_core::dm::By;
use mosaic_core::dm::{Audience, Dm, open_control};
use mosaic_dmthin::block_device::BlockDevice;
use mosaic_dmthin::catalog::slot::{PoolUuid, SPACING, SlotIndex};
use mosaic_dmthin::catalog::{Catalog, Content, Entry, Metadata, store};
use mosaic_dmthin::naming;
use mosaic_dmthin::target::{
    DeviceNumber, Message, PoolStatus, PoolTable, Sectors, ThinId, ThinTable,
};
use mosaic_dmthin::thin_metadata;
use mosaic_dmthin::transaction::is_proof;
use rustix::fs::OFlags;
use rustix::mount::{MountFlags, UnmountFlags};

/// The device of the catalog.
struct Slots(BlockDevice);

impl store::Medium for Slots {
    fn read_at(&self, offset: u64, length: usize) -> mosaic_core::Result<Vec<u8>> {
        self.0.read(offset, length)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> mosaic_core::Result<()> {
        self.0.write(offset, bytes)
    }

    fn sync(&self) -> mosaic_core::Result<()> {
        self.0.sync()
    }
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["umount", at] => Ok(rustix::mount::unmount(*at, UnmountFlags::NOFOLLOW)?),
        [verb, pool, words @ ..] => {
            let control = open_control()?;
            run(&Pool::find(Dm::unlogged(&control), pool)?, verb, words)
        }
        _ => bail!("no verb, or no pool"),
    }
}

fn run(pool: &Pool<'_>, verb: &str, words: &[&str]) -> Result<()> {
    match (verb, words) {
        ("fill", [number]) => pool.fill(number.parse()?)?,
        ("have", [name]) => drop(pool.entry(name)?),
        ("info", [name]) => pool.info(name)?,
        ("list", []) => pool.list()?,
        ("new", [name, size]) => pool.create(name, Content::Disk, size.parse()?)?,
        ("new-fs", [name, size]) => {
            pool.create(name, Content::Fs("ext4".into()), size.parse()?)?;
        }
        ("clone", [from, to]) => pool.clone(from, to)?,
        ("rename", [from, to]) => pool.change(|draft| {
            let entry = draft.remove(from)?;
            Ok(draft.insert(to, entry)?)
        })?,
        ("resize", [name, size]) => pool.resize(name, size.parse()?)?,
        ("drop", [name]) => pool.drop_volume(name)?,
        ("attach", [name]) => drop(pool.show(&pool.entry(name)?, false)?),
        ("detach", [name]) => pool.remove(pool.entry(name)?.id)?,
        ("mount", [name, at]) => pool.mount(name, Path::new(at))?,
        _ => bail!("no such verb, or not its arguments: {verb:?} {words:?}"),
    }
    Ok(())
}

/// A pool that somebody activated.
struct Pool<'a> {
    dm: Dm<'a>,
    name: String,
    number: DeviceNumber,
}

impl<'a> Pool<'a> {
    fn find(dm: Dm<'a>, name: &str) -> Result<Self> {
        let info = dm.info(By::Name(name))?.context("no such pool")?;
        Ok(Self {
            dm,
            name: name.to_owned(),
            number: info.dev.into(),
        })
    }

    /// A catalog, and so many volumes in it.
    fn fill(&self, number: u32) -> Result<()> {
        self.send(Message::CreateThin(ThinId::CATALOG))?;
        self.load(ThinId::CATALOG, 2 * SPACING)?;
        self.resume(ThinId::CATALOG)?;
        let mut catalog = Catalog::new(Metadata {
            fs: "ext4".to_owned(),
            size: mosaic_core::Bytes(64 << 20),
        });
        for at in 0..number {
            let id = catalog.take_id()?;
            self.send(Message::CreateThin(id))?;
            let name = match at {
                0 => "base".to_owned(),
                at => format!("volume{at}"),
            };
            catalog.insert(&name, entry(id, Content::Disk, 1 << 30))?;
        }
        let medium = self.catalog()?;
        let capacity = store::wanted_capacity(&catalog, 64 << 10)?;
        store::provision(&medium, 0, capacity)?;
        let uuid = PoolUuid([1; 16]);
        store::write(&medium, SlotIndex::First, uuid, 1, capacity, &catalog)?;
        self.send(Message::SetTransactionId(0, 1))
    }

    fn catalog(&self) -> Result<Slots> {
        let flags = OFlags::RDWR | OFlags::DIRECT;
        self.open(ThinId::CATALOG, flags).map(Slots)
    }

    fn metadata(&self) -> Result<BlockDevice> {
        let lines = self.dm.table(By::Number(self.number.dev()))?;
        let (table, _) = PoolTable::of(&lines)?.context("no pool")?;
        let flags = OFlags::RDONLY | OFlags::DIRECT;
        Ok(BlockDevice::open(table.metadata, flags)?)
    }

    fn status(&self, commit: bool) -> Result<PoolStatus> {
        let lines = self.dm.status(By::Number(self.number.dev()), commit)?;
        PoolStatus::of(&lines)?.context("no pool")
    }

    fn transaction(&self) -> Result<u64> {
        match self.status(false)? {
            PoolStatus::Working(status) => Ok(status.transaction),
            status => bail!("the pool says {status}"),
        }
    }

    fn truth(&self) -> Result<store::Truth> {
        Ok(store::read(&self.catalog()?, self.transaction()?)?)
    }

    fn entry(&self, name: &str) -> Result<Entry> {
        Ok(self.truth()?.catalog.require(name)?.clone())
    }

    fn info(&self, name: &str) -> Result<()> {
        let id = self.entry(name)?.id;
        std::hint::black_box(thin_metadata::find(&self.metadata()?, id)?);
        self.dm.info(By::Uuid(&self.uuid(id)))?;
        Ok(())
    }

    fn list(&self) -> Result<()> {
        std::hint::black_box(self.truth()?);
        std::hint::black_box(thin_metadata::list(&self.metadata()?)?);
        self.dm.list(&naming::uuid_prefix(self.number))?;
        Ok(())
    }

    fn create(&self, name: &str, content: Content, size: u64) -> Result<()> {
        let is_fs = content != Content::Disk;
        self.change_with(
            |draft| {
                let id = draft.take_id()?;
                draft.insert(name, entry(id, content, size))?;
                Ok(id)
            },
            |id| {
                self.send(Message::CreateThin(id))?;
                match is_fs {
                    true => self.with_held(id, size, |device| {
                        program("mkfs.ext4", &["-q", "-F"], device)
                    }),
                    false => Ok(()),
                }
            },
        )
    }

    fn clone(&self, from: &str, to: &str) -> Result<()> {
        let origin = self.entry(from)?;
        self.change_with(
            |draft| {
                let id = draft.take_id()?;
                let content = origin.content.clone();
                let mut entry = entry(id, content, origin.size.0);
                entry.origin = Some(origin.id);
                draft.insert(to, entry)?;
                Ok(id)
            },
            |id| {
                let origin_id = origin.id;
                let snap = Message::CreateSnap {
                    id,
                    origin: origin_id,
                };
                let uuid = self.uuid(origin_id);
                let by = By::Uuid(&uuid);
                match self.dm.info(by)? {
                    Some(_) => {
                        self.dm.suspend(by)?;
                        let sent = self.send(snap);
                        self.dm.resume(by, Audience::Everybody)?;
                        sent?;
                    }
                    None => self.send(snap)?,
                }
                match origin.content {
                    Content::Disk => Ok(()),
                    Content::Fs(_) => self.with_held(id, origin.size.0, |device| {
                        program("e2fsck", &["-fp"], device)?;
                        program("tune2fs", &["-U", "random"], device)
                    }),
                }
            },
        )
    }

    fn resize(&self, name: &str, size: u64) -> Result<()> {
        let id = self.entry(name)?.id;
        self.change(|draft| Ok(draft.change(name, |entry| entry.size.0 = size)?))?;
        let uuid = self.uuid(id);
        if self.dm.info(By::Uuid(&uuid))?.is_some() {
            self.dm.load(By::Uuid(&uuid), &self.line(id, size), false)?;
            self.resume(id)?;
        }
        Ok(())
    }

    fn drop_volume(&self, name: &str) -> Result<()> {
        let id = self.entry(name)?.id;
        self.change(|draft| Ok(draft.remove(name).map(drop)?))?;
        self.await_gone(id)?;
        self.send(Message::Delete(id))
    }

    fn mount(&self, name: &str, at: &Path) -> Result<()> {
        let held = self.show(&self.entry(name)?, true)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        rustix::mount::mount(held.path(), at, "ext4", flags, None)?;
        Ok(())
    }

    fn change(&self, edit: impl FnOnce(&mut Catalog) -> Result<()>) -> Result<()> {
        self.change_with(edit, |()| Ok(()))
    }

    /// The other slot, the work, the transaction id, and a look whether it is on disk.
    fn change_with<T>(
        &self,
        edit: impl FnOnce(&mut Catalog) -> Result<T>,
        work: impl FnOnce(T) -> Result<()>,
    ) -> Result<()> {
        let from = self.transaction()?;
        let medium = self.catalog()?;
        let truth = store::read(&medium, from)?;
        let mut draft = truth.catalog;
        let edited = edit(&mut draft)?;
        let header = truth.header;
        let other = truth.index.other();
        store::write(
            &medium,
            other,
            header.pool,
            from + 1,
            header.capacity,
            &draft,
        )?;
        work(edited)?;
        self.send(Message::SetTransactionId(from, from + 1))?;
        ensure!(is_proof(&self.status(true)?, from + 1), "not committed");
        Ok(())
    }

    fn send(&self, message: Message) -> Result<()> {
        let by = By::Number(self.number.dev());
        let sent = self.dm.message(by, &message.to_string());
        sent.with_context(|| message.to_string())
    }

    fn uuid(&self, id: ThinId) -> String {
        naming::uuid(self.number, id)
    }

    fn line(&self, id: ThinId, size: u64) -> mosaic_core::dm::Line {
        let table = ThinTable {
            pool: self.number,
            id,
            external_origin: None,
        };
        table.line(Sectors::in_bytes(size))
    }

    fn load(&self, id: ThinId, size: u64) -> Result<()> {
        let uuid = self.uuid(id);
        let name = naming::name(self.number, &self.name, id);
        self.dm.create(&name, &uuid)?;
        Ok(self.dm.load(By::Uuid(&uuid), &self.line(id, size), false)?)
    }

    fn resume(&self, id: ThinId) -> Result<()> {
        let uuid = self.uuid(id);
        self.dm.resume(By::Uuid(&uuid), Audience::Everybody)?;
        Ok(())
    }

    fn remove(&self, id: ThinId) -> Result<()> {
        Ok(self.dm.remove(By::Uuid(&self.uuid(id)))?)
    }

    fn open(&self, id: ThinId, flags: OFlags) -> Result<BlockDevice> {
        let info = self.dm.info(By::Uuid(&self.uuid(id)))?;
        let info = info.context("no device")?;
        Ok(BlockDevice::open(info.dev.into(), flags)?)
    }

    /// A device of a volume.
    fn show(&self, entry: &Entry, until_closed: bool) -> Result<BlockDevice> {
        self.hold(entry.id, entry.size.0, until_closed)
    }

    /// A device, which goes with its last close if that is asked for.
    fn hold(&self, id: ThinId, size: u64, until_closed: bool) -> Result<BlockDevice> {
        self.load(id, size)?;
        let device = self.open(id, OFlags::RDWR)?;
        if until_closed {
            self.dm.remove_at_close(By::Uuid(&self.uuid(id)))?;
        }
        self.resume(id)?;
        Ok(device)
    }

    /// Runs a step on a device, flushes it, and returns when it is gone.
    fn with_held(
        &self,
        id: ThinId,
        size: u64,
        step: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let held = self.hold(id, size, true)?;
        step(held.path())?;
        held.sync()?;
        drop(held);
        self.await_gone(id)
    }

    fn await_gone(&self, id: ThinId) -> Result<()> {
        let uuid = self.uuid(id);
        while self.dm.info(By::Uuid(&uuid))?.is_some() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

fn entry(id: ThinId, content: Content, size: u64) -> Entry {
    Entry {
        id,
        made_in: 0,
        user: None,
        content,
        size: mosaic_core::Bytes(size),
        origin: None,
        created: 0,
    }
}

fn program(name: &str, words: &[&str], device: &Path) -> Result<()> {
    let mut command = Command::new(name);
    command.args(words).arg(device);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} failed");
    Ok(())
}
