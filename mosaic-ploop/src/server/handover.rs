// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages of text and descriptors between processes, over a socket that keeps messages apart.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use mosaic_core::{Context as _, Host};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Longest text of a message, bytes.
pub const MOST: usize = 4096;
/// Most descriptors of a message: the kernel's limit, and more than a disk has images.
///
/// Kernel: `SCM_MAX_FD` in include/net/scm.h.
const DESCRIPTORS: usize = 253;
/// How often it is looked whether the user wants to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Two ends of a socket.
///
/// # Errors
/// The kernel's.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// Sends a message. Text that is too long is cut off.
///
/// # Errors
/// `EPIPE` if nobody is at the other end; the kernel's.
pub fn send(socket: impl AsFd, text: &str, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut end = text.len().min(MOST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::TOOBIG);
    }
    let part = IoSlice::new(&text.as_bytes()[..end]);
    rustix::io::retry_on_intr(|| {
        sendmsg(&socket, &[part], &mut beside, SendFlags::NOSIGNAL).map(drop)
    })
}

/// Waits for a message; `None`: nobody is at the other end any more.
///
/// # Errors
/// `EPROTO` for one that is not text; the kernel's.
pub fn receive(socket: impl AsFd) -> Result<Option<(String, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MOST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        recvmsg(&socket, &mut parts, &mut beside, RecvFlags::CMSG_CLOEXEC)
    });
    let length = match received {
        Err(Errno::CONNRESET) => 0,
        received => received?.bytes,
    };
    let messages = beside.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds: Vec<OwnedFd> = messages.flatten().collect();
    if length == 0 {
        return Ok(None);
    }
    bytes.truncate(length);
    let text = String::from_utf8(bytes).map_err(|_| Errno::PROTO)?;
    Ok(Some((text, fds)))
}

/// Waits until there is something to be read, or the other end has gone.
///
/// # Errors
/// `Interrupted`; the kernel's.
pub fn await_message(host: &Host, socket: impl AsFd) -> mosaic_core::Result<()> {
    while !has_message(host, &socket)? {}
    Ok(())
}

/// The same, for a moment: whether there is something, or nobody any more.
///
/// # Errors
/// `Interrupted`; the kernel's.
pub fn has_message(host: &Host, socket: impl AsFd) -> mosaic_core::Result<bool> {
    host.check_cancelled()?;
    let mut ready = [PollFd::new(&socket, PollFlags::IN)];
    let moment = Timespec::try_from(LOOK).ok();
    match poll(&mut ready, moment.as_ref()) {
        Ok(ready) => Ok(ready != 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno).context(|| "cannot wait for the block server".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_descriptors_arrive_together_and_an_end_is_seen() {
        let (one, other) = pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        send(&one, "take this", &[file.as_fd(), file.as_fd()]).unwrap();
        send(&one, &"ä".repeat(MOST), &[]).unwrap();
        drop(one);
        let (text, fds) = receive(&other).unwrap().unwrap();
        assert_eq!((text.as_str(), fds.len()), ("take this", 2));
        let (text, fds) = receive(&other).unwrap().unwrap();
        assert_eq!((text.len(), fds.len()), (MOST, 0));
        assert!(receive(&other).unwrap().is_none());
        assert_eq!(send(&other, "gone", &[]), Err(Errno::PIPE));
    }
}
