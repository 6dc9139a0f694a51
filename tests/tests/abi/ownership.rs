// SPDX-License-Identifier: MIT OR Apache-2.0
//! Root runs no code that others can change.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use mosaic_core::ErrorKind;
use mosaic_core::loader::installed;
use mosaic_tests::{requires_root, requires_time};

use crate::folder::Folder;
use crate::workspaces;

const DRIVER: &str = "libmosaic_panicky.so";

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// The refusal names the file or folder at fault and the command that mends it; after that
/// command the driver loads.
fn check_mended_by(folder: &Folder, at_fault: &Path, command: &str) {
    let error = folder.refusal("panicky");
    assert_eq!(error.kind(), ErrorKind::Permission);
    let text = error.chain();
    let remedy = format!("{command} {at_fault:?}");
    assert!(
        text.starts_with(&format!("{at_fault:?} ")) && text.ends_with(&remedy),
        "{text}"
    );
    let listed = installed(&folder.search());
    let listed = listed
        .iter()
        .find(|d| d.file.starts_with(folder.path()))
        .unwrap();
    assert_eq!(listed.refusal.as_deref(), Some(text.as_str()));

    let status = Command::new("sh").args(["-c", &remedy]).status().unwrap();
    assert!(status.success());
    folder.load("panicky").unwrap();
}

#[test]
fn root_loads_no_driver_that_others_can_write() {
    if !requires_root() {
        return;
    }
    let folder = Folder::with(workspaces::panicky());
    let file = folder.file(DRIVER);
    set_mode(&file, 0o644);
    folder.load("panicky").unwrap();
    for mode in [0o666, 0o664, 0o646] {
        set_mode(&file, mode);
        check_mended_by(&folder, &file, "chmod go-w");
    }
    chown(&file, Some(12345), None).unwrap();
    check_mended_by(&folder, &file, "chown root");
}

#[test]
fn root_loads_no_driver_from_a_folder_that_others_can_write() {
    if !requires_root() {
        return;
    }
    let folder = Folder::with(workspaces::panicky());
    set_mode(&folder.file(DRIVER), 0o644);
    for mode in [0o777, 0o775, 0o1777] {
        set_mode(folder.path(), mode);
        check_mended_by(&folder, folder.path(), "chmod go-w");
    }
    chown(folder.path(), Some(12345), None).unwrap();
    check_mended_by(&folder, folder.path(), "chown root");
}

#[test]
fn root_checks_the_file_behind_a_link() {
    if !requires_root() {
        return;
    }
    let (elsewhere, folder) = (Folder::with(workspaces::panicky()), Folder::new());
    let file = elsewhere.file(DRIVER);
    std::os::unix::fs::symlink(&file, folder.file(DRIVER)).unwrap();
    set_mode(&file, 0o666);
    let error = folder.refusal("panicky");
    assert_eq!(error.kind(), ErrorKind::Permission);
    set_mode(&file, 0o644);
    folder.load("panicky").unwrap();
}

/// Beside a program that an ordinary user built, that user's drivers are as good as the program.
#[test]
fn root_trusts_the_owner_of_the_program_beside_it_and_nobody_else() {
    if !requires_time() || !requires_root() {
        return;
    }
    let folder = Folder::with(workspaces::next().join("libmosaic_next.so"));
    let (program, driver) = (folder.file("next-host"), folder.file("libmosaic_next.so"));
    folder.put("next-host", workspaces::next().join("next-host"));
    for path in [folder.path(), &program, &driver] {
        chown(path, Some(12345), Some(12345)).unwrap();
        set_mode(path, 0o775);
    }
    let says = || {
        let output = Command::new(&program)
            .args(["/nonesuch", "next"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let said = says();
    assert!(said.contains("type: next"), "{said}");
    chown(&driver, Some(12346), None).unwrap();
    let said = says();
    assert!(said.contains("belongs to uid 12346"), "{said}");
    chown(&driver, Some(12345), Some(12346)).unwrap();
    let said = says();
    assert!(said.contains("can be written by group 12346"), "{said}");
}

#[test]
fn root_gives_an_ordinary_user_the_choice_of_drivers() {
    if !requires_time() || !requires_root() {
        return;
    }
    let folder = Folder::with(workspaces::next().join("libmosaic_next.so"));
    let (program, driver) = (folder.file("next-host"), folder.file("libmosaic_next.so"));
    folder.put("next-host", workspaces::next().join("next-host"));
    for path in [folder.path(), &program, &driver] {
        chown(path, Some(12345), None).unwrap();
        set_mode(path, 0o777);
    }
    let output = Command::new(&program)
        .args([folder.path().as_os_str(), "next".as_ref()])
        .uid(12346)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("type: next"), "{said}");
}
