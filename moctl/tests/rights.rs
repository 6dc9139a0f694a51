// SPDX-License-Identifier: MIT OR Apache-2.0
//! A command that runs with more rights than whoever started it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;

use mosaic_tests::{Moctl, Output, requires_root};

const NOBODY: u32 = 65534;

#[test]
fn root_paths_that_are_not_believed_are_told() {
    if !requires_root() {
        return;
    }
    let moctl = Moctl::as_user(NOBODY).unwrap();
    let name = format!("no-such-mosaic-{}", std::process::id());
    moctl.mosaic(&name, "plain", moctl.folder(), "").unwrap();
    let mut own = moctl.command(&[&name, "list"]);
    let own = Output::from(own.output().unwrap());
    assert_eq!((own.status, &*own.stderr), (0, ""));
    // Root runs a program of somebody else: nobody who finds it has any gain of it.
    let lent = |arguments: &[&str]| {
        let mut command = moctl.command(arguments);
        let program = Path::new(command.get_program());
        chown(program, Some(NOBODY), None).unwrap();
        fs::set_permissions(program, Permissions::from_mode(0o4755)).unwrap();
        Output::from(command.uid(0).gid(0).output().unwrap())
    };
    let json = lent(&["mosaics", "--json"]);
    let asked = lent(&["completions", "zsh", "--words", "--", "lis"]);
    let lent = lent(&[&name, "list"]);
    assert_eq!(lent.status, 3, "{}", lent.stderr);
    let why = "is ignored: this process runs with more rights than its caller";
    let warnings = ["MOSAIC_CONFIG_DIR", "MOSAIC_DRIVER_PATH"].map(|name| format!("{name} {why}"));
    let lines: Vec<_> = lent.stderr.lines().collect();
    let told = [&warnings[0], &warnings[1]].map(|told| format!("moctl: warning: {told}"));
    assert_eq!(lines[..2], told);
    assert!(lines[2].contains("/etc/mosaic/"), "{}", lines[2]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["warnings"], serde_json::json!(warnings));
    assert_eq!(asked.stderr, "");
}
