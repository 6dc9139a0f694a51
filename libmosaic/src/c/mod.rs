// SPDX-License-Identifier: MIT OR Apache-2.0
//! What crosses between C and Rust. All unsafe code of the crate is here.
//!
//! The types are laid out as the C types that they stand for, so that exported functions take them as
//! arguments. None of them can be made in Rust but by copying one: each comes from a caller in C, who
//! promises by the header that what it points to is there until the call returns. That promise is
//! what the SAFETY lines rest on.

mod arena;
mod callback;
mod cancellation;
mod options;
mod place;
mod sized;
mod text;

pub(crate) use self::arena::{Arena, Strings};
pub(crate) use self::callback::{Cancel, Data, Each, Log, Progress};
pub(crate) use self::cancellation::uncancelled;
pub(crate) use self::options::{InitOptions, MosaicOptions};
pub(crate) use self::place::{Buffer, Out};
pub(crate) use self::sized::{Options, ends_with, member_size};
pub(crate) use self::text::{Text, owned};
