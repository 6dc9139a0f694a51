// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `ploop` tool: the only way to the kernel's driver that is made for it.
//!
//! It is given words of ours and the absolute path of a descriptor, never anything that a user chose.
//! Its exit status is 0 or a failure (`SYSEXIT_*` in libploop.h), its words are for people; what it
//! did is looked up in the kernel. It is not stopped half-way. Form and options: ploop(8).

use std::path::Path;

use mosaic_core::command::{Command, find_program};
use mosaic_core::{Host, Result};

use crate::format::guid::Guid;

const TOOL: &str = "ploop";

/// Whether the tool is installed.
pub(super) fn is_there() -> bool {
    find_program(TOOL).is_some()
}

/// Shows a disk as a device of that name, without mounting what is on it.
pub(super) fn mount(host: &Host, name: &str, read_only: bool, descriptor: &Path) -> Result<()> {
    let mut tool = Command::new(TOOL).arg("mount");
    if read_only {
        tool = tool.arg("-r");
    }
    let device = format!("/dev/mapper/{name}");
    run(host, tool.args(["-d", &device]), descriptor)
}

/// Takes the device of a disk away, and closes the disk.
pub(super) fn umount(host: &Host, descriptor: &Path) -> Result<()> {
    run(host, Command::new(TOOL).arg("umount"), descriptor)
}

/// Freezes what a disk that is shown holds now as a snapshot of that name.
pub(super) fn snapshot(host: &Host, guid: Guid, descriptor: &Path) -> Result<()> {
    let tool = Command::new(TOOL).args(["snapshot", "-u", &guid.to_string()]);
    run(host, tool, descriptor)
}

fn run(host: &Host, tool: Command, descriptor: &Path) -> Result<()> {
    tool.arg(descriptor).to_the_end().run(host).map(drop)
}
