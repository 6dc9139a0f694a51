// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever ends a long task, nothing that it started goes on: no test, no virtual machine.
//!
//! The process that was called starts a second one, the guard, and that one a third, which does the
//! work. The guard is told when the first one dies, of whatever, and what loses its parent below the
//! guard becomes its child: so it finds and kills all of it, and outlives it.

use std::os::unix::process::{CommandExt, ExitStatusExt, parent_id};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::prctl::{set_child_subreaper, set_pdeathsig};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

/// Says to a process of ours what it is.
const ROLE: &str = "MOSAIC_XTASK_ROLE";
const WORKER: &str = "worker";
/// How long the worker may clean up after a signal.
const GRACE: Duration = Duration::from_secs(10);

/// Goes on in a guarded process and gives its exit status, or says to this one to do the work.
///
/// # Errors
/// No process can be started.
pub fn guarded() -> Result<Option<ExitCode>> {
    let role = std::env::var(ROLE).unwrap_or_default();
    if role == WORKER {
        // The others wait for them.
        signals().thread_unblock()?;
        return Ok(None);
    }
    let status = match role.parse() {
        Ok(caller) => guard(caller)?,
        Err(_) => call()?,
    };
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(Some(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))))
}

/// What asks a process to end.
fn signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect()
}

/// The process that was called: passes signals on.
fn call() -> Result<ExitStatus> {
    signals().thread_block()?;
    let mut guard = start(&std::process::id().to_string())?;
    pass_on(&guard, None)?;
    Ok(guard.wait()?)
}

/// The process in the middle.
fn guard(caller: u32) -> Result<ExitStatus> {
    signals().thread_block()?;
    set_child_subreaper(true)?;
    set_pdeathsig(Signal::SIGTERM)?;
    if parent_id() != caller {
        // It died before it could be said.
        return Ok(ExitStatus::from_raw(Signal::SIGTERM as i32));
    }
    let worker = start(WORKER)?;
    let told = pass_on(&worker, Some(GRACE))?;
    let status = await_end(&worker)?;
    if told.load(Ordering::SeqCst) {
        mosaic_tests::kill_descendants(std::process::id());
        let nobody = Some(WaitPidFlag::WNOHANG);
        while waitpid(None, nobody).is_ok_and(|status| status != WaitStatus::StillAlive) {}
        // What they had for themselves.
        mosaic_tests::vm::sweep()?;
    }
    Ok(status)
}

fn start(role: &str) -> Result<Child> {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    Command::new(std::env::current_exe()?)
        .arg0(name)
        .args(words)
        .env(ROLE, role)
        .spawn()
        .context("cannot start a process to do the work")
}

/// Passes signals on to a child from now on. If it has not ended so long after the first, it is
/// killed. Gives whether there was one.
fn pass_on(child: &Child, grace: Option<Duration>) -> Result<Arc<AtomicBool>> {
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let told = Arc::new(AtomicBool::new(false));
    let tell = told.clone();
    std::thread::spawn(move || {
        while let Ok(signal) = signals().wait() {
            if !tell.swap(true, Ordering::SeqCst)
                && let Some(grace) = grace
                && let Ok(process) = process.try_clone()
            {
                std::thread::spawn(move || {
                    std::thread::sleep(grace);
                    // It has ended as a rule.
                    let _ = pidfd_send_signal(&process, rustix::process::Signal::KILL);
                });
            }
            let signal = match signal {
                Signal::SIGINT => rustix::process::Signal::INT,
                Signal::SIGHUP => rustix::process::Signal::HUP,
                _ => rustix::process::Signal::TERM,
            };
            let _ = pidfd_send_signal(&process, signal);
        }
    });
    Ok(told)
}

/// Waits for a child, and for what has become one meanwhile.
fn await_end(child: &Child) -> Result<ExitStatus> {
    let is_it = |pid: nix::unistd::Pid| u32::try_from(pid.as_raw()) == Ok(child.id());
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if is_it(pid) => {
                return Ok(ExitStatus::from_raw(code << 8));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if is_it(pid) => {
                return Ok(ExitStatus::from_raw(signal as i32));
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
