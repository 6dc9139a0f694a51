// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of a program when we end before it.

use rustix::process::Signal;

use crate::ioctl::spawn::Manner;

/// What becomes of the program when the thread that started it ends, and of what it has started
/// when it ends itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parting {
    /// It is killed; so is what it leaves behind.
    Dies,
    /// It goes on to its end. Neither a write to a pipe that nobody reads any more kills it, nor
    /// what a service that is stopped, or a terminal that is closed, sends to it or its waiter:
    /// SIGTERM, SIGHUP and SIGINT, unless it has a handler of its own. What it leaves behind is
    /// killed.
    GoesOn,
    /// It goes on, and so does what it leaves behind. Until it has ended it can be stopped.
    Leaves,
}

impl Parting {
    /// What is done for it.
    pub(super) fn manner(self) -> Manner {
        Manner {
            dies_with_us: self == Self::Dies,
            can_be_stopped: self != Self::GoesOn,
            takes_group_along: self != Self::Leaves,
            ignored: match self {
                Self::Dies => &[],
                Self::GoesOn => &[Signal::PIPE, Signal::TERM, Signal::HUP, Signal::INT],
                Self::Leaves => &[Signal::PIPE],
            },
        }
    }
}
