// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who uses a device and is in no `/proc` that the command sees: it runs in another pid namespace, as
//! in a container that has the host's `/dev`.

use std::fs::File;
use std::process::Command;

use mosaic_tests::{Moctl, Output, Part, ThinPool, requires_program, requires_thin_pools, word};

use crate::{MIB, assert_sound, roomy_site};

/// Runs `moctl` with none of this machine's processes in its `/proc`.
fn run_apart(command: &Command) -> Output {
    let mut apart = Command::new("unshare");
    apart
        .args(["--pid", "--fork", "--mount-proc"])
        .arg(command.get_program())
        .args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => apart.env(key, value),
            None => apart.env_remove(key),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        apart.current_dir(folder);
    }
    apart.output().expect("unshare can be started").into()
}

#[test]
fn root_a_device_that_somebody_out_of_sight_writes_to_is_neither_mounted_nor_resized() {
    if !requires_program("unshare") {
        return;
    }
    let Some(site) = roomy_site() else { return };
    let at = site.mountpoint("at");
    site.ok(&["new", "fs", "a", "48M"]);
    let device = site.json(&["attach", "a"])["attachment"]["device"].clone();
    let device = device.as_str().unwrap();
    let grow = ["resize", "a", "+16M"];
    let mount = ["mount", "a", word(&at)];
    // As a virtual machine has its disk.
    let writer = File::options().write(true).open(device).unwrap();
    for words in [&grow[..], &mount] {
        let said = run_apart(&site.command(words));
        assert_eq!(said.status, 5, "{words:?}: {said:?}");
        assert!(said.stderr.contains(device), "{words:?}: {said:?}");
        assert!(
            said.stderr.contains("not to be seen"),
            "{words:?}: {said:?}"
        );
    }
    // Beside a mount, too.
    drop(writer);
    site.ok(&mount);
    let writer = File::options().write(true).open(device).unwrap();
    let other = site.mountpoint("other");
    let again = ["mount", "a", word(&other)];
    let said = run_apart(&site.command(&again));
    assert_eq!(said.status, 5, "{said:?}");
    assert!(said.stderr.contains("not to be seen"), "{said:?}");
    drop(writer);
    site.ok(&again);
    site.ok(&["umount", "a", word(&other)]);
    site.ok(&["umount", "a", word(&at)]);
    // Nobody has it now.
    for words in [&grow[..], &mount] {
        let said = run_apart(&site.command(words));
        assert_eq!(said.status, 0, "{words:?}: {said:?}");
    }
    site.ok(&["detach", "a"]);
    assert_sound(&site);
}

#[test]
fn root_a_mapped_disk_that_somebody_out_of_sight_writes_to_is_not_taken() {
    if !requires_program("unshare") || !requires_thin_pools() {
        return;
    }
    for part in [Part::Data, Part::Metadata] {
        let pool = ThinPool::with_fragile(part, 128 * MIB, 4 * MIB).unwrap();
        let device = match part {
            Part::Data => pool.data_device(),
            Part::Metadata => pool.metadata_device(),
        };
        let moctl = Moctl::new().unwrap();
        let text = format!(
            "type: dmthin\nlocation: {}\nmetadata_size: 32M\n{}",
            pool.name(),
            pool.config()
        );
        moctl.config("m", &text).unwrap();
        let writer = File::options().write(true).open(&device).unwrap();
        for words in [&["m", "init"][..], &["m", "init", "--force"]] {
            let said = run_apart(&moctl.command(words));
            assert_eq!(said.status, 5, "{words:?}: {said:?}");
            assert!(
                said.stderr.contains("not to be seen"),
                "{words:?}: {said:?}"
            );
        }
        drop(writer);
        let said = run_apart(&moctl.command(&["m", "init"]));
        assert_eq!(said.status, 0, "{said:?}");
        // Nor is it activated beside somebody.
        pool.deactivate().unwrap();
        let writer = File::options().write(true).open(&device).unwrap();
        let said = run_apart(&moctl.command(&["m", "list"]));
        assert_eq!(said.status, 5, "{said:?}");
        drop(writer);
        moctl.ok(&["m", "list"]);
        pool.deactivate().unwrap();
        pool.check().unwrap();
    }
}
