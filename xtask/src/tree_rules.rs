// SPDX-License-Identifier: MIT OR Apache-2.0
//! Habits of this tree that no other tool watches. Each rule is a function from a file to faults.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// No source file is longer.
const LONGEST: usize = 600;

/// Where `unsafe` may stand: files and folders of the names on the left beneath those on the right.
const FENCE: [(&str, &str); 13] = [
    ("ioctl.rs", ""),
    ("ioctl", ""),
    ("export.rs", "mosaic-core/src"),
    ("export", "mosaic-core/src"),
    ("loader.rs", "mosaic-core/src"),
    ("loader", "mosaic-core/src"),
    ("border.rs", "mosaic-core/src"),
    ("border", "mosaic-core/src"),
    ("posix_regex.rs", "mosaic-core/src/config"),
    ("src", "mosaic-core/abi"),
    ("c", "libmosaic/src"),
    ("abi", "tests"),
    ("drivers", "tests"),
];

/// What gives a function of the C library its name. It makes nothing of the function's body unsafe.
const EXPORT: &str = "#[unsafe(no_mangle)]";

/// Where it may stand.
const EXPORTS: &str = "libmosaic/src";

/// The faults of all files, a line each.
///
/// # Errors
/// A file cannot be read.
pub fn faults(workspace: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for path in files(workspace)? {
        let bytes = std::fs::read(workspace.join(&path))
            .with_context(|| format!("cannot read {}", path.display()))?;
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        let mut found = machine_paths(&text, workspace);
        if path.extension().is_some_and(|e| e == "rs") {
            found.extend(length(&text));
            found.extend(licence(&text));
            found.extend(unfinished(&text));
            if !inside_fence(&path) {
                let exports = path.starts_with(EXPORTS);
                found.extend(unsafe_words(&text, exports));
            }
        }
        if path.file_name().is_some_and(|name| name == "Cargo.toml") {
            found.extend(bare_dependencies(&text));
        }
        faults.extend(found.into_iter().map(|f| format!("{}:{f}", path.display())));
    }
    Ok(faults)
}

/// All files beneath, relative, without `.git` and `target`.
fn files(workspace: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(workspace.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let name = entry.file_name();
            if entry.file_type()?.is_dir() {
                if name != ".git" && name != "target" {
                    folders.push(path);
                }
            } else if entry.file_type()?.is_file() && name != ".git" && name != "Cargo.lock" {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn length(text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > LONGEST).then(|| format!("{LONGEST}: {lines} lines, {LONGEST} at most"))
}

fn licence(text: &str) -> Option<String> {
    let first = text.lines().next().unwrap_or_default();
    (first != "// SPDX-License-Identifier: MIT OR Apache-2.0")
        .then(|| "1: the first line is not the licence".to_owned())
}

fn unfinished(text: &str) -> Vec<String> {
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimpl", "emented!("),
    ];
    matching_lines(text, |line| words.iter().any(|word| line.contains(word)))
        .map(|at| format!("{at}: something is not finished"))
        .collect()
}

fn unsafe_words(text: &str, exports: bool) -> Vec<String> {
    matching_lines(text, |line| {
        if exports && line == EXPORT {
            return false;
        }
        let code = line.split("//").next().unwrap_or_default();
        let outside_of_strings = code.split('"').step_by(2);
        outside_of_strings
            .flat_map(|code| code.split(|c: char| !c.is_alphanumeric() && c != '_'))
            .any(|word| word == "unsafe")
    })
    .map(|at| format!("{at}: unsafe outside the modules made for it"))
    .collect()
}

fn inside_fence(path: &Path) -> bool {
    FENCE.iter().any(|(name, beneath)| {
        path.starts_with(beneath) && path.components().any(|c| c.as_os_str() == *name)
    })
}

/// Paths of the machine that the tree was written on.
fn machine_paths(text: &str, workspace: &Path) -> Vec<String> {
    let here = workspace.to_string_lossy();
    matching_lines(text, |line| line.contains(here.as_ref()))
        .map(|at| format!("{at}: an absolute path of this machine"))
        .collect()
}

/// A dependency with a version of its own has a comment above it that says why it is there.
fn bare_dependencies(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut inside = false;
    let mut explained = false;
    for (at, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.contains("dependencies");
        } else if line.starts_with('#') {
            explained = true;
            continue;
        } else if inside && line.contains('=') && !explained {
            let ours = line.contains("workspace = true") || line.contains("path = ");
            if !ours {
                faults.push(format!("{}: a dependency without a reason", at + 1));
            }
        }
        explained = false;
    }
    faults
}

fn matching_lines(text: &str, matches: impl Fn(&str) -> bool) -> impl Iterator<Item = usize> {
    let numbered = text.lines().enumerate();
    numbered
        .filter(move |(_, line)| matches(line))
        .map(|(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_is_found_in_code_and_only_there() {
        let word = "unsafe";
        let text =
            format!("{word} {{ }}\n// {word}\n#![allow({word}_code)]\nlet a = \"{word}\";\n");
        assert_eq!(unsafe_words(&text, true).len(), 1);
        assert!(unsafe_words(EXPORT, true).is_empty());
        assert_eq!(unsafe_words(EXPORT, false).len(), 1);
        assert!(inside_fence(Path::new("mosaic-btrfs/src/ioctl.rs")));
        assert!(inside_fence(Path::new("mosaic-core/src/ioctl/mount.rs")));
        assert!(!inside_fence(Path::new("mosaic-loop/src/export.rs")));
    }

    #[test]
    fn a_dependency_needs_a_reason() {
        let text =
            "[dependencies]\n# Why.\na = \"1\"\nb = \"1\"\nc.workspace = true\n[lints]\nd = 1\n";
        assert_eq!(
            bare_dependencies(text),
            ["4: a dependency without a reason"]
        );
    }

    #[test]
    fn long_unfinished_and_unlicensed_files_are_found() {
        assert_eq!(length(&"\n".repeat(LONGEST)), None);
        assert!(length(&"\n".repeat(LONGEST + 1)).is_some());
        assert!(licence("//! Something.\n").is_some());
        assert_eq!(unfinished(concat!("a\n// TO", "DO: b\n")).len(), 1);
    }

    #[test]
    fn a_path_of_the_machine_is_found() {
        let text = "a\nsee /home/somebody/mosaic/doc\n";
        assert_eq!(
            machine_paths(text, Path::new("/home/somebody/mosaic")).len(),
            1
        );
    }
}
