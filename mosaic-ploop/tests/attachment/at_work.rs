// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kills a worker in the midst of a request.

use std::fs;

use mosaic_tests::eventually;
use nix::libc;
use rustix::process::{Pid, Signal, kill_process};

/// Calls by which a thread reads or changes an image for a request. Requests come, and are answered,
/// by others.
const AT_WORK: [i64; 8] = [
    libc::SYS_io_getevents,
    libc::SYS_io_submit,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_fallocate,
    libc::SYS_fdatasync,
];

/// Kills it at a moment at which it has not answered a request that it has read already.
pub fn kill_at_work(worker: u32) {
    let pid = Pid::from_raw(worker.try_into().unwrap()).unwrap();
    let send = |signal| kill_process(pid, signal).unwrap();
    assert!(eventually(|| {
        // What it has begun it ends, and then it stands still.
        send(Signal::STOP);
        assert!(eventually(|| threads(worker, "stat")
            .iter()
            .all(|stat| is_stopped(stat))));
        let at_work = threads(worker, "syscall")
            .iter()
            .any(|call| is_at_work(call));
        send(if at_work { Signal::KILL } else { Signal::CONT });
        at_work
    }));
}

/// What /proc says of each of its threads (proc(5)).
fn threads(pid: u32, file: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    tasks
        .map(|task| fs::read_to_string(task.path().join(file)).unwrap())
        .collect()
}

/// `1234 (name) T ...`
fn is_stopped(stat: &str) -> bool {
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// The number of the call comes first: that in which the stop came.
fn is_at_work(call: &str) -> bool {
    let number = call.split(' ').next().and_then(|word| word.parse().ok());
    number.is_some_and(|number| AT_WORK.contains(&number))
}
