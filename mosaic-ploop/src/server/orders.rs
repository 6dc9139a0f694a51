// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a keeper gives to a worker when it starts it: one message, in which a word stands for each
//! descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, Result};

use super::{Opening, handover};

/// Which worker it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The first one: it finds the disk as somebody left it.
    First,
    /// One that follows a worker that was killed: requests are unanswered.
    Next,
}

/// The orders, with descriptors of the sender or the receiver.
#[derive(Debug)]
pub struct Orders<F> {
    /// How to open the disk.
    pub opening: Opening,
    /// Which worker it is.
    pub turn: Turn,
    /// `/dev/fuse`, where requests come from.
    pub connection: F,
    /// The disk's folder.
    pub folder: F,
    /// What an earlier worker noted, and this one notes.
    pub ledger: F,
    /// Where callers come to, if they can.
    pub listener: Option<F>,
    /// The lock of libploop up to 7, if there is one: held to the end of both.
    pub lock: Option<F>,
    /// The images' files with the locks that an earlier worker had.
    pub images: Vec<F>,
}

const FIRST: &str = "first";
const NEXT: &str = "next";
const CONNECTION: &str = "connection";
const FOLDER: &str = "folder";
const LEDGER: &str = "ledger";
const LISTENER: &str = "listener";
const LOCK: &str = "lock";
const IMAGE: &str = "image";

impl Orders<BorrowedFd<'_>> {
    /// Sends them.
    ///
    /// # Errors
    /// As [`handover::send`].
    pub fn send(&self, socket: impl AsFd) -> Result<()> {
        let turn = match self.turn {
            Turn::First => FIRST,
            Turn::Next => NEXT,
        };
        let opening = self.opening.to_string();
        let mut words = vec![opening.as_str(), turn];
        let mut fds = Vec::new();
        let needed = [
            (CONNECTION, Some(self.connection)),
            (FOLDER, Some(self.folder)),
            (LEDGER, Some(self.ledger)),
            (LISTENER, self.listener),
            (LOCK, self.lock),
        ];
        for (word, fd) in needed {
            words.extend(fd.map(|_| word));
            fds.extend(fd);
        }
        words.extend(self.images.iter().map(|_| IMAGE));
        fds.extend(&self.images);
        handover::send(socket, &words.join(" "), &fds)
    }
}

impl Orders<OwnedFd> {
    /// Waits for them; `None`: nobody is at the other end any more.
    ///
    /// # Errors
    /// `EPROTO` for a message that is none; as [`handover::receive`].
    pub fn receive(socket: impl AsFd) -> Result<Option<Self>> {
        let Some((text, fds)) = handover::receive(socket)? else {
            return Ok(None);
        };
        Self::understand(&text, fds).ok_or(Errno::PROTO).map(Some)
    }

    fn understand(text: &str, fds: Vec<OwnedFd>) -> Option<Self> {
        let mut words = text.split(' ');
        let opening = words.next()?.parse().ok()?;
        let turn = match words.next()? {
            FIRST => Turn::First,
            NEXT => Turn::Next,
            _ => return None,
        };
        let words: Vec<_> = words.collect();
        if words.len() != fds.len() {
            return None;
        }
        let mut given: Vec<_> = words.into_iter().zip(fds).collect();
        let mut take = |word| {
            let at = given.iter().position(|(given, _)| *given == word)?;
            Some(given.remove(at).1)
        };
        Some(Self {
            opening,
            turn,
            connection: take(CONNECTION)?,
            folder: take(FOLDER)?,
            ledger: take(LEDGER)?,
            listener: take(LISTENER),
            lock: take(LOCK),
            images: std::iter::from_fn(|| take(IMAGE)).collect(),
        })
    }
}
