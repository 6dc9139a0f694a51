// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel: one that is installed here, or else the distribution's, downloaded and unpacked.
//!
//! Nothing is installed. Kept in `target/vm/kernel` are the kernel itself, uncompressed, because
//! its own decompression takes seconds on an emulated processor, and the modules we want.

mod compressed;
pub(super) mod package;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::shell;

/// Modules that are there, loaded in this order if the kernel does not have them built in.
pub(super) const MODULES: [&str; 17] = [
    // What the kernel asks for by other names: crypto-crc32c of ext4, xfs, btrfs and dm-thin.
    "crc32c_generic",
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "loop",
    "fuse",
    "ext4",
    "xfs",
    "btrfs",
    "overlay",
    "quota_v2",
    "dm_mod",
    "dm_thin_pool",
    "dm_snapshot",
    "dm_flakey",
    "dm_log_writes",
    "dm_delay",
];

/// Without these there is nothing to test.
const INDISPENSABLE: [&str; 7] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "loop",
    "ext4",
    "xfs",
    "dm_thin_pool",
];

/// A kernel to boot.
#[derive(Debug)]
pub(super) struct Kernel {
    folder: PathBuf,
}

impl Kernel {
    /// The kept one, or another that is kept from now on.
    ///
    /// # Errors
    /// None is installed and none can be downloaded; it lacks a module.
    pub(super) fn obtain(vm: &Path) -> Result<Self> {
        let kernel = Self {
            folder: vm.join("kernel"),
        };
        let installed = installed();
        let wanted = wanted(installed.as_deref())?;
        let kept = fs::read_to_string(kernel.folder.join("wanted")).unwrap_or_default();
        // A downloaded one is kept, and so is one that was removed here meanwhile.
        let (modules, kept_modules) = (wanted.lines().next(), kept.lines().next());
        if kept == wanted || installed.is_none() && kept_modules == modules {
            return Ok(kernel);
        }
        let unpacked = super::own_folder("kernel")?;
        let source = match installed {
            Some(release) => Source::new(Path::new("/"), release),
            None => {
                package::download(unpacked.path())?;
                Source::find(unpacked.path())?
            }
        };
        // Whatever was there is of another version of this file.
        let _ = fs::remove_dir_all(&kernel.folder);
        fs::create_dir(&kernel.folder)?;
        kernel.keep(&source)?;
        fs::write(kernel.folder.join("wanted"), wanted)?;
        Ok(kernel)
    }

    /// The uncompressed kernel.
    pub(super) fn image(&self) -> PathBuf {
        self.folder.join("vmlinux")
    }

    /// The folder that has `lib/modules`.
    pub(super) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// Its name and version, as `uname -r` says it.
    pub(super) fn release(&self) -> Result<String> {
        only_release(&self.root())
    }

    fn keep(&self, source: &Source) -> Result<()> {
        let image = fs::read(source.image())
            .with_context(|| format!("cannot read {}", source.image().display()))?;
        fs::write(self.image(), compressed::kernel(&image)?)?;
        let to = self.root().join("lib/modules").join(&source.release);
        for path in source.modules()? {
            let plain = to.join(path.with_extension(""));
            let plain = match path.extension().and_then(|e| e.to_str()) {
                Some("xz" | "zst") => plain,
                _ => to.join(&path),
            };
            fs::create_dir_all(plain.parent().context("a module has a folder")?)?;
            let module = fs::read(source.folder().join(&path))?;
            fs::write(plain, compressed::decompressed(&module)?.unwrap_or(module))?;
        }
        for list in ["modules.builtin", "modules.order"] {
            fs::copy(source.folder().join(list), to.join(list))?;
        }
        depmod(&self.root(), &source.release)
    }
}

/// What a kept kernel is made for and from: the modules, and a line of the one that is installed here.
fn wanted(installed: Option<&str>) -> Result<String> {
    let mut wanted = MODULES.join(" ");
    if let Some(release) = installed {
        let image = PathBuf::from(format!("/boot/vmlinuz-{release}"));
        wanted.push('\n');
        wanted.push_str(&super::template::stamp(&image)?);
    }
    Ok(wanted)
}

/// Where a kernel and all of its modules lie.
#[derive(Debug)]
struct Source {
    root: PathBuf,
    release: String,
}

impl Source {
    fn new(root: &Path, release: String) -> Self {
        Self {
            root: root.to_owned(),
            release,
        }
    }

    /// The one kernel beneath a folder that packages were unpacked to.
    fn find(root: &Path) -> Result<Self> {
        // Ubuntu's packages have /lib, newer ones of both may have /usr/lib.
        if !root.join("lib").exists() {
            std::os::unix::fs::symlink("usr/lib", root.join("lib"))?;
        }
        let release = only_release(root)?;
        depmod(root, &release)?;
        Ok(Self::new(root, release))
    }

    fn image(&self) -> PathBuf {
        self.root
            .join("boot")
            .join(format!("vmlinuz-{}", self.release))
    }

    fn folder(&self) -> PathBuf {
        self.root.join("lib/modules").join(&self.release)
    }

    /// The files of all wanted modules and of those that they need.
    fn modules(&self) -> Result<BTreeSet<PathBuf>> {
        let dependencies = fs::read_to_string(self.folder().join("modules.dep"))?;
        let built_in = fs::read_to_string(self.folder().join("modules.builtin"))?;
        let mut found = BTreeSet::new();
        for wanted in MODULES {
            // "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/fs/mbcache.ko"
            let row = dependencies.lines().find_map(|line| {
                let (module, needs) = line.split_once(':')?;
                (module_name(module) == wanted).then_some((module, needs))
            });
            if let Some((module, needs)) = row {
                found.extend(
                    [module]
                        .into_iter()
                        .chain(needs.split(' '))
                        .filter(|m| !m.is_empty())
                        .map(PathBuf::from),
                );
            } else {
                ensure!(
                    built_in.lines().any(|line| module_name(line) == wanted)
                        || !INDISPENSABLE.contains(&wanted),
                    "kernel {} has no module {wanted}",
                    self.release
                );
            }
        }
        Ok(found)
    }
}

fn only_release(root: &Path) -> Result<String> {
    let mut releases = fs::read_dir(root.join("lib/modules"))?.flatten();
    let release = releases.next().context("there are no modules")?;
    Ok(release.file_name().to_string_lossy().into_owned())
}

/// `kernel/drivers/md/dm-thin-pool.ko.xz` is `dm_thin_pool`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.split('.').next().unwrap_or(file);
    stem.replace('-', "_")
}

/// The newest kernel of this machine that can be booted uncompressed and has what we need.
fn installed() -> Option<String> {
    let usable = |release: &String| {
        let config = fs::read_to_string(format!("/boot/config-{release}"));
        config.is_ok_and(|text| text.lines().any(|line| line == "CONFIG_PVH=y"))
            && Source::new(Path::new("/"), release.clone())
                .modules()
                .is_ok()
    };
    let age = |release: &String| {
        let image = fs::metadata(format!("/boot/vmlinuz-{release}"));
        image.and_then(|image| image.modified()).ok()
    };
    fs::read_dir("/lib/modules")
        .ok()?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|release| fs::File::open(format!("/boot/vmlinuz-{release}")).is_ok())
        .filter(usable)
        .max_by_key(age)
}

fn depmod(root: &Path, release: &str) -> Result<()> {
    shell::run("depmod", &[Path::new("-b"), root, Path::new(release)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_known_by_its_file() {
        assert_eq!(
            module_name("kernel/drivers/md/dm-thin-pool.ko.xz"),
            "dm_thin_pool"
        );
        assert_eq!(module_name("ext4.ko"), "ext4");
    }
}
