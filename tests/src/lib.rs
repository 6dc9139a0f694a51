// SPDX-License-Identifier: MIT OR Apache-2.0
//! What tests of Mosaic on real storage need: locations on loop devices of their own, the real
//! `moctl`, a tracer that kills or fails it at any system call, and an honest way to skip.
//!
//! Every fixture undoes what it made when it is dropped, also on panic; names carry the prefix
//! `mosaic-test` and the process id. With `MOSAIC_KEEP=1` everything stays for a look.
//!
//! A test that needs something begins with
//!
//! ```no_run
//! # fn test() {
//! if !mosaic_tests::requires_root() || !mosaic_tests::requires_program("mkfs.xfs") {
//!     return;
//! }
//! # }
//! ```
//!
//! which prints the reason past libtest's capture, where `cargo xtask test` counts it. What takes
//! long asks [`is_quick`] and says by [`left_out`] what it did not do.

mod apt;
mod await_condition;
mod block_servers;
mod btrfs;
mod btrfs_site;
mod built;
mod children;
mod content;
mod ioctl;
mod loop_file;
mod moctl;
mod mount_table;
mod mounted_fs;
mod own_program;
mod power_cut;
mod random;
mod requires;
mod said;
mod scratch;
mod shell;
mod site;
#[cfg(target_arch = "x86_64")]
mod system_call;
mod terminal;
mod thin_pool;
#[cfg(target_arch = "x86_64")]
mod tracee;
mod udev;
mod unhosted;
mod valgrind;
pub mod vm;
pub mod workspace;

pub use apt::apt_get;
pub use await_condition::{eventually, eventually_within};
pub use block_servers::block_servers_beneath;
pub use btrfs::{Qgroup, Quota, Subvolume, make_subvolumes, qgroups, quota, subvolumes};
pub use built::{build, built_program, target_folder};
pub use children::{descendants, kill_descendants};
pub use content::{assert_filled, fill, write_until};
pub use ioctl::process::{Interrupts, Lingering};
pub use loop_file::{LoopFile, loop_devices_beneath};
pub use moctl::{Moctl, Output};
pub use mount_table::{is_mountpoint, mounted_size, mountpoints_beneath};
pub use mounted_fs::{MountedFs, requires_project_quota};
pub use own_program::copy_of_own_program;
pub use random::Random;
pub use requires::{
    did, is_in_vm, is_long, is_quick, left_out, requires, requires_program, requires_qemu,
    requires_root, requires_time, requires_vm, skip,
};
pub use said::Said;
pub use scratch::{Scratch, keep};
pub use shell::{run, run_status, stdout_of, word};
pub use site::Site;
#[cfg(target_arch = "x86_64")]
pub use system_call::SystemCall;
pub use terminal::{Terminal, heeding_signals};
pub use thin_pool::{
    Fault, Part, ThinPool, ThinPoolDevice, has_device_mapper, requires_thin_pools,
};
#[cfg(target_arch = "x86_64")]
pub use tracee::{Action, Outcome, Traced, Tracee};
pub use udev::Udev;
pub use unhosted::{MountedVolume, Unhosted, scratch, volume};
pub use valgrind::Valgrind;
