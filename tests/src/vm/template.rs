// SPDX-License-Identifier: MIT OR Apache-2.0
//! One machine, booted once: its memory and its device state, in `target/vm/template`.
//!
//! It is made again when anything that it is made of has changed. A lock keeps two processes from
//! making it at once, and each machine runs from links of its own to its files: it goes on with them
//! when another process has made a new one meanwhile.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use super::base;
use super::cpio::{self, Entries};
use super::kernel::Kernel;
use super::qemu::{self, Qemu};
use super::udev::Udev;
use super::watchdog::Watchdog;
use super::{disk, say};
use crate::eventually_within;

/// How long a boot may take on a machine that is busy with other things.
const BOOT_LIMIT: Duration = Duration::from_secs(120);

/// Ready to start machines from.
#[derive(Debug, Clone)]
pub struct Template {
    folder: PathBuf,
    key: String,
}

impl Template {
    /// The template, made first if it is missing or stale: then it says so on stderr. A process
    /// looks only once.
    ///
    /// # Errors
    /// Something is not installed; the machine did not boot.
    pub fn ready() -> Result<Self> {
        static READY: OnceLock<Result<Template, String>> = OnceLock::new();
        let ready = READY.get_or_init(|| Self::look().map_err(|error| format!("{error:#}")));
        match ready {
            Ok(template) => Ok(template.clone()),
            Err(error) => bail!("no virtual machine: {error}"),
        }
    }

    fn look() -> Result<Self> {
        let vm = super::folder()?;
        // Until this process has looked, another one waits.
        let _lock = lock(&vm, FlockOperation::LockExclusive)?;
        super::sweep_in(&vm)?;
        let kernel = Kernel::obtain(&vm)?;
        let udev = Udev::obtain(&vm)?;
        let template = Self {
            folder: vm.join("template"),
            key: key(&kernel, udev.as_ref())?,
        };
        if template.is_fresh() {
            return Ok(template);
        }
        let start = Instant::now();
        say("making its template, which takes some seconds once");
        let new = make(&kernel, &base::entries(&kernel, udev.as_ref())?)?;
        fs::write(new.path().join("key"), &template.key)?;
        let _ = fs::remove_dir_all(&template.folder);
        fs::rename(new.keep(), &template.folder)?;
        let seconds = start.elapsed().as_secs_f32();
        say(&format!(
            "template of Linux {} made in {seconds:.1} s",
            kernel.release()?
        ));
        Ok(template)
    }

    /// Whether the files are those that this process looked at, or the same made again.
    fn is_fresh(&self) -> bool {
        fs::read_to_string(self.folder.join("key")).is_ok_and(|kept| kept == self.key)
    }

    /// Links to its files in a folder on the same file system.
    ///
    /// # Errors
    /// It is another one now, since something that it is made of has changed.
    pub(super) fn link_into(&self, folder: &Path) -> Result<Linked> {
        let vm = self.folder.parent().context("a template has a folder")?;
        let _lock = lock(vm, FlockOperation::LockShared)?;
        ensure!(
            self.is_fresh(),
            "the template of virtual machines was made anew by another version; run this again"
        );
        let linked = Linked {
            memory: folder.join("memory"),
            state: folder.join("state"),
        };
        fs::hard_link(self.folder.join("memory"), &linked.memory)?;
        fs::hard_link(self.folder.join("state"), &linked.state)?;
        Ok(linked)
    }

    /// The paths of all files inside.
    pub(super) fn files(&self) -> Result<BTreeSet<PathBuf>> {
        let list = fs::read_to_string(self.folder.join("files"))?;
        Ok(list.lines().map(PathBuf::from).collect())
    }
}

/// One machine's own way to the files of a template.
#[derive(Debug)]
pub(super) struct Linked {
    /// The memory, which machines map privately.
    pub(super) memory: PathBuf,
    /// The state of all devices.
    pub(super) state: PathBuf,
}

/// Held until the file is closed.
fn lock(vm: &Path, how: FlockOperation) -> Result<File> {
    let lock = File::create(vm.join("lock"))?;
    rustix::io::retry_on_intr(|| flock(&lock, how)).context("cannot lock the template")?;
    Ok(lock)
}

/// Everything that the template depends on.
fn key(kernel: &Kernel, udev: Option<&Udev>) -> Result<String> {
    let version = crate::stdout_of(qemu::PROGRAM, &["--version"])?;
    let image = stamp(&kernel.image())?;
    Ok([version, image, qemu::signature(), base::signature(udev)?].join("\n"))
}

/// A file's path, size, and time of last change.
pub(super) fn stamp(path: &Path) -> Result<String> {
    let meta = fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    Ok(format!(
        "{path:?} {} {}.{}",
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec()
    ))
}

fn make(kernel: &Kernel, entries: &Entries) -> Result<TempDir> {
    let made = super::own_folder("template")?;
    let folder = made.path();
    let initramfs = folder.join("initramfs");
    cpio::write(&initramfs, entries)?;
    let list: Vec<String> = entries
        .keys()
        .map(|path| path.display().to_string())
        .collect();
    fs::write(folder.join("files"), list.join("\n"))?;
    let disks = disk::blank(folder)?;
    let console = folder.join("console");
    let memory = folder.join("memory");
    let mut qemu = Qemu::new(&memory, &disks, &folder.join("status"));
    qemu.share_memory();
    qemu.console_to(&console);
    qemu.boot(&kernel.image(), &initramfs);
    let (mut child, mut control) = qemu.start()?;
    // Whatever happens, it ends.
    let _watchdog = Watchdog::new(&child, 2 * BOOT_LIMIT)?;
    let done = await_ready(&mut child, &console)
        .and_then(|()| control.save(&folder.join("state")))
        .and_then(|()| control.quit());
    if done.is_err() {
        // It may have ended by itself.
        let _ = child.kill();
    }
    let output = child.wait_with_output()?;
    done.with_context(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        let log = super::machine::end_of(&console);
        format!("QEMU ended with {}\n{said}\n{log}", output.status)
    })?;
    for disk in disks.paths() {
        fs::remove_file(disk)?;
    }
    fs::remove_file(initramfs)?;
    Ok(made)
}

/// Waits for the line that `init` writes in the loop that copies shall wake up in.
fn await_ready(child: &mut Child, console: &Path) -> Result<()> {
    let mut ended = None;
    let ready = eventually_within(BOOT_LIMIT, || {
        ended = child.try_wait().ok().flatten();
        let text = fs::read(console).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        ended.is_some() || text.contains("the template is ready")
    });
    ensure!(ready, "not ready within {BOOT_LIMIT:?}");
    ensure!(ended.is_none(), "QEMU ended");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scratch;

    #[test]
    fn a_machine_keeps_its_files_when_the_template_is_made_anew() {
        let vm = Scratch::new("template").unwrap();
        let folder = vm.folder("template").unwrap();
        let make = |key: &str| {
            for name in ["key", "memory", "state"] {
                // As a new template comes: other files by these names.
                let _ = fs::remove_file(folder.join(name));
                fs::write(folder.join(name), key).unwrap();
            }
        };
        make("old");
        let template = Template {
            folder: folder.clone(),
            key: "old".into(),
        };
        let linked = template.link_into(&vm.folder("machine").unwrap()).unwrap();
        make("new");
        for file in [linked.memory, linked.state] {
            assert_eq!(fs::read_to_string(file).unwrap(), "old");
        }
        let error = template.link_into(&vm.folder("another").unwrap());
        assert!(error.unwrap_err().to_string().contains("run this again"));
    }
}
