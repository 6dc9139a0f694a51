// SPDX-License-Identifier: MIT OR Apache-2.0
//! A worker: has the disk open, answers the kernel in several threads, and does what it is told.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use mosaic_core::Result;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use super::answer;
use super::control::{self, Command};
use super::disk::{Access, ServedDisk};
use super::files::ServedFolder;
use super::orders::{Orders, Turn};
use super::{LOCKED, handover, report};
use crate::attachment::VolumeId;
use crate::fuse::Connection;
use crate::lock_file::LockFile;

/// Requests that are answered at the same time.
const THREADS: usize = 8;
/// Stack of each. Little is needed, and all of it is locked in memory.
const STACK: usize = 256 << 10;

/// What all threads have.
#[derive(Debug)]
struct Service {
    id: VolumeId,
    connection: Connection,
    disk: ServedDisk,
    /// Who gets what the next worker needs.
    keeper: OwnedFd,
}

/// Everything a worker does. It gets one message, its [`Orders`].
pub(super) fn run(parent: BorrowedFd<'_>) -> ExitCode {
    let Ok(Some(orders)) = Orders::receive(parent) else {
        return ExitCode::FAILURE;
    };
    super::harden();
    // The lock is the keeper's too, and goes with the last of us.
    let _lock = orders.lock.map(LockFile::given);
    let access = match orders.opening.read_only {
        true => Access::Read,
        false => Access::Write {
            ledger: orders.ledger,
        },
    };
    let Ok(keeper) = parent.try_clone_to_owned() else {
        return ExitCode::FAILURE;
    };
    let (folder, shown) = (ServedFolder::new(orders.folder), orders.opening.partition);
    let opened = VolumeId::of(&folder)
        .and_then(|id| Ok((id, ServedDisk::open(folder, access, shown, orders.images)?)));
    let service = match opened {
        Ok((id, disk)) => Arc::new(Service {
            id,
            connection: Connection::new(orders.connection),
            disk,
            keeper,
        }),
        Err(error) => {
            report(parent, &control::refusal(&error));
            return ExitCode::FAILURE;
        }
    };
    if orders.turn == Turn::Next && service.connection.resend().is_err() {
        return ExitCode::FAILURE;
    }
    if service.connection.stop_waiting().is_err() {
        return ExitCode::FAILURE;
    }
    service.disk.with_locked(|files| service.hand_over(files));
    report(parent, &control::success(""));
    serve(service, orders.listener)
}

/// Answers until the file has no user any more, and closes the disk.
fn serve(service: Arc<Service>, listener: Option<OwnedFd>) -> ExitCode {
    let mut threads = Vec::with_capacity(THREADS);
    for _ in 0..THREADS {
        let service = Arc::clone(&service);
        let thread = Builder::new().stack_size(STACK);
        let thread = thread.spawn(move || {
            if answer::all(&service.connection, &service.disk).is_err() {
                give_up();
            }
        });
        threads.push(thread.unwrap_or_else(|_| give_up()));
    }
    // Without it the disk is served all the same.
    let listening = listener.map(|listener| {
        let told = Arc::clone(&service);
        let thread = Builder::new().stack_size(STACK);
        thread.spawn(move || told.listen(&listener))
    });
    // One that panics ends all of us.
    for thread in threads {
        let _ = JoinHandle::join(thread);
    }
    // Whoever still talks to us finds the disk closed.
    drop(listening);
    match service.disk.close() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Leaves all that has no answer to another worker: who asked would wait for ever for a thread that
/// is not there.
fn give_up() -> ! {
    std::process::abort()
}

impl Service {
    /// Does what callers ask for, one after the other.
    fn listen(&self, listener: &OwnedFd) {
        let mut callers: Vec<OwnedFd> = Vec::new();
        loop {
            let wanted = [listener].into_iter().chain(&callers);
            let mut ready: Vec<_> = wanted.map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
            if poll(&mut ready, None).is_err_and(|errno| errno != Errno::INTR) {
                return;
            }
            let is_ready: Vec<bool> = ready.iter().map(|fd| !fd.revents().is_empty()).collect();
            let mut talked = is_ready.iter().skip(1);
            callers.retain(|caller| match talked.next() {
                Some(true) => self.hear(caller).is_some(),
                _ => true,
            });
            if is_ready.first() == Some(&true) {
                callers.extend(welcome(listener));
            }
        }
    }

    /// Does one thing for a caller; `None`: he has gone.
    fn hear(&self, caller: &OwnedFd) -> Option<()> {
        let (text, _) = handover::receive(caller).ok()??;
        let done = control::requested(&text, self.id).and_then(|command| self.execute(command));
        let answer = match done {
            Ok(text) => control::success(&text),
            Err(error) => control::refusal(&error),
        };
        handover::send(caller, &answer, &[]).ok()
    }

    /// Gives the keeper the files that have the locks, for the time when we are gone.
    fn hand_over(&self, files: &[BorrowedFd<'_>]) {
        // It may have been killed, and then nobody comes after us.
        let _ = handover::send(&self.keeper, LOCKED, files);
    }

    fn execute(&self, command: Command) -> Result<String> {
        match command {
            Command::Freeze(guid) => {
                let frozen = self.disk.freeze(guid, |files| self.hand_over(files));
                frozen.map(|guid| guid.to_string())
            }
            Command::Grow(size) => {
                let bytes = self.disk.grow(size)?;
                // Without it the device would go on with the size that the kernel remembers, and
                // whoever asked finds that out.
                let _ = self.connection.notify_length(bytes);
                Ok(bytes.to_string())
            }
            Command::IsBroken => {
                let is_broken = self.disk.is_broken()?;
                Ok(if is_broken { control::YES } else { control::NO }.to_owned())
            }
            Command::Ping => Ok(String::new()),
        }
    }
}

/// A caller of the same user.
fn welcome(listener: &OwnedFd) -> Option<OwnedFd> {
    let caller = accept_with(listener, SocketFlags::CLOEXEC).ok()?;
    control::is_same_user(&caller).then_some(caller)
}
