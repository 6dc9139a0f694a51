// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is not loaded, and that the user is told in one line why.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use mosaic_core::ErrorKind;
use mosaic_core::loader::{Beside, SearchPath, load};
use mosaic_tests::{requires, requires_time, run};

use crate::folder::Folder;
use crate::workspaces;

/// A driver's file with some bytes replaced by as many others.
fn patched(driver: &Path, before: &[u8], after: &[u8]) -> Vec<u8> {
    assert_eq!(before.len(), after.len());
    let mut bytes = std::fs::read(driver).unwrap();
    let found = bytes.windows(before.len()).enumerate();
    let places: Vec<usize> = found
        .filter(|(_, w)| *w == before)
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "nothing to patch");
    for at in places {
        bytes[at..at + after.len()].copy_from_slice(after);
    }
    bytes
}

/// The refusal of a file with this content as the driver of type `x`.
fn refusal_of(content: impl AsRef<[u8]>) -> String {
    let folder = Folder::new();
    folder.write("libmosaic_x.so", content);
    let error = folder.refusal("x");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.chain();
    let start = format!("cannot load driver {:?}: ", folder.file("libmosaic_x.so"));
    text.strip_prefix(&start).expect(&text).to_owned()
}

#[test]
fn what_is_no_library_is_refused_without_loading_it() {
    assert_eq!(refusal_of("type: loop\n"), "it is not an ELF file");
    assert_eq!(refusal_of(""), "it is not an ELF file");
    let header = &std::fs::read("/proc/self/exe").unwrap()[..40];
    assert_eq!(
        refusal_of(header),
        "it is built for another kind of processor"
    );
    let mut other_processor = std::fs::read(workspaces::panicky()).unwrap();
    other_processor[18] ^= 1;
    assert_eq!(
        refusal_of(other_processor),
        "it is built for another kind of processor"
    );
}

#[test]
fn libz_is_not_a_driver() {
    let folders = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"].map(PathBuf::from);
    let multiarch = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let libz = folders
        .into_iter()
        .chain([multiarch.into()])
        .map(|folder| folder.join("libz.so.1"))
        .find(|file| file.exists());
    if !requires(libz.is_some(), "needs libz.so.1") {
        return;
    }
    let refusal = refusal_of(std::fs::read(libz.unwrap()).unwrap());
    assert!(
        refusal.starts_with("it is not a Mosaic driver"),
        "{refusal}"
    );
}

#[test]
fn a_missing_function_is_refused_when_loading() {
    let driver = workspaces::third_party().join("libmosaic_unresolved.so");
    let error = Folder::with(driver).refusal("unresolved");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.chain();
    assert!(
        text.ends_with("undefined symbol: mosaic_test_no_such_function"),
        "{text}"
    );
}

#[test]
fn a_driver_for_another_type_under_this_name_is_refused() {
    let folder = Folder::new();
    folder.put("libmosaic_plain.so", workspaces::panicky());
    let error = folder.refusal("plain");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.chain();
    assert!(
        text.ends_with("it is a driver for type \"panicky\", not \"plain\""),
        "{text}"
    );
}

#[test]
fn another_major_version_is_refused_with_both_numbers() {
    let refusal = refusal_of(patched(
        &workspaces::panicky(),
        b"abi=1.0.0\0",
        b"abi=9.1.0\0",
    ));
    let ours = mosaic_core::export::mosaic_abi::VERSION;
    let expected = format!("it has driver ABI 9.1.0, this program has {ours}; rebuild the driver");
    assert_eq!(refusal, expected);
}

#[test]
fn a_changed_layout_is_one_line_and_its_report_comes_when_asked_for() {
    if !requires_time() {
        return;
    }
    let folder = Folder::with(workspaces::changed());
    let error = folder.refusal("changed");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.chain();
    assert!(text.contains("is not laid out as this program's"), "{text}");
    static REPORTED: AtomicUsize = AtomicUsize::new(0);
    let report = |report: &str| {
        assert!(report.contains("dent"), "{report}");
        REPORTED.store(report.lines().count(), Ordering::Relaxed);
    };
    let again = load(&folder.search().with_layout_report(report), "changed").unwrap_err();
    assert_eq!(again.chain(), text);
    assert!(REPORTED.load(Ordering::Relaxed) > 10);
}

#[test]
fn a_file_whose_note_promises_what_it_has_not_is_refused() {
    let symbol = b"_1as_0lib_1header_0root_bmodule_bloader\0";
    let other = b"_1as_0lib_1header_0root_bmodule_bl0ader\0";
    let folder = Folder::new();
    folder.write(
        "libmosaic_panicky.so",
        patched(&workspaces::panicky(), symbol, other),
    );
    let text = folder.refusal("panicky").chain();
    assert!(text.ends_with("it exports no driver module"), "{text}");

    let magic = b"abi stable library for Rust";
    let other = b"abi stable library for Dust";
    let folder = Folder::new();
    folder.write(
        "libmosaic_panicky.so",
        patched(&workspaces::panicky(), magic, other),
    );
    let text = folder.refusal("panicky").chain();
    assert!(
        text.contains("it was built with another abi_stable"),
        "{text}"
    );
    // The answer is the same the second time.
    assert_eq!(folder.refusal("panicky").chain(), text);
}

#[test]
fn a_fifo_or_folder_under_a_drivers_name_is_refused_at_once() {
    let folder = Folder::new();
    run("mkfifo", &[folder.file("libmosaic_x.so").to_str().unwrap()]).unwrap();
    std::fs::create_dir(folder.file("libmosaic_y.so")).unwrap();
    for type_name in ["x", "y"] {
        let text = folder.refusal(type_name).chain();
        assert!(text.ends_with("it is not a regular file"), "{text}");
    }
}

#[test]
fn an_unknown_type_says_where_was_looked_and_what_is_there() {
    let folder = Folder::with(workspaces::panicky());
    folder.write("libmosaic_broken.so", "no driver");
    let error = folder.refusal("panicki");
    assert_eq!(
        (error.kind(), error.key()),
        (ErrorKind::Config, Some("type"))
    );
    let text = error.chain();
    assert!(
        text.starts_with("unknown type \"panicki\" (did you mean panicky?)"),
        "{text}"
    );
    assert!(
        text.contains("no driver \"libmosaic_panicki.so\" in"),
        "{text}"
    );
    assert!(text.contains(&format!("{:?}", folder.path())), "{text}");
    assert!(text.contains("/usr/local/lib/mosaic/drivers/1"), "{text}");
    let (_, known) = text.split_once("known types: ").expect(&text);
    let known: Vec<&str> = known.split(", ").collect();
    assert!(
        known.contains(&"panicky") && known.contains(&"dizzy"),
        "{text}"
    );
    assert!(!known.contains(&"broken"), "{text}");
}

#[test]
fn what_cannot_be_a_type_never_becomes_a_path() {
    let folder = Folder::new();
    std::fs::create_dir(folder.file("libmosaic_a")).unwrap();
    folder.put("libmosaic_a/b.so", workspaces::panicky());
    for bad in [
        "a/b",
        "../x",
        "",
        "Loop",
        "a.b",
        "a b",
        "ä",
        "a\nb",
        &"a".repeat(33),
    ] {
        let error = folder.refusal(bad);
        assert_eq!(
            (error.kind(), error.key()),
            (ErrorKind::Config, Some("type")),
            "{bad}"
        );
        assert!(error.chain().contains("cannot be a type"), "{error}");
    }
}

#[test]
fn the_first_folder_that_has_the_file_decides() {
    let (first, second) = (Folder::new(), Folder::with(workspaces::panicky()));
    let both = vec![first.path().to_owned(), second.path().to_owned()];
    let search = SearchPath::new(both, Vec::new(), Beside::Program);
    assert_eq!(
        load(&search, "panicky").unwrap().file,
        second.file("libmosaic_panicky.so")
    );
    first.write("libmosaic_panicky.so", "broken");
    let text = load(&search, "panicky").unwrap_err().chain();
    assert!(text.contains("not an ELF file"), "{text}");
    first.put("libmosaic_panicky.so", workspaces::panicky());
    assert_eq!(
        load(&search, "panicky").unwrap().file,
        first.file("libmosaic_panicky.so")
    );
}

#[test]
fn other_names_of_a_type_are_found_by_note_or_by_link() {
    let folder = Folder::with(workspaces::panicky());
    for alias in ["dizzy", "giddy"] {
        let loaded = folder.load(alias).unwrap();
        assert_eq!(loaded.module.type_name(), "panicky");
        assert_eq!(loaded.file, folder.file("libmosaic_panicky.so"));
    }
    let link = folder.file("libmosaic_dizzy.so");
    std::os::unix::fs::symlink("libmosaic_panicky.so", &link).unwrap();
    assert_eq!(folder.load("dizzy").unwrap().file, link);
    // A link that gives a type which the driver does not have.
    std::os::unix::fs::symlink("libmosaic_panicky.so", folder.file("libmosaic_plain.so")).unwrap();
    assert!(folder.refusal("plain").chain().contains("not \"plain\""));
}
