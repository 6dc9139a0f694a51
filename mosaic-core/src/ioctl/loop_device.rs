// SPDX-License-Identifier: MIT OR Apache-2.0
//! The loop driver's ioctls.
//!
//! Structs and numbers are those of include/uapi/linux/loop.h and fs.h. All loop ioctls but
//! `LOOP_CONFIGURE` (Linux 5.8) are older than anything that Mosaic runs on.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use linux_raw_sys::ioctl::{BLKGETSIZE64, BLKROGET, BLKROSET};
use linux_raw_sys::loop_device::{
    LOOP_CLR_FD, LOOP_CONFIGURE, LOOP_CTL_GET_FREE, LOOP_GET_STATUS64, LOOP_SET_CAPACITY,
    LOOP_SET_STATUS64, loop_config, loop_info64,
};
use rustix::io::{Errno, Result};
use rustix::ioctl::{Getter, Ioctl, IoctlOutput, NoArg, Opcode, Setter, ioctl};

/// Block size of every loop device that we set up, bytes.
///
/// Never left to the kernel: with direct I/O it would take the backing device's, and a file system
/// that was made for 512-byte blocks does not mount on 4096-byte ones.
pub const BLOCK_SIZE: u32 = 512;

/// A `loop_info64` that says nothing.
pub fn empty_info() -> loop_info64 {
    loop_info64 {
        lo_device: 0,
        lo_inode: 0,
        lo_rdevice: 0,
        lo_offset: 0,
        lo_sizelimit: 0,
        lo_number: 0,
        lo_encrypt_type: 0,
        lo_encrypt_key_size: 0,
        lo_flags: 0,
        lo_file_name: [0; 64],
        lo_crypt_name: [0; 64],
        lo_encrypt_key: [0; 32],
        lo_init: [0; 2],
    }
}

/// `ioctl(loop-control, LOOP_CTL_GET_FREE)`: the answer is the return value.
struct GetFree;

// SAFETY: LOOP_CTL_GET_FREE takes no argument, so the null pointer is never read or written, and
// what it answers is the call's own return value.
unsafe impl Ioctl for GetFree {
    type Output = IoctlOutput;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE as Opcode
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut std::ffi::c_void) -> Result<Self::Output> {
        Ok(out)
    }
}

/// The number of a loop device that is bound to nothing, made if there is none. Another process
/// may take it before the caller does.
///
/// # Errors
/// The kernel's.
pub fn get_free(control: impl AsFd) -> Result<u32> {
    // SAFETY: GetFree describes the call as the kernel has it.
    let number = unsafe { ioctl(control, GetFree) }?;
    u32::try_from(number).map_err(|_| Errno::RANGE)
}

/// Binds a file to a free loop device in one step. `info` gives flags and name.
///
/// # Errors
/// `EBUSY` if the device is bound or claimed; the kernel's.
pub fn configure(device: impl AsFd, file: BorrowedFd<'_>, info: loop_info64) -> Result<()> {
    let config = loop_config {
        // A borrowed descriptor is never negative.
        fd: file.as_raw_fd().unsigned_abs(),
        block_size: BLOCK_SIZE,
        info,
        __reserved: [0; 8],
    };
    // SAFETY: LOOP_CONFIGURE reads one loop_config; the kernel takes its own reference to the file.
    unsafe {
        ioctl(
            device,
            Setter::<{ LOOP_CONFIGURE as Opcode }, _>::new(config),
        )
    }
}

/// What a loop device is bound to.
///
/// # Errors
/// `ENXIO` if it is bound to nothing, or is just being released.
pub fn get_status(device: impl AsFd) -> Result<loop_info64> {
    // SAFETY: LOOP_GET_STATUS64 fills one loop_info64, for which every bit pattern is valid.
    unsafe {
        ioctl(
            device,
            Getter::<{ LOOP_GET_STATUS64 as Opcode }, loop_info64>::new(),
        )
    }
}

/// Sets flags and name of a bound loop device; of the flags only autoclear can be taken away.
///
/// # Errors
/// `ENXIO` if it is bound to nothing; the kernel's.
pub fn set_status(device: impl AsFd, info: loop_info64) -> Result<()> {
    // SAFETY: LOOP_SET_STATUS64 reads one loop_info64.
    unsafe {
        ioctl(
            device,
            Setter::<{ LOOP_SET_STATUS64 as Opcode }, _>::new(info),
        )
    }
}

/// Releases the file, or, while others have the device open, only marks it to be released by the
/// last of them: both answer 0. Ask [`get_status`] which it was.
///
/// # Errors
/// `ENXIO` if it is bound to nothing; the kernel's.
pub fn clear(device: impl AsFd) -> Result<()> {
    // SAFETY: LOOP_CLR_FD takes no argument.
    unsafe { ioctl(device, NoArg::<{ LOOP_CLR_FD as Opcode }>::new()) }
}

/// Gives a bound loop device the size that its file has now.
///
/// # Errors
/// `ENXIO` if it is bound to nothing; the kernel's.
pub fn set_capacity(device: impl AsFd) -> Result<()> {
    // SAFETY: LOOP_SET_CAPACITY takes no argument.
    unsafe { ioctl(device, NoArg::<{ LOOP_SET_CAPACITY as Opcode }>::new()) }
}

/// The size of a block device in bytes.
///
/// # Errors
/// The kernel's.
pub fn size(device: impl AsFd) -> Result<u64> {
    // SAFETY: BLKGETSIZE64 fills one u64 (the header says size_t, the kernel puts 64 bits).
    unsafe { ioctl(device, Getter::<{ BLKGETSIZE64 as Opcode }, u64>::new()) }
}

/// Whether a block device refuses writes.
///
/// # Errors
/// The kernel's.
pub fn is_read_only(device: impl AsFd) -> Result<bool> {
    // SAFETY: BLKROGET fills one int.
    let set = unsafe { ioctl(device, Getter::<{ BLKROGET as Opcode }, i32>::new()) }?;
    Ok(set != 0)
}

/// Takes away the mark by which `blockdev --setro` makes a block device refuse writes.
///
/// # Errors
/// The kernel's.
pub fn allow_writes(device: impl AsFd) -> Result<()> {
    // SAFETY: BLKROSET reads one int.
    unsafe { ioctl(device, Setter::<{ BLKROSET as Opcode }, i32>::new(0)) }
}

/// Removes a loop device that is bound to nothing and open nowhere.
///
/// # Errors
/// `EBUSY` if it is not free; the kernel's.
#[cfg(test)]
pub fn remove(control: impl AsFd, number: u32) -> Result<()> {
    use linux_raw_sys::loop_device::LOOP_CTL_REMOVE;
    use rustix::ioctl::IntegerSetter;
    // SAFETY: LOOP_CTL_REMOVE takes the number itself as its argument.
    unsafe {
        let number = IntegerSetter::<{ LOOP_CTL_REMOVE as Opcode }>::new_usize(number as usize);
        ioctl(control, number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_structs_are_those_of_the_header() {
        assert_eq!(LOOP_CLR_FD, 0x4C01);
        assert_eq!(LOOP_SET_STATUS64, 0x4C04);
        assert_eq!(LOOP_GET_STATUS64, 0x4C05);
        assert_eq!(LOOP_SET_CAPACITY, 0x4C07);
        assert_eq!(LOOP_CONFIGURE, 0x4C0A);
        assert_eq!(LOOP_CTL_GET_FREE, 0x4C82);
        assert_eq!((BLKROSET, BLKROGET), (0x125D, 0x125E));
        #[cfg(target_pointer_width = "64")]
        assert_eq!(BLKGETSIZE64, 0x8008_1272);
        assert_eq!(size_of::<loop_info64>(), 232);
        assert_eq!(size_of::<loop_config>(), 304);
    }

    #[test]
    fn a_plain_file_is_no_loop_device() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(get_status(&file).unwrap_err(), Errno::NOTTY);
        assert_eq!(get_free(&file).unwrap_err(), Errno::NOTTY);
    }
}
