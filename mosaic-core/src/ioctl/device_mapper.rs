// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ioctls of device-mapper.
//!
//! Numbers are those of include/uapi/linux/dm-ioctl.h (Linux 6.1, interface 4.47.0). All commands
//! take and give one buffer: a header, `struct dm_ioctl`, and what follows it. The header says the
//! buffer's length, so it is put there in this file.

use std::ffi::c_void;
use std::os::fd::AsFd;

use linux_raw_sys::ioctl::{
    DM_DEV_CREATE, DM_DEV_REMOVE, DM_DEV_RENAME, DM_DEV_STATUS, DM_DEV_SUSPEND, DM_LIST_DEVICES,
    DM_LIST_VERSIONS, DM_TABLE_CLEAR, DM_TABLE_LOAD, DM_TABLE_STATUS, DM_TARGET_MSG, DM_VERSION,
};
use rustix::io::{Errno, Result};
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};

/// Bytes of `struct dm_ioctl`.
pub const HEADER: usize = 312;

/// The interface version that Mosaic is written for. The kernel refuses another major, and
/// answers with its own.
pub const INTERFACE: [u32; 3] = [4, 0, 0];

/// Where `data_size`, the length of the whole buffer, stands in the header.
const DATA_SIZE: usize = 12;

/// A command of device-mapper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Command {
    /// Asks for the interface's version.
    Version = DM_VERSION,
    /// Lists devices.
    ListDevices = DM_LIST_DEVICES,
    /// Makes a device without a table.
    DevCreate = DM_DEV_CREATE,
    /// Removes a device, now or at its last close.
    DevRemove = DM_DEV_REMOVE,
    /// Gives a device another name, or a uuid if it has none.
    DevRename = DM_DEV_RENAME,
    /// Suspends a device, or resumes it, with the table that was loaded last.
    DevSuspend = DM_DEV_SUSPEND,
    /// Asks for a device's state.
    DevStatus = DM_DEV_STATUS,
    /// Loads a table into the inactive slot.
    TableLoad = DM_TABLE_LOAD,
    /// Empties the inactive slot.
    TableClear = DM_TABLE_CLEAR,
    /// Asks for the status of a device's targets, or for its table.
    TableStatus = DM_TABLE_STATUS,
    /// Lists the targets that the kernel has now.
    ListVersions = DM_LIST_VERSIONS,
    /// Sends a target a message.
    TargetMessage = DM_TARGET_MSG,
}

impl Command {
    /// The header's name for it, for a log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Version => "DM_VERSION",
            Self::ListDevices => "DM_LIST_DEVICES",
            Self::DevCreate => "DM_DEV_CREATE",
            Self::DevRemove => "DM_DEV_REMOVE",
            Self::DevRename => "DM_DEV_RENAME",
            Self::DevSuspend => "DM_DEV_SUSPEND",
            Self::DevStatus => "DM_DEV_STATUS",
            Self::TableLoad => "DM_TABLE_LOAD",
            Self::TableClear => "DM_TABLE_CLEAR",
            Self::TableStatus => "DM_TABLE_STATUS",
            Self::ListVersions => "DM_LIST_VERSIONS",
            Self::TargetMessage => "DM_TARGET_MSG",
        }
    }
}

struct Call<'b> {
    command: Command,
    buffer: &'b mut [u8],
}

// SAFETY: every command reads the header, and reads and writes as many bytes from its start as its
// field `data_size` says. The only maker of a Call sets that field to the buffer's length, which is
// the header's at least. The kernel copies to and from any address, aligned or not.
unsafe impl Ioctl for Call<'_> {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.command as Opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.buffer.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> Result<()> {
        Ok(())
    }
}

/// Runs a command on a buffer that begins with a `struct dm_ioctl`; version and length are put into
/// it here. The answer stands in the same buffer.
///
/// # Errors
/// The kernel's; `EINVAL` also for a buffer that is shorter than the header.
pub fn control(control: impl AsFd, command: Command, buffer: &mut [u8]) -> Result<()> {
    let length = u32::try_from(buffer.len()).map_err(|_| Errno::INVAL)?;
    let (versions, rest) = buffer.split_at_mut_checked(DATA_SIZE).ok_or(Errno::INVAL)?;
    if rest.len() < HEADER - DATA_SIZE {
        return Err(Errno::INVAL);
    }
    for (field, number) in versions.chunks_exact_mut(4).zip(INTERFACE) {
        field.copy_from_slice(&number.to_ne_bytes());
    }
    rest[..4].copy_from_slice(&length.to_ne_bytes());
    // SAFETY: the buffer is as long as its header says, and Call describes the ioctl.
    unsafe { ioctl(control, Call { command, buffer }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_header() {
        for (command, number) in [
            (Command::Version, 0),
            (Command::ListDevices, 2),
            (Command::DevCreate, 3),
            (Command::DevRemove, 4),
            (Command::DevRename, 5),
            (Command::DevSuspend, 6),
            (Command::DevStatus, 7),
            (Command::TableLoad, 9),
            (Command::TableClear, 10),
            (Command::TableStatus, 12),
            (Command::ListVersions, 13),
            (Command::TargetMessage, 14),
        ] {
            // _IOWR(0xfd, number, struct dm_ioctl): direction, size, group, number.
            let opcode = 3 << 30 | 312 << 16 | 0xfd << 8 | number;
            assert_eq!(command as u32, opcode, "{}", command.name());
        }
    }

    #[test]
    fn a_short_buffer_never_reaches_the_kernel() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        for length in [0, DATA_SIZE - 1, DATA_SIZE, HEADER - 1] {
            let mut buffer = vec![0; length];
            let answer = control(&file, Command::Version, &mut buffer);
            assert_eq!(answer, Err(Errno::INVAL), "{length}");
        }
        let mut buffer = vec![0; HEADER + 8];
        let answer = control(&file, Command::Version, &mut buffer);
        assert_eq!(answer, Err(Errno::NOTTY));
        assert_eq!(buffer[..4], 4_u32.to_ne_bytes());
        assert_eq!(buffer[12..16], 320_u32.to_ne_bytes());
    }
}
