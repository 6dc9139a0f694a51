// SPDX-License-Identifier: MIT OR Apache-2.0
//! A virtual machine for what this machine's kernel cannot do, and for cutting the power.
//!
//! Debian's kernel under QEMU, without KVM, so it works in any container and needs no privilege.
//! It is booted once: the [`Template`] is that machine's memory and device state, kept in
//! `target/vm`. Each [`Machine`] starts from a copy of it in a fraction of a second, with fresh
//! disks. It has no network and sees nothing of this machine's files but what it is given.
//!
//! Two kinds of tests use it:
//!
//! - Tests that run inside are ordinary ones. They begin with [`requires_vm`](crate::requires_vm),
//!   or skip themselves here because of what this kernel lacks; `cargo xtask test` then runs the
//!   same test binary inside, where files have the very paths that they have here.
//! - Tests that run outside start machines by themselves: they begin with
//!   [`requires_qemu`](crate::requires_qemu), give a [`Machine`] a [`Job`] and a [`Disk`], read its
//!   lines while it runs, [cut](Machine::cut) it, and start another one on the same disk. What a
//!   disk with a cache of its own may lose as well, which the file beneath ours does not, is shown
//!   by a [`WriteLog`].
//!
//! Inside, as root and without udev, unless a test starts it: `/tmp` is an xfs with reflink, fresh each
//! time; `/dev/vm/disk` is the [`Disk`]; the programs are this machine's own, as many as tests need,
//! and busybox's for the rest. Random numbers differ from copy to copy, and the time is right.

mod base;
mod cpio;
mod disk;
mod job;
mod kernel;
mod libraries;
mod machine;
mod payload;
mod qemu;
mod qmp;
mod template;
pub(crate) mod udev;
mod watchdog;
mod write_log;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

pub use disk::Disk;
pub use job::Job;
pub use machine::{Console, Ended, Machine, Setup};
pub use payload::Payload;
pub use template::Template;
pub use write_log::WriteLog;

/// What has to be installed here to run it.
pub const PROGRAMS: [&str; 8] = [
    "qemu-system-x86_64",
    "busybox",
    "depmod",
    "xz",
    "zstd",
    "setpriv",
    "mkfs.ext4",
    "mkfs.xfs",
];

/// `target/vm`: all that is made here.
///
/// # Errors
/// The running program was not built by cargo; the folder cannot be made.
fn folder() -> Result<PathBuf> {
    let built = crate::target_folder()?;
    let folder = built.parent().context("no target folder")?.join("vm");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// A folder of this process's own, in which large files may lie.
fn own_folder(kind: &str) -> Result<TempDir> {
    let prefix = format!("{kind}-{}-", std::process::id());
    let folder = tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(folder()?);
    folder.context("cannot make a temporary folder")
}

/// Removes what killed processes left in `target/vm`.
///
/// # Errors
/// It cannot be removed.
pub fn sweep() -> Result<()> {
    sweep_in(&folder()?)
}

fn sweep_in(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process: Option<u32> = name.split('-').nth(1).and_then(|pid| pid.parse().ok());
        let gone = |pid: u32| !Path::new("/proc").join(pid.to_string()).exists();
        if process.is_some_and(gone) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// The folder with the workspace's `Cargo.toml`.
fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Tells a person who waits, past libtest's capture.
fn say(what: &str) {
    // A closed stderr is no reason to stop.
    let _ = writeln!(std::io::stderr(), "virtual machine: {what}");
}
