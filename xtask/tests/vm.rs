// SPDX-License-Identifier: MIT OR Apache-2.0
//! What runs in the virtual machine is seen as if it ran here.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mosaic_tests::{descendants, eventually, requires_qemu, target_folder};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A program for the machine, in a folder of its own.
fn script(lines: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().canonicalize().unwrap().join("a program");
    std::fs::write(&program, format!("#!/bin/sh\n{lines}\n")).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    (folder, program)
}

fn vm_run(program: &Path) -> Command {
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    xtask.args(["vm", "run"]).arg(program);
    // Or it would be guarded by who runs the tests.
    xtask.env_remove("MOSAIC_XTASK_ROLE");
    xtask
}

fn run_there(lines: &str, words: &[&str]) -> Output {
    let (_folder, program) = script(lines);
    let mut xtask = vm_run(&program);
    xtask.args(words).env("MOSAIC_EXAMPLE", "it's");
    xtask.output().unwrap()
}

#[test]
fn output_and_exit_status_are_the_programs_own() {
    if !requires_qemu() {
        return;
    }
    let script = r#"echo "$0: $1, $2, $MOSAIC_EXAMPLE, $(id -u)"; echo wrong >&2; pwd; exit 7"#;
    let output = run_there(script, &["-a", "b c"]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(
        lines[0].ends_with("/a program: -a, b c, it's, 0"),
        "{stdout}"
    );
    assert_eq!(Path::new(lines[1]), std::env::current_dir().unwrap());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.ends_with("wrong\n"), "{stderr}");
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(run_there("kill -9 $$", &[]).status.code(), Some(128 + 9));
}

#[test]
fn a_panic_of_its_kernel_is_shown_and_a_failure() {
    if !requires_qemu() {
        return;
    }
    let output = run_there("echo before; sleep 0.1; echo c >/proc/sysrq-trigger", &[]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "before\n");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("Kernel panic - not syncing"), "{stderr}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
#[ignore = "a helper of other tests"]
fn a_helper_that_panics() {
    panic!("an example of a message");
}

/// What one process does not share with the next: its number, and how long it took.
fn without_numbers(bytes: Vec<u8>) -> String {
    let mut text = String::from_utf8(bytes).unwrap();
    text.retain(|c| !c.is_ascii_digit());
    text
}

#[test]
fn a_panic_of_a_test_is_seen_as_if_it_ran_here() {
    if !requires_qemu() {
        return;
    }
    let this = std::env::current_exe().unwrap();
    let words = ["--exact", "a_helper_that_panics", "--include-ignored"];
    let run = |mut command: Command| {
        command.args(words).env("RUST_BACKTRACE", "1");
        command.output().unwrap()
    };
    let (here, there) = (run(Command::new(&this)), run(vm_run(&this)));
    assert_eq!(there.status.code(), Some(101));
    assert_eq!(there.status, here.status);
    let stdout = String::from_utf8(there.stdout.clone()).unwrap();
    for part in [
        "an example of a message",
        "stack backtrace:",
        "vm::a_helper_that_panics",
        "tests/vm.rs:",
        "test a_helper_that_panics ... FAILED",
    ] {
        assert!(stdout.contains(part), "no {part:?} in {stdout}");
    }
    assert_eq!(without_numbers(there.stdout), without_numbers(here.stdout));
    assert!(there.stderr.starts_with(&here.stderr));
}

/// The folders of these processes where machines have their files.
fn folders_of(processes: &[i32]) -> Vec<PathBuf> {
    let vm = target_folder().unwrap().parent().unwrap().join("vm");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(vm)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.retain(|folder| {
        let name = folder.to_string_lossy();
        let is_of = |process: &i32| name.contains(&format!("-{process}-"));
        processes.iter().any(is_of)
    });
    folders
}

#[test]
fn a_run_that_is_ended_in_whatever_way_leaves_nothing() {
    if !requires_qemu() {
        return;
    }
    for signal in [Signal::HUP, Signal::TERM, Signal::KILL] {
        let (_folder, program) = script("echo up; sleep 1000");
        let mut xtask = vm_run(&program).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(xtask.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        let processes = descendants(i32::try_from(xtask.id()).unwrap());
        let command = |process: &i32| std::fs::read_to_string(format!("/proc/{process}/cmdline"));
        let is_qemu = |process: &i32| command(process).is_ok_and(|words| words.contains("qemu"));
        assert!(processes.iter().any(is_qemu), "{processes:?}");
        assert!(!folders_of(&processes).is_empty());
        kill_process(Pid::from_child(&xtask), signal).unwrap();
        assert!(!xtask.wait().unwrap().success());
        let is_there = |process: &i32| Path::new("/proc").join(process.to_string()).exists();
        let gone = eventually(|| !processes.iter().any(is_there));
        assert!(gone, "{signal:?}: {processes:?}");
        let folders = folders_of(&processes);
        assert!(folders.is_empty(), "{signal:?}: {folders:?}");
    }
}
