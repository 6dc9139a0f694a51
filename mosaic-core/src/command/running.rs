// SPDX-License-Identifier: MIT OR Apache-2.0
//! A running child: its output is read while it runs, within bounds, and it never stays behind.
//!
//! One poll waits for its end (a pidfd) and for both pipes; the user's wish to stop is a flag that
//! is looked at in between.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::Child;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::Output;
use crate::error::{Context, Error, ErrorKind, Result};

/// What is kept of each stream, from its end.
const KEPT: usize = 64 * 1024;
/// Read at once: the default size of a pipe (pipe(7)).
const CHUNK: usize = 64 * 1024;
/// How long a wish to stop may stay unheard. Signals end the wait at once.
const LOOK_UP: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// Chunks that are read after the end: what a pipe can hold, even one made larger.
const LAST_CHUNKS: usize = 32;

/// How a program ended.
pub(super) enum End {
    /// By itself.
    Exited(Output),
    /// By a signal that we did not send.
    Signalled(i32, Output),
    /// Because the user asked to stop.
    Cancelled,
}

/// A child in its own process group; dropping it kills the group and waits.
pub(super) struct Running {
    child: Child,
    group: Pid,
    exit: OwnedFd,
    streams: [Stream; 2],
    program: String,
    waited: bool,
}

impl Running {
    /// Takes over a child that was started with both streams piped, in its own process group.
    pub(super) fn new(mut child: Child, program: &str) -> Result<Self> {
        let group = Pid::from_child(&child);
        let exit = match watched(&mut child, group) {
            Ok(parts) => parts,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error.context(format!("cannot watch {program}")));
            }
        };
        let (exit, streams) = exit;
        Ok(Self {
            child,
            group,
            exit,
            streams,
            program: program.to_owned(),
            waited: false,
        })
    }

    /// Waits for its end; `is_cancelled` is asked ten times a second.
    pub(super) fn wait(mut self, is_cancelled: impl Fn() -> bool) -> Result<End> {
        let failed = format!("cannot wait for {}", self.program);
        let mut buffer = vec![0; CHUNK];
        loop {
            if is_cancelled() {
                self.finish().context(|| failed)?;
                return Ok(End::Cancelled);
            }
            if self.step(&mut buffer).context(|| failed.clone())? {
                break;
            }
        }
        let status = self.finish().context(|| failed)?;
        for stream in &mut self.streams {
            stream.drain(&mut buffer);
        }
        let output = Output {
            status: status.code().unwrap_or(-1),
            stdout: std::mem::take(&mut self.streams[0].kept),
            stderr: std::mem::take(&mut self.streams[1].kept),
        };
        Ok(match status.signal() {
            Some(signal) => End::Signalled(signal, output),
            None => End::Exited(output),
        })
    }

    /// Waits for one event; `true`: the child has ended.
    fn step(&mut self, buffer: &mut [u8]) -> rustix::io::Result<bool> {
        let mut polled = vec![PollFd::new(&self.exit, PollFlags::IN)];
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

    /// Kills what is left of the group and reaps the child. The group goes first: its number is
    /// nobody else's only as long as the child is not reaped.
    fn finish(&mut self) -> std::io::Result<std::process::ExitStatus> {
        // ESRCH: nothing is left of it.
        let _ = kill_process_group(self.group, Signal::KILL);
        let status = self.child.wait();
        self.waited = true;
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.waited {
            // Nobody is left to hear of a failure.
            let _ = self.finish();
        }
    }
}

/// The child's pidfd (Linux 5.3; not reaped yet, so the number is its own) and its two streams.
fn watched(child: &mut Child, pid: Pid) -> Result<(OwnedFd, [Stream; 2])> {
    let exit = pidfd_open(pid, PidfdFlags::empty()).context(|| "pidfd_open".to_owned())?;
    let missing = || Error::new(ErrorKind::Io, "the child has no pipe");
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    Ok((
        exit,
        [Stream::new(stdout.into())?, Stream::new(stderr.into())?],
    ))
}

/// One pipe from the child and the end of what came out of it.
struct Stream {
    pipe: Option<std::fs::File>,
    kept: Vec<u8>,
}

impl Stream {
    fn new(pipe: OwnedFd) -> Result<Self> {
        rustix::io::ioctl_fionbio(pipe.as_fd(), true)
            .context(|| "cannot make a pipe non-blocking".to_owned())?;
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
