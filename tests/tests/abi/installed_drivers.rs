// SPDX-License-Identifier: MIT OR Apache-2.0
//! The drivers that Mosaic itself ships, as `moctl` finds them beside it.

use mosaic_tests::{Moctl, requires_time, target_folder};

use crate::folder::Folder;
use crate::workspaces;

#[test]
fn the_historic_name_of_loop_keeps_working() {
    let moctl = Moctl::new().unwrap();
    let folder = Folder::with(target_folder().unwrap().join("libmosaic_loop.so"));
    assert_eq!(folder.load("fsimg").unwrap().module.type_name(), "loop");
    let store = moctl.make_folder("store").unwrap();
    moctl.mosaic("old", "fsimg", &store, "").unwrap();
    let info = moctl.ok(&["old", "info"]);
    assert!(info.contains("libmosaic_loop.so"), "{info}");
}

#[test]
fn moctl_finds_the_drivers_that_were_built_with_it() {
    let moctl = Moctl::new().unwrap();
    let mut drivers = moctl.command(&["--json", "drivers"]);
    drivers.env_remove("MOSAIC_DRIVER_PATH");
    let output = drivers.output().unwrap();
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let usable = |name: &str| {
        let all = value["drivers"].as_array().unwrap();
        all.iter()
            .any(|d| d["type"] == name && d["refusal"].is_null())
    };
    assert!(usable("loop") && usable("plain"), "{value}");
}

#[test]
fn the_report_of_a_changed_layout_comes_with_mosaic_abi_debug_alone() {
    if !requires_time() {
        return;
    }
    let folder = Folder::with(workspaces::changed());
    let moctl = Moctl::new().unwrap();
    let drivers = folder.path().to_str().unwrap();
    let arguments = ["--driver-dir", drivers, "drivers", "changed"];
    let refused = moctl.expect(6, &arguments).stderr;
    assert_eq!(refused.lines().count(), 1, "{refused}");
    let mut debug = moctl.command(&arguments);
    let output = debug.env("MOSAIC_ABI_DEBUG", "1").output().unwrap();
    let report = String::from_utf8(output.stderr).unwrap();
    assert!(report.lines().count() > 10, "{report}");
}
