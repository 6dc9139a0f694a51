// SPDX-License-Identifier: MIT OR Apache-2.0
//! Old drivers with a new host, new drivers with an old host, and today's with each other.

use std::path::PathBuf;
use std::process::Command;

use mosaic_core::export::mosaic_abi::DriverModuleRef;
use mosaic_core::export::mosaic_abi::abi_stable::StableAbi;
use mosaic_core::export::mosaic_abi::abi_stable::abi_stability::abi_checking::check_layout_compatibility;
use mosaic_core::export::mosaic_abi::abi_stable::library::lib_header_from_path;
use mosaic_core::export::mosaic_abi::abi_stable::type_layout::TypeLayout;
use mosaic_core::finding::{Remedy, Repair};
use mosaic_core::volume::{Access, CloneOptions, Kind, Lifetime, NewKind, NewVolume};
use mosaic_core::{Bytes, ErrorKind, KeyKind, LockScope, ScratchName, Settings, VolumeName};
use mosaic_tests::requires_time;

use crate::folder::{Folder, open};
use crate::{next_abi, workspaces};

fn settings() -> Settings {
    Settings::new("/srv/store")
}

fn name(text: &str) -> VolumeName {
    VolumeName::parse(text).unwrap()
}

/// What the program of the next ABI says of a driver of the folder.
fn next_host(folder: &Folder, type_name: &str) -> String {
    let output = Command::new(workspaces::next().join("next-host"))
        .arg(folder.path())
        .arg(type_name)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{}", text(output.stderr));
    text(output.stdout)
}

#[test]
fn a_driver_of_the_released_1_0_says_all_that_it_has_to_say() {
    let loaded = Folder::with(workspaces::kept()).load("kept").unwrap();
    assert_eq!(loaded.abi, "1.0.0");
    assert_eq!(loaded.module.type_name(), "kept");
    let schema = loaded.module.schema().unwrap();
    assert_eq!(schema[0].kind, KeyKind::choice(&["red", "green"]));
    assert_eq!(schema[0].default.as_deref(), Some("red"));
    assert_eq!(schema[1].kind, KeyKind::Text);
    // The third one has its place on a command line, of which only a later host knows.
    assert_eq!(schema.len(), 2);

    let (driver, heard) = open(&loaded, &settings());
    assert_eq!(
        driver.lock_scope().unwrap(),
        LockScope::Directory("/srv/store".into())
    );
    assert!(driver.clone_changes_source().unwrap());
    let volume = driver.find(&name("one")).unwrap().unwrap();
    let all = driver.list().unwrap();
    assert_eq!((all.len(), &all[0]), (2, &volume));
    // What a later minor may say: shown, never mounted.
    assert_eq!(all[1].kind, Kind::Disk);
    assert!(all[1].notes[1].contains("4711"), "{:?}", all[1].notes);
    assert_eq!(
        (volume.stored.as_str(), volume.user.as_deref()),
        ("stored/one", Some("one"))
    );
    let fs = Some("ext4".to_owned());
    assert_eq!(volume.kind, Kind::Fs { fs, assumed: false });
    assert_eq!(volume.access, Access::Device);
    assert_eq!(
        (volume.size, volume.exclusive),
        (Some(Bytes(1 << 30)), None)
    );
    assert_eq!(
        volume.attachment.as_ref().unwrap().lifetime,
        Lifetime::Mount
    );
    assert_eq!(
        volume.facts,
        [("a fact".to_owned(), "its value".to_owned())]
    );
    assert_eq!(driver.find(&name("two")).unwrap(), None);
    assert!(driver.check(&Repair::Usual).unwrap()[0].repaired);
    let about = driver.about().unwrap();
    assert_eq!(about.notes, ["a note on the location"]);
    assert_eq!(about.facts, volume.facts);
    driver.validate_name(&name("a name")).unwrap();
    assert_eq!(*heard.0.lock().unwrap(), ["1/2 open", "Warning: a name"]);
}

#[test]
fn a_driver_without_classes_mends_all_or_nothing() {
    let loaded = Folder::with(workspaces::kept()).load("kept").unwrap();
    let (driver, _) = open(&loaded, &settings());
    let classes = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Repair::classes(&words).unwrap()
    };
    for (repair, repaired) in [
        (Repair::Nothing, false),
        (Repair::Usual, true),
        (classes(&["leftovers"]), false),
        (classes(&["leftovers", "other"]), true),
    ] {
        let [found] = &driver.check(&repair).unwrap()[..] else {
            panic!("one finding of {repair:?}");
        };
        let remedy = Remedy::new("other", "make it new");
        assert_eq!(found.remedy, Some(remedy), "{repair:?}");
        assert_eq!(found.repaired, repaired, "{repair:?}");
    }
}

#[test]
fn a_driver_gets_back_what_it_said_of_a_dropped_volume() {
    let loaded = Folder::with(workspaces::kept()).load("kept").unwrap();
    let (driver, heard) = open(&loaded, &settings());
    let scratch = ScratchName::from_random(3);
    let in_use = driver.drop_volume(&name("one"), &scratch).unwrap_err();
    assert_eq!(in_use.kind(), ErrorKind::Busy);
    let dropped = driver.drop_volume(&name("two"), &scratch).unwrap();
    assert_eq!(dropped.pending, ["blocks of two"]);
    driver.await_space(&dropped).unwrap();
    assert_eq!(
        *heard.0.lock().unwrap(),
        ["1/2 open", "Info: blocks of two"]
    );
}

#[test]
fn an_error_of_a_driver_keeps_kind_errno_and_causes() {
    let loaded = Folder::with(workspaces::kept()).load("kept").unwrap();
    let (driver, _) = open(&loaded, &settings());
    let new = NewVolume {
        kind: NewKind::Disk,
        size: Bytes(512),
        scratch: ScratchName::from_random(1),
    };
    let error = driver.create(&name("a"), &new).unwrap_err();
    assert_eq!(
        (error.kind(), error.errno()),
        (ErrorKind::NoSpace, Some(28))
    );
    assert_eq!(error.chain(), "no space for 512: because of a cause");

    let how = CloneOptions {
        size: None,
        scratch: ScratchName::from_random(2),
    };
    let unknown_kind = driver
        .clone_volume(&name("a"), &name("b"), &how)
        .unwrap_err();
    assert_eq!(
        (unknown_kind.kind(), unknown_kind.errno()),
        (ErrorKind::Io, None)
    );
}

#[test]
fn an_old_driver_works_with_a_new_host() {
    if !requires_time() {
        return;
    }
    let kept = next_host(&Folder::with(workspaces::kept()), "kept");
    let lines: Vec<&str> = kept.lines().collect();
    assert_eq!(
        lines,
        [
            "type: kept",
            "abi: 1.0.0",
            "motto: None",
            "keys: 2",
            "scope: Directory(\"/srv\")",
            "volumes: 2",
            "capability: clone Some(\"it is only kept\")",
            "tidy: Unsupported this driver is too old for tidy",
        ]
    );
    let today = next_host(&Folder::with(workspaces::panicky()), "panicky");
    assert!(today.contains("motto: None"), "{today}");
    assert!(today.contains("capability: disk None"), "{today}");
    assert!(
        today.contains("tidy: Unsupported this driver is too old"),
        "{today}"
    );
}

#[test]
fn a_new_driver_works_with_an_old_host() {
    if !requires_time() {
        return;
    }
    let driver = workspaces::next().join("libmosaic_next.so");
    let loaded = Folder::with(driver).load("next").unwrap();
    assert_eq!(loaded.abi, next_abi::version());
    let (driver, _) = open(&loaded, &settings());
    // It asks this host for a service that only the next one has.
    let [hint] = &driver.capabilities(None).unwrap()[..] else {
        panic!("one capability");
    };
    assert_eq!(hint.refusal.as_deref(), Some("this host takes none"));
    let new = NewVolume {
        kind: NewKind::Fs(None),
        size: Bytes(1024),
        scratch: ScratchName::from_random(3),
    };
    let error = driver.create(&name("a"), &new).unwrap_err();
    assert_eq!(
        (error.kind(), error.chain().as_str()),
        (ErrorKind::NoSpace, "no space for 1024")
    );
}

#[test]
fn a_new_driver_and_a_new_host_use_what_is_new() {
    if !requires_time() {
        return;
    }
    let driver = workspaces::next().join("libmosaic_next.so");
    let said = next_host(&Folder::with(driver), "next");
    assert!(said.contains("motto: Some(\"forward\")"), "{said}");
    assert!(said.contains("capability: hint None"), "{said}");
    assert!(said.contains("tidy: 3"), "{said}");
}

#[test]
fn two_drivers_of_different_types_live_in_one_process() {
    let folder = Folder::with(workspaces::panicky());
    folder.put("libmosaic_kept.so", workspaces::kept());
    let panicky = folder.load("panicky").unwrap();
    let kept = folder.load("kept").unwrap();
    assert_eq!(
        (panicky.module.type_name(), kept.module.type_name()),
        ("panicky", "kept")
    );
    let (first, _) = open(&panicky, &settings());
    let (second, _) = open(&kept, &settings());
    assert_eq!(
        (first.list().unwrap().len(), second.list().unwrap().len()),
        (0, 2)
    );
    assert_eq!(first.capabilities(None).unwrap().len(), 2);
    assert_eq!(second.capabilities(None).unwrap().len(), 1);
}

#[test]
fn a_replaced_file_is_another_driver_and_the_same_file_is_not() {
    let folder = Folder::with(workspaces::panicky());
    let first = folder.load("panicky").unwrap();
    let again = folder.load("panicky").unwrap();
    assert_eq!(
        first.module.type_name().as_ptr(),
        again.module.type_name().as_ptr()
    );
    // As a package manager does: a new file is moved over the old one.
    folder.put("new", workspaces::panicky());
    std::fs::rename(folder.file("new"), folder.file("libmosaic_panicky.so")).unwrap();
    let replaced = folder.load("panicky").unwrap();
    assert_ne!(
        first.module.type_name().as_ptr(),
        replaced.module.type_name().as_ptr()
    );
}

/// What a file's driver, in the words of abi_stable, is laid out as.
fn layout(file: PathBuf) -> &'static TypeLayout {
    lib_header_from_path(&file).unwrap().layout().unwrap()
}

/// All that is frozen, in the words of abi_stable's own check.
#[test]
fn the_layout_of_each_released_abi_is_still_there() {
    let today = <DriverModuleRef as StableAbi>::LAYOUT;
    check_layout_compatibility(layout(workspaces::kept()), today).unwrap();
    // What was appended since the last release has to have a version of its own.
    let released = mosaic_core::export::mosaic_abi::VERSION.starts_with("1.0.");
    if released {
        check_layout_compatibility(today, layout(workspaces::kept()))
            .expect("mosaic-abi has grown without a new minor version");
    }
}

#[test]
fn the_next_layout_has_all_of_todays_and_not_the_other_way_round() {
    if !requires_time() {
        return;
    }
    let today = <DriverModuleRef as StableAbi>::LAYOUT;
    let next = layout(workspaces::next().join("libmosaic_next.so"));
    check_layout_compatibility(layout(workspaces::kept()), next).unwrap();
    check_layout_compatibility(today, next).unwrap();
    assert!(
        check_layout_compatibility(next, today).is_err(),
        "the check checks nothing"
    );
}
