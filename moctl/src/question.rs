// SPDX-License-Identifier: MIT OR Apache-2.0
//! Questions to the user, on a terminal.

use std::io::{IsTerminal, Write};

use mosaic_core::{Context, Error, ErrorKind, Result, Services};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// How long a wish to stop may take that came just before the wait for an answer.
const LOOK_AGAIN: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Whether somebody is there to be asked: what is shown and what is typed goes through a terminal.
pub fn is_possible() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks; everything but `y` and `yes` is a no, the end of the input too.
///
/// # Errors
/// `Interrupted` if the user wants to stop; the kernel's.
pub fn ask(services: &dyn Services, text: &str) -> Result<bool> {
    let failed = || "cannot ask on the terminal".to_owned();
    let mut stderr = std::io::stderr();
    write!(stderr, "{text} [y/N] ").context(failed)?;
    let answer = read_line(services)?;
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}

/// A line of standard input, read byte by byte: what comes after it is the next reader's.
fn read_line(services: &dyn Services) -> Result<String> {
    let failed = || "cannot read the answer".to_owned();
    let stdin = std::io::stdin();
    let mut line = Vec::new();
    loop {
        if services.cancelled() {
            // Behind the question, and the letters that the terminal shows for Ctrl-C.
            let _ = std::io::stderr().write_all(b"\n");
            return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
        }
        match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&LOOK_AGAIN)) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(Error::io(errno, failed())),
        }
        let mut byte = [0];
        match rustix::io::read(&stdin, &mut byte) {
            Ok(0) => break,
            Ok(_) if byte == [b'\n'] => break,
            Ok(_) => line.extend(byte),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(Error::io(errno, failed())),
        }
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}
