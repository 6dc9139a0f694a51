// SPDX-License-Identifier: MIT OR Apache-2.0
//! The process tree below a process, and its end.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// All processes that descend from `ancestor`, by the parent that /proc names.
pub fn descendants(ancestor: i32) -> Vec<i32> {
    let pairs: Vec<(i32, i32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent_of(pid)?)))
        .collect();
    let mut found = vec![ancestor];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(
            pairs
                .iter()
                .filter(|(_, p)| *p == parent)
                .map(|(pid, _)| *pid),
        );
        at += 1;
    }
    found.split_off(1)
}

fn parent_of(pid: i32) -> Option<i32> {
    field(pid, 4)?.parse().ok()
}

fn state_of(pid: i32) -> Option<String> {
    field(pid, 3)
}

/// A field of proc_pid_stat(5); the second is in parentheses and may hold anything.
fn field(pid: i32, number: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(") ")?;
    Some(after.split(' ').nth(number - 3)?.to_owned())
}

/// The descendants of a process, held by descriptors so that no other process is ever killed.
#[derive(Debug)]
pub(crate) struct Descendants(Vec<std::os::fd::OwnedFd>);

impl Descendants {
    pub(crate) fn of(ancestor: i32) -> Self {
        let open = |pid: i32| pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok();
        Self(descendants(ancestor).into_iter().filter_map(open).collect())
    }

    /// Kills them and waits for their end.
    pub(crate) fn kill(self) {
        for process in self.0 {
            // One that has gone already is what we want.
            let _ = pidfd_send_signal(&process, Signal::KILL);
            let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], None);
        }
    }
}

/// Kills what descends from a process that is their subreaper, until there is nothing.
pub fn kill_descendants(ancestor: u32) {
    let Ok(ancestor) = i32::try_from(ancestor) else {
        return;
    };
    // Those that are no zombies that only wait to be asked for.
    let alive = || {
        let mut found = descendants(ancestor);
        found.retain(|pid| state_of(*pid).is_some_and(|state| state != "Z"));
        found
    };
    while !alive().is_empty() {
        Descendants::of(ancestor).kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grandchildren_are_killed() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 1000 & wait"])
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(crate::eventually(|| descendants(pid).len() == 1));
        Descendants::of(pid).kill();
        child.wait().unwrap();
        assert!(descendants(pid).is_empty());
    }
}
