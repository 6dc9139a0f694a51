// SPDX-License-Identifier: MIT OR Apache-2.0
//! What runs in the virtual machine is seen as if it ran here.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use mosaic_tests::requires_qemu;

fn run_there(script: &str, words: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().canonicalize().unwrap().join("a program");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    xtask.args(["vm", "run"]).arg(&program).args(words);
    xtask.env("MOSAIC_EXAMPLE", "it's").output().unwrap()
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
