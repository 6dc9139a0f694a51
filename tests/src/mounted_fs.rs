// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small file system of its own, mounted in a temporary folder: a location to work in.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::btrfs;
use crate::loop_file::{self, LoopFile};
use crate::mount_table;
use crate::requires::requires;
use crate::scratch::keep;
use crate::shell;

/// How to make and mount each one.
struct Recipe {
    name: &'static str,
    fs: &'static str,
    mkfs: &'static [&'static str],
    options: &'static str,
    quota: Option<btrfs::Quota>,
    size: u64,
}

const MIB: u64 = 1 << 20;

const RECIPES: [Recipe; 7] = [
    Recipe {
        name: "ext4",
        fs: "ext4",
        mkfs: &["-q", "-E", "lazy_itable_init=0,nodiscard"],
        options: "noatime",
        quota: None,
        size: 512 * MIB,
    },
    Recipe {
        name: "ext4+prjquota",
        fs: "ext4",
        mkfs: &[
            "-q",
            "-O",
            "project,quota",
            "-E",
            "quotatype=prjquota,nodiscard",
        ],
        options: "noatime,prjquota",
        quota: None,
        size: 512 * MIB,
    },
    Recipe {
        name: "xfs",
        fs: "xfs",
        mkfs: &["-q", "-K", "-m", "reflink=1"],
        options: "noatime",
        quota: None,
        size: 1024 * MIB,
    },
    Recipe {
        name: "xfs+prjquota",
        fs: "xfs",
        mkfs: &["-q", "-K", "-m", "reflink=1"],
        options: "noatime,prjquota",
        quota: None,
        size: 1024 * MIB,
    },
    BTRFS,
    Recipe {
        name: "btrfs+simple",
        quota: Some(btrfs::Quota::Simple),
        ..BTRFS
    },
    Recipe {
        name: "btrfs+full",
        quota: Some(btrfs::Quota::Full),
        ..BTRFS
    },
];

const BTRFS: Recipe = Recipe {
    name: "btrfs",
    fs: "btrfs",
    mkfs: &["-q", "-K"],
    options: "noatime",
    quota: None,
    size: 1024 * MIB,
};

/// A file system on a [`LoopFile`], mounted. The file is sparse: the size costs nothing.
#[derive(Debug)]
pub struct MountedFs {
    path: PathBuf,
    fs: &'static str,
    options: &'static str,
    file: LoopFile,
}

impl MountedFs {
    /// Makes and mounts one of `ext4`, `ext4+prjquota`, `xfs`, `xfs+prjquota`, `btrfs`,
    /// `btrfs+simple`, `btrfs+full` (by its quotas). Needs root and the `mkfs` program.
    ///
    /// # Errors
    /// An unknown name; what `mkfs` or `mount` said.
    pub fn new(name: &str) -> Result<Self> {
        let recipe = recipe(name)?;
        Self::with_size(name, recipe.size)
    }

    /// The same with another size, in bytes.
    ///
    /// # Errors
    /// As [`MountedFs::new`].
    pub fn with_size(name: &str, size: u64) -> Result<Self> {
        let recipe = recipe(name)?;
        let file = LoopFile::new(size)?;
        let mut args: Vec<&Path> = recipe.mkfs.iter().map(Path::new).collect();
        args.push(file.device());
        shell::run(&format!("mkfs.{}", recipe.fs), &args)?;
        let path = file.folder().join("mounted");
        std::fs::create_dir(&path)?;
        let mounted = Self {
            path,
            fs: recipe.fs,
            options: recipe.options,
            file,
        };
        mounted.mount()?;
        if let Some(quota) = recipe.quota {
            btrfs::switch_on(&mounted.path, quota)?;
        }
        Ok(mounted)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The loop device that it is on.
    pub fn device(&self) -> &Path {
        self.file.device()
    }

    /// Lets other users reach it: temporary folders are private.
    ///
    /// # Errors
    /// What kept it from that.
    pub fn let_others_in(&self) -> Result<()> {
        let mode = std::fs::Permissions::from_mode(0o711);
        Ok(std::fs::set_permissions(self.file.folder(), mode)?)
    }

    /// A folder beside the mountpoint, on the host's file system, for mountpoints of volumes.
    ///
    /// # Errors
    /// What kept it from being made.
    pub fn folder_beside(&self, name: &str) -> Result<PathBuf> {
        let path = self.file.folder().join(name);
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// Mounts it, after [`MountedFs::umount`].
    ///
    /// # Errors
    /// What `mount` said.
    pub fn mount(&self) -> Result<()> {
        let device = self.device().to_string_lossy();
        let path = self.path.to_string_lossy();
        shell::run(
            "mount",
            &["-t", self.fs, "-o", self.options, &device, &path],
        )
    }

    /// Unmounts it; it can be mounted again.
    ///
    /// # Errors
    /// What `umount` said.
    pub fn umount(&self) -> Result<()> {
        shell::run("umount", &[&self.path])
    }

    /// The file beneath its device.
    pub fn image(&self) -> &Path {
        self.file.image()
    }

    /// Its type, without what is switched on in it.
    pub fn fs(&self) -> &str {
        self.fs
    }
}

impl Drop for MountedFs {
    fn drop(&mut self) {
        if keep() {
            return;
        }
        // Volumes that a failed test left mounted or attached hold the file system. Once it is gone
        // from the tree, nobody finds their devices by its path: they go first, or with their mount.
        loop_file::detach_beneath(&self.path);
        mount_table::umount_beneath(self.file.folder());
    }
}

/// True if this kernel enforces project quota on `ext4` or `xfs` (CONFIG_QFMT_V2, CONFIG_XFS_QUOTA);
/// otherwise says that the test is skipped. Needs root and the `mkfs` program.
pub fn requires_project_quota(fs: &str) -> bool {
    static EXT4: OnceLock<bool> = OnceLock::new();
    static XFS: OnceLock<bool> = OnceLock::new();
    let known = if fs == "xfs" { &XFS } else { &EXT4 };
    let can = known.get_or_init(|| MountedFs::new(&format!("{fs}+prjquota")).is_ok());
    requires(
        *can,
        &format!("this kernel mounts no {fs} with project quota"),
    )
}

fn recipe(name: &str) -> Result<&'static Recipe> {
    match RECIPES.iter().find(|recipe| recipe.name == name) {
        Some(recipe) => Ok(recipe),
        None => bail!("no file system {name:?} to test on"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{eventually, loop_devices_beneath, requires_program, requires_root};

    fn comes_and_goes(name: &str) {
        let mounted = MountedFs::new(name).unwrap();
        std::fs::write(mounted.path().join("file"), "x").unwrap();
        mounted.umount().unwrap();
        mounted.mount().unwrap();
        assert!(mounted.path().join("file").exists());
        let folder = mounted.file.folder().to_owned();
        drop(mounted);
        assert!(mount_table::mountpoints_beneath(&folder).is_empty());
        assert!(eventually(|| loop_devices_beneath(&folder).is_empty()));
    }

    #[test]
    fn root_every_file_system_comes_and_goes() {
        for fs in ["ext4", "xfs", "btrfs"] {
            if !requires_root() || !requires_program(&format!("mkfs.{fs}")) {
                return;
            }
            comes_and_goes(fs);
        }
    }

    #[test]
    fn root_file_systems_with_project_quota_come_and_go() {
        for fs in ["ext4", "xfs"] {
            if !requires_root() || !requires_project_quota(fs) {
                return;
            }
            comes_and_goes(&format!("{fs}+prjquota"));
        }
    }

    #[test]
    fn root_btrfs_has_the_quotas_that_were_asked_for() {
        if !requires_root() || !requires_program("mkfs.btrfs") {
            return;
        }
        for (name, quota) in [
            ("btrfs", None),
            ("btrfs+simple", Some(btrfs::Quota::Simple)),
            ("btrfs+full", Some(btrfs::Quota::Full)),
        ] {
            let mounted = MountedFs::new(name).unwrap();
            assert_eq!(btrfs::quota(mounted.path()).unwrap(), quota, "{name}");
        }
    }

    #[test]
    fn root_what_a_failed_test_left_goes_too() {
        if !requires_root() || !requires_program("mkfs.ext4") {
            return;
        }
        let mounted = MountedFs::new("ext4").unwrap();
        let image = mounted.path().join("volume");
        std::fs::File::create(&image)
            .unwrap()
            .set_len(8 << 20)
            .unwrap();
        shell::run("mkfs.ext4", &[Path::new("-q"), &image]).unwrap();
        let at = mounted.folder_beside("mnt").unwrap();
        shell::run("mount", &[Path::new("-o"), Path::new("loop"), &image, &at]).unwrap();
        // This one is attached only.
        let image = mounted.path().join("attached");
        std::fs::File::create(&image)
            .unwrap()
            .set_len(1 << 20)
            .unwrap();
        let arguments = [Path::new("--find"), Path::new("--show"), &image];
        let device = shell::stdout_of("losetup", &arguments).unwrap();
        let number = device.trim().trim_start_matches("/dev/").to_owned();
        let backing = format!("/sys/block/{number}/loop/backing_file");
        let is_free = || !std::fs::read_to_string(&backing).is_ok_and(|b| b.contains("attached"));
        assert!(!is_free());
        let folder = mounted.file.folder().to_owned();
        drop(mounted);
        assert!(eventually(is_free));
        assert!(mount_table::mountpoints_beneath(&folder).is_empty());
        assert!(eventually(|| loop_devices_beneath(&folder).is_empty()));
        assert!(!folder.exists());
    }
}
