// SPDX-License-Identifier: MIT OR Apache-2.0
//! The loop ioctls of the floor program (include/uapi/linux/loop.h; `LOOP_CONFIGURE`: Linux 5.8).

#![allow(unsafe_code, reason = "ioctl(2) has no safe form")]

use std::ffi::c_void;
use std::os::fd::AsFd;

use linux_raw_sys::loop_device::{
    LOOP_CLR_FD, LOOP_CONFIGURE, LOOP_CTL_GET_FREE, loop_config, loop_info64,
};
use rustix::io::Result;
use rustix::ioctl::{Ioctl, IoctlOutput, NoArg, Opcode, Setter, ioctl};

struct GetFree;

// SAFETY: LOOP_CTL_GET_FREE has no argument and answers by its return value.
unsafe impl Ioctl for GetFree {
    type Output = IoctlOutput;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE as Opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> Result<Self::Output> {
        Ok(out)
    }
}

/// The number of a free loop device.
pub fn get_free(control: impl AsFd) -> Result<IoctlOutput> {
    // SAFETY: GetFree describes the call as the kernel has it.
    unsafe { ioctl(control, GetFree) }
}

/// Binds the file with descriptor number `file` with these `LO_FLAGS_...`.
pub fn configure(device: impl AsFd, file: u32, flags: u32) -> Result<()> {
    let config = loop_config {
        fd: file,
        block_size: 512,
        info: loop_info64 {
            lo_device: 0,
            lo_inode: 0,
            lo_rdevice: 0,
            lo_offset: 0,
            lo_sizelimit: 0,
            lo_number: 0,
            lo_encrypt_type: 0,
            lo_encrypt_key_size: 0,
            lo_flags: flags,
            lo_file_name: [0; 64],
            lo_crypt_name: [0; 64],
            lo_encrypt_key: [0; 32],
            lo_init: [0; 2],
        },
        __reserved: [0; 8],
    };
    // SAFETY: LOOP_CONFIGURE reads one struct loop_config, which this is, made by bindgen.
    unsafe {
        ioctl(
            device,
            Setter::<{ LOOP_CONFIGURE as Opcode }, loop_config>::new(config),
        )
    }
}

/// Unbinds the device.
pub fn clear(device: impl AsFd) -> Result<()> {
    // SAFETY: LOOP_CLR_FD has no argument.
    unsafe { ioctl(device, NoArg::<{ LOOP_CLR_FD as Opcode }>::new()) }
}
