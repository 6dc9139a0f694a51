// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ELF note: what `moctl drivers` shows without running a line of a driver.

use std::path::Path;

use mosaic_core::loader::{Beside, InstalledDriver, SearchPath, installed};
use mosaic_tests::{is_quick, left_out, requires_program, stdout_of};

use crate::folder::Folder;
use crate::workspaces;

/// What is installed in a folder, without those of the system and the test's own folder.
fn installed_in(folder: &Folder) -> Vec<InstalledDriver> {
    let mut all = installed(&folder.search());
    all.retain(|driver| driver.file.starts_with(folder.path()));
    all
}

#[test]
fn a_driver_is_listed_without_being_loaded() {
    let folder = Folder::with(workspaces::panicky());
    let link = folder.file("libmosaic_dizzy.so");
    std::os::unix::fs::symlink("libmosaic_panicky.so", link).unwrap();
    folder.write("README", "no driver's name");
    let expected = InstalledDriver {
        type_name: "panicky".into(),
        aliases: vec!["dizzy".into(), "giddy".into()],
        version: "0.3.0".into(),
        abi: mosaic_core::export::mosaic_abi::VERSION.into(),
        description: "Panics, to see who survives it".into(),
        file: folder.file("libmosaic_panicky.so"),
        refusal: None,
    };
    assert_eq!(installed_in(&folder), [expected]);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(
        !maps.contains(folder.path().to_str().unwrap()),
        "it was loaded"
    );
    folder.load("panicky").unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(
        maps.contains(folder.path().to_str().unwrap()),
        "the look at maps finds nothing"
    );
}

#[test]
fn what_would_not_load_is_listed_with_the_reason() {
    let folder = Folder::new();
    folder.write("libmosaic_text.so", "type: text\n");
    folder.put("libmosaic_other.so", workspaces::panicky());
    std::fs::create_dir(folder.file("libmosaic_folder.so")).unwrap();
    let reasons: Vec<(String, String)> = installed_in(&folder)
        .into_iter()
        .map(|d| (d.type_name, d.refusal.unwrap()))
        .collect();
    let [(_, a_folder), (type_name, other), (_, text)] = &reasons[..] else {
        panic!("{reasons:?}");
    };
    assert!(a_folder.ends_with("it is not a regular file"), "{a_folder}");
    assert_eq!(type_name, "panicky");
    assert!(
        other.contains("its name must be libmosaic_panicky.so"),
        "{other}"
    );
    assert_eq!(text, "it is not an ELF file");
}

#[test]
fn a_driver_behind_another_one_of_its_name_says_which_comes_first() {
    let (first, second) = (
        Folder::with(workspaces::panicky()),
        Folder::with(workspaces::panicky()),
    );
    let both = vec![first.path().to_owned(), second.path().to_owned()];
    let search = SearchPath::new(both, Vec::new(), Beside::Program);
    let all = installed(&search);
    let of = |folder: &Folder| {
        all.iter()
            .find(|d| d.file.starts_with(folder.path()))
            .unwrap()
    };
    assert_eq!(of(&first).refusal, None);
    let refusal = of(&second).refusal.as_deref().unwrap();
    assert_eq!(refusal, format!("{:?} comes first", of(&first).file));
}

#[test]
fn a_cut_or_damaged_file_is_a_reason_and_never_a_panic() {
    let folder = Folder::new();
    let whole = std::fs::read(workspaces::panicky()).unwrap();
    let mut count = 0;
    let mut put = |bytes: &[u8]| {
        count += 1;
        folder.write(&format!("libmosaic_damaged{count}.so"), bytes);
    };
    let step = if is_quick() { 8 } else { 1 };
    if is_quick() {
        left_out("7 of 8 files");
    }
    let cuts = (0..1024).chain((1024..whole.len()).step_by(whole.len() / 20));
    for len in cuts.step_by(step) {
        put(&whole[..len]);
    }
    // The headers, and the notes behind them, with one byte replaced at a time.
    let mut bytes = whole[..4096].to_vec();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..3000 / step {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let at = usize::try_from(random % 1200).unwrap();
        let before = std::mem::replace(&mut bytes[at], random.to_le_bytes()[7]);
        put(&bytes);
        bytes[at] = before;
    }
    let found = installed_in(&folder);
    assert_eq!(found.len(), count);
    // A whole one would be refused too, for its name, but by another reason.
    let damaged = |d: &&InstalledDriver| !d.refusal.as_ref().unwrap().contains("name must be");
    let damaged = found.iter().filter(damaged).count();
    assert!(
        damaged > 1000 / step && damaged < count,
        "{damaged} of {count}"
    );
}

#[test]
fn readelf_shows_the_note() {
    if !requires_program("readelf") {
        return;
    }
    check_readelf(&workspaces::panicky());
}

#[test]
fn the_note_survives_link_time_optimisation_and_stripping() {
    if is_quick() {
        left_out("the release build of a driver");
        return;
    }
    let workspace = workspaces::third_party_workspace();
    let driver = workspace
        .build_release("mosaic-panicky")
        .join("libmosaic_panicky.so");
    let folder = Folder::with(&driver);
    let found = installed_in(&folder);
    assert_eq!((found.len(), found[0].type_name.as_str()), (1, "panicky"));
    assert_eq!(found[0].refusal, None);
    assert_eq!(
        folder.load("panicky").unwrap().module.type_name(),
        "panicky"
    );
    if requires_program("readelf") {
        check_readelf(&driver);
    }
}

fn check_readelf(driver: &Path) {
    let notes = stdout_of("readelf", &["--notes", "--wide", driver.to_str().unwrap()]).unwrap();
    let ours = notes
        .lines()
        .find(|line| line.trim_start().starts_with("Mosaic"));
    assert!(ours.is_some_and(|line| line.contains("0x")), "{notes}");
}
