// SPDX-License-Identifier: MIT OR Apache-2.0
//! What waits for a program: whether it can, and how it is stopped.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::parting::Parting;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host_services::Host;
use crate::ioctl::spawn::{self, Image, Memory, Waiter};

/// How long a wish to stop may stay unheard. Signals end the wait at once.
pub(super) const LOOK_UP: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// How long a waiter may take to hear that it is to stop, or to end when it is killed.
pub(super) const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Starts a program and what waits for it. Whether the program could be executed, the waiter says.
///
/// # Errors
/// `Unsupported` if nobody could wait; the kernel's.
pub(super) fn start(
    image: &Image,
    streams: [BorrowedFd<'_>; 3],
    parting: Parting,
    program: &str,
    memory: Memory,
) -> Result<Waiter> {
    if is_elsewhere() == Some(true) {
        return Err(elsewhere(program));
    }
    let waiter = spawn::start(image, streams, parting.manner(), memory);
    waiter.context(|| format!("cannot run {program}"))
}

/// Runs a program, and once more with a waiter that keeps all memory where the first was killed before
/// it began (`None`): a program around us may have put functions of its own in place of the C
/// library's, and nobody says what memory these need.
pub(super) fn twice_at_most<T>(
    host: &Host,
    program: &str,
    run: impl Fn(Memory) -> Result<Option<T>>,
) -> Result<T> {
    let why = || format!("what should have waited for {program} was killed before it began");
    if let Some(result) = run(Memory::Little)? {
        return Ok(result);
    }
    host.debug(&why());
    run(Memory::All)?.ok_or_else(|| Error::new(ErrorKind::Io, why()))
}

/// Whether what this thread starts is in another pid namespace than itself: a waiter would be the
/// first process there, and its end that of all others. `None`: nobody says, as without `/proc`.
///
/// Kernel: `pid_for_children` in fs/proc/namespaces.c is missing as long as the namespace has no
/// process, Linux 4.12.
fn is_elsewhere() -> Option<bool> {
    let namespace = |name: &str| std::fs::metadata(format!("/proc/thread-self/ns/{name}"));
    let ours = namespace("pid").ok()?;
    match namespace("pid_for_children") {
        Ok(theirs) => Some((ours.dev(), ours.ino()) != (theirs.dev(), theirs.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(true),
        Err(_) => None,
    }
}

/// The error where [`is_elsewhere`], or a waiter found that it is.
pub(super) fn elsewhere(program: &str) -> Error {
    let why = "this process makes its children in another pid namespace than its own (unshare(2), \
               setns(2)), where it cannot wait for them";
    Error::new(
        ErrorKind::Unsupported,
        format!("cannot run {program}: {why}"),
    )
}

/// Has a program killed that can be stopped, and waits for it, also where it is in a state that no
/// signal ends: it may write until then. `false`: the waiter did not answer, as in a frozen cgroup,
/// and was killed; whether the program has ended nobody says.
pub(super) fn stop(waiter: &mut Waiter) -> bool {
    waiter.stop();
    if !within(waiter, |waiter| waiter.has_heard() || has_ended(waiter)) {
        waiter.kill();
        if !within(waiter, |waiter| has_ended(waiter)) {
            return false;
        }
    }
    waiter.reap().is_some()
}

/// Whether it has ended, and so perhaps the program, after a moment or before.
///
/// # Errors
/// The kernel's, other than for a signal.
pub(super) fn ends_soon(waiter: &Waiter) -> rustix::io::Result<bool> {
    ends_within(waiter, &LOOK_UP)
}

fn ends_within(waiter: &Waiter, time: &Timespec) -> rustix::io::Result<bool> {
    let mut end = [PollFd::new(&waiter.end, PollFlags::IN)];
    match poll(&mut end, Some(time)) {
        Err(Errno::INTR) => Ok(false),
        ready => Ok(ready? > 0),
    }
}

fn has_ended(waiter: &Waiter) -> bool {
    ends_within(waiter, &Timespec::default()).unwrap_or(false)
}

/// Whether something happens to a waiter in time.
fn within(waiter: &mut Waiter, happens: impl Fn(&mut Waiter) -> bool) -> bool {
    let start = Instant::now();
    while !happens(waiter) {
        if start.elapsed() > ANSWERS_WITHIN {
            return false;
        }
        let mut news = [
            PollFd::new(&waiter.end, PollFlags::IN),
            PollFd::new(&waiter.report, PollFlags::IN),
        ];
        // Whatever it says, it is looked again.
        let _ = poll(&mut news, Some(&LOOK_UP));
    }
    true
}
