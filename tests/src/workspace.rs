// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds drivers that are no part of Mosaic's own workspace, each set in a workspace of its own.
//!
//! A workspace is written to `target/abi`, so that the source tree stays as it is, with the lock
//! file of Mosaic's own workspace, so that nothing is downloaded. Packages that both use are
//! compiled once: cargo keeps what is not a final product in Mosaic's own `target`. That is why
//! no two drivers, in whatever workspace, have the same name, and why each can have the feature
//! `same`: with it cargo chooses of other people's packages what Mosaic's own workspace does.

#![expect(
    clippy::missing_panics_doc,
    reason = "what cannot be built or written fails the test"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use crate::built::target_folder;

/// Has other people's packages compiled as they already are.
pub const SAME: [&str; 2] = ["--features", "same"];

/// A file or folder of Mosaic's source tree.
pub fn source(path: &str) -> PathBuf {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    tree.join(path)
}

/// A driver of [`third_party`].
pub fn panicky() -> PathBuf {
    third_party().join("libmosaic_panicky.so")
}

/// The folder of drivers built against `mosaic-core` alone, as a third party's are.
pub fn third_party() -> &'static Path {
    static BUILT: LazyLock<PathBuf> =
        LazyLock::new(|| third_party_workspace().build(&["--workspace"]));
    &BUILT
}

/// That workspace.
pub fn third_party_workspace() -> Workspace {
    let mut workspace = Workspace::new("drivers");
    workspace.add(&source("tests/drivers"), "");
    let core = source("mosaic-core").to_str().unwrap().to_owned();
    workspace.edit("Cargo.toml", "../../mosaic-core", &core);
    workspace
}

/// A workspace to be written beneath `target/abi`.
#[derive(Debug)]
pub struct Workspace {
    name: &'static str,
    files: BTreeMap<PathBuf, String>,
}

impl Workspace {
    /// An empty one.
    pub fn new(name: &'static str) -> Self {
        let files = BTreeMap::new();
        Self { name, files }
    }

    /// One with a copy of `mosaic-core`, and Mosaic's own table of dependencies and profiles.
    pub fn with_core(name: &'static str, members: &[&str]) -> Self {
        let mut this = Self::new(name);
        for folder in ["mosaic-core/src", "mosaic-core/abi"] {
            this.add(&source(folder), folder);
        }
        let manifest = std::fs::read_to_string(source("mosaic-core/Cargo.toml")).unwrap();
        let (manifest, rest) = manifest.split_once("[dev-dependencies]").unwrap();
        let (_, rest) = rest.split_once("\n[").unwrap();
        this.put("mosaic-core/Cargo.toml", format!("{manifest}[{rest}"));
        let text = std::fs::read_to_string(source("Cargo.toml")).unwrap();
        let (start, rest) = text.split_once("members = [").expect("a list of members");
        let (_, end) = rest.split_once(']').expect("the list's end");
        let folder = this.place("mosaic-core".as_ref());
        let folder = folder.to_str().unwrap();
        let abi = format!("{folder}/abi");
        let mut list = vec![folder, &abi];
        list.extend(members);
        let end = end.replace("path = \"mosaic-core", &format!("path = \"{folder}"));
        this.put("Cargo.toml", format!("{start}members = {list:?}{end}"));
        this
    }

    /// Adds a file.
    pub fn put(&mut self, path: &str, text: String) {
        self.files.insert(path.into(), text);
    }

    /// Adds a copy of a folder.
    pub fn add(&mut self, from: &Path, to: &str) {
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = Path::new(to).join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                self.add(&entry.path(), to.to_str().unwrap());
            } else {
                let text = std::fs::read_to_string(entry.path()).unwrap();
                self.files.insert(to, text);
            }
        }
    }

    /// Replaces a text that must be there.
    pub fn edit(&mut self, path: &str, before: &str, after: &str) {
        let text = self.files.get_mut(Path::new(path)).expect(path);
        assert!(text.contains(before), "{path} has no {before:?} any more");
        *text = text.replace(before, after);
    }

    /// Appends a text to the one line that starts with another one.
    pub fn append_to_line(&mut self, path: &str, start: &str, addition: &str) {
        let text = &self.files[Path::new(path)];
        let starts = |line: &&str| line.trim_start().starts_with(start);
        let lines: Vec<&str> = text.lines().filter(starts).collect();
        let [line] = lines.as_slice() else {
            panic!("{path} has not exactly one line that starts with {start:?}");
        };
        let line = format!("{line}\n");
        self.edit(path, &line, &format!("{line}{addition}\n"));
    }

    /// Builds packages; returns the folder of the products.
    pub fn build(&self, packages: &[&str]) -> PathBuf {
        self.succeed("build", &[packages, &SAME].concat());
        products().join("debug")
    }

    /// Builds a package as it would be shipped; returns the folder of the products.
    pub fn build_release(&self, package: &str) -> PathBuf {
        self.succeed("build", &["--release", "--package", package]);
        products().join("release")
    }

    fn succeed(&self, command: &str, arguments: &[&str]) {
        let output = self.cargo(command, arguments, &[]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "workspace {}: {stderr}", self.name);
    }

    /// Writes the workspace and runs cargo in it.
    pub fn cargo(&self, command: &str, arguments: &[&str], rustc_arguments: &[&str]) -> Output {
        let root = products().parent().unwrap().join(self.name);
        self.write(&root);
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo
            .current_dir(&root)
            .env("CARGO_BUILD_BUILD_DIR", target())
            // As `cargo xtask test` has other packages built, and what is never changed.
            .env("CARGO_PROFILE_DEV_DEBUG", "false")
            .env("CARGO_INCREMENTAL", "0")
            .arg(command)
            .args(["--offline", "--quiet", "--target-dir"])
            .arg(products())
            .args(arguments);
        if !rustc_arguments.is_empty() {
            cargo.arg("--").args(rustc_arguments);
        }
        cargo.output().expect("cargo runs")
    }

    /// Writes the files that are not there already, so that cargo finds the rest unchanged.
    fn write(&self, root: &Path) {
        let lock = std::fs::read_to_string(source("Cargo.lock")).unwrap();
        if write_if_changed(&root.join("Cargo.lock.mosaic"), &lock) {
            write_if_changed(&root.join("Cargo.lock"), &lock);
        }
        let same = format!("{}-same", self.name);
        for (path, text) in &self.files {
            let is_driver = path.ends_with("Cargo.toml")
                && !path.starts_with("mosaic-core")
                && !path.starts_with("abi");
            let text = match is_driver {
                true => with_same(text, &root.join(&same)),
                false => text.clone(),
            };
            write_if_changed(&root.join(self.place(path)), &text);
        }
        write_if_changed(&root.join(&same).join("Cargo.toml"), &same_manifest());
        write_if_changed(&root.join(&same).join("lib.rs"), "//! Nothing.\n");
    }

    /// Where a file is in the workspace: a copy of `mosaic-core` has a folder of another name.
    ///
    /// Cargo tells packages apart by name, version and folder within their workspace. In a build
    /// folder that is shared a changed copy must not pass for Mosaic's own crate.
    fn place(&self, path: &Path) -> PathBuf {
        let copy = PathBuf::from(format!("{}-core", self.name));
        match path.strip_prefix("mosaic-core") {
            Ok(rest) if rest.as_os_str().is_empty() => copy,
            Ok(rest) => copy.join(rest),
            Err(_) => path.to_owned(),
        }
    }
}

/// A driver's manifest with the feature `same`.
fn with_same(manifest: &str, same: &Path) -> String {
    let line = format!("same = {{ package = \"mosaic-same\", path = {same:?}, optional = true }}");
    manifest.replace("[dependencies]\n", &format!("[dependencies]\n{line}\n"))
}

/// The manifest of a package that does nothing but depend on what Mosaic depends on.
fn same_manifest() -> String {
    let text = std::fs::read_to_string(source("Cargo.toml")).unwrap();
    let (_, rest) = text.split_once("[workspace.dependencies]\n").unwrap();
    let (table, _) = rest.split_once("\n[").unwrap();
    let others = |line: &&str| !line.starts_with("mosaic-");
    let table: Vec<&str> = table.lines().filter(others).collect();
    format!(
        "[package]\nname = \"mosaic-same\"\nedition = \"2024\"\n\
         [lib]\npath = \"lib.rs\"\n[dependencies]\n{}\n",
        table.join("\n")
    )
}

/// Mosaic's own target folder.
fn target() -> PathBuf {
    target_folder().unwrap().parent().unwrap().to_owned()
}

/// Where cargo puts what the workspaces make.
fn products() -> PathBuf {
    target().join("abi/products")
}

fn write_if_changed(path: &Path, text: &str) -> bool {
    if std::fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return false;
    }
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    true
}
