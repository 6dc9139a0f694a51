// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pool in the kernel: what [`ThinPool`] asks for, by ioctl.

use std::cell::{OnceCell, RefCell};
use std::time::Instant;

use mosaic_core::busy;
use mosaic_core::volume::Lifetime;
use mosaic_core::{Bytes, Context, Error, ErrorKind, Host, Result};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::block_device::BlockDevice;
use crate::catalog::store::Medium;
use crate::held::Held;
use crate::locate::FoundPool;
use crate::naming;
use crate::remedy;
use crate::removal::{self, LOOK_AGAIN, PATIENCE, in_use, node_of};
use crate::sharing;
use crate::target::{DeviceNumber, Message, PoolStatus, PoolTable, Sectors, ThinId, ThinTable};
use crate::thin_metadata::{self, Details};
use crate::thin_pool::{HeldDevice, Setup, ThinDevice, ThinPool};
use crate::undisturbed::Undisturbed;
use mosaic_core::dm::By;
use mosaic_core::dm::{Audience, DeviceInfo, Dm};

/// An active pool with its catalog.
#[derive(Debug)]
pub struct KernelPool<'a> {
    pub(crate) dm: Dm<'a>,
    pub(crate) host: &'a Host,
    pub(crate) name: String,
    pub(crate) uuid: String,
    pub(crate) number: DeviceNumber,
    pub(crate) table: PoolTable,
    pub(crate) length: Sectors,
    /// Whether Mosaic can activate it again.
    pub(crate) is_ours_to_activate: bool,
    /// Open for reading.
    pub(crate) catalog: BlockDevice,
    /// The same for writing, in a verb that does.
    writable_catalog: OnceCell<BlockDevice>,
    metadata: OnceCell<BlockDevice>,
    /// A device is suspended: no line of log until it is resumed, no page of ours to be read, no
    /// signal.
    holding_up: RefCell<Option<Undisturbed>>,
    /// What is to be said when nothing is suspended any more.
    unsaid: RefCell<Vec<String>>,
}

impl<'a> KernelPool<'a> {
    /// A pool whose catalog is open.
    pub fn new(
        dm: Dm<'a>,
        host: &'a Host,
        found: FoundPool,
        catalog: BlockDevice,
        is_ours_to_activate: bool,
    ) -> Self {
        Self {
            dm,
            host,
            name: found.name,
            uuid: found.uuid,
            number: found.number,
            table: found.table,
            length: found.length,
            is_ours_to_activate,
            catalog,
            writable_catalog: OnceCell::new(),
            metadata: OnceCell::new(),
            holding_up: RefCell::default(),
            unsaid: RefCell::default(),
        }
    }

    /// Commands, logged unless a device is suspended.
    fn dm(&self) -> Dm<'a> {
        match self.holding_up.borrow().is_some() {
            true => self.dm.silent(),
            false => self.dm,
        }
    }

    pub(crate) fn uuid(&self, id: ThinId) -> String {
        naming::uuid(self.number, id)
    }

    /// The pool's metadata, to be read.
    pub(crate) fn metadata(&self) -> Result<&BlockDevice> {
        if let Some(open) = self.metadata.get() {
            return Ok(open);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECT;
        let open = BlockDevice::open(self.table.metadata, flags)?;
        Ok(self.metadata.get_or_init(|| open))
    }

    /// The catalog's device, to be written. Whoever asks for it holds it.
    pub(crate) fn writable_catalog(&self) -> Result<&BlockDevice> {
        if let Some(open) = self.writable_catalog.get() {
            return Ok(open);
        }
        let open = self.catalog.again(OFlags::RDWR | OFlags::DIRECT)?;
        Ok(self.writable_catalog.get_or_init(|| open))
    }

    /// The device of one id, as device-mapper has it.
    pub(crate) fn info(&self, id: ThinId) -> Result<Option<DeviceInfo>> {
        let uuid = self.uuid(id);
        self.dm()
            .info(By::Uuid(&uuid))
            .context(|| format!("cannot ask for the device of thin id {id}"))
    }

    fn describe(id: ThinId, info: &DeviceInfo) -> ThinDevice {
        ThinDevice {
            id,
            path: node_of(info),
            is_active: info.is_active(),
            is_suspended: info.is_suspended(),
            is_read_only: info.is_read_only(),
            lifetime: match info.goes_at_close() {
                true => Lifetime::Mount,
                false => Lifetime::Explicit,
            },
        }
    }

    /// The size of a device that shows an id.
    pub(crate) fn size_of(&self, id: ThinId) -> Result<Option<Bytes>> {
        let uuid = self.uuid(id);
        match self.dm().table(By::Uuid(&uuid)) {
            Ok(lines) => {
                let table = ThinTable::of(&lines)?;
                Ok(table.map(|(_, length)| Bytes(length.bytes())))
            }
            Err(Errno::NXIO) => Ok(None),
            Err(errno) => Err(Error::io(
                errno,
                format!("cannot ask for the size of the device of thin id {id}"),
            )),
        }
    }

    /// Makes a device and loads its table; it is not active yet. What fails leaves nothing.
    pub(crate) fn load(&self, id: ThinId, setup: Setup) -> Result<DeviceInfo> {
        let (uuid, name) = (self.uuid(id), naming::name(self.number, &self.name, id));
        let info = self.dm.create(&name, &uuid);
        let info = info.map_err(|errno| cannot_create(self.dm, &name, &uuid, errno))?;
        let line = self.thin_table(id).line(Sectors::in_bytes(setup.size.0));
        match self.dm.load(By::Uuid(&uuid), &line, setup.read_only) {
            Ok(()) => Ok(info),
            Err(errno) => {
                let error = match errno {
                    Errno::NODATA => Error::new(
                        ErrorKind::Corrupt,
                        format!(
                            "{} has no thin id {id}: the volume's data is lost, if these are the \
                             pool's right metadata; then drop it",
                            self.label()
                        ),
                    ),
                    _ => Error::io(errno, format!("cannot load the table of thin id {id}")),
                };
                let removed = removal::remove(self.dm, By::Uuid(&uuid));
                Err(error.after_undo(removed.context(|| format!("left device {name:?}"))))
            }
        }
    }

    fn thin_table(&self, id: ThinId) -> ThinTable {
        ThinTable {
            pool: self.number,
            id,
            external_origin: None,
        }
    }

    /// Waits until a device is gone, but not long.
    ///
    /// # Errors
    /// `Busy`, naming who has it open.
    pub(crate) fn await_gone(&self, id: ThinId) -> Result<()> {
        let start = Instant::now();
        while let Some(info) = self.info(id)? {
            if start.elapsed() > PATIENCE {
                return Err(in_use(&node_of(&info)));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }
}

impl ThinPool for KernelPool<'_> {
    fn label(&self) -> String {
        format!("thin pool {:?}", self.name)
    }

    fn way_back(&self) -> String {
        remedy::way_back(self)
    }

    fn data_device(&self) -> String {
        remedy::node(self.table.data)
    }

    fn metadata_device(&self) -> String {
        remedy::node(self.table.metadata)
    }

    fn block(&self) -> Bytes {
        Bytes(self.table.block.bytes())
    }

    fn sector(&self) -> Result<Bytes> {
        self.catalog.sector()
    }

    fn status(&self) -> Result<PoolStatus> {
        pool_status(self.dm(), self.number, false)
    }

    fn committed_status(&self) -> Result<PoolStatus> {
        pool_status(self.dm(), self.number, true)
    }

    fn message(&self, message: Message) -> Result<()> {
        send(self.dm(), self.number, message)
    }

    fn catalog(&self) -> &dyn Medium {
        self
    }

    fn details(&self, id: ThinId) -> Result<Option<Details>> {
        thin_metadata::find(self.metadata()?, id)
    }

    fn devices(&self) -> Result<Vec<ThinDevice>> {
        let prefix = naming::uuid_prefix(self.number);
        let listed = self.dm().list(&prefix);
        let listed = listed.context(|| "cannot list the devices of device-mapper".to_owned())?;
        let mut devices = Vec::new();
        for device in listed {
            let uuid = device.uuid.unwrap_or_default();
            let Some(id) = naming::thin_id(self.number, &uuid) else {
                continue;
            };
            if id != ThinId::CATALOG
                && let Some(info) = self.info(id)?
            {
                devices.push(Self::describe(id, &info));
            }
        }
        Ok(devices)
    }

    fn device(&self, id: ThinId) -> Result<Option<ThinDevice>> {
        Ok(self.info(id)?.map(|info| Self::describe(id, &info)))
    }

    fn prove_unused(&self, id: ThinId) -> Result<()> {
        self.refuse_others(id)?;
        let start = Instant::now();
        loop {
            let Some(device) = self.device(id)? else {
                return Ok(());
            };
            let stays = device.lifetime == Lifetime::Explicit;
            let mounts = busy::mounts_of_device(&device.path);
            let mounted = mounts.is_ok_and(|uses| !uses.is_empty());
            if stays || mounted || start.elapsed() > PATIENCE {
                return Err(in_use(&device.path));
            }
            self.host.check_cancelled()?;
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn refuse_others(&self, id: ThinId) -> Result<()> {
        match sharing::others(self.dm(), self.number)?.get(&id) {
            Some(path) => Err(Error::new(
                ErrorKind::Busy,
                format!(
                    "in use: another program shows it as {}{}",
                    path.display(),
                    busy::openers_of_device(path).map_or(String::new(), |uses| {
                        match uses.is_empty() {
                            true => String::new(),
                            false => format!(", {}", uses.describe()),
                        }
                    })
                ),
            )),
            None => Ok(()),
        }
    }

    fn suspend(&self, id: ThinId) -> Result<()> {
        let uuid = self.uuid(id);
        self.host.debug(&format!(
            "DM_DEV_SUSPEND uuid {uuid:?} suspend; what follows until its resume is not logged"
        ));
        let undisturbed = Undisturbed::begin();
        // It may take long, and a signal that ends us ends it. In a program that does not want to end,
        // it is tried again.
        let done = loop {
            match self.dm().silent().suspend(By::Uuid(&uuid)) {
                Err(Errno::INTR) if !self.host.is_cancelled() => {}
                other => break other,
            }
        };
        if done.is_ok() {
            undisturbed.block_signals();
            self.holding_up.replace(Some(undisturbed));
        }
        done.map(|_| ())
            .context(|| format!("cannot suspend the device of thin id {id}"))
    }

    fn resume(&self, id: ThinId) -> Result<()> {
        let uuid = self.uuid(id);
        // Told nothing of it, udev looks at nothing: rather that than no resume.
        let info = self.dm().info(By::Uuid(&uuid)).ok().flatten();
        let audience = info.map_or(Audience::Ourselves, |info| audience_of(&info));
        let done = self.dm().resume(By::Uuid(&uuid), audience);
        if done.is_ok() {
            self.holding_up.replace(None);
        }
        done.map(|_| ())
            .context(|| format!("cannot resume the device of thin id {id}"))
    }

    fn remove(&self, id: ThinId) -> Result<()> {
        let uuid = self.uuid(id);
        removal::remove(self.dm(), By::Uuid(&uuid))?;
        self.await_gone(id)
    }

    fn hold(&self, id: ThinId, setup: Setup) -> Result<Box<dyn HeldDevice + '_>> {
        Ok(Box::new(Held::new(self, id, setup, Audience::Ourselves)?))
    }

    fn set_size(&self, id: ThinId, size: Bytes) -> Result<()> {
        if self.size_of(id)? == Some(size) {
            return Ok(());
        }
        let failed = || format!("cannot give the device of thin id {id} the size {size}");
        let uuid = self.uuid(id);
        let Some(info) = self.info(id)? else {
            return Ok(());
        };
        let line = self.thin_table(id).line(Sectors::in_bytes(size.0));
        let by = By::Uuid(&uuid);
        // It may be suspended from here on.
        let dm = self.dm.silent();
        let audience = audience_of(&info);
        dm.load(by, &line, info.is_read_only()).context(failed)?;
        match dm.resume(by, audience) {
            Ok(_) => Ok(()),
            // The table before goes on: a refused one leaves the device suspended, or about to take
            // it with its next resume.
            Err(errno) => {
                let undone = dm.clear(by);
                let undone = undone.and_then(|()| dm.resume(by, audience));
                let left = || format!("the device of thin id {id} may be suspended");
                Err(Error::io(errno, failed()).after_undo(undone.map(|_| ()).context(left)))
            }
        }
    }

    fn warn(&self, text: &str) {
        match self.holding_up.borrow().is_some() {
            true => self.unsaid.borrow_mut().push(text.to_owned()),
            false => self.host.warn(text),
        }
    }
}

impl Drop for KernelPool<'_> {
    fn drop(&mut self) {
        self.holding_up.replace(None);
        for text in self.unsaid.take() {
            self.host.warn(&text);
        }
    }
}

/// A device that is there for a mount is no business of others.
fn audience_of(info: &DeviceInfo) -> Audience {
    match info.goes_at_close() {
        true => Audience::Ourselves,
        false => Audience::Everybody,
    }
}

/// Why a device cannot be made: another has its uuid, or only its name.
pub(crate) fn cannot_create(dm: Dm<'_>, name: &str, uuid: &str, errno: Errno) -> Error {
    match (errno, dm.info(By::Uuid(uuid))) {
        (Errno::BUSY, Ok(None)) => {
            let remove = remedy::dmsetup("remove", &[name], "");
            Error::new(
                ErrorKind::Busy,
                format!(
                    "device-mapper has another device of the name {name:?}; if it is of no use: \
                     {remove}"
                ),
            )
        }
        _ => Error::io(errno, format!("cannot make device {name:?}")),
    }
}

/// The status of a pool.
///
/// # Errors
/// `NotFound` if it is gone; `Unsupported` if it is no pool.
pub(crate) fn pool_status(dm: Dm<'_>, pool: DeviceNumber, commit: bool) -> Result<PoolStatus> {
    let lines = dm.status(By::Number(pool.dev()), commit);
    let lines = lines.context(|| format!("cannot ask thin pool {pool} for its status"))?;
    PoolStatus::of(&lines)?.ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            format!("device {pool} is no thin pool"),
        )
    })
}

/// Sends a pool a message.
///
/// # Errors
/// The kernel's, with what the pool says of itself.
pub(crate) fn send(dm: Dm<'_>, pool: DeviceNumber, message: Message) -> Result<()> {
    let sent = dm.message(By::Number(pool.dev()), &message.to_string());
    sent.map_err(|errno| {
        let status = pool_status(dm, pool, false).map_or_else(|_| "?".into(), |s| s.to_string());
        let text = format!("the thin pool refuses \"{message}\", and says {status:?}");
        let error = Error::io(errno, text);
        match errno {
            Errno::OPNOTSUPP => error.with_kind(ErrorKind::Io),
            _ => error,
        }
    })
}
