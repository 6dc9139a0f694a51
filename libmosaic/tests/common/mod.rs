// SPDX-License-Identifier: MIT OR Apache-2.0
//! What these tests share: an installed tree, and programs that are compiled against it.
//!
//! The tree is made by `cargo xtask install` once, beside what cargo built, and again when something
//! of it is new: copying what a debug build makes takes longer than a test.

#![allow(dead_code, reason = "each test binary uses some of it")]

use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use mosaic_tests::{build, requires_program, target_folder};
use rustix::fs::{FlockOperation, flock};

/// Whether the programs are there by which these tests compile; else the test is skipped.
pub fn requires_compilers() -> bool {
    ["gcc", "g++", "pkg-config"]
        .into_iter()
        .all(requires_program)
}

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of the header.
pub fn header() -> String {
    let path = repository().join("libmosaic/include/mosaic/mosaic.h");
    std::fs::read_to_string(path).expect("the header is there")
}

/// The header without its comments.
pub fn declarations() -> String {
    let text = header();
    let mut parts = text.split("/*");
    let mut code = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, after) = part.split_once("*/").expect("a comment has an end");
        code.push_str(after);
    }
    code
}

/// The functions that the header declares, sorted.
pub fn functions() -> Vec<String> {
    let code = declarations();
    let calls = code.split('(').filter_map(|before| {
        let start = before.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let name = &before[start.map_or(0, |at| at + 1)..];
        name.starts_with("mosaic_").then(|| name.to_owned())
    });
    let mut functions: Vec<String> = calls.collect();
    functions.sort();
    assert!(functions.len() > 40, "{functions:?}");
    functions
}

/// The root of a tree that `cargo xtask install` has made.
///
/// # Panics
/// It cannot be made.
pub fn installed() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        build(&["libmosaic", "xtask"]).expect("what is to be installed is built");
        let folder = folder();
        let root = folder.join("root");
        // Other test binaries make the same one.
        let lock = File::create(folder.join("lock")).expect("the folder is ours");
        flock(&lock, FlockOperation::LockExclusive).expect("a file can be locked");
        let signature = signature();
        let record = folder.join("signature");
        if std::fs::read_to_string(&record).ok().as_ref() != Some(&signature) {
            install(&root);
            std::fs::write(record, signature).expect("the folder is ours");
        }
        root
    })
}

/// The folder of all that these tests make and keep.
pub fn folder() -> PathBuf {
    let folder = target_folder()
        .expect("cargo built us")
        .join("libmosaic-tests");
    std::fs::create_dir_all(&folder).expect("the target folder is ours");
    folder
}

/// Installs what was built into a folder.
///
/// # Panics
/// It cannot be installed.
pub fn install(root: &Path) {
    let target = target_folder().expect("cargo built us");
    let mut command = Command::new(target.join("xtask"));
    command.args(["install", "--no-build", "--root"]).arg(root);
    command.env(
        "CARGO_TARGET_DIR",
        target.parent().expect("it has a folder"),
    );
    if !target.ends_with("release") {
        command.arg("--debug");
    }
    let output = command.stdin(Stdio::null()).output().expect("xtask runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What is installed: sizes and times of the files.
fn signature() -> String {
    let target = target_folder().expect("cargo built us");
    let sources = repository().join("libmosaic");
    let mut files = vec![
        target.join("xtask"),
        target.join("moctl"),
        target.join("libmosaic.a"),
        target.join("mosaic-ploop-server"),
        sources.join("include/mosaic/mosaic.h"),
        sources.join("mosaic.pc.in"),
    ];
    let entries = std::fs::read_dir(&target).expect("it is there").flatten();
    let entries = entries.map(|entry| entry.path());
    files.extend(entries.filter(|path| path.extension().is_some_and(|e| e == "so")));
    files.sort();
    let mut text = String::new();
    for file in files {
        let stat = std::fs::metadata(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let time = stat.modified().expect("Linux has times");
        writeln!(text, "{} {} {time:?}", file.display(), stat.len()).expect("text takes text");
    }
    text
}

/// Lets a compiler, `pkg-config` among its tools, and what it makes use the installed tree.
pub fn use_installed(command: &mut Command) -> &mut Command {
    let library = installed().join("lib");
    command
        .env("PKG_CONFIG_PATH", library.join("pkgconfig"))
        .env("LD_LIBRARY_PATH", library)
}

/// What `pkg-config` says of the installed library.
///
/// # Panics
/// It fails.
pub fn pkg_config(words: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    use_installed(&mut command).args(words).arg("mosaic");
    let output = command.output().expect("pkg-config was asked for");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("paths are text");
    text.split_whitespace().map(str::to_owned).collect()
}
