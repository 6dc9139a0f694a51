// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starting a block server for a disk.

use std::os::fd::{AsFd, OwnedFd};

use mosaic_core::command::launch_server;
use mosaic_core::{Context, Error, ErrorKind, Host, Result};

use super::program::Program;
use super::{Place, VolumeId};
use crate::fuse::mount::{FileMount, open_device};
use crate::server::{Opening, control, handover};

/// Starts a server and opens the file that it shows.
///
/// Steps: mount the file where nobody sees it; start the server and hand it the connection; it locks
/// and opens the disk, mending what a killed server left; open the file. The server ends by itself
/// when the mount and the file are closed, so whoever is killed here leaves nothing.
///
/// # Errors
/// `Busy` with who uses the disk; `Unsupported`, `Permission` where there can be no server; what kept
/// the server from opening the disk; `Interrupted`; the kernel's.
pub fn start(host: &Host, place: &Place<'_>, id: VolumeId, opening: Opening) -> Result<OwnedFd> {
    let program = Program::find()?;
    let private = match place.private()? {
        Some(private) => private,
        // Where nothing was ever made, and perhaps nothing can be: the server needs no socket then.
        None if opening.read_only => {
            let folder = place.folder.try_clone_to_owned();
            folder.context(|| "cannot open the disk's folder".into())?
        }
        None => {
            let message = format!("{:?} is missing", place.private);
            return Err(Error::new(ErrorKind::NotFound, message));
        }
    };
    let device = open_device()?;
    let mount = FileMount::new(device.as_fd(), &format!("mosaic-ploop:{}", id.numbers()))?;
    let failed = || format!("cannot start {:?}", program.path());
    let (ours, theirs) = handover::pair().context(failed)?;
    host.debug(&format!("start {:?}", program.path()));
    launch_server(host, program.as_fd(), program.path(), theirs)?;
    let text = format!("{opening} {}", id.socket());
    let fds = [device.as_fd(), place.folder, private.as_fd()];
    handover::send(&ours, &text, &fds).context(failed)?;
    // While we had it too, a server that is killed would leave us waiting for ever.
    drop(device);
    let answer = answer(host, &ours)?;
    control::understand(&answer)?;
    mount.open(opening.read_only)
}

/// What the server says.
fn answer(host: &Host, socket: &OwnedFd) -> Result<String> {
    let failed = || "cannot hear the block server".into();
    handover::await_message(host, socket)?;
    match handover::receive(socket).context(failed)? {
        Some((answer, _)) => Ok(answer),
        None => Err(Error::new(
            ErrorKind::Io,
            "the block server ended before it had opened the disk",
        )),
    }
}
