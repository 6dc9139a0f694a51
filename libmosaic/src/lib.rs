// SPDX-License-Identifier: MIT OR Apache-2.0
//! The C library: pointers in, one call of the core, errno out.
//!
//! What it promises stands in `include/mosaic/mosaic.h` and nowhere else; there is a file here for
//! each of its sections. Every function of the header is one `call`, which keeps the last error and
//! lets no panic out. What C gives is of types that cannot be misused (`c`): all that looks at foreign
//! memory is in there. A handle is a number, looked up in a `table`, and never a place in memory.

#![allow(
    unsafe_code,
    reason = "exports the names of the header; the rules of the tree keep the rest in the folder c"
)]

#[cfg(panic = "abort")]
compile_error!("libmosaic must be built with panic = \"unwind\": its panics become errors");

mod bdev;
mod c;
mod call;
mod change;
mod check;
mod drivers;
mod environment;
mod error;
mod flags;
mod gate;
mod handle;
#[cfg(test)]
mod header;
mod info;
mod library;
mod listing;
mod log;
mod migrate;
mod mosaic;
mod mount;
mod results;
mod services;
mod table;
mod tell;
mod volume;
mod volume_info;
