// SPDX-License-Identifier: MIT OR Apache-2.0
//! The C library as programs in C, C++, Go and Python use it: compiled against an installed tree and
//! run on real storage.
//!
//! The programs are in `tests/c`. Each prints nothing, so that all that is printed is the library's
//! fault, and ends with a status of its own, so that none passes that ended early.

#[path = "../common/mod.rs"]
mod common;

mod abi;
mod faults;
mod languages;
mod memcheck;
mod memory;
mod plugins;
mod process;
mod program;
mod prototypes;
mod small_stack;
mod storage;
mod threads;
mod waiters;
