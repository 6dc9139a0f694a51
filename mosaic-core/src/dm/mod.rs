// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices of device-mapper: made, loaded, suspended, removed, asked.
//!
//! One method per command, with the kernel's errno for an error, which callers tell apart: `ENXIO`
//! is no such device, `EBUSY` a device that is open or a name or uuid that is taken. A device goes
//! through three steps: it is made without a table, a table is loaded into its inactive slot, and a
//! resume makes that table the active one. The node `/dev/dm-N` is there from the load on.
//!
//! Kernel: Documentation/admin-guide/device-mapper/, include/uapi/linux/dm-ioctl.h.

mod packet;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Dev, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::host_services::Host;
use crate::ioctl::device_mapper::{self as ioctl, Command};
use packet::{Packet, flag};

pub use packet::{By, Line, Listed, NAME_MAX, UUID_MAX};

/// Where the kernel takes commands.
pub const CONTROL: &str = "/dev/mapper/control";

/// Room for the first try at an answer, and the most that is ever given.
const ROOM: (usize, usize) = (16 << 10, 64 << 20);

/// What a command says of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its number.
    pub dev: Dev,
    /// Its name.
    pub name: String,
    /// Its uuid; empty: it has none.
    pub uuid: String,
    /// How often it is open, mounts and devices on top of it among that.
    pub open_count: u32,
    /// The number of its last event.
    pub event: u32,
    flags: u32,
}

impl DeviceInfo {
    fn read(packet: &Packet) -> Self {
        Self {
            dev: packet.dev(),
            name: packet.name(),
            uuid: packet.uuid(),
            open_count: packet.open_count(),
            event: packet.event(),
            flags: packet.flags(),
        }
    }

    /// It refuses writes.
    pub fn is_read_only(&self) -> bool {
        self.flags & flag::READONLY != 0
    }

    /// Whoever reads or writes it waits.
    pub fn is_suspended(&self) -> bool {
        self.flags & flag::SUSPEND != 0
    }

    /// It has a table that works.
    pub fn is_active(&self) -> bool {
        self.flags & flag::ACTIVE_PRESENT != 0
    }

    /// A table is loaded and waits for a resume.
    pub fn is_loaded(&self) -> bool {
        self.flags & flag::INACTIVE_PRESENT != 0
    }

    /// It goes with its last close.
    pub fn goes_at_close(&self) -> bool {
        self.flags & flag::DEFERRED_REMOVE != 0
    }
}

/// Whom a device is for, which udev is told with its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Mosaic: nobody else is to look at what is on it, not for a moment.
    Ourselves,
    /// Whoever wants to.
    Everybody,
}

impl Audience {
    /// Flags in the upper half of a cookie whose lower half is 0: udev's rules heed them, and nobody
    /// waits for an answer, so that it makes no difference whether there is an udev at all.
    ///
    /// `DM_UDEV_*` in libdm/libdevmapper.h, `_udevcomplete` in libdm/dm-tools/dmsetup.c (LVM2).
    fn udev_flags(self) -> u32 {
        const SHIFT: u32 = 16;
        const DISABLE_SUBSYSTEM_RULES: u32 = 0x2;
        const DISABLE_DISK_RULES: u32 = 0x4;
        const DISABLE_OTHER_RULES: u32 = 0x8;
        const PRIMARY_SOURCE: u32 = 0x40;
        let silence = match self {
            Self::Ourselves => DISABLE_SUBSYSTEM_RULES | DISABLE_DISK_RULES | DISABLE_OTHER_RULES,
            Self::Everybody => 0,
        };
        (PRIMARY_SOURCE | silence) << SHIFT
    }
}

/// Opens the kernel's control node.
///
/// # Errors
/// `Permission` without privilege; `Unsupported` where the kernel has no device-mapper.
pub fn open_control() -> Result<OwnedFd> {
    let path = Path::new(CONTROL);
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT | Errno::NODEV | Errno::NXIO => Error::new(
            ErrorKind::Unsupported,
            format!("{path:?} is missing: the kernel has no device-mapper (try modprobe dm-mod)"),
        ),
        Errno::ACCESS | Errno::PERM => Error::new(
            ErrorKind::Permission,
            format!("needs root: {path:?} cannot be opened by this user"),
        )
        .with_errno(errno.raw_os_error()),
        _ => Error::io(errno, format!("cannot open {path:?}")),
    })
}

/// Commands to the kernel.
#[derive(Debug, Clone, Copy)]
pub struct Dm<'a> {
    control: BorrowedFd<'a>,
    /// Where commands are logged.
    host: Option<&'a Host>,
}

impl<'a> Dm<'a> {
    /// Commands through an open control node, each one logged.
    pub fn new(control: &'a OwnedFd, host: &'a Host) -> Self {
        Self {
            control: control.as_fd(),
            host: Some(host),
        }
    }

    /// Commands that nobody is told of.
    pub fn unlogged(control: &'a OwnedFd) -> Self {
        Self {
            control: control.as_fd(),
            host: None,
        }
    }

    /// The same without a log: for as long as a device is suspended, the log might be written to it.
    #[must_use]
    pub fn silent(self) -> Self {
        Self { host: None, ..self }
    }

    /// The version of the kernel's interface.
    ///
    /// # Errors
    /// The kernel's.
    pub fn version(self) -> rustix::io::Result<[u32; 3]> {
        let mut packet = Packet::new(0);
        self.run(Command::Version, &mut packet, "")?;
        Ok(packet.version())
    }

    /// Makes a device without a table.
    ///
    /// # Errors
    /// `EBUSY` if the name or the uuid is taken.
    pub fn create(self, name: &str, uuid: &str) -> rustix::io::Result<DeviceInfo> {
        let mut packet = Packet::new(0);
        packet.put_name(name)?;
        packet.put_uuid(uuid)?;
        self.run(Command::DevCreate, &mut packet, &format!("{name:?}"))?;
        Ok(DeviceInfo::read(&packet))
    }

    /// Loads a table of one line, to be made active by [`Self::resume`].
    ///
    /// # Errors
    /// The target's: `ENODATA` for a thin id that the pool does not have.
    pub fn load(self, by: By<'_>, line: &Line, read_only: bool) -> rustix::io::Result<()> {
        let mut packet = Packet::new(0);
        packet.select(by)?;
        packet.put_flags(if read_only { flag::READONLY } else { 0 });
        packet.put_table(line)?;
        let Line { target, words, .. } = line;
        let what = format!("{by}: {} {} {target} {words}", line.start, line.length);
        self.run(Command::TableLoad, &mut packet, &what)
    }

    /// Throws away a table that was loaded and not made active.
    ///
    /// # Errors
    /// The kernel's.
    pub fn clear(self, by: By<'_>) -> rustix::io::Result<()> {
        self.simple(Command::TableClear, by, 0, "").map(|_| ())
    }

    /// Makes a loaded table the active one, in one call also on a device that works, and lets
    /// waiting reads and writes go.
    ///
    /// # Errors
    /// The target's: `EINVAL` if a table turns out not to fit. The device is suspended then.
    pub fn resume(self, by: By<'_>, audience: Audience) -> rustix::io::Result<DeviceInfo> {
        let mut packet = Packet::new(0);
        packet.select(by)?;
        // A file system on it is not frozen for the moment of a new table: it loses nothing.
        packet.put_flags(flag::SKIP_LOCKFS);
        packet.put_event(audience.udev_flags());
        self.run(Command::DevSuspend, &mut packet, &format!("{by} resume"))?;
        Ok(DeviceInfo::read(&packet))
    }

    /// Waits for what is being written, with a mounted file system brought to rest before, and
    /// holds up whatever comes after it until [`Self::resume`].
    ///
    /// # Errors
    /// `EINTR` if a signal came before it was done: it is not suspended.
    pub fn suspend(self, by: By<'_>) -> rustix::io::Result<DeviceInfo> {
        self.simple(Command::DevSuspend, by, flag::SUSPEND, " suspend")
    }

    /// Removes a device that is not open.
    ///
    /// # Errors
    /// `EBUSY` if it is open; `ENXIO` if there is none.
    pub fn remove(self, by: By<'_>) -> rustix::io::Result<()> {
        self.simple(Command::DevRemove, by, 0, "").map(|_| ())
    }

    /// Removes a device when it is closed for the last time, now if nobody has it open.
    ///
    /// # Errors
    /// `ENXIO` if there is none.
    pub fn remove_at_close(self, by: By<'_>) -> rustix::io::Result<()> {
        let flags = flag::DEFERRED_REMOVE;
        self.simple(Command::DevRemove, by, flags, " at its last close")
            .map(|_| ())
    }

    /// The state of a device; `None`: there is none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn info(self, by: By<'_>) -> rustix::io::Result<Option<DeviceInfo>> {
        match self.simple(Command::DevStatus, by, 0, "") {
            Ok(info) => Ok(Some(info)),
            Err(Errno::NXIO) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// The active table of a device; empty: it has none.
    ///
    /// # Errors
    /// `ENXIO` if there is no such device.
    pub fn table(self, by: By<'_>) -> rustix::io::Result<Vec<Line>> {
        // A table says nothing that has to be committed before.
        let flags = flag::STATUS_TABLE | flag::NOFLUSH;
        self.answer(Command::TableStatus, by, flags, " table")?
            .lines()
    }

    /// The status of a device's targets. With `commit` a thin pool commits before it answers, so
    /// that it tells what is on disk.
    ///
    /// # Errors
    /// `ENXIO` if there is no such device.
    pub fn status(self, by: By<'_>, commit: bool) -> rustix::io::Result<Vec<Line>> {
        let flags = if commit { 0 } else { flag::NOFLUSH };
        self.answer(Command::TableStatus, by, flags, " status")?
            .lines()
    }

    /// Sends the target at the first sector a message.
    ///
    /// # Errors
    /// The target's.
    pub fn message(self, by: By<'_>, message: &str) -> rustix::io::Result<()> {
        let mut packet = Packet::new(0);
        packet.select(by)?;
        packet.put_message(message)?;
        let what = format!("{by}: {message}");
        self.run(Command::TargetMessage, &mut packet, &what)
    }

    /// Sends the target at the first sector a message that it answers; `None`: it did not.
    ///
    /// # Errors
    /// The target's; `EINVAL` from one that takes no messages.
    pub fn ask(self, by: By<'_>, message: &str) -> rustix::io::Result<Option<String>> {
        let mut packet = Packet::new(0);
        packet.select(by)?;
        packet.put_message(message)?;
        let what = format!("{by}: {message}");
        let packet = packet.with_room(ROOM.0.max(packet.room()));
        let answered = self.grown(Command::TargetMessage, packet, &what)?;
        Ok(answered.answer())
    }

    /// Whether the kernel has a target now. One that is in a module is not loaded for that.
    ///
    /// # Errors
    /// The kernel's.
    pub fn has_target(self, target: &str) -> rustix::io::Result<bool> {
        let listed = self.grown(Command::ListVersions, Packet::new(ROOM.0), "")?;
        Ok(listed.targets()?.iter().any(|name| name == target))
    }

    /// Gives a device that has no uuid one. It keeps it until it goes.
    ///
    /// # Errors
    /// `EINVAL` if it has one; `EBUSY` if another device has this one; `ENXIO` if there is no such
    /// device.
    pub fn give_uuid(self, name: &str, uuid: &str) -> rustix::io::Result<()> {
        let mut packet = Packet::new(0);
        packet.put_name(name)?;
        packet.put_new_uuid(uuid)?;
        packet.put_event(Audience::Everybody.udev_flags());
        let what = format!("{name:?} uuid {uuid:?}");
        self.run(Command::DevRename, &mut packet, &what)
    }

    /// All devices.
    ///
    /// # Errors
    /// The kernel's.
    pub fn devices(self) -> rustix::io::Result<Vec<Listed>> {
        let packet = Packet::new(ROOM.0);
        self.grown(Command::ListDevices, packet, "")?.devices()
    }

    /// The devices whose uuids begin so. Kernels before Linux 5.13 are asked for each device.
    ///
    /// # Errors
    /// The kernel's.
    pub fn list(self, uuid_prefix: &str) -> rustix::io::Result<Vec<Listed>> {
        let mut packet = Packet::new(ROOM.0);
        packet.put_uuid(uuid_prefix)?;
        packet.put_flags(flag::UUID);
        let what = format!("uuid {uuid_prefix}...");
        let mut found = self.grown(Command::ListDevices, packet, &what)?.devices()?;
        for device in found.iter_mut().filter(|device| device.uuid.is_none()) {
            let info = self.info(By::Number(device.dev))?;
            device.uuid = info.map(|info| info.uuid);
        }
        // A kernel that knows no filter lists all of them.
        found.retain(|device| {
            let uuid = device.uuid.as_deref().unwrap_or_default();
            uuid.starts_with(uuid_prefix)
        });
        Ok(found)
    }

    fn simple(
        self,
        command: Command,
        by: By<'_>,
        flags: u32,
        how: &str,
    ) -> rustix::io::Result<DeviceInfo> {
        let mut packet = Packet::new(0);
        packet.select(by)?;
        packet.put_flags(flags);
        self.run(command, &mut packet, &format!("{by}{how}"))?;
        Ok(DeviceInfo::read(&packet))
    }

    fn answer(
        self,
        command: Command,
        by: By<'_>,
        flags: u32,
        how: &str,
    ) -> rustix::io::Result<Packet> {
        let mut packet = Packet::new(ROOM.0);
        packet.select(by)?;
        packet.put_flags(flags);
        self.grown(command, packet, &format!("{by}{how}"))
    }

    /// Asks again with more room until the answer fits.
    fn grown(self, command: Command, request: Packet, what: &str) -> rustix::io::Result<Packet> {
        let mut room = request.room();
        loop {
            let mut packet = request.with_room(room);
            self.run(command, &mut packet, what)?;
            if packet.flags() & flag::BUFFER_FULL == 0 {
                return Ok(packet);
            }
            room *= 4;
            if room > ROOM.1 {
                return Err(Errno::OVERFLOW);
            }
        }
    }

    fn run(self, command: Command, packet: &mut Packet, what: &str) -> rustix::io::Result<()> {
        let done = ioctl::control(self.control, command, packet.bytes_mut());
        if let Some(host) = self.host {
            let name = command.name();
            host.debug(&match done {
                Ok(()) => format!("{name} {what}"),
                Err(errno) => format!("{name} {what}: {errno:?}"),
            });
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ioctl::device_mapper::HEADER;

    #[test]
    fn states_are_the_bits_of_the_header() {
        let mut packet = Packet::new(0);
        packet.put_flags(flag::SUSPEND | flag::INACTIVE_PRESENT);
        let info = DeviceInfo::read(&packet);
        assert!(info.is_suspended() && info.is_loaded());
        assert!(!info.is_active() && !info.is_read_only() && !info.goes_at_close());
        packet.put_flags(flag::ACTIVE_PRESENT | flag::READONLY | flag::DEFERRED_REMOVE);
        let info = DeviceInfo::read(&packet);
        assert!(info.is_active() && info.is_read_only() && info.goes_at_close());
        assert_eq!(packet.bytes_mut().len(), HEADER);
    }
}
