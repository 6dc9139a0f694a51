// SPDX-License-Identifier: MIT OR Apache-2.0
//! The structures of options, as the header has them.

use std::ffi::{c_int, c_long};
use std::mem::offset_of;

use super::sized::{Growing, ends_with};
use super::text::Text;

/// `struct mosaic_options`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct MosaicOptions {
    pub(crate) size: usize,
    pub(crate) config_dir: Text,
    pub(crate) driver_path: Text,
    pub(crate) lock_timeout_ms: c_long,
}

ends_with!(MosaicOptions, lock_timeout_ms);

// SAFETY: as the trait asks; a `Text` is a pointer.
unsafe impl Growing for MosaicOptions {
    const FIRST: usize = offset_of!(Self, lock_timeout_ms) + size_of::<c_long>();
}

/// `struct mosaic_init_options`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct InitOptions {
    pub(crate) size: usize,
    pub(crate) quota: Text,
    pub(crate) adopt: c_int,
    pub(crate) force: c_int,
}

ends_with!(InitOptions, force);

// SAFETY: as above.
unsafe impl Growing for InitOptions {
    const FIRST: usize = offset_of!(Self, force) + size_of::<c_int>();
}
