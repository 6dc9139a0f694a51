// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a server is told while it serves: a socket in the location's private folder.
//!
//! The socket's file says nothing by itself: whether there is a server is whether it answers. The
//! folder may belong to a user whom we do not trust, as the location does: so both ends look at who
//! the other one is, no link is followed to a socket, and each command says of which disk it speaks.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use mosaic_core::command::fd_path;
use mosaic_core::{Context, Error, ErrorKind, Host, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
    sockopt,
};
use rustix::process::geteuid;

use super::handover;
use crate::attachment::VolumeId;
use crate::format::guid::Guid;
use crate::format::units::Sectors;

/// With what an answer begins if it went well; what is asked for follows.
pub const OK: &str = "ok";
/// What is answered to a question.
pub const YES: &str = "yes";
/// The other answer to a question.
pub const NO: &str = "no";
/// With what an answer begins if it did not; kind and reason follow.
const FAILED: &str = "error";
/// Callers that may wait to be heard.
const BACKLOG: i32 = 16;
/// How long a server may let a caller wait before it picks up.
const RINGING: Duration = Duration::from_secs(2);

/// What a server can do besides serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Freeze what is there as a snapshot of this name. The answer is the snapshot's, which is an
    /// older one if nothing was written since.
    Freeze(Guid),
    /// Become larger.
    Grow(Sectors),
    /// Say whether the disk is not written any more, since something has failed for good: [`YES`] or
    /// [`NO`].
    IsBroken,
    /// Nothing: to be there is the answer.
    Ping,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Freeze(guid) => write!(f, "freeze {guid}"),
            Self::Grow(size) => write!(f, "grow {}", size.0),
            Self::IsBroken => write!(f, "is-broken"),
            Self::Ping => write!(f, "ping"),
        }
    }
}

impl FromStr for Command {
    type Err = Errno;

    fn from_str(text: &str) -> Result<Self, Errno> {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        Ok(match verb {
            "freeze" => Self::Freeze(rest.parse().map_err(|_| Errno::PROTO)?),
            "grow" => Self::Grow(Sectors(rest.parse().map_err(|_| Errno::PROTO)?)),
            "is-broken" => Self::IsBroken,
            "ping" => Self::Ping,
            _ => return Err(Errno::PROTO),
        })
    }
}

/// A command as it is sent: of which disk it speaks, and what is to be done.
pub fn request(id: VolumeId, command: Command) -> String {
    format!("{} {command}", id.numbers())
}

/// What a request to the server of a disk asks for.
///
/// # Errors
/// `Invalid` if it speaks of another disk; `Unsupported` if it is none that is known here.
pub fn requested(text: &str, id: VolumeId) -> Result<Command> {
    let (of, command) = text.split_once(' ').unwrap_or((text, ""));
    if of != id.numbers() {
        let why = "this block server has another disk than the one that is spoken of";
        return Err(Error::new(ErrorKind::Invalid, why));
    }
    command.parse().map_err(|_| {
        let why = format!("this block server does not know {command:?}");
        Error::new(ErrorKind::Unsupported, why)
    })
}

/// The answer for something that went well.
pub fn success(text: &str) -> String {
    format!("{OK} {text}")
}

/// The answer for something that did not.
pub fn refusal(error: &Error) -> String {
    format!("{FAILED} {} {}", error.kind().exit_status(), error.chain())
}

/// What an answer says.
///
/// # Errors
/// What the server says; `Io` for an answer that makes no sense.
pub fn understand(answer: &str) -> Result<String> {
    let (verdict, rest) = answer.split_once(' ').unwrap_or((answer, ""));
    if verdict == OK {
        return Ok(rest.to_owned());
    }
    let refused = || {
        let (kind, why) = rest.split_once(' ')?;
        let kind = ErrorKind::from_status(kind.parse().ok()?);
        (verdict == FAILED).then(|| Error::new(kind, why))
    };
    Err(refused().unwrap_or_else(|| {
        Error::new(
            ErrorKind::Io,
            format!("the block server says {answer:?}, which is nothing it should say"),
        )
    }))
}

/// A socket to be called at.
#[derive(Debug)]
pub struct Socket {
    folder: OwnedFd,
    name: String,
    listener: OwnedFd,
}

impl Socket {
    /// Makes the socket, in the place of one at which nobody listens any more.
    ///
    /// # Errors
    /// `Busy` if somebody listens there; the kernel's.
    pub fn bind(folder: OwnedFd, name: &str) -> Result<Self> {
        if call(&folder, name)?.is_some() {
            return Err(Error::new(
                ErrorKind::Busy,
                "in use: a block server has it, which has not ended yet",
            ));
        }
        let failed = || format!("cannot make the socket {name:?}");
        forget(&folder, name).context(failed)?;
        let made = || -> rustix::io::Result<OwnedFd> {
            let listener = open()?;
            let before = rustix::process::umask(Mode::RWXG | Mode::RWXO);
            let bound = bind(&listener, &address(folder.as_fd(), name)?);
            rustix::process::umask(before);
            bound?;
            listen(&listener, BACKLOG)?;
            Ok(listener)
        };
        let listener = made().context(failed)?;
        Ok(Self {
            folder,
            name: name.to_owned(),
            listener,
        })
    }

    /// Its descriptor.
    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Takes it away.
    pub fn remove(self) {
        // What stays says nothing by itself.
        let _ = forget(&self.folder, &self.name);
    }
}

/// Removes the file of a socket at which nobody listens.
///
/// # Errors
/// The kernel's.
pub fn forget(folder: impl AsFd, name: &str) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Calls whoever listens; `None`: nobody. What is no socket, or a link to one, is nobody.
///
/// # Errors
/// `Permission` if it is somebody else's; `Busy` if he lets everybody wait; the kernel's.
pub fn call(folder: impl AsFd, name: &str) -> Result<Option<OwnedFd>> {
    let called = || -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = rustix::fs::openat(&folder, name, flags, Mode::empty())?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
        if kind != FileType::Socket {
            return Err(Errno::NOENT);
        }
        let socket = open()?;
        // For calling, too: unix(7) has a caller wait where too many do already.
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(RINGING))?;
        let address = SocketAddrUnix::new(fd_path(found.as_fd()))?;
        let start = Instant::now();
        loop {
            match connect(&socket, &address) {
                // Somebody's signal: it is called again, but for no longer than that.
                Err(Errno::INTR) if start.elapsed() < RINGING => {}
                Err(Errno::INTR) => return Err(Errno::AGAIN),
                other => return other.map(|()| socket),
            }
        }
    };
    match called() {
        Ok(socket) if is_same_user(&socket) => Ok(Some(socket)),
        Ok(_) => Err(Error::new(
            ErrorKind::Permission,
            format!("the block server at {name:?} is another user's"),
        )),
        Err(Errno::NOENT | Errno::CONNREFUSED | Errno::CONNRESET) => Ok(None),
        Err(Errno::AGAIN) => Err(Error::new(
            ErrorKind::Busy,
            "in use: its block server is there and answers nobody",
        )),
        Err(errno) => Err(Error::io(errno, "cannot call the block server")),
    }
}

/// Asks for something and waits for the answer; `None`: whoever was called has gone.
///
/// # Errors
/// What the server says; `Interrupted`: it may still do it; the kernel's.
pub fn ask(
    host: &Host,
    socket: &OwnedFd,
    id: VolumeId,
    command: Command,
) -> Result<Option<String>> {
    let failed = || "cannot talk to the block server".into();
    match handover::send(socket, &request(id, command), &[]) {
        Err(Errno::PIPE | Errno::CONNRESET) => return Ok(None),
        other => other.context(failed)?,
    }
    handover::await_message(host, socket)?;
    match handover::receive(socket).context(failed)? {
        Some((answer, _)) => understand(&answer).map(Some),
        None => Ok(None),
    }
}

/// Whether the process at the other end is of this user.
pub fn is_same_user(socket: impl AsFd) -> bool {
    sockopt::socket_peercred(socket).is_ok_and(|peer| peer.uid == geteuid())
}

fn open() -> rustix::io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    socket_with(family, kind, SocketFlags::CLOEXEC, None)
}

/// By the folder's descriptor, however long its path is.
fn address(folder: BorrowedFd<'_>, name: &str) -> rustix::io::Result<SocketAddrUnix> {
    let path: PathBuf = fd_path(folder).join(name);
    SocketAddrUnix::new(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_answers_survive_the_way() {
        let guid: Guid = "{11111111-1111-1111-1111-111111111111}".parse().unwrap();
        for command in [
            Command::Freeze(guid),
            Command::Grow(Sectors(u64::MAX)),
            Command::IsBroken,
            Command::Ping,
        ] {
            assert_eq!(command.to_string().parse(), Ok(command));
            let [this, other] = ["/", "/proc"].map(|path| {
                let folder = std::fs::File::open(path).unwrap();
                VolumeId::of(&folder).unwrap()
            });
            assert_eq!(requested(&request(this, command), this).unwrap(), command);
            let error = requested(&request(this, command), other).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
        for wrong in ["", "freeze", "freeze x", "grow -1", "stop"] {
            assert_eq!(wrong.parse::<Command>(), Err(Errno::PROTO), "{wrong}");
        }
        assert_eq!(understand(&success("a b")).unwrap(), "a b");
        let busy = Error::new(ErrorKind::Busy, "in use: by me");
        let error = understand(&refusal(&busy)).unwrap_err();
        assert_eq!(
            (error.kind(), error.chain()),
            (ErrorKind::Busy, busy.chain())
        );
        assert_eq!(understand("").unwrap_err().kind(), ErrorKind::Io);
    }

    #[test]
    fn a_socket_is_called_while_somebody_listens_and_replaced_when_nobody_does() {
        let folder = tempfile::tempdir().unwrap();
        let open = || OwnedFd::from(std::fs::File::open(folder.path()).unwrap());
        let name = "socket";
        assert!(call(open(), name).unwrap().is_none());
        let socket = Socket::bind(open(), name).unwrap();
        assert!(call(open(), name).unwrap().is_some());
        let again = Socket::bind(open(), name).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Busy);
        // As if it were killed.
        drop(socket);
        assert!(call(open(), name).unwrap().is_none());
        Socket::bind(open(), name).unwrap().remove();
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn a_link_leads_to_nobody_and_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let open = || OwnedFd::from(std::fs::File::open(folder.path()).unwrap());
        let other = Socket::bind(open(), "other").unwrap();
        std::os::unix::fs::symlink("other", folder.path().join("link")).unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        for name in ["link", "file"] {
            assert!(call(open(), name).unwrap().is_none(), "{name}");
            let socket = Socket::bind(open(), name).unwrap();
            assert!(call(open(), name).unwrap().is_some(), "{name}");
            socket.remove();
        }
        assert!(call(open(), "other").unwrap().is_some());
        other.remove();
    }

    #[test]
    fn who_answers_nobody_is_not_waited_for_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let open = || OwnedFd::from(std::fs::File::open(folder.path()).unwrap());
        let _silent = Socket::bind(open(), "socket").unwrap();
        let mut callers = Vec::new();
        let refused = loop {
            match call(open(), "socket") {
                Ok(caller) => callers.push(caller.unwrap()),
                Err(error) => break error,
            }
            assert!(callers.len() < 100);
        };
        assert_eq!(refused.kind(), ErrorKind::Busy);
    }
}
