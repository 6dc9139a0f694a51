// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shared objects that use the library in programs that know nothing of it, as modules of servers do.

use std::path::Path;

use mosaic_tests::{Site, word};

use crate::common::{installed, requires_compilers};
use crate::program::{DONE, How, command, program, shared_object};

/// Has a program load a shared object, with these variables in its environment.
#[track_caller]
fn load(plugin: &Path, variables: &[(&str, &str)]) {
    let site = Site::in_folder("plain", "").unwrap();
    let moctl = site.moctl();
    let location = moctl.make_folder("other").unwrap();
    moctl.mosaic("other", "loop", &location, "").unwrap();
    let words = [word(plugin), "m"];
    let output = command(moctl, &[], &program("plugins", How::C), &words)
        .envs(variables.iter().copied())
        // With the archive they are beside nothing.
        .env(
            "MOSAIC_DRIVER_PATH",
            installed().join("lib/mosaic/drivers/1"),
        )
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        (output.status.code(), &*said),
        (Some(DONE), ""),
        "{plugin:?}"
    );
    assert_eq!(site.entries(), [""; 0]);
}

#[test]
fn a_plugin_is_unloaded_and_loaded_again() {
    if !requires_compilers() {
        return;
    }
    let plugin = shared_object("plugin", How::C);
    load(&plugin, &[]);
    // So is one that has the library in itself, which drivers point into.
    load(
        &shared_object("plugin", How::Archive),
        &[("PLUGIN_STAYS", "")],
    );
    // The constructor's thread may have the dynamic linker's lock: then the other one waits for it, and
    // has to hold nothing meanwhile.
    load(
        &plugin,
        &[("PLUGIN_BEGINS", "m"), ("PLUGIN_BESIDE", "other")],
    );
}
