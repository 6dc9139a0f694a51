// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who only looks at a disk gives way to whoever wants it for himself.
//!
//! A program that reads an image keeps the kernel from granting a lease on it ([`crate::claim`]). A
//! check reads for long, takes no lock, and nobody should fail because of it: so it marks what it
//! has open, asks before each read whether somebody waits, and stops if so. Both are read locks on a
//! byte far beyond any image's end, which belong to the open file and go with it.
//!
//! fcntl(2), "Open file description locks", Linux 3.15.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use crate::locks::{lock_of, short};

/// Who waits for an image has this byte. Markers of loop devices begin at twice that.
const WANTED: i64 = 1 << 61;
/// Who looks at an image and would stop has this one.
const LOOKED_AT: i64 = WANTED + 1;

/// Says that somebody wants the image for himself, as long as this is open.
///
/// # Errors
/// The kernel's.
pub fn want(image: impl AsFd) -> io::Result<()> {
    mark(image, WANTED)
}

/// Whether somebody else wants the image for himself.
///
/// # Errors
/// The kernel's.
pub fn is_wanted(image: impl AsFd) -> io::Result<bool> {
    is_marked(image, WANTED)
}

/// Says that the image is only looked at, as long as this is open.
///
/// # Errors
/// The kernel's.
pub fn look(image: impl AsFd) -> io::Result<()> {
    mark(image, LOOKED_AT)
}

/// Whether somebody else looks at it, who will stop if it is wanted.
///
/// # Errors
/// The kernel's.
pub fn is_looked_at(image: impl AsFd) -> io::Result<bool> {
    is_marked(image, LOOKED_AT)
}

fn mark(image: impl AsFd, byte: i64) -> io::Result<()> {
    let lock = lock_of(short::READ, (byte, 1));
    match fcntl(image, FcntlArg::F_OFD_SETLK(&lock)) {
        // Somebody's write lock over all of the file: then the leases alone say who has it.
        Ok(_) | Err(Errno::EAGAIN | Errno::EACCES) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn is_marked(image: impl AsFd, byte: i64) -> io::Result<bool> {
    let mut lock = lock_of(short::WRITE, (byte, 1));
    fcntl(image, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(lock.l_type == short::READ)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_see_each_other_and_not_themselves() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let [looks, wants] = [(); 2].map(|()| image.reopen().unwrap());
        assert!(!is_wanted(&looks).unwrap() && !is_looked_at(&wants).unwrap());
        look(&looks).unwrap();
        want(&wants).unwrap();
        assert!(is_wanted(&looks).unwrap() && is_looked_at(&wants).unwrap());
        assert!(!is_wanted(&wants).unwrap() && !is_looked_at(&looks).unwrap());
        drop(wants);
        assert!(!is_wanted(&looks).unwrap());
    }
}
