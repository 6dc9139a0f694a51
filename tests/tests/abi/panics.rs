// SPDX-License-Identifier: MIT OR Apache-2.0
//! A panic in a driver is an error of that call, and nothing more.

use std::sync::Arc;
use std::time::Duration;

use mosaic_core::finding::Repair;
use mosaic_core::host_services::Silent;
use mosaic_core::mosaic::{Environment, Mosaic, VolumeRequest};
use mosaic_core::{Bytes, Error, ErrorKind, Settings, VolumeName};
use mosaic_tests::Moctl;

use crate::folder::{Folder, open};
use crate::workspaces;

fn with_mood(mood: &str) -> Settings {
    let mut settings = Settings::new("/srv");
    settings.set("mood", mood);
    settings
}

fn error_of_find(volume: &str) -> Error {
    let loaded = Folder::with(workspaces::panicky()).load("panicky").unwrap();
    let (driver, _) = open(&loaded, &with_mood("calm"));
    let name = VolumeName::parse(volume).unwrap();
    let error = driver.find(&name).unwrap_err();
    assert!(!error.chain().contains('\n'), "{error}");
    // The driver goes on.
    let other = VolumeName::parse("other").unwrap();
    assert_eq!(driver.find(&other).unwrap(), None);
    error
}

#[test]
fn an_index_out_of_bounds_is_an_error_that_says_where() {
    let error = error_of_find("index");
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(error.kind().exit_status(), 1);
    let text = error.chain();
    assert!(
        text.starts_with("the driver panicked at panicky/src/lib.rs:"),
        "{text}"
    );
    let cause = "which is a fault in it: index out of bounds: the len is 0 but the index is 3";
    assert!(text.ends_with(cause), "{text}");
}

#[test]
fn a_panic_of_several_lines_or_without_text_is_one_line() {
    let lines = error_of_find("lines").chain();
    assert!(lines.contains("two lines"), "{lines}");
    let payload = error_of_find("payload").chain();
    assert!(payload.ends_with("without a message"), "{payload}");
}

#[test]
fn a_panic_while_an_error_is_shown_is_an_error() {
    let text = error_of_find("display").chain();
    assert!(text.contains("too shy to be shown"), "{text}");
}

#[test]
fn a_panic_in_a_thread_that_is_joined_is_an_error() {
    let text = error_of_find("thread").chain();
    assert!(text.starts_with("the driver panicked at"), "{text}");
}

#[test]
fn a_panic_in_open_is_an_error_and_one_in_drop_ends_nothing() {
    let loaded = Folder::with(workspaces::panicky()).load("panicky").unwrap();
    let opened = loaded.module.open(Arc::new(Silent), &with_mood("wild"));
    let text = opened.unwrap_err().chain();
    assert!(text.ends_with("opened in a wild mood"), "{text}");
    let (driver, _) = open(&loaded, &with_mood("late"));
    drop(driver);
    open(&loaded, &with_mood("calm")).0.list().unwrap();
}

#[test]
fn a_driver_hears_that_the_user_asked_to_stop_and_its_text_is_one_line() {
    let loaded = Folder::with(workspaces::panicky()).load("panicky").unwrap();
    let (driver, listener) = open(&loaded, &with_mood("calm"));
    driver.capabilities(None).unwrap();
    let heard = listener.0.lock().unwrap().clone();
    assert_eq!(heard, ["Warning: asked for capabilities", "1/2 half of it"]);
    listener.0.lock().unwrap().push("stop".into());
    let stopped = driver.capabilities(None).unwrap_err();
    assert_eq!(stopped.kind(), ErrorKind::Interrupted);

    let error = driver.check(&Repair::Nothing).unwrap_err();
    assert_eq!(
        (error.kind(), error.key()),
        (ErrorKind::Config, Some("mood"))
    );
    assert_eq!(error.chain(), "first line second line: a cause of its own");
}

#[test]
fn a_driver_that_would_abort_does_not_compile() {
    let arguments = ["--package", "mosaic-panicky", "--lib", "--profile", "dev"];
    let workspace = workspaces::third_party_workspace();
    let arguments = [&arguments[..], &workspaces::SAME].concat();
    let output = workspace.cargo("rustc", &arguments, &["-C", "panic=abort"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it compiles");
    assert!(
        stderr.contains("must be built with panic = \"unwind\""),
        "{stderr}"
    );
}

#[test]
fn a_panic_releases_the_locks_of_a_program_that_goes_on() {
    let folder = Folder::with(workspaces::panicky());
    let location = folder.file("store");
    std::fs::create_dir(&location).unwrap();
    folder.write("m.mos", format!("type: panicky\nlocation: {location:?}\n"));
    let environment = Environment {
        config_dir: folder.path().to_owned(),
        search: folder.search(),
        lock_timeout: Duration::ZERO,
        services: Arc::new(Silent),
    };
    let mosaic = Mosaic::open(&environment, "m".as_ref()).unwrap();
    let create = |name: &str| mosaic.create(name, VolumeRequest::Disk, Bytes(1 << 20), false);
    for _ in 0..3 {
        let error = create("boom").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(
            error.chain().contains("index out of bounds"),
            "{}",
            error.chain()
        );
    }
    // Another open mosaic of this process, and this one: neither finds a lock held.
    let other = Mosaic::open(&environment, "m".as_ref()).unwrap();
    other
        .create("boom", VolumeRequest::Disk, Bytes(1 << 20), false)
        .unwrap_err();
    other
        .create("fine", VolumeRequest::Disk, Bytes(1 << 20), false)
        .unwrap();
    create("fine").unwrap();
}

#[test]
fn a_panic_ends_moctl_with_1_and_one_line() {
    let folder = Folder::with(workspaces::panicky());
    let moctl = Moctl::new().unwrap();
    let store = moctl.make_folder("store").unwrap();
    moctl.mosaic("m", "panicky", &store, "").unwrap();
    let drivers = folder.path().to_str().unwrap();
    let new = |name| {
        [
            "--driver-dir",
            drivers,
            "--lock-timeout",
            "0",
            "-q",
            "m",
            "new",
            "disk",
            name,
            "1M",
        ]
    };
    let failed = moctl.expect(1, &new("boom"));
    let lines: Vec<&str> = failed.stderr.lines().collect();
    let [.., line] = lines.as_slice() else {
        panic!("no error is printed");
    };
    let start = "moctl: cannot create volume \"boom\": the driver panicked at panicky/src/lib.rs";
    assert!(line.starts_with(start), "{line}");
    assert!(!failed.stderr.contains("backtrace"), "{}", failed.stderr);
    moctl.ok(&new("fine"));
}

#[test]
fn moctl_says_what_a_failed_drop_or_rename_has_done() {
    let folder = Folder::with(workspaces::panicky());
    let moctl = Moctl::new().unwrap();
    let store = moctl.make_folder("store").unwrap();
    moctl
        .mosaic("m", "panicky", &store, "mood: behind\n")
        .unwrap();
    let drivers = folder.path().to_str().unwrap();
    let start = ["--driver-dir", drivers, "-q", "m"];
    for name in ["a", "b", "kept"] {
        moctl.ok(&[&start[..], &["new", "disk", name, "1M"]].concat());
    }
    let says = |status, words: &[&str], line: &str| {
        let failed = moctl.expect(status, &[&start[..], words].concat());
        let last = failed.stderr.lines().last();
        assert_eq!(last, Some(format!("moctl: {line}").as_str()));
    };
    let gone = "volume \"a\" is gone, but perhaps not for good: cannot write it to disk";
    says(1, &["drop", "a"], gone);
    let renamed = "volume \"b\" is \"c\" now, but perhaps not for good: cannot write it to disk";
    says(1, &["rename", "b", "c"], renamed);
    says(5, &["drop", "kept"], "cannot drop volume \"kept\": in use");
    let names = |name| store.join(name).exists();
    assert_eq!(
        ["a", "b", "c", "kept"].map(names),
        [false, false, true, true]
    );
}
