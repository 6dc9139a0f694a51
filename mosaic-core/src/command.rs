// SPDX-License-Identifier: MIT OR Apache-2.0
//! Running programs: mkfs, fsck and their like, where the kernel has no call for it.
//!
//! No shell ever, no search in the current directory, nothing of our environment, none of our
//! descriptors but those that an argument names ([`fd_path`]). How it ended is known whatever the
//! process around us does with its children (`ioctl::spawn`). A program dies with us unless it is in a
//! step that must not stop half-way ([`Command::to_the_end`]).

mod parting;
mod running;
mod server;
mod waiter;
mod words;

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::error::{Context, Error, ErrorKind, Result};
use crate::host_services::Host;
use crate::ioctl::spawn::Image;
use parting::Parting;
use running::{End, Running};
pub use server::launch_server;
pub(crate) use words::one_line;

/// The system's directories, in the order in which programs are looked for.
pub const PROGRAM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program with its arguments.
#[derive(Debug, Clone)]
pub struct Command {
    program: String,
    arguments: Vec<OsString>,
    accepted: Vec<i32>,
    parting: Parting,
}

/// What a program left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit status: 0 or one that was accepted.
    pub status: i32,
    /// The last 64 KiB of its standard output.
    pub stdout: Vec<u8>,
    /// The last 64 KiB of its standard error.
    pub stderr: Vec<u8>,
}

impl Command {
    /// A program by name, looked for in [`PROGRAM_PATH`] only.
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            accepted: vec![0],
            parting: Parting::Dies,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Further exit statuses, besides 0, that are success.
    #[must_use]
    pub fn accept(mut self, statuses: &[i32]) -> Self {
        self.accepted.extend_from_slice(statuses);
        self
    }

    /// Never stops the program half-way: a wish to stop is not heard while it runs, and it goes on
    /// if we are killed. SIGTERM, SIGHUP and SIGINT, as of a service that is stopped, are ignored
    /// in it unless it handles them itself, as e2fsck(8) does to end in order. For steps on a
    /// volume's only copy that leave damage when they are cut, such as moving blocks for a smaller
    /// size.
    #[must_use]
    pub fn to_the_end(mut self) -> Self {
        self.parting = Parting::GoesOn;
        self
    }

    /// Runs the program and waits for it.
    ///
    /// It gets its arguments, `PATH` and `LC_ALL=C`, an empty standard input, `/` as its directory
    /// and a process group of its own, which is killed when the user asks to stop, and when the
    /// program has ended: nothing it started outlives it.
    ///
    /// # Errors
    /// `Unsupported` if it is not installed, or if this process makes its children in another pid
    /// namespace than its own; `Interrupted`, also where what waited for the program did not answer
    /// for some seconds and was killed; `Io` with its name, status and last
    /// words for a status that is not accepted, or a signal. `Io` as well if nobody knows how it ended,
    /// since what waited for it was killed: the program has then closed both its outputs, as it does
    /// when it ends, or a wish to stop was heard.
    pub fn run(&self, host: &Host) -> Result<Output> {
        let path = find_program(&self.program).ok_or_else(|| not_installed(&self.program))?;
        host.check_cancelled()?;
        host.debug(&self.shown());
        let cannot_run = || format!("cannot run {path:?}");
        let image = self.image(&path).context(cannot_run)?;
        let hears = self.parting == Parting::Dies;
        let run = |memory| {
            let running = Running::start(&image, self.parting, &self.program, memory)?;
            running.wait(|| hears && host.is_cancelled())
        };
        match waiter::twice_at_most(host, &self.program, run)? {
            End::Exited(output) => self.judged(host, output),
            End::Signalled(signal, output) => {
                host.debug(&format!("{} was killed by signal {signal}", self.program));
                Err(self.failed(&format!("was killed by signal {signal}"), &output))
            }
            End::Cancelled(is_gone) => {
                let now = if is_gone {
                    ""
                } else {
                    "; it may still be at work"
                };
                let why = format!("{} was stopped: interrupted{now}", self.program);
                Err(Error::new(ErrorKind::Interrupted, why))
            }
        }
    }

    /// What is executed; a NUL in an argument is refused.
    fn image(&self, path: &Path) -> std::io::Result<Image> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let mut arguments = vec![path.clone()];
        for argument in &self.arguments {
            arguments.push(CString::new(argument.as_bytes())?);
        }
        let environment = [&format!("PATH={PROGRAM_PATH}"), "LC_ALL=C", "HOME=/"];
        let environment = environment.map(CString::new).into_iter();
        Ok(Image {
            path,
            arguments,
            environment: environment.collect::<Result<_, _>>()?,
            descriptors: self.arguments.iter().filter_map(|a| passed_by(a)).collect(),
        })
    }

    fn judged(&self, host: &Host, output: Output) -> Result<Output> {
        host.debug(&format!(
            "{} ended with status {}",
            self.program, output.status
        ));
        if self.accepted.contains(&output.status) {
            return Ok(output);
        }
        Err(self.failed(&format!("failed with status {}", output.status), &output))
    }

    /// The program's last words are on standard error, or else (e2fsck) on standard output.
    fn failed(&self, how: &str, output: &Output) -> Error {
        let words = [&output.stderr, &output.stdout]
            .into_iter()
            .map(|text| words::last_words(text))
            .find(|words| !words.is_empty());
        let message = match words {
            Some(words) => format!("{} {how}: {words}", self.program),
            None => format!("{} {how}", self.program),
        };
        Error::new(ErrorKind::Io, message)
    }

    /// For `-v`: as one could type it, if nothing in it is strange.
    fn shown(&self) -> String {
        let mut line = format!("run {}", self.program);
        for argument in &self.arguments {
            let plain = argument
                .as_encoded_bytes()
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_./=,:+".contains(byte));
            line.push(' ');
            match argument.to_str() {
                Some(text) if plain && !text.is_empty() => line.push_str(text),
                _ => line.push_str(&format!("{argument:?}")),
            }
        }
        line
    }
}

fn not_installed(program: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("program {program:?} is not installed in any of {PROGRAM_PATH}"),
    )
}

/// The path of a program in [`PROGRAM_PATH`]; a name with a slash is none.
pub fn find_program(name: &str) -> Option<PathBuf> {
    if name.is_empty() || name.contains('/') {
        return None;
    }
    PROGRAM_PATH
        .split(':')
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok())
}

/// Where a process has its own descriptors.
const OWN: &str = "/proc/self/fd/";

/// A path by which a program we run opens what our descriptor is open on, also a file without a
/// name: an argument of this form has the program get the descriptor, by the same number.
///
/// Good as long as the descriptor is open here. One of the standard three is another one in the
/// program, which opens ours from outside: only where we are dumpable, or it may trace us
/// (proc_pid_fd(5)). The number of a process is the one that `/proc` shows, which in a container with
/// the host's `/proc` is not getpid's. A path that goes on behind it, into a folder, lends nothing and is
/// not there for the program.
pub fn fd_path(fd: BorrowedFd<'_>) -> PathBuf {
    let fd = fd.as_raw_fd();
    if fd > 2 {
        return PathBuf::from(format!("{OWN}{fd}"));
    }
    let ourselves = std::fs::read_link("/proc/self")
        .unwrap_or_else(|_| PathBuf::from(std::process::id().to_string()));
    Path::new("/proc").join(ourselves).join(format!("fd/{fd}"))
}

/// The descriptor that the program gets for an argument: see [`fd_path`].
fn passed_by(argument: &OsStr) -> Option<RawFd> {
    let fd = argument.to_str()?.strip_prefix(OWN)?.parse().ok()?;
    (fd > 2).then_some(fd)
}

#[cfg(test)]
pub(crate) mod tests;
