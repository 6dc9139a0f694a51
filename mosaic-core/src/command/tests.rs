// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real programs: what they get, what is left of them.

use std::sync::Arc;

use super::*;
use crate::host_services::Silent;

fn host() -> Host {
    Host::new(Arc::new(Silent))
}

fn sh(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

#[test]
fn a_program_gets_nothing_of_ours() {
    let output = sh("env | sort; pwd; readlink /proc/self/fd/0")
        .run(&host())
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let wanted = format!("HOME=/\nLC_ALL=C\nPATH={PROGRAM_PATH}\nPWD=/\n/\n/dev/null\n");
    assert_eq!(text.replace("_=/usr/bin/env\n", ""), wanted);
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
    assert_eq!(sh("exit 3").accept(&[3]).run(&host()).unwrap().status, 3);
}
