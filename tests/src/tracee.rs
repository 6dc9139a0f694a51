// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs a program under ptrace, and kills it at, or fails, any of its system calls.
//!
//! A killed program is the sharpest test of "all or nothing": whatever its last system call was,
//! the next command has to find the state before or after. The tracer knows x86-64 registers.
//!
//! The program starts as a shell that stops itself and then becomes the program, so that it can be
//! seized without any code of ours between fork and exec. ptrace belongs to the calling thread: a
//! whole trace happens in one call. Only this thread's children are waited for
//! (`__WNOTHREAD`, wait(2)), so that tests in other threads keep theirs.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::children::Descendants;
use crate::system_call::SystemCall;

/// `op` of `ptrace_syscall_info` at entry (include/uapi/linux/ptrace.h, Linux 5.3).
const ENTRY: u8 = 1;

/// What to do with a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Let it be.
    Continue,
    /// Kill the program and all its children before it.
    KillBefore,
    /// Kill the program and all its children when it is done.
    KillAfter,
    /// Do not make it; it returns this errno.
    Fail(i32),
}

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// By itself, with this status.
    Exited(i32),
    /// We killed it.
    Killed,
    /// Another signal ended it.
    Signalled(i32),
}

/// The end of a trace.
#[derive(Debug)]
pub struct Traced {
    /// How the program ended.
    pub outcome: Outcome,
    /// How many system calls it made.
    pub calls: usize,
    /// How many were failed on request.
    pub failed: usize,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

/// A program to be traced.
#[derive(Debug)]
pub struct Tracee {
    command: Command,
    options: Options,
}

impl Tracee {
    /// Takes program, arguments, environment and folder of a command; its output is captured.
    pub fn new(command: &Command) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", r#"kill -STOP $$; exec "$0" "$@""#]);
        shell.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        Self {
            command: shell,
            options: Options::PTRACE_O_TRACESYSGOOD
                | Options::PTRACE_O_TRACEEXEC
                | Options::PTRACE_O_TRACECLONE
                | Options::PTRACE_O_EXITKILL,
        }
    }

    /// Looks at the system calls of its children too.
    #[must_use]
    pub fn follow_children(mut self) -> Self {
        self.options |= Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK;
        self
    }

    /// Runs it and kills it, with all children, before its `index`th system call.
    ///
    /// # Errors
    /// The kernel refused to trace.
    pub fn kill_before(self, index: usize) -> Result<Traced> {
        self.run(|call| match call.index == index && !call.is_child {
            true => Action::KillBefore,
            false => Action::Continue,
        })
    }

    /// Runs it and kills it, with all children, when its `index`th system call is done.
    ///
    /// # Errors
    /// The kernel refused to trace.
    pub fn kill_after(self, index: usize) -> Result<Traced> {
        self.run(|call| match call.index == index && !call.is_child {
            true => Action::KillAfter,
            false => Action::Continue,
        })
    }

    /// Runs it; the `nth` system call (from 0) that `matches` is not made and returns `errno`.
    ///
    /// # Errors
    /// The kernel refused to trace.
    pub fn fail(
        self,
        nth: usize,
        errno: i32,
        mut matches: impl FnMut(&SystemCall) -> bool,
    ) -> Result<Traced> {
        let mut seen = 0;
        self.run(|call| {
            if !matches(call) {
                return Action::Continue;
            }
            seen += 1;
            match seen - 1 == nth {
                true => Action::Fail(errno),
                false => Action::Continue,
            }
        })
    }

    /// Runs it and gives its system calls.
    ///
    /// # Errors
    /// The kernel refused to trace; the program failed.
    pub fn record(self) -> Result<Vec<SystemCall>> {
        let mut calls = Vec::new();
        let traced = self.run(|call| {
            calls.push(*call);
            Action::Continue
        })?;
        match traced.outcome {
            Outcome::Exited(0) => Ok(calls),
            other => bail!("the traced program ended with {other:?}: {}", traced.stderr),
        }
    }

    /// Runs it and asks about each system call.
    ///
    /// # Errors
    /// The kernel refused to trace.
    pub fn run(mut self, decide: impl FnMut(&SystemCall) -> Action) -> Result<Traced> {
        let mut stdout = tempfile::tempfile()?;
        let mut stderr = tempfile::tempfile()?;
        let child = self
            .command
            .stdin(Stdio::null())
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?)
            .spawn()
            .context("cannot start the program to be traced")?;
        let main = Pid::from_raw(i32::try_from(child.id())?);
        waitpid(main, Some(WaitPidFlag::WUNTRACED)).context("cannot wait for the shell to stop")?;
        ptrace::seize(main, self.options).context("cannot trace")?;
        kill(main, Signal::SIGCONT)?;
        let mut trace = Trace {
            main,
            threads: vec![main],
            follows: self.options.contains(Options::PTRACE_O_TRACEFORK),
            strangers: Vec::new(),
            started: false,
            pending: Vec::new(),
            calls: 0,
            failed: 0,
            killed: false,
            decide,
        };
        let outcome = trace.follow()?;
        Ok(Traced {
            outcome,
            calls: trace.calls,
            failed: trace.failed,
            stdout: read_all(&mut stdout)?,
            stderr: read_all(&mut stderr)?,
        })
    }
}

/// Whether it is a thread of that process: what has no exit signal looks like one to a tracer (clone(2)).
fn is_thread_of(thread: Pid, process: Pid) -> bool {
    std::path::Path::new(&format!("/proc/{process}/task/{thread}")).exists()
}

fn read_all(file: &mut File) -> Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Trace<F> {
    main: Pid,
    /// The threads of the program itself; all others are children.
    threads: Vec<Pid>,
    /// Its children are traced too.
    follows: bool,
    /// Children that came to us like threads, and are let go at their first stop.
    strangers: Vec<Pid>,
    /// The shell has become the program.
    started: bool,
    /// What happens to a thread when its system call is done.
    pending: Vec<(Pid, Action)>,
    calls: usize,
    failed: usize,
    killed: bool,
    decide: F,
}

impl<F: FnMut(&SystemCall) -> Action> Trace<F> {
    fn follow(&mut self) -> Result<Outcome> {
        let mut outcome = None;
        loop {
            let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            let status = match waitpid(None, Some(flags)) {
                Err(Errno::EINTR) => continue,
                // Followed children may outlive the program; the trace ends with the last.
                Err(Errno::ECHILD) => break,
                other => other.context("cannot wait for the traced program")?,
            };
            match status {
                WaitStatus::Exited(pid, code) if pid == self.main => {
                    outcome = Some(Outcome::Exited(code));
                }
                WaitStatus::Signaled(pid, signal, _) if pid == self.main => {
                    outcome = Some(match self.killed {
                        true => Outcome::Killed,
                        false => Outcome::Signalled(signal as i32),
                    });
                }
                other => self.stopped(other)?,
            }
        }
        outcome.context("the traced program vanished")
    }

    fn stopped(&mut self, status: WaitStatus) -> Result<()> {
        match status {
            WaitStatus::PtraceSyscall(pid) => self.system_call(pid),
            WaitStatus::PtraceEvent(pid, _, event) => {
                match event {
                    libc::PTRACE_EVENT_EXEC if pid == self.main => self.started = true,
                    libc::PTRACE_EVENT_CLONE if self.threads.contains(&pid) => {
                        let made = Pid::from_raw(i32::try_from(ptrace::getevent(pid)?)?);
                        match is_thread_of(made, self.main) {
                            true => self.threads.push(made),
                            false if !self.follows => self.strangers.push(made),
                            false => {}
                        }
                    }
                    libc::PTRACE_EVENT_STOP if self.strangers.contains(&pid) => {
                        self.strangers.retain(|stranger| *stranger != pid);
                        return alive(ptrace::detach(pid, None)).map(drop);
                    }
                    _ => {}
                }
                self.resume(pid, None)
            }
            WaitStatus::Stopped(pid, signal) => self.resume(pid, Some(signal)),
            _ => Ok(()),
        }
    }

    fn system_call(&mut self, pid: Pid) -> Result<()> {
        let Some(info) = alive(ptrace::syscall_info(pid))? else {
            return Ok(());
        };
        let action = if info.op == ENTRY {
            self.entered(pid)?
        } else {
            self.done(pid)?
        };
        if action == Action::KillBefore {
            return self.kill_all();
        }
        self.resume(pid, None)
    }

    fn entered(&mut self, pid: Pid) -> Result<Action> {
        let Some(mut registers) = alive(ptrace::getregs(pid))? else {
            return Ok(Action::Continue);
        };
        let is_child = !self.threads.contains(&pid);
        let call = SystemCall {
            index: self.calls,
            number: registers.orig_rax.cast_signed(),
            args: [registers.rdi, registers.rsi, registers.rdx],
            is_child,
        };
        if !is_child {
            self.calls += 1;
        }
        let action = (self.decide)(&call);
        match action {
            Action::Fail(_) => {
                self.failed += 1;
                // No system call has this number: the kernel makes none.
                registers.orig_rax = u64::MAX;
                ptrace::setregs(pid, registers)?;
                self.pending.push((pid, action));
            }
            Action::KillAfter => self.pending.push((pid, action)),
            Action::KillBefore | Action::Continue => {}
        }
        Ok(action)
    }

    fn done(&mut self, pid: Pid) -> Result<Action> {
        let Some(at) = self.pending.iter().position(|(waiting, _)| *waiting == pid) else {
            return Ok(Action::Continue);
        };
        let (_, action) = self.pending.swap_remove(at);
        match action {
            Action::KillAfter => return Ok(Action::KillBefore),
            Action::Fail(errno) => {
                if let Some(mut registers) = alive(ptrace::getregs(pid))? {
                    registers.rax = i64::from(-errno).cast_unsigned();
                    ptrace::setregs(pid, registers)?;
                }
            }
            Action::KillBefore | Action::Continue => {}
        }
        Ok(Action::Continue)
    }

    fn kill_all(&mut self) -> Result<()> {
        self.killed = true;
        // The program stands still at its system call: it starts no further children.
        let children = Descendants::of(self.main.as_raw());
        kill(self.main, Signal::SIGKILL)?;
        children.kill();
        Ok(())
    }

    fn resume(&self, pid: Pid, signal: Option<Signal>) -> Result<()> {
        let resumed = match self.started {
            true => ptrace::syscall(pid, signal),
            false => ptrace::cont(pid, signal),
        };
        alive(resumed).map(drop)
    }
}

/// ESRCH: the thread was killed meanwhile, its end is reported next.
fn alive<T>(result: nix::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ESRCH) => Ok(None),
        Err(errno) => Err(errno).context("ptrace"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_runs_to_its_end_and_its_calls_are_counted() {
        let traced = Tracee::new(&sh("echo out; echo err >&2; exit 7"))
            .run(|_| Action::Continue)
            .unwrap();
        assert_eq!(traced.outcome, Outcome::Exited(7));
        assert_eq!(
            (traced.stdout.as_str(), traced.stderr.as_str()),
            ("out\n", "err\n")
        );
        let calls = Tracee::new(&sh("echo out")).record().unwrap();
        assert!(
            calls
                .iter()
                .any(|c| c.number == libc::SYS_write && c.args[2] == 4)
        );
        assert!(calls.iter().enumerate().all(|(at, call)| at == call.index));
    }

    #[test]
    fn killed_before_a_call_it_is_not_made_and_after_it_is() {
        let is_write = |call: &SystemCall| call.number == libc::SYS_write;
        for (action, stdout) in [(Action::KillBefore, ""), (Action::KillAfter, "one\n")] {
            let traced = Tracee::new(&sh("echo one; echo two"))
                .run(|call| {
                    if is_write(call) {
                        action
                    } else {
                        Action::Continue
                    }
                })
                .unwrap();
            assert_eq!(
                (traced.outcome, traced.stdout.as_str()),
                (Outcome::Killed, stdout)
            );
        }
    }

    #[test]
    fn a_failed_call_returns_the_errno_and_does_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("mkdir");
        command.arg(folder.path().join("made")).env("LC_ALL", "C");
        let traced = Tracee::new(&command)
            .fail(0, libc::ENOSPC, |call| call.number == libc::SYS_mkdir)
            .unwrap();
        assert_eq!((traced.outcome, traced.failed), (Outcome::Exited(1), 1));
        assert!(traced.stderr.contains("No space left"), "{}", traced.stderr);
        assert!(!folder.path().join("made").exists());
    }

    #[test]
    fn a_call_of_a_child_can_be_failed() {
        let command = sh("/bin/mkdir /proc/nonesuch; true; echo ended");
        let traced = Tracee::new(&command)
            .follow_children()
            .fail(0, libc::EIO, |call| {
                call.is_child && call.number == libc::SYS_mkdir
            })
            .unwrap();
        assert_eq!(traced.failed, 1);
        assert!(traced.stderr.contains("Input/output"), "{}", traced.stderr);
        assert_eq!(traced.stdout, "ended\n");
    }

    #[test]
    fn children_die_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let command = sh(&format!("sleep 1000 & echo $! > {}; echo", mark.display()));
        let traced = Tracee::new(&command)
            .run(
                |call| match call.number == libc::SYS_write && call.args[2] == 1 {
                    true => Action::KillBefore,
                    false => Action::Continue,
                },
            )
            .unwrap();
        assert_eq!(traced.outcome, Outcome::Killed);
        let pid = std::fs::read_to_string(&mark).unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        assert!(stat.is_err() || stat.unwrap().contains(") Z "));
    }
}
