// SPDX-License-Identifier: MIT OR Apache-2.0
//! The examples in other languages, as they stand in `libmosaic/examples`.

use std::process::Command;

use mosaic_tests::{Output, Site, requires_program, requires_root, requires_time, word};

use crate::common::{installed, repository, requires_compilers, use_installed};
use crate::program::command;

fn site() -> Site {
    Site::on("xfs", "loop", "default_fs: ext4\n").unwrap()
}

#[track_caller]
fn assert_said(output: std::process::Output, expected: &str, site: &Site) {
    let output: Output = output.into();
    let said = (
        output.status,
        output.stdout.as_str(),
        output.stderr.as_str(),
    );
    assert_eq!(said, (0, expected, ""));
    assert!(site.names().is_empty());
    assert!(site.leftovers().is_empty());
    site.assert_idle();
}

#[test]
fn root_a_program_in_python() {
    if !requires_root() || !requires_program("python3") || !requires_program("mkfs.xfs") {
        return;
    }
    let site = site();
    let example = repository().join("libmosaic/examples/python/example.py");
    let at = site.mountpoint("at");
    let words = ["-B", word(&example), "m", word(&at)];
    let mut command = command(site.moctl(), &[], "/usr/bin/python3".as_ref(), &words);
    let expected = "hello from Python\nm has [('py2', 67108864)]\nFalse\n";
    assert_said(command.output().unwrap(), expected, &site);
}

#[test]
fn root_an_error_is_an_exception_in_python() {
    if !requires_root() || !requires_program("python3") {
        return;
    }
    let site = Site::in_folder("plain", "").unwrap();
    let example = repository().join("libmosaic/examples/python/example.py");
    let words = ["-B", word(&example), "nonesuch", "/"];
    let mut command = command(site.moctl(), &[], "/usr/bin/python3".as_ref(), &words);
    let output: Output = command.output().unwrap().into();
    assert_eq!((output.status, output.stdout.as_str()), (1, ""));
    assert!(
        output.stderr.starts_with("example.py: "),
        "{}",
        output.stderr
    );
    assert!(output.stderr.contains("nonesuch") && output.stderr.lines().count() == 1);
}

#[test]
fn root_a_program_in_go() {
    if !requires_root() || !requires_compilers() || !requires_program("go") {
        return;
    }
    if !requires_program("mkfs.xfs") || !requires_time() {
        return;
    }
    let site = site();
    let folder = site.moctl().make_folder("go").unwrap();
    let program = folder.join("example");
    let mut build = Command::new("go");
    use_installed(&mut build)
        .args(["build", "-o"])
        .arg(&program)
        .current_dir(repository().join("libmosaic/examples/go"))
        .env("GOCACHE", folder.join("cache"))
        .env("GOPATH", folder.join("path"))
        .env("GOFLAGS", "-mod=mod")
        .env("GOPROXY", "off")
        .env("GOTOOLCHAIN", "local")
        .env("CGO_ENABLED", "1");
    let output: Output = build.output().unwrap().into();
    assert_eq!((output.status, output.stderr.as_str()), (0, ""));
    // Its collector must not take a handle for a pointer of its own, however often it looks.
    let at = site.mountpoint("at");
    let words = ["m", word(&at)];
    let mut command = command(site.moctl(), &[], &program, &words);
    let output = command
        .env("GODEBUG", "cgocheck=2")
        .env("GOGC", "1")
        .output();
    assert_said(output.unwrap(), "hello from Go\nm has [go2]\n", &site);
    assert!(installed().join("lib").is_dir());
}
