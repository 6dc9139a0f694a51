// SPDX-License-Identifier: MIT OR Apache-2.0
//! The format library as its users see it, on files in memory.

mod chain;
mod check;
mod crash;
mod disk;
mod flushes;
mod full;
mod killed_tool;
mod killed_writer;
mod large_table;
mod ledger;
mod losses;
mod model;
mod online;
mod qemu;
mod real_tool;
mod refusals;
mod sizes;
mod storage;
mod vectors;
mod view;
