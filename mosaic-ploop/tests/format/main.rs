// SPDX-License-Identifier: MIT OR Apache-2.0
//! The format library as its users see it, on files in memory.

mod chain;
mod crash;
mod disk;
mod model;
mod qemu;
mod storage;
mod vectors;
mod view;
