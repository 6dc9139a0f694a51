// SPDX-License-Identifier: MIT OR Apache-2.0
//! Manners in a process that is not ours: what our threads and descriptors keep away from.

use nix::sys::signal::{SigSet, SigmaskHow};
#[cfg(feature = "host")]
use {crate::ioctl::pending, nix::sys::signal::Signal};

/// Starts threads of ours, which leave all signals to the others of this process: the handlers of the
/// program around us are written for threads with its own umask and mount namespace, and what we wait
/// for in a thread of its own is not to be interrupted. A thread has the mask of the one that starts it
/// (pthread_create(3)).
pub fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    // The kernel takes any set.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    let started = start();
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
    started
}

/// Runs what needs up to [`STACK`] of stack: where the calling thread has not that much, or nobody knows,
/// in a thread of ours. Only there, since that thread may need the dynamic linker's lock, which who calls
/// has in the constructor of a library that is being loaded.
///
/// # Errors
/// No thread can be started.
#[cfg(feature = "host")]
pub(crate) fn with_stack<T: Send>(run: impl FnOnce() -> T + Send) -> crate::error::Result<T> {
    use std::thread;

    use crate::error::Context;

    if crate::ioctl::stack::left().is_some_and(|left| left >= STACK) {
        return Ok(run());
    }
    thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(2 * STACK);
        let thread = without_signals(|| builder.spawn_scoped(scope, run));
        let thread = thread.context(|| "cannot start a thread".to_owned())?;
        // A panic goes on where it would have without the thread.
        Ok(thread
            .join()
            .unwrap_or_else(|why| std::panic::resume_unwind(why)))
    })
}

/// What is enough of a stack for all that [`with_stack`] runs.
#[cfg(feature = "host")]
const STACK: usize = 1 << 20;

/// Makes a call in which a file that would become longer than `RLIMIT_FSIZE` is an error, `EFBIG`.
///
/// The kernel sends SIGXFSZ besides, to the thread that wanted it, by ftruncate(2), write(2),
/// fallocate(2), copy_file_range(2) and a reflink alike, and nobody who has not asked for it survives
/// that (setrlimit(2); `inode_newsize_ok()` and `generic_write_check_limits()` in Linux). It waits in
/// this thread, and in those that the call starts, until the call is over, and is taken then. So is one
/// that somebody else sends meanwhile, if all threads of the process have it wait. One that waited
/// before waits on.
///
/// Programs that the call runs get the signal as at login.
#[cfg(feature = "host")]
pub fn without_size_signal<T>(call: impl FnOnce() -> T) -> T {
    let _waits = SizeSignalWaits::begin();
    call()
}

/// SIGXFSZ waits until this is dropped.
#[cfg(feature = "host")]
#[derive(Debug)]
struct SizeSignalWaits {
    /// What waited before.
    before: Option<SigSet>,
    /// It is not ours to take.
    was_pending: bool,
}

#[cfg(feature = "host")]
impl SizeSignalWaits {
    fn begin() -> Self {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGXFSZ);
        // The kernel takes any set.
        let before = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK).ok();
        // Where it was not blocked it has come.
        let was_blocked = before.is_some_and(|before| before.contains(Signal::SIGXFSZ));
        Self {
            before,
            was_pending: was_blocked && pending::is_pending(Signal::SIGXFSZ),
        }
    }
}

#[cfg(feature = "host")]
impl Drop for SizeSignalWaits {
    fn drop(&mut self) {
        let Some(before) = self.before else { return };
        if !self.was_pending {
            pending::take(Signal::SIGXFSZ);
        }
        let _ = before.thread_set_mask();
    }
}

/// Sees to it that no descriptor that is opened from now on gets a number from 0 to 2.
///
/// Where a program has closed them, an image of ours could: whatever the program then prints would go
/// into it. The free ones get a descriptor that can neither be read nor written, belongs to no file
/// system, and goes with exec. It stays, since by the time that it could be closed the number may be
/// the program's.
#[cfg(feature = "host")]
pub(crate) fn keep_off_standard_streams() -> crate::error::Result<()> {
    use std::os::fd::{AsRawFd, IntoRawFd};

    use crate::error::Context;
    use rustix::event::epoll;

    loop {
        let placeholder = epoll::create(epoll::CreateFlags::CLOEXEC)
            .context(|| "cannot open another descriptor".to_owned())?;
        if placeholder.as_raw_fd() > 2 {
            return Ok(());
        }
        let _ = placeholder.into_raw_fd();
    }
}

#[cfg(all(test, feature = "host"))]
mod tests {
    use std::os::fd::AsRawFd;

    use nix::unistd::{close, dup, dup2_stderr, dup2_stdin, dup2_stdout};

    use super::*;

    /// Set for the copy of this test program in which the descriptors are closed.
    const VICTIM: &str = "MOSAIC_TEST_VICTIM";

    #[test]
    fn nothing_of_ours_is_where_standard_streams_were() {
        if std::env::var_os(VICTIM).is_none() {
            let name = "foreign::tests::nothing_of_ours_is_where_standard_streams_were";
            let ended = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--nocapture"])
                .env(VICTIM, "yes")
                .output()
                .unwrap();
            assert_eq!(ended.status.code(), Some(77), "{ended:?}");
            return;
        }
        let kept = [
            dup(std::io::stdin()).unwrap(),
            dup(std::io::stdout()).unwrap(),
            dup(std::io::stderr()).unwrap(),
        ];
        (0..3).for_each(|fd| close(fd).unwrap());
        let kept_off = keep_off_standard_streams();
        let file = std::fs::File::open("/proc/self/exe").map(|file| file.as_raw_fd());
        let printed = nix::unistd::write(std::io::stdout(), b"lost");
        let read = nix::unistd::read(std::io::stdin(), &mut [0; 8]);
        dup2_stdin(&kept[0]).unwrap();
        dup2_stdout(&kept[1]).unwrap();
        dup2_stderr(&kept[2]).unwrap();
        kept_off.unwrap();
        assert!(file.unwrap() > 2);
        assert!(printed.is_err() && read.is_err());
        keep_off_standard_streams().unwrap();
        std::process::exit(77);
    }

    #[test]
    fn another_thread_is_taken_only_where_there_is_little_stack() {
        let elsewhere = |stack| {
            let ask = || {
                let here = std::thread::current().id();
                with_stack(|| std::thread::current().id()).unwrap() != here
            };
            let thread = std::thread::Builder::new().stack_size(stack).spawn(ask);
            thread.unwrap().join().unwrap()
        };
        // A thread may get the stack of one that has ended, of up to four times that size.
        assert!(elsewhere(STACK / 8));
        assert!(!elsewhere(2 * STACK));
    }

    #[test]
    fn the_signal_of_a_file_that_is_too_long_is_taken_back() {
        // To this thread, raise(3).
        let send = || nix::sys::signal::raise(Signal::SIGXFSZ);
        let waits = || SigSet::thread_get_mask().unwrap().contains(Signal::SIGXFSZ);
        assert!(!waits());
        without_size_signal(|| {
            without_size_signal(|| send().unwrap());
            assert!(waits() && !pending::is_pending(Signal::SIGXFSZ));
            send().unwrap();
        });
        // Else this would end us.
        assert!(!waits());
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGXFSZ);
        signals.thread_block().unwrap();
        without_size_signal(|| send().unwrap());
        assert!(waits() && !pending::is_pending(Signal::SIGXFSZ));
        send().unwrap();
        without_size_signal(|| send().unwrap());
        assert!(waits() && pending::is_pending(Signal::SIGXFSZ));
        pending::take(Signal::SIGXFSZ);
        signals.thread_unblock().unwrap();
    }

    #[test]
    fn a_thread_that_is_started_without_signals_gets_none() {
        let mine = without_signals(|| std::thread::spawn(|| SigSet::thread_get_mask().unwrap()));
        let mine = mine.join().unwrap();
        for signal in [Signal::SIGTERM, Signal::SIGALRM, Signal::SIGURG] {
            assert!(mine.contains(signal), "{signal}");
        }
        assert!(!SigSet::thread_get_mask().unwrap().contains(Signal::SIGTERM));
    }
}
