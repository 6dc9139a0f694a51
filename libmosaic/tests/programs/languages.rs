// SPDX-License-Identifier: MIT OR Apache-2.0
//! The examples in other languages, as they stand in `libmosaic/examples`.

use std::process::Command;

use mosaic_tests::{Output, Site, requires_program, requires_root, requires_time, stdout_of, word};

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

/// How Go is told to look at every pointer that C gets: from 1.21 on while it builds, until then while the
/// program runs.
fn pointer_check(version: &str) -> (Option<&'static str>, Option<&'static str>) {
    let number = version.split_whitespace().nth(2);
    let mut parts = number.unwrap_or("").trim_start_matches("go").split('.');
    let mut part = || parts.next()?.parse::<u32>().ok();
    let known = part().zip(part());
    match known.is_some_and(|version| version < (1, 21)) {
        true => (None, Some("cgocheck=2")),
        false => (Some("cgocheck2"), None),
    }
}

#[test]
fn pointers_are_looked_at_as_each_go_does() {
    let (built, run) = ((Some("cgocheck2"), None), (None, Some("cgocheck=2")));
    for (version, expected) in [
        ("go version go1.19.8 linux/amd64", run),
        ("go version go1.20 linux/amd64", run),
        ("go version go1.21.0 linux/amd64", built),
        ("go version go1.24.4 linux/arm64", built),
        ("go version devel go1.26-a1b2c3d Mon linux/amd64", built),
    ] {
        assert_eq!(pointer_check(version), expected, "{version}");
    }
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
    let (experiment, debug) = pointer_check(&stdout_of("go", &["version"]).unwrap());
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
        .env("CGO_ENABLED", "1")
        .envs(experiment.map(|value| ("GOEXPERIMENT", value)));
    let output: Output = build.output().unwrap().into();
    assert_eq!((output.status, output.stderr.as_str()), (0, ""));
    // Its collector must not take a handle for a pointer of its own, however often it looks.
    let at = site.mountpoint("at");
    let words = ["m", word(&at)];
    let mut command = command(site.moctl(), &[], &program, &words);
    let output = command
        .envs(debug.map(|value| ("GODEBUG", value)))
        .env("GOGC", "1")
        .output();
    assert_said(output.unwrap(), "hello from Go\nm has [go2]\n", &site);
    assert!(installed().join("lib").is_dir());
}
