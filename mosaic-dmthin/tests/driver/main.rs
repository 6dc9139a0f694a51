// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the driver promises of a real pool, a file per verb or question. One program, since each costs a
//! build and a link, and in a quick run a virtual machine.

mod attach;
mod check;
mod common;
mod exclusive;
mod init;
mod init_safety;
mod kernel_facts;
mod many;
mod pool_table;
mod space;
mod volumes;
