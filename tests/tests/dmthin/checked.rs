// SPDX-License-Identifier: MIT OR Apache-2.0
//! A check of one volume takes as long as its file system is large: the others' life goes on.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use mosaic_core::command::PROGRAM_PATH;
use mosaic_tests::{Scratch, Site, eventually, requires_program, run, word};
use rustix::fs::OFlags;

use crate::{assert_sound, roomy_site};

/// A `moctl check` whose e2fsck has begun and goes on when it is let.
struct SlowCheck {
    child: Child,
    gate: File,
    /// The checker's way in, until the end.
    _folder: Scratch,
}

impl SlowCheck {
    fn begin(site: &Site, words: &[&str]) -> Self {
        let scratch = Scratch::new("checked").unwrap();
        let [gate, checker, copy] =
            ["gate", "checker", "copy"].map(|name| scratch.path().join(name));
        run("mkfifo", &[&gate]).unwrap();
        let real = installed("e2fsck");
        std::fs::copy(&real, &copy).unwrap();
        let text = format!(
            "#!/bin/sh\nread -r line < {}\nexec {} \"$@\"\n",
            word(&gate),
            word(&copy)
        );
        std::fs::write(&checker, text).unwrap();
        std::fs::set_permissions(&checker, Permissions::from_mode(0o755)).unwrap();
        // Where nobody else sees it: programs are looked for in fixed folders.
        let moctl = site.command(words);
        let mut apart = Command::new("unshare");
        let bind = "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"";
        apart
            .args(["--mount", "sh", "-c", bind, "sh"])
            .args([&checker, &real])
            .arg(moctl.get_program())
            .args(moctl.get_args())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (key, value) in moctl.get_envs() {
            match value {
                Some(value) => apart.env(key, value),
                None => apart.env_remove(key),
            };
        }
        let child = apart.spawn().expect("unshare can be started");
        // The kernel opens it as soon as somebody reads it (fifo(7)).
        let open = || {
            let mut how = OpenOptions::new();
            how.write(true)
                .custom_flags(OFlags::NONBLOCK.bits().cast_signed());
            how.open(&gate).ok()
        };
        let mut found = None;
        assert!(eventually(|| {
            found = open();
            found.is_some()
        }));
        Self {
            child,
            gate: found.expect("it was opened"),
            _folder: scratch,
        }
    }

    /// Lets the checker go on; what `check` said, with exit status 0.
    fn end(mut self) -> String {
        assert_eq!(self.child.try_wait().unwrap(), None, "it waited for us");
        self.gate.write_all(b"go on\n").unwrap();
        let output = self.child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Where a program is that Mosaic runs.
fn installed(program: &str) -> PathBuf {
    let folders = PROGRAM_PATH.split(':');
    let found = folders.map(|folder| Path::new(folder).join(program));
    found.into_iter().find(|file| file.exists()).unwrap()
}

fn needs() -> bool {
    ["unshare", "mkfifo", "e2fsck"]
        .iter()
        .all(|program| requires_program(program))
}

#[test]
fn root_other_volumes_are_used_while_one_is_checked() {
    if !needs() {
        return;
    }
    let Some(site) = roomy_site() else { return };
    let at = site.mountpoint("at");
    for name in ["a", "b"] {
        site.ok(&["new", "fs", name, "48M"]);
    }
    let check = SlowCheck::begin(&site, &["check", "a"]);
    // The lock is to be had at once.
    let at_once = |words: &[&str]| site.ok(&[words, &["--lock-timeout", "0"]].concat());
    at_once(&["new", "disk", "c", "8M"]);
    at_once(&["mount", "b", word(&at)]);
    at_once(&["umount", "b", word(&at)]);
    at_once(&["clone", "a", "d"]);
    at_once(&["drop", "c"]);
    // The volume itself is in use.
    for words in [
        &["mount", "a", word(&at)][..],
        &["mount", "a", word(&at), "-o", "ro"],
        &["resize", "a", "+16M"],
        &["check", "a", "--repair"],
        &["drop", "a"],
    ] {
        let said = site.expect(5, words);
        assert!(said.stderr.contains("/dev/dm-"), "{words:?}: {said:?}");
    }
    assert!(check.end().contains("no faults found"));
    for name in ["a", "d"] {
        site.ok(&["mount", name, word(&at)]);
        site.ok(&["umount", name, word(&at)]);
    }
    assert_sound(&site);
}

#[test]
fn root_nobody_else_has_what_is_being_mended() {
    if !needs() {
        return;
    }
    let Some(site) = roomy_site() else { return };
    site.ok(&["new", "fs", "a", "48M"]);
    let check = SlowCheck::begin(&site, &["check", "a", "--repair"]);
    for words in [&["clone", "a", "d"][..], &["new", "disk", "c", "8M"]] {
        site.expect(5, &[words, &["--lock-timeout", "0"]].concat());
    }
    check.end();
    site.ok(&["clone", "a", "d"]);
    assert_sound(&site);
}
