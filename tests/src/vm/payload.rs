// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a machine is given to run: a test program, `moctl`, the drivers, and the sources, all at the
//! paths that they have here. A read-only ext4, so that only what is used is ever read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::disk::PAYLOAD_SIZE;
use super::libraries;
use super::qmp::quoted;
use super::template::Template;
use crate::shell;

/// Where it is mounted.
const AT: &str = "/run/payload";
/// `moctl`, what a driver runs, what the bench runs beside them, and a program that uses the C library.
const PROGRAMS: [&str; 5] = [
    "moctl",
    "mosaic-ploop-server",
    "floor",
    "thin_floor",
    "libmosaic-historic",
];

/// An image, used by any number of machines, gone when it is dropped.
#[derive(Debug)]
pub struct Payload {
    folder: TempDir,
    trees: Vec<PathBuf>,
    libraries: Vec<PathBuf>,
}

impl Payload {
    /// An image with a program that cargo built, and with what was built beside it.
    ///
    /// # Errors
    /// A file cannot be read; there is no room.
    pub fn new(template: &Template, program: &Path) -> Result<Self> {
        let target = crate::built::target_folder_of(program)?;
        let workspace = super::workspace().canonicalize()?;
        let mut payload = Self {
            folder: super::own_folder("payload")?,
            trees: vec![workspace.clone()],
            libraries: Vec::new(),
        };
        if !target.starts_with(&workspace) {
            payload.trees.push(target.clone());
        }
        let stage = payload.folder.path().join("stage");
        let mut files: BTreeSet<PathBuf> = built(&target)?;
        files.insert(program.to_owned());
        let there = template.files()?;
        let list: Vec<PathBuf> = files.iter().cloned().collect();
        for library in libraries::of(&list)? {
            if !there.contains(&libraries::with_real_folder(&library)) {
                payload.libraries.push(library.clone());
                files.insert(library);
            }
        }
        files.extend(sources()?);
        for file in &files {
            take(file, &stage).with_context(|| format!("cannot take {}", file.display()))?;
        }
        make_image(&stage, &payload.image())?;
        fs::remove_dir_all(stage)?;
        Ok(payload)
    }

    pub(super) fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Lines of shell that put everything where it belongs.
    pub(super) fn mount_lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("mkdir {AT}"),
            format!("mount -t ext4 -o ro,noload /dev/vm/payload {AT}"),
        ];
        for tree in &self.trees {
            let (from, to) = (quoted(inside(tree)), quoted(tree));
            lines.push(format!("mkdir -p {to}"));
            lines.push(format!("mount --bind {from} {to}"));
        }
        for library in &self.libraries {
            let folder = library.parent().unwrap_or(library);
            lines.push(format!("mkdir -p {}", quoted(folder)));
            lines.push(format!(
                "ln -s {} {}",
                quoted(inside(library)),
                quoted(library)
            ));
        }
        lines
    }
}

fn inside(path: &Path) -> PathBuf {
    Path::new(AT).join(path.strip_prefix("/").unwrap_or(path))
}

/// Programs, drivers and other libraries of ours, whichever are built.
fn built(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let ours = |path: &PathBuf| {
        let is_library = path.extension().is_some_and(|extension| extension == "so");
        let name = path.file_name().and_then(|name| name.to_str());
        is_library || name.is_some_and(|name| PROGRAMS.contains(&name))
    };
    let entries = fs::read_dir(folder)?.flatten();
    Ok(entries.map(|entry| entry.path()).filter(ours).collect())
}

/// All files of the workspace but what was built, and what is hidden. A folder of what was built has a
/// file that tells backup programs so, whatever its name is.
fn sources() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![super::workspace().canonicalize()?];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)?.flatten() {
            let name = entry.file_name();
            let kind = entry.file_type()?;
            if name == "target" || name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if kind.is_dir() && !entry.path().join("CACHEDIR.TAG").exists() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// The same file at the same path beneath another folder: without a copy where that is possible.
fn take(file: &Path, stage: &Path) -> Result<()> {
    let to = stage.join(file.strip_prefix("/").unwrap_or(file));
    fs::create_dir_all(to.parent().context("a file has a folder")?)?;
    let real = file.canonicalize()?;
    if fs::hard_link(&real, &to).is_err() {
        fs::copy(&real, &to)?;
    }
    Ok(())
}

fn make_image(stage: &Path, image: &Path) -> Result<()> {
    super::disk::sparse(image, PAYLOAD_SIZE)?;
    let options = ["-q", "-F", "-O", "^has_journal,^resize_inode", "-m", "0"];
    let mut words: Vec<&Path> = options.iter().map(Path::new).collect();
    // Large files are few: an inode for each 64 KiB is plenty.
    words.extend(["-i", "65536", "-E", "nodiscard,lazy_itable_init=1"].map(Path::new));
    words.extend([Path::new("-d"), stage, image]);
    shell::run("mkfs.ext4", &words)
}
