// SPDX-License-Identifier: MIT OR Apache-2.0
//! A wish to stop, where a program or what waits for it is slow to hear.

use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;

use nix::sys::ptrace;
use nix::unistd::Pid;

use super::*;

/// A waiter that a debugger has stopped hears nothing but what kills.
#[test]
fn a_program_is_stopped_though_what_waits_for_it_hears_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [pids, mark] = ["pids", "mark"].map(|name| folder.path().join(name));
    let script = "echo $PPID $$ > $0.new; mv $0.new $0; exec sleep 1000";
    let command = sh(script).arg(&pids);
    std::thread::scope(|scope| {
        let host = cancelled_by(&mark);
        let runs = scope.spawn(move || command.run(&host));
        assert!(eventually(|| pids.exists()));
        let pids = std::fs::read_to_string(&pids).unwrap();
        let (waiter, program) = pids.trim().split_once(' ').unwrap();
        let debugged = Pid::from_raw(waiter.parse().unwrap());
        let stopped = ptrace::seize(debugged, ptrace::Options::empty())
            .and_then(|()| ptrace::interrupt(debugged));
        let state = format!("/proc/{waiter}/stat");
        let is_stopped = || std::fs::read_to_string(&state).is_ok_and(|s| s.contains(") t "));
        let hears_nothing = stopped.is_ok() && eventually(is_stopped);
        std::fs::write(&mark, "").unwrap();
        let start = Instant::now();
        let error = runs.join().unwrap().unwrap_err();
        assert!(hears_nothing, "{stopped:?}");
        assert!(start.elapsed() > Duration::from_secs(4), "it was asked");
        assert!(start.elapsed() < Duration::from_secs(30));
        assert_eq!(error.to_string(), "sh was stopped: interrupted");
        assert!(eventually(|| is_gone(program)));
    });
}

#[test]
fn a_server_that_does_not_start_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let [path, mark] = ["server", "mark"].map(|name| folder.path().join(name));
    let script = "#!/bin/sh\nsleep 1000 &\ncd \"${0%/*}\"\necho $$ $! > new; mv new mark; wait\n";
    std::fs::write(
        &path,
        script.replace("${0%/*}", folder.path().to_str().unwrap()),
    )
    .unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = std::fs::File::open(&path).unwrap();
    let stdin = running::null().unwrap();
    let host = cancelled_by(&mark);
    let error = launch_server(&host, program.as_fd(), &path, stdin).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{}", error.chain());
    for pid in std::fs::read_to_string(&mark).unwrap().split_whitespace() {
        assert!(eventually(|| is_gone(pid)), "{pid}");
    }
}
