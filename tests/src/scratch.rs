// SPDX-License-Identifier: MIT OR Apache-2.0
//! A temporary folder that cleans up after tests that failed half-way.
//!
//! Before the folder goes, what is mounted in it is unmounted and loop devices on files in it are
//! detached: nobody else can have put them there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::loop_file;
use crate::mount_table;
use crate::requires::is_set;

/// Whether fixtures are to stay for a look.
pub fn keep() -> bool {
    is_set("MOSAIC_KEEP")
}

/// A folder of the test's own, mode 0700, with a name that carries the process id.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes one; `label` becomes part of its name.
    ///
    /// # Errors
    /// What kept it from being made.
    pub fn new(label: &str) -> Result<Self> {
        let prefix = format!("mosaic-test-{label}-{}-", std::process::id());
        let folder = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir()
            .context("cannot make a temporary folder")?;
        // The kernel names mounts by their real path.
        let path = folder.keep().canonicalize()?;
        Ok(Self { path })
    }

    /// Its path, without links in it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a folder in it.
    ///
    /// # Errors
    /// What kept it from being made.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if keep() {
            return;
        }
        // Devices on files of a file system that is mounted here are found by its path only as long
        // as it is: they go first, those of files in the folder itself after their mounts.
        loop_file::detach_beneath(&self.path);
        mount_table::umount_beneath(&self.path);
        loop_file::detach_beneath(&self.path);
        if mount_table::mountpoints_beneath(&self.path).is_empty() {
            // Nothing useful can be done about a folder that stays in /tmp.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_also_when_the_test_panics() {
        let scratch = Scratch::new("panic").unwrap();
        let path = scratch.path().to_owned();
        std::fs::write(path.join("file"), "x").unwrap();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _scratch = scratch;
            std::panic::resume_unwind(Box::new("as a failing assertion does"));
        }));
        assert!(outcome.is_err());
        assert!(keep() || !path.exists());
    }
}
