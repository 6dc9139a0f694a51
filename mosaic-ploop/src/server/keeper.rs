// SPDX-License-Identifier: MIT OR Apache-2.0
//! The keeper: has the connection and the control socket, and sees to it that there is a worker.
//!
//! It ends when a worker ends by itself, which is when the file has no user any more, or when nothing
//! is to be hoped of another worker. Then its descriptors go, and with them the connection: whatever
//! still asks for something gets an error, rather than waiting for ever.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use mosaic_core::{Error, ErrorKind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;

use super::orders::{Orders, Turn};
use super::{LOCKED, Opening, ServedFile, WORKER, control, handover, report};
use crate::format::ledger;
use crate::fuse::{Connection, Inbox};
use crate::lock_file::{LockFile, Purpose};

/// Workers that may be killed within [`WHILE`]. One that brings itself down would do so again.
const MOST: usize = 32;
const WHILE: Duration = Duration::from_secs(60);
/// How often in a row another worker is tried that cannot begin, and what is waited in between: memory
/// may be short, which is perhaps what the last one was killed for.
const ATTEMPTS: usize = 10;
const RECOVERY: Duration = Duration::from_millis(200);
/// Between two looks at a lock that somebody else has.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 5_000_000,
};

/// What a keeper is started with.
struct Keeper<'a> {
    connection: Connection,
    folder: OwnedFd,
    listener: Option<BorrowedFd<'a>>,
    ledger: ServedFile,
    lock: Option<LockFile>,
    /// The images' files as the last worker had locked them, from the base up.
    images: Vec<ServedFile>,
    opening: Opening,
}

/// Everything a keeper does. It gets one message: an [`Opening`], and the name of the control socket;
/// with it the descriptors of the connection, the disk's folder and the control socket's folder.
pub(super) fn run(parent: BorrowedFd<'_>) -> ExitCode {
    // Signals for who started us are not for us.
    let _ = rustix::process::setsid();
    let received = handover::receive(parent);
    let Ok(Some((text, fds))) = received else {
        return ExitCode::FAILURE;
    };
    let (Some((opening, name)), Ok([connection, folder, private])) =
        (text.split_once(' '), <[OwnedFd; 3]>::try_from(fds))
    else {
        return ExitCode::from(2);
    };
    let Ok(opening) = opening.parse::<Opening>() else {
        return ExitCode::from(2);
    };
    let socket = match control::Socket::bind(private, name) {
        Ok(socket) => Some(socket),
        // There is nothing to tell a server that only reads.
        Err(error) if opening.read_only && is_read_only(&error) => None,
        Err(error) => {
            report(parent, &control::refusal(&error));
            return ExitCode::FAILURE;
        }
    };
    let listener = socket.as_ref().map(control::Socket::listener);
    let kept = match lock(parent, &folder, opening) {
        // It is given back before the socket goes, at which our end is awaited.
        Ok(lock) => keep(parent, connection, folder, listener, lock, opening),
        Err(error) => {
            report(parent, &control::refusal(&error));
            ExitCode::FAILURE
        }
    };
    if let Some(socket) = socket {
        socket.remove();
    }
    kept
}

/// Takes the lock of libploop up to 7, which knows no other and would change the disk beneath us. It
/// is ours for as long as there is a keeper or a worker: between two workers nobody gets it.
fn lock(parent: BorrowedFd<'_>, folder: &OwnedFd, opening: Opening) -> Result<Option<LockFile>> {
    let purpose = match opening.read_only {
        true => Purpose::Show,
        false => Purpose::Change,
    };
    LockFile::take(folder, purpose, || {
        let mut ready = [PollFd::new(&parent, PollFlags::IN)];
        match poll(&mut ready, Some(&PAUSE)) {
            Ok(0) | Err(Errno::INTR) => Ok(()),
            // Nothing else is said to us: it has gone.
            _ => Err(Error::new(
                ErrorKind::Interrupted,
                "nobody waits for it any more",
            )),
        }
    })
}

/// Whether the location is on a file system to which nobody writes.
fn is_read_only(error: &Error) -> bool {
    error.errno() == Some(Errno::ROFS.raw_os_error())
}

fn keep(
    parent: BorrowedFd<'_>,
    connection: OwnedFd,
    folder: OwnedFd,
    listener: Option<BorrowedFd<'_>>,
    lock: Option<LockFile>,
    opening: Opening,
) -> ExitCode {
    let connection = Connection::new(connection);
    let agreed = connection.initialise(&mut Inbox::default());
    let ledger = memfd_create("mosaic-ploop-ledger", MemfdFlags::CLOEXEC);
    let (Ok(features), Ok(ledger)) = (agreed, ledger) else {
        return ExitCode::FAILURE;
    };
    super::harden();
    let mut keeper = Keeper {
        connection,
        folder,
        listener,
        ledger: ServedFile::unnamed(ledger),
        lock,
        images: Vec::new(),
        opening,
    };
    // Before it was at work: nobody could say in what state it left the disk.
    if keeper.worked(Turn::First, Some(parent)) == End::Killed && features.resend {
        keeper.follow();
    }
    ExitCode::SUCCESS
}

/// How it ended with a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// By itself, after it was at work.
    Done,
    /// It was killed at work.
    Killed,
    /// It was not at work yet.
    NotBegun,
}

impl Keeper<'_> {
    /// Has one worker follow another, until one ends by itself.
    fn follow(&mut self) {
        let mut killed = vec![Instant::now()];
        let mut failed = 0;
        while killed.len() < MOST && failed < ATTEMPTS && self.remembers_losses() {
            match self.worked(Turn::Next, None) {
                End::Done => return,
                End::Killed => {
                    killed.retain(|when| when.elapsed() < WHILE);
                    killed.push(Instant::now());
                    failed = 0;
                }
                End::NotBegun => {
                    failed += 1;
                    std::thread::sleep(RECOVERY);
                }
            }
        }
    }

    /// Sees to it that the next worker knows of what is lost, whichever worker was told of it and could
    /// tell nobody. Whether it does: an error for all is better than a sync of nothing.
    fn remembers_losses(&self) -> bool {
        let top = self.images.last();
        let top = top.filter(|_| !self.opening.read_only);
        top.is_none_or(|top| ledger::remember_losses(top, &self.ledger).is_ok())
    }

    /// Lets a worker work, and tells `parent` how it began.
    fn worked(&mut self, turn: Turn, parent: Option<BorrowedFd<'_>>) -> End {
        let Ok((ours, theirs)) = handover::pair() else {
            return End::NotBegun;
        };
        let worker = super::command(WORKER).stdin(Stdio::from(theirs)).spawn();
        let Ok(mut worker) = worker else {
            return End::NotBegun;
        };
        let orders = Orders {
            opening: self.opening,
            turn,
            connection: self.connection.as_fd(),
            folder: self.folder.as_fd(),
            ledger: self.ledger.as_fd(),
            listener: self.listener,
            lock: self.lock.as_mut().map(LockFile::lend),
            images: self.images.iter().map(AsFd::as_fd).collect(),
        };
        if orders.send(&ours).is_err() {
            // It would wait for them, and we for it.
            let _ = worker.kill();
        }
        let mut is_at_work = false;
        // Its end of the socket goes with it.
        while let Ok(Some((text, fds))) = handover::receive(&ours) {
            if text == LOCKED {
                // They become no fewer, but perhaps not all could be received.
                if fds.len() >= self.images.len() {
                    self.images = fds.into_iter().map(ServedFile::unnamed).collect();
                }
                continue;
            }
            is_at_work = text.starts_with(control::OK);
            if let Some(parent) = parent {
                report(parent, &text);
            }
        }
        let status = worker.wait();
        match (
            is_at_work,
            status.is_ok_and(|status| status.signal().is_some()),
        ) {
            (true, true) => End::Killed,
            (true, false) => End::Done,
            (false, _) => End::NotBegun,
        }
    }
}
