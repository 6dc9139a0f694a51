// SPDX-License-Identifier: MIT OR Apache-2.0
//! The block server: shows the deltas of one disk as one file, for a loop device to stand on.
//!
//! Three roles of one program, each started by the one before: the **launcher** lets go of whoever
//! wants the disk attached and ends; the **keeper** holds the connection to the kernel and starts a
//! **worker**, which has the disk open and answers. A worker that is killed is followed by another,
//! to which the kernel sends again what was not answered (Linux 6.9 and later): nobody notices. The
//! keeper does nothing else, so that there is little that could end it.
//!
//! Nothing has to be told to end it: when the last user of the file has gone the kernel says so, the
//! worker closes the disk, and all is gone. If keeper and worker are killed the connection is gone
//! with them: what is asked of the file fails at once.

mod answer;
mod disk;
mod files;
pub mod handover;
mod image_locks;
mod keeper;
mod opening;
mod orders;
mod worker;

pub mod control;

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use nix::sys::signal::{SigSet, Signal};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

pub use files::{ServedFile, ServedFolder};
pub use opening::Opening;

/// Name of the program.
pub const PROGRAM: &str = "mosaic-ploop-server";
/// Its name as the kernel has room for it.
const SHORT: &std::ffi::CStr = c"mosaic-ploop-sr";
/// Arguments that say the role.
const KEEPER: &str = "keep";
const WORKER: &str = "work";

/// With what a worker gives the keeper the files that have the locks.
const LOCKED: &str = "locked";

/// The whole program. Its standard input is a socket to who started it; see [`handover`].
pub fn run(role: Option<&str>) -> ExitCode {
    // What a thread leaves half-done when it panics is for the next worker to mend.
    std::panic::set_hook(Box::new(|_| std::process::abort()));
    refuse_to_stop();
    keep_memory_private();
    // It would be called after the link that it was started by.
    let _ = rustix::thread::set_name(SHORT);
    let stdin = std::io::stdin();
    let parent = stdin.as_fd();
    match role {
        None => launch(),
        Some(KEEPER) => keeper::run(parent),
        Some(WORKER) => worker::run(parent),
        Some(_) => ExitCode::from(2),
    }
}

/// Starts the keeper with our standard input, and is done: so the keeper belongs to nobody who waits
/// for children.
fn launch() -> ExitCode {
    match command(KEEPER).stdin(Stdio::inherit()).spawn() {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// This program in another role.
fn command(role: &str) -> Command {
    // What runs now, even if the file was replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0(PROGRAM)
        .arg(role)
        .env_clear()
        .current_dir("/")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// A disk that is in use does not go because somebody asks politely, such as a session that ends or a
/// system that shuts down and has not unmounted it yet. It goes with its device. Nor does it go because a
/// file would become larger than `RLIMIT_FSIZE`, which is as who attached the disk had it: what does not
/// fit is an error then, `EFBIG`.
fn refuse_to_stop() {
    let asked = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGXFSZ,
    ];
    let asked: SigSet = asked.into_iter().collect();
    // Threads that are started later have the mask too; fails for no set of signals.
    let _ = asked.thread_block();
}

/// What is in memory is its owner's data: no core file gets it, and nobody waits for one to be written
/// before the next worker goes on (prctl(2): a process that is not dumpable has none, with a pipe in
/// `core_pattern` neither, where a limit of 0 means nothing).
fn keep_memory_private() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Says how it went to who started us; who has gone meanwhile does not want to know.
fn report(parent: BorrowedFd<'_>, text: &str) {
    let _ = handover::send(parent, text, &[]);
}

/// What a process on which a disk hangs should have: its memory in place, and the kernel's leave to
/// go on when memory is short. As far as there is privilege for it.
fn harden() {
    use rustix::mm::{MlockAllFlags, mlockall};
    let _ = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE);
    // PR_SET_IO_FLUSHER, Linux 5.6: threads started later have it too.
    let _ = rustix::process::configure_io_flusher_behavior(true);
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
}
