// SPDX-License-Identifier: MIT OR Apache-2.0
//! A running child: its output is read while it runs, within bounds, and it never stays behind.
//!
//! One poll waits for its end (the pidfd of its waiter) and for both pipes; the user's
//! wish to stop is a flag that is looked at in between. Where the waiter was killed the end of both
//! pipes is the program's: nothing else has their other ends.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::Output;
use super::parting::Parting;
use super::waiter::{self, ANSWERS_WITHIN, LOOK_UP};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::ioctl::spawn::{Image, Memory, Report, Waiter};

/// What is kept of each stream, from its end.
const KEPT: usize = 64 * 1024;
/// Read at once: the default size of a pipe (pipe(7)).
const CHUNK: usize = 64 * 1024;
/// Chunks that are read after the end: what a pipe can hold, even one made larger.
const LAST_CHUNKS: usize = 32;

/// How a program ended.
pub(super) enum End {
    /// By itself.
    Exited(Output),
    /// By a signal that we did not send.
    Signalled(i32, Output),
    /// Because the user asked to stop; `false`: perhaps not yet.
    Cancelled(bool),
}

/// A program in its own process group; dropping it kills the group, unless it is to go on, and
/// waits.
pub(super) struct Running {
    waiter: Waiter,
    parting: Parting,
    streams: [Stream; 2],
    program: String,
    waited: bool,
}

impl Running {
    /// Starts a program with an empty standard input.
    ///
    /// # Errors
    /// `Unsupported` if nobody could wait for it; the kernel's. Whether the program could be executed
    /// [`Running::wait`] says.
    pub(super) fn start(
        image: &Image,
        parting: Parting,
        program: &str,
        memory: Memory,
    ) -> Result<Self> {
        let prepared = || -> std::io::Result<_> {
            let (stdout, out) = pipe_with(PipeFlags::CLOEXEC)?;
            let (stderr, err) = pipe_with(PipeFlags::CLOEXEC)?;
            let streams = [Stream::new(stdout)?, Stream::new(stderr)?];
            Ok((streams, [null()?, out, err]))
        };
        let (streams, theirs) = prepared().context(|| format!("cannot run {program}"))?;
        let theirs = theirs.each_ref().map(AsFd::as_fd);
        Ok(Self {
            waiter: waiter::start(image, theirs, parting, program, memory)?,
            parting,
            streams,
            program: program.to_owned(),
            waited: false,
        })
    }

    /// Waits for its end; `is_cancelled` is asked ten times a second. `None`: it never began.
    pub(super) fn wait(mut self, is_cancelled: impl Fn() -> bool) -> Result<Option<End>> {
        let mut buffer = vec![0; CHUNK];
        loop {
            if is_cancelled() {
                return Ok(Some(End::Cancelled(self.stop())));
            }
            let ended = self.step(&mut buffer);
            if ended.context(|| format!("cannot wait for {}", self.program))? {
                break;
            }
        }
        self.waited = true;
        let status = match self.waiter.reap() {
            Some(Report::Ended(status)) => ExitStatus::from_raw(status),
            Some(Report::NotRun(errno)) => {
                return Err(errno).context(|| format!("cannot run {}", self.program));
            }
            Some(Report::Elsewhere) => return Err(waiter::elsewhere(&self.program)),
            Some(Report::NotBegun) => return Ok(None),
            None => return Err(self.lost(&mut buffer, is_cancelled)),
        };
        for stream in &mut self.streams {
            stream.drain(&mut buffer);
        }
        let output = Output {
            status: status.code().unwrap_or(-1),
            stdout: std::mem::take(&mut self.streams[0].kept),
            stderr: std::mem::take(&mut self.streams[1].kept),
        };
        Ok(Some(match status.signal() {
            Some(signal) => End::Signalled(signal, output),
            None => End::Exited(output),
        }))
    }

    /// What is left to do where the waiter was killed: locks and devices are not let go while the
    /// program is at work. One that dies with its waiter is about to; a wish to stop is heard.
    fn lost(&mut self, buffer: &mut [u8], is_cancelled: impl Fn() -> bool) -> Error {
        let now = match self.outputs_are_closed(buffer, is_cancelled) {
            true => "it has ended by now",
            false => "it may still be at work",
        };
        unclear(&self.program, now)
    }

    /// Whether the program closed both its outputs, as it does when it ends, before we give up.
    fn outputs_are_closed(&mut self, buffer: &mut [u8], gives_up: impl Fn() -> bool) -> bool {
        while self.streams.iter().any(|stream| stream.pipe.is_some()) {
            if gives_up() {
                return false;
            }
            // The pidfd stays readable: the pipes are waited for alone.
            let mut pipes = Vec::new();
            for stream in &self.streams {
                pipes.extend(stream.pipe.as_ref().map(|p| PollFd::new(p, PollFlags::IN)));
            }
            match poll(&mut pipes, Some(&LOOK_UP)) {
                Ok(_) | Err(Errno::INTR | Errno::NOMEM | Errno::AGAIN) => {}
                Err(_) => return false,
            }
            for stream in &mut self.streams {
                stream.read(buffer);
            }
        }
        true
    }

    /// Waits for one event; `true`: the program has ended, or its waiter was killed.
    fn step(&mut self, buffer: &mut [u8]) -> rustix::io::Result<bool> {
        let mut polled = vec![PollFd::new(&self.waiter.end, PollFlags::IN)];
        for stream in &self.streams {
            if let Some(pipe) = &stream.pipe {
                polled.push(PollFd::new(pipe, PollFlags::IN));
            }
        }
        match poll(&mut polled, Some(&LOOK_UP)) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(false),
            Err(errno) => return Err(errno),
        }
        let ended = !polled[0].revents().is_empty();
        for stream in &mut self.streams {
            stream.read(buffer);
        }
        Ok(ended)
    }

    /// Kills the group, unless the program is to go on, and waits until the program is gone; nobody
    /// looks at what it writes meanwhile. `false`: its waiter did not answer, and perhaps it is
    /// not.
    fn stop(&mut self) -> bool {
        self.waited = true;
        if self.parting == Parting::GoesOn {
            for stream in &mut self.streams {
                stream.pipe = None;
            }
            return self.waiter.reap().is_some();
        }
        let start = Instant::now();
        let too_long = || start.elapsed() > 3 * ANSWERS_WITHIN;
        waiter::stop(&mut self.waiter) || self.outputs_are_closed(&mut vec![0; CHUNK], too_long)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.waited {
            self.stop();
        }
    }
}

/// What a program gets that is to read nothing, or to write where nobody reads.
pub(super) fn null() -> std::io::Result<OwnedFd> {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    Ok(file.into())
}

/// The error where nobody has said how a program ended: success would be a guess.
pub(super) fn unclear(program: &str, now: &str) -> Error {
    let why = format!("nobody knows how {program} ended: what waited for it was killed; {now}");
    Error::new(ErrorKind::Io, why)
}

/// One pipe from the child and the end of what came out of it.
struct Stream {
    pipe: Option<std::fs::File>,
    kept: Vec<u8>,
}

impl Stream {
    fn new(pipe: OwnedFd) -> rustix::io::Result<Self> {
        rustix::io::ioctl_fionbio(pipe.as_fd(), true)?;
        Ok(Self {
            pipe: Some(pipe.into()),
            kept: Vec::new(),
        })
    }

    /// Reads what is there, one chunk at most; `false`: nothing is.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        let Some(pipe) = &mut self.pipe else {
            return false;
        };
        match pipe.read(buffer) {
            Ok(0) => {
                self.pipe = None;
                false
            }
            Ok(length) => {
                self.keep(&buffer[..length]);
                true
            }
            Err(error) => {
                let again = [
                    std::io::ErrorKind::WouldBlock,
                    std::io::ErrorKind::Interrupted,
                ];
                if !again.contains(&error.kind()) {
                    self.pipe = None;
                }
                false
            }
        }
    }

    /// Reads what the pipe still holds. Bounded: something that left the group may write for ever.
    fn drain(&mut self, buffer: &mut [u8]) {
        for _ in 0..LAST_CHUNKS {
            if !self.read(buffer) {
                break;
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        let excess = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..excess);
    }
}
