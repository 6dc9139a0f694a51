// SPDX-License-Identifier: MIT OR Apache-2.0
//! A command that is told to stop.

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{make, plain};
use mosaic_tests::{Moctl, Output, eventually, heeding_signals};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Holds a mosaic's lock against everybody, as a `check --repair` that takes long would.
fn hold_lock(location: &Path) -> std::fs::File {
    let path = location.join(".mosaic/lock");
    let file = std::fs::File::options().read(true).write(true).open(path);
    let file = file.unwrap();
    let lock = libc::flock {
        l_type: libc::F_WRLCK.try_into().unwrap(),
        l_whence: libc::SEEK_SET.try_into().unwrap(),
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    file
}

/// Whether a process has a handler for a signal: it is past its start.
fn catches(pid: u32, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.map_or(0, |mask| u64::from_str_radix(mask.trim(), 16).unwrap());
    mask & (1 << (signal as u32 - 1)) != 0
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

#[test]
fn each_stop_signal_ends_a_wait_with_status_11() {
    let (moctl, location) = plain();
    make(&moctl, &["a"]);
    let _lock = hold_lock(&location);
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let command = moctl.command(&["web", "drop", "a", "--lock-timeout", "600"]);
        let mut command = heeding_signals(&command);
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        assert!(eventually(|| catches(child.id(), signal)));
        send(&child, signal);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(11), "{signal}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            text.contains("interrupted") && text.lines().count() == 1,
            "{text}"
        );
    }
    assert!(location.join("a").is_dir());
}

#[test]
fn a_hangup_that_nohup_ignores_stays_ignored() {
    let (moctl, location) = plain();
    make(&moctl, &["a"]);
    let _lock = hold_lock(&location);
    let command = moctl.command(&["web", "drop", "a", "--lock-timeout", "600"]);
    let mut nohup = Command::new("sh");
    nohup
        .args(["-c", "trap '' HUP; exec \"$0\" \"$@\""])
        .arg(command.get_program());
    nohup.args(command.get_args()).stderr(Stdio::null());
    for (name, value) in command
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)))
    {
        nohup.env(name, value);
    }
    let mut child = nohup.spawn().unwrap();
    assert!(eventually(|| catches(child.id(), Signal::SIGTERM)));
    assert!(!catches(child.id(), Signal::SIGHUP));
    send(&child, Signal::SIGHUP);
    send(&child, Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(11));
}

#[test]
fn a_lock_that_is_not_to_be_had_in_time_is_busy() {
    let (moctl, location) = plain();
    make(&moctl, &["a"]);
    let lock = hold_lock(&location);
    let output = moctl.expect(5, &["web", "drop", "a", "--lock-timeout", "0.1"]);
    let ourselves = std::process::id().to_string();
    assert!(
        output.stderr.contains(&ourselves),
        "names the holder: {}",
        output.stderr
    );
    drop(lock);
    moctl.ok(&["web", "drop", "a"]);
}

#[test]
fn a_file_that_is_larger_than_the_limit_is_an_error_and_no_signal() {
    let moctl = Moctl::new().unwrap();
    let location = moctl.make_folder("location").unwrap();
    moctl.mosaic("disks", "loop", &location, "").unwrap();
    let command = moctl.command(&["disks", "new", "disk", "a", "1M"]);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -S -f 16 && exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    let output = Output::from(limited.output().unwrap());
    assert_eq!(output.status, 7, "{}", output.stderr);
    let limit = ", with RLIMIT_FSIZE at ";
    assert!(output.stderr.contains(limit), "{}", output.stderr);
    assert!(!moctl.have("disks", "a"));
    moctl.ok(&["disks", "new", "disk", "a", "1M"]);
}
