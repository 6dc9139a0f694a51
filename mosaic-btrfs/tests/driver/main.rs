// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the driver promises, a file per verb or question. One program, since each costs a build and
//! a link; what changes the whole process has one of its own beside this folder.

mod capabilities;
mod check;
mod cleaning;
mod clone;
mod commits;
#[path = "../common/mod.rs"]
mod common;
mod drop;
mod find;
mod in_use;
mod init;
mod kernel_facts;
mod list;
mod meanwhile;
mod nested_clone;
mod quota;
mod races;
mod refusals;
mod rename;
mod resize;
mod space;
mod stale;
