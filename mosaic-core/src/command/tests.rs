// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real programs: what they get, and that nothing is left of them.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

mod stopping;

use mosaic_tests::eventually;

use super::*;
use crate::host_services::{Level, Services, Silent};

/// Set for a copy of this test program that is to be killed: the folder where it leaves its marks.
pub(crate) const VICTIM: &str = "MOSAIC_TEST_VICTIM";

fn host() -> Host {
    Host::new(Arc::new(Silent))
}

fn sh(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

fn stdout_of(script: &str) -> String {
    let output = sh(script).run(&host()).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Neither running nor a zombie that nobody reaps.
fn is_gone(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .map_or(true, |stat| stat.contains(") Z "))
}

#[test]
fn a_program_gets_nothing_of_our_environment() {
    let text = stdout_of("env | sort; pwd; readlink /proc/self/fd/0");
    let wanted = format!("HOME=/\nLC_ALL=C\nPATH={PROGRAM_PATH}\nPWD=/\n/\n/dev/null\n");
    assert_eq!(text.replace("_=/usr/bin/env\n", ""), wanted);
}

#[test]
fn a_program_inherits_no_descriptor_not_even_a_careless_one() {
    let file = tempfile::tempfile().unwrap();
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
    // 3 is the folder that ls itself opened.
    assert_eq!(stdout_of("exec ls /proc/self/fd"), "0\n1\n2\n3\n");
}

#[test]
fn a_program_starts_with_default_signals_in_a_group_of_its_own() {
    let text = stdout_of("exec grep -E '^Sig(Blk|Ign)' /proc/self/status");
    let none = "0000000000000000";
    assert_eq!(text, format!("SigBlk:\t{none}\nSigIgn:\t{none}\n"));
    // Fields 1 and 5 of stat are the process and its group.
    let text = stdout_of("read pid _ _ _ group _ < /proc/self/stat; echo $((pid - group))");
    assert_eq!(text, "0\n");
}

#[test]
fn a_failure_names_program_status_and_last_words() {
    let error = sh("echo first; echo 'no \x1b[1m space' >&2; exit 3")
        .run(&host())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(
        error.to_string(),
        "sh failed with status 3: no \\u{1b}[1m space"
    );
    let error = sh("echo only here; exit 1").run(&host()).unwrap_err();
    assert_eq!(error.to_string(), "sh failed with status 1: only here");
    let error = sh("kill -SEGV $$").run(&host()).unwrap_err();
    assert_eq!(error.to_string(), "sh was killed by signal 11");
    assert_eq!(sh("exit 3").accept(&[3]).run(&host()).unwrap().status, 3);
}

#[test]
fn a_missing_program_is_unsupported_and_a_path_is_no_program() {
    for name in ["mkfs.nonesuch", "/bin/sh", "../bin/sh", ""] {
        assert_eq!(find_program(name), None, "{name}");
        let error = Command::new(name).run(&host()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}");
    }
    assert!(find_program("sh").is_some());
}

#[test]
fn a_flood_on_both_streams_is_read_and_bounded() {
    let flood = "yes out | head -c 20000000 & yes err | head -c 20000000 >&2; wait";
    let output = sh(flood).run(&host()).unwrap();
    assert_eq!(output.stdout.len(), 65536);
    assert_eq!(output.stderr.len(), 65536);
    let error = sh(&format!("{flood}; echo the end >&2; exit 1"))
        .run(&host())
        .unwrap_err();
    assert!(error.to_string().ends_with("; the end"), "{error}");
}

#[test]
fn what_a_program_leaves_behind_is_killed_and_not_waited_for() {
    let start = Instant::now();
    let pid = stdout_of("sleep 1000 & echo $!");
    assert!(start.elapsed() < Duration::from_secs(30));
    assert!(eventually(|| is_gone(&pid)));
}

/// Cancelled from the moment that a file appears.
struct CancelledBy(PathBuf);

impl Services for CancelledBy {
    fn log(&self, _: Level, _: &str) {}
    fn progress(&self, _: u64, _: u64, _: &str) {}
    fn cancelled(&self) -> bool {
        self.0.exists()
    }
}

fn cancelled_by(mark: &Path) -> Host {
    Host::new(Arc::new(CancelledBy(mark.to_owned())))
}

#[test]
fn a_program_that_ignores_signals_is_stopped_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let script = format!(
        "trap '' TERM INT HUP; sleep 1000 & echo $! $$ > {0}.new; mv {0}.new {0}; \
         while :; do sleep 1000; done",
        mark.display()
    );
    let start = Instant::now();
    let error = sh(&script).run(&cancelled_by(&mark)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(start.elapsed() < Duration::from_secs(30));
    for pid in std::fs::read_to_string(&mark).unwrap().split_whitespace() {
        assert!(eventually(|| is_gone(pid)), "{pid}");
    }
}

#[test]
fn a_step_that_must_end_is_not_stopped_but_not_begun_either() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let script = format!("echo > {}; sleep 0.3; echo whole", mark.display());
    let output = sh(&script).to_the_end().run(&cancelled_by(&mark)).unwrap();
    assert_eq!(output.stdout, b"whole\n");
    let error = sh(&script)
        .to_the_end()
        .run(&cancelled_by(&mark))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
}

/// Runs the test `name` again in a process of its own, which is to call `sh` itself; kills it once
/// the script has written `pid`, and gives that.
fn kill_while_it_runs(name: &str, folder: &Path) -> String {
    let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(VICTIM, folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = folder.join("pid");
    let started = eventually(|| pid.exists());
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert!(started);
    std::fs::read_to_string(pid).unwrap()
}

#[test]
fn a_program_dies_with_its_killed_parent() {
    let script = "cd $0; echo $$ > new; mv new pid; exec sleep 1000";
    if let Some(folder) = std::env::var_os(VICTIM) {
        let _ = sh(script).arg(folder).run(&host());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let name = "command::tests::a_program_dies_with_its_killed_parent";
    let pid = kill_while_it_runs(name, folder.path());
    assert!(eventually(|| is_gone(&pid)));
}

#[test]
fn a_step_that_must_end_outlives_its_killed_parent() {
    let script = "cd $0; echo $$ > new; mv new pid; until [ -e go ]; do sleep 0.02; done; \
                  echo out && echo err >&2; echo > ended";
    if let Some(folder) = std::env::var_os(VICTIM) {
        let _ = sh(script).arg(folder).to_the_end().run(&host());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let name = "command::tests::a_step_that_must_end_outlives_its_killed_parent";
    let pid = kill_while_it_runs(name, folder.path());
    assert!(!is_gone(&pid));
    std::fs::write(folder.path().join("go"), "").unwrap();
    assert!(eventually(|| folder.path().join("ended").exists()));
    assert!(eventually(|| is_gone(&pid)));
}

#[test]
fn a_step_that_must_end_does_so_whoever_is_told_to_stop() {
    let script = "for s in TERM HUP INT; do kill -$s $PPID $$; done; sleep 0.3; echo whole";
    let output = sh(script).to_the_end().run(&host()).unwrap();
    assert_eq!(output.stdout, b"whole\n");
    // Any other is stopped.
    let error = sh("kill -TERM $$; exec sleep 1000")
        .run(&host())
        .unwrap_err();
    assert_eq!(error.to_string(), "sh was killed by signal 15");
    let error = sh("kill -TERM $PPID; exec sleep 1000")
        .run(&host())
        .unwrap_err();
    assert_eq!(error.to_string(), "sh was killed by signal 9");
}

/// The script's parent is what waits for it.
#[test]
fn a_lost_end_is_no_success_and_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let script = "kill -KILL $PPID; sleep 0.5; echo much; echo > $0";
    let command = sh(script).arg(&mark).to_the_end();
    let error = command.run(&host()).unwrap_err();
    assert!(mark.exists(), "it was still at work");
    assert_eq!(error.kind(), ErrorKind::Io);
    let why = "nobody knows how sh ended: what waited for it was killed; it has ended by now";
    assert_eq!(error.to_string(), why);
    let start = Instant::now();
    let script = "echo $$ > $0; kill -KILL $PPID; exec sleep 1000";
    let error = sh(script).arg(&mark).run(&host()).unwrap_err();
    assert_eq!(error.to_string(), why);
    assert!(start.elapsed() < Duration::from_secs(30));
    assert!(eventually(|| is_gone(
        &std::fs::read_to_string(&mark).unwrap()
    )));
}

#[test]
fn a_program_is_stopped_though_what_waits_for_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let script = "kill -STOP $PPID; echo $$ > $0.new; mv $0.new $0; exec sleep 1000";
    let start = Instant::now();
    let command = sh(script).arg(&mark);
    let error = command.run(&cancelled_by(&mark)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(start.elapsed() < Duration::from_secs(30));
    assert!(eventually(|| is_gone(
        &std::fs::read_to_string(&mark).unwrap()
    )));
}

#[test]
fn what_waits_for_a_program_is_nowhere_and_has_nothing_open() {
    let folder = tempfile::tempdir().unwrap();
    let file = tempfile::tempfile().unwrap();
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
    // Only where it says how the program ended. The directory is ours for a moment more.
    let name = "command::tests::what_waits_for_a_program_is_nowhere_and_has_nothing_open";
    if std::env::var_os(VICTIM).is_some() {
        std::env::set_current_dir(folder.path()).unwrap();
        let script = "until [ $(ls /proc/$PPID/fd | wc -l) = 1 ]; do sleep 0.01; done; \
                      readlink /proc/$PPID/cwd";
        assert_eq!(stdout_of(script), "/\n");
        std::process::exit(77);
    }
    passes_in(&[], name);
}

/// Runs the test `name` again in a process of its own, which env(1) starts with these options. The
/// test calls `std::process::exit` there.
pub(crate) fn passes_in(options: &[&str], name: &str) {
    let output = std::process::Command::new("env")
        .args(options)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(VICTIM, "yes")
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(77), "{words}");
}

/// What holds whatever the program around us does: statuses are told apart, and nothing is taken
/// for success.
fn statuses_are_right() {
    for status in [0, 3, 255] {
        let ended = sh(&format!("echo out; exit {status}"))
            .accept(&[3, 255])
            .run(&host())
            .unwrap();
        assert_eq!(
            (ended.status, ended.stdout.as_slice()),
            (status, &b"out\n"[..])
        );
    }
    let error = sh("kill -SEGV $$").run(&host()).unwrap_err();
    assert_eq!(error.to_string(), "sh was killed by signal 11");
}

#[test]
fn an_end_is_known_where_sigchld_is_ignored() {
    if std::env::var_os(VICTIM).is_some() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let ignored = status
            .lines()
            .find_map(|l| l.strip_prefix("SigIgn:"))
            .unwrap();
        // Signal 17.
        assert_ne!(
            u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 << 16,
            0
        );
        statuses_are_right();
        std::process::exit(77);
    }
    let name = "command::tests::an_end_is_known_where_sigchld_is_ignored";
    passes_in(&["--ignore-signal=CHLD"], name);
}

#[test]
fn an_end_is_known_and_nobody_elses_where_all_children_are_waited_for() {
    if std::env::var_os(VICTIM).is_some() {
        std::thread::spawn(|| {
            loop {
                match nix::sys::wait::wait() {
                    Err(nix::Error::ECHILD) => std::thread::yield_now(),
                    other => panic!("a child of ours was taken: {other:?}"),
                }
            }
        });
        for _ in 0..20 {
            statuses_are_right();
        }
        std::process::exit(77);
    }
    let name = "command::tests::an_end_is_known_and_nobody_elses_where_all_children_are_waited_for";
    passes_in(&[], name);
}

/// Runs it where these of the standard descriptors are closed, and opens them again.
fn without_descriptors<T>(closed: &[i32], run: impl FnOnce() -> T) -> T {
    use nix::unistd::{close, dup, dup2_stderr, dup2_stdin, dup2_stdout};
    let kept = [
        dup(std::io::stdin()).unwrap(),
        dup(std::io::stdout()).unwrap(),
        dup(std::io::stderr()).unwrap(),
    ];
    for fd in closed {
        close(*fd).unwrap();
    }
    let result = run();
    dup2_stdin(&kept[0]).unwrap();
    dup2_stdout(&kept[1]).unwrap();
    dup2_stderr(&kept[2]).unwrap();
    result
}

#[test]
fn a_program_has_its_streams_where_ours_are_closed() {
    if std::env::var_os(VICTIM).is_some() {
        for closed in [&[0][..], &[1], &[2], &[0, 1], &[1, 2], &[0, 1, 2]] {
            let said = without_descriptors(closed, || {
                statuses_are_right();
                sh("readlink /proc/self/fd/0; echo err >&2").run(&host())
            });
            let said = said.unwrap();
            let streams = (said.stdout.as_slice(), said.stderr.as_slice());
            assert_eq!(streams, (&b"/dev/null\n"[..], &b"err\n"[..]), "{closed:?}");
        }
        std::process::exit(77);
    }
    let name = "command::tests::a_program_has_its_streams_where_ours_are_closed";
    passes_in(&[], name);
}

#[test]
fn a_program_opens_a_file_of_ours_that_has_no_name() {
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsFd;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"ours").unwrap();
    let path = fd_path(file.as_fd());
    let output = sh("cat $0; echo theirs > $0")
        .arg(&path)
        .run(&host())
        .unwrap();
    assert_eq!(output.stdout, b"ours");
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "theirs\n");
}

/// A process is not dumpable after setuid(2), among others.
#[test]
fn root_a_program_opens_a_file_of_who_cannot_be_traced() {
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;
    if std::env::var_os(VICTIM).is_some() {
        let file = tempfile::tempfile().unwrap();
        file.set_permissions(std::fs::Permissions::from_mode(0o666))
            .unwrap();
        let program = std::fs::File::open("/bin/true").unwrap();
        nix::unistd::setuid(nix::unistd::Uid::from_raw(65534)).unwrap();
        assert!(!nix::sys::prctl::get_dumpable().unwrap());
        let path = fd_path(file.as_fd());
        let command = sh("echo mine > $0; cat $0; ls /proc/self/fd | wc -l");
        let output = command.arg(&path).run(&host()).unwrap();
        // The standard three, ours, and the folder.
        assert_eq!(output.stdout, b"mine\n5\n");
        let (name, stdin) = (Path::new("true"), running::null().unwrap());
        launch_server(&host(), program.as_fd(), name, stdin).unwrap();
        std::process::exit(77);
    }
    if mosaic_tests::requires_root() {
        let name = "command::tests::root_a_program_opens_a_file_of_who_cannot_be_traced";
        passes_in(&[], name);
    }
}

#[test]
fn strange_arguments_are_shown_quoted() {
    let command = Command::new("mkfs.x").args(["-q", "/dev/loop0", "a b", "", "\n"]);
    assert_eq!(
        command.shown(),
        "run mkfs.x -q /dev/loop0 \"a b\" \"\" \"\\n\""
    );
}
