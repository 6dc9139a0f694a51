// SPDX-License-Identifier: MIT OR Apache-2.0
//! A pseudo-terminal with a program in it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, Winsize, openpty};
use std::os::fd::AsFd;

/// How long a terminal waits for what is to appear on it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A terminal.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    slave: Option<OwnedFd>,
    child: Option<Child>,
    seen: String,
}

impl Terminal {
    /// A terminal of this many columns.
    pub fn new(columns: u16) -> Self {
        let size = Winsize {
            ws_row: 50,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).unwrap();
        Self {
            master: master.into(),
            slave: Some(slave),
            child: None,
            seen: String::new(),
        }
    }

    /// An end of it for a program.
    pub fn end(&self) -> Stdio {
        let slave = self.slave.as_ref().expect("not started yet");
        slave.try_clone().unwrap().into()
    }

    /// Starts a program in a session of its own with this terminal for everything.
    pub fn start(&mut self, command: &Command) {
        let mut session = Command::new("setsid");
        session
            .arg("--ctty")
            .arg("--wait")
            .arg(command.get_program());
        session.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        session.current_dir(
            command
                .get_current_dir()
                .unwrap_or(std::path::Path::new("/")),
        );
        session
            .stdin(self.end())
            .stdout(self.end())
            .stderr(self.end());
        self.child = Some(session.spawn().unwrap());
        self.slave = None;
    }

    /// Starts a program with only its standard output (and error) on this terminal.
    pub fn show(&mut self, command: &mut Command, stderr_too: bool) {
        command.stdin(Stdio::null()).stdout(self.end());
        command.stderr(if stderr_too {
            self.end()
        } else {
            Stdio::null()
        });
        self.child = Some(command.spawn().unwrap());
        // Else the terminal would never come to its end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.slave = None;
    }

    /// Types.
    pub fn type_in(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until a text has appeared since the last wait; what appeared up to its end.
    pub fn wait_for(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            assert!(
                self.read(end),
                "{text:?} does not appear in {:?}",
                self.seen
            );
        }
    }

    /// Everything until the program has ended.
    pub fn wait_for_end(&mut self) -> String {
        let end = Instant::now() + PATIENCE;
        while self.read(end) {}
        std::mem::take(&mut self.seen)
    }

    /// Reads what there is; false at the end.
    fn read(&mut self, end: Instant) -> bool {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut ready = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        let count = poll(&mut ready, timeout).unwrap();
        assert!(count > 0, "nothing more than {:?}", self.seen);
        let mut bytes = [0; 4096];
        match self.master.read(&mut bytes) {
            Ok(0) | Err(_) => false,
            Ok(n) => {
                self.seen.push_str(&String::from_utf8_lossy(&bytes[..n]));
                true
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The same command without the signals that this process was told to ignore, as under nohup.
pub fn heeding_signals(command: &Command) -> Command {
    let mut env = Command::new("env");
    env.arg("--default-signal").arg(command.get_program());
    env.args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => env.env(key, value),
            None => env.env_remove(key),
        };
    }
    env
}
