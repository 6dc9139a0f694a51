// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kills a worker in the midst of a request, or of what it was told to do.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use mosaic_tests::{did, eventually, run};
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

/// What /proc says of each of its threads that has not just ended (proc(5)).
pub fn threads(pid: u32, file: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join(file)).ok())
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

/// Kills of workers that have been told to do something, each time in the midst of another part of it.
pub struct Kills {
    whole: Duration,
    rounds: u32,
    met: u32,
}

impl Kills {
    /// `whole` is how long it takes if nobody is killed.
    pub fn new(whole: Duration) -> Self {
        Self {
            whole,
            rounds: 0,
            met: 0,
        }
    }

    /// Whether another one is due: until there were so many, and more than half as many of them came
    /// before the end of what was done. What takes less time than it did at first makes them miss.
    pub fn are_due(&self, number: u32) -> bool {
        let due = self.rounds < number || self.met <= number / 2;
        let done = format!("{} of {} kills came before the end", self.met, self.rounds);
        assert!(!due || self.rounds < 4 * number, "{done}");
        if !due {
            did(&done);
        }
        due
    }

    /// Kills the worker while `act` has it do something.
    pub fn kill(&mut self, worker: u32, act: impl FnOnce() + Send) {
        let took = thread::scope(|scope| {
            let done = scope.spawn(|| {
                let start = Instant::now();
                act();
                start.elapsed()
            });
            thread::sleep(self.whole * (self.rounds % 8) / 8);
            self.met += u32::from(!done.is_finished());
            run("kill", &["-KILL", &worker.to_string()]).unwrap();
            done.join().unwrap()
        });
        // What a second worker has ended took longer.
        self.whole = self.whole.min(took);
        self.rounds += 1;
    }
}
