// SPDX-License-Identifier: MIT OR Apache-2.0
//! Power cuts: what was not durable is gone.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::await_condition::eventually;
use crate::btrfs;
use crate::mounted_fs::MountedFs;
use crate::shell;

impl MountedFs {
    /// Cuts the power, and comes back.
    ///
    /// ext4 and xfs are shut down without writing their log (`EXT4_IOC_SHUTDOWN`,
    /// `XFS_IOC_GOINGDOWN` with NOLOGFLUSH, by xfs_io). btrfs gets back what its device holds now:
    /// it never writes over what its superblock leads to, so a copy during which that did not
    /// change is what a cut at the beginning of the copy would have left.
    ///
    /// # Errors
    /// What kept it from being done.
    pub fn cut_power(&self) -> Result<()> {
        if self.fs() != "btrfs" {
            let path = self.path().to_string_lossy();
            shell::run("xfs_io", &["-x", "-c", "shutdown", &path])?;
            self.umount()?;
            return self.mount();
        }
        let then = self.image().with_extension("then");
        loop {
            let before = btrfs::superblock(self.image())?;
            copy(self.image(), &then)?;
            if btrfs::superblock(self.image())? == before {
                break;
            }
        }
        // The last umount writes, and may be another namespace's.
        self.umount_everywhere()?;
        copy(&then, self.image())?;
        let cut = btrfs::superblock(&then)?;
        // A page that somebody reads just now, looking for a file system, is not forgotten.
        let is_back = || {
            let flushed = shell::run("blockdev", &[Path::new("--flushbufs"), self.device()]);
            flushed.is_ok() && btrfs::superblock(self.device()).is_ok_and(|now| now == cut)
        };
        ensure!(eventually(is_back), "the device shows what the cut took");
        self.mount()
    }
}

/// Copies a file with its holes. The target stays the file that it is: a device is on it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    shell::run("cp", &[from, to])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{requires_program, requires_root, run};

    #[test]
    fn root_the_cut_takes_what_was_not_synced_and_nothing_else() {
        for fs in ["ext4", "xfs", "btrfs"] {
            if !requires_root()
                || !requires_program(&format!("mkfs.{fs}"))
                || !requires_program("xfs_io")
            {
                return;
            }
            let mounted = MountedFs::new(fs).unwrap();
            let file = |name: &str| mounted.path().join(name);
            std::fs::write(file("synced"), "x").unwrap();
            run("sync", &["-f".as_ref(), mounted.path()]).unwrap();
            std::fs::write(file("not-synced"), "x").unwrap();
            mounted.cut_power().unwrap();
            assert_eq!(std::fs::read(file("synced")).unwrap(), b"x", "{fs}");
            assert!(!file("not-synced").exists(), "{fs}");
            std::fs::write(file("again"), "x").unwrap();
        }
    }
}
