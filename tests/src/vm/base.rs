// SPDX-License-Identifier: MIT OR Apache-2.0
//! The virtual machine's own root: this machine's programs with their libraries, the kernel's
//! modules, and a little of /etc.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cpio::{self, Entries, Entry};
use super::kernel::{Kernel, MODULES};
use super::libraries;
use super::udev::Udev;

/// The first process. It stands beside the tests, being a program of its own.
pub(super) const INIT: &str = include_str!("../../vm/init");

/// Programs as they are here. What is not here is not there; the tests that need it say so.
const PROGRAMS: &str = "
    bash sh env
    cat chmod chown cp dd df du head id ln ls mkdir mkfifo mktemp mv readlink realpath rm rmdir seq
    sleep sort stat sync tail tee test timeout touch tr true truncate wc
    awk cmp diff find grep ps sed tar
    blkdiscard blkid blockdev fallocate findmnt flock fstrim fuser losetup lsblk mkswap mount
    mountpoint nsenter pivot_root setpriv setsid swapoff swapon umount unshare wipefs
    chattr debugfs dumpe2fs e2fsck fsck fsck.ext4 lsattr mkfs.ext4 resize2fs tune2fs
    fsck.xfs mkfs.xfs xfs_admin xfs_db xfs_freeze xfs_growfs xfs_info xfs_io xfs_quota xfs_repair
    btrfs btrfstune mkfs.btrfs
    dmsetup thin_check thin_delta thin_dump thin_ls thin_metadata_size thin_repair thin_restore
    quotaon repquota setquota
    depmod kmod modprobe
";

/// Files that programs read: how file systems are made, where libraries are, what a character is.
const FILES: [&str; 5] = [
    "/etc/ld.so.cache",
    "/etc/mke2fs.conf",
    "/etc/nsswitch.conf",
    "/usr/lib/locale/C.utf8",
    "/usr/share/xfsprogs",
];

/// What every Rust program needs, and few others do. The rest that a test needs comes with it.
const UNWINDER: &str = "libgcc_s.so.1";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                      nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\ndisk:x:6:\nnogroup:x:65534:\n";

/// All that the initramfs holds.
///
/// # Errors
/// Something that is to be copied cannot be looked at.
pub(super) fn entries(kernel: &Kernel, udev: Option<&Udev>) -> Result<Entries> {
    let mut entries = Entries::new();
    for folder in [
        "dev", "proc", "sys", "run", "tmp", "mnt", "root", "var/lib", "var/tmp",
    ] {
        cpio::add(&mut entries, &Path::new("/").join(folder), Entry::Folder);
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        mirror_folder(&mut entries, &Path::new("/").join(name));
    }
    let programs = programs();
    let unwinder = libraries::of(&[std::env::current_exe()?])?;
    let unwinder = unwinder.iter().filter(|path| path.ends_with(UNWINDER));
    for path in programs
        .iter()
        .chain(&libraries::of(&programs)?)
        .chain(unwinder)
    {
        add_file(&mut entries, path)?;
    }
    for path in FILES.map(Path::new) {
        if path.exists() {
            add_tree(&mut entries, path)?;
        }
    }
    for (path, text) in [
        ("/init", INIT),
        ("/etc/passwd", PASSWD),
        ("/etc/group", GROUP),
        ("/lib/modules/load", &MODULES.join("\n")),
    ] {
        let path = libraries::with_real_folder(Path::new(path));
        cpio::add(&mut entries, &path, Entry::Text(text.to_owned()));
    }
    let mtab = Entry::Link("../proc/self/mounts".into());
    cpio::add(&mut entries, Path::new("/etc/mtab"), mtab);
    add_modules(&mut entries, kernel)?;
    if let Some(udev) = udev {
        add_udev(&mut entries, udev)?;
    }
    add_busybox(&mut entries)?;
    Ok(entries)
}

/// What the entries are made from, a line each: as long as it is the same, so are they. Libraries are
/// not asked for, which takes a while: /etc/ld.so.cache is new when they are.
///
/// # Errors
/// A file cannot be looked at.
pub(super) fn signature(udev: Option<&Udev>) -> Result<String> {
    let mut text = format!("{INIT}\n{MODULES:?}\n{PASSWD}{GROUP}");
    for path in programs()
        .iter()
        .map(PathBuf::as_path)
        .chain(FILES.map(Path::new))
    {
        if path.exists() {
            writeln!(text, "{}", super::template::stamp(path)?)?;
        }
    }
    let busybox = crate::requires::find_program("busybox");
    let others = udev.iter().flat_map(|udev| udev.files());
    for path in others.chain(busybox.as_deref()) {
        writeln!(text, "{}", super::template::stamp(path)?)?;
    }
    Ok(text)
}

/// The programs that are here, by the paths that they are started by.
fn programs() -> Vec<PathBuf> {
    let names = PROGRAMS.split_whitespace();
    names.filter_map(crate::requires::find_program).collect()
}

/// `/bin` is a link to `/usr/bin` where it is one here.
fn mirror_folder(entries: &mut Entries, path: &Path) {
    let entry = match fs::read_link(path) {
        Ok(target) => Entry::Link(target),
        Err(_) => Entry::Folder,
    };
    cpio::add(entries, path, entry);
}

/// Adds a file under its name and, if that is a link, under the name of what it leads to.
fn add_file(entries: &mut Entries, path: &Path) -> Result<()> {
    let name = libraries::with_real_folder(path);
    let real = path
        .canonicalize()
        .with_context(|| format!("cannot find {}", path.display()))?;
    if name != real {
        cpio::add(entries, &name, Entry::Link(real.clone()));
    }
    cpio::add(entries, &real, Entry::Copy(real.clone()));
    Ok(())
}

fn add_tree(entries: &mut Entries, path: &Path) -> Result<()> {
    if !path.is_dir() {
        return add_file(entries, path);
    }
    for entry in fs::read_dir(path)?.flatten() {
        add_tree(entries, &entry.path())?;
    }
    Ok(())
}

fn add_modules(entries: &mut Entries, kernel: &Kernel) -> Result<()> {
    let root = kernel.root();
    let modules = root.join("lib/modules");
    let mut folders = vec![modules.clone()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder)?.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = Path::new("/lib/modules").join(path.strip_prefix(&modules)?);
                cpio::add(
                    entries,
                    &libraries::with_real_folder(&name),
                    Entry::Copy(path),
                );
            }
        }
    }
    Ok(())
}

/// The program under its own name and the daemon's, its libraries, and the rules.
fn add_udev(entries: &mut Entries, udev: &Udev) -> Result<()> {
    for library in libraries::of(std::slice::from_ref(&udev.program))? {
        add_file(entries, &library)?;
    }
    let program = libraries::with_real_folder(Path::new("/bin/udevadm"));
    cpio::add(entries, &program, Entry::Copy(udev.program.clone()));
    let daemon = Path::new(super::udev::DAEMON);
    cpio::add(entries, daemon, Entry::Link(program));
    for rule in &udev.rules {
        cpio::add(entries, &Udev::rule_at(rule)?, Entry::Copy(rule.clone()));
    }
    Ok(())
}

/// For `init`, and for what is not in [`PROGRAMS`].
fn add_busybox(entries: &mut Entries) -> Result<()> {
    let busybox = crate::requires::find_program("busybox").context("busybox is not installed")?;
    let real = busybox.canonicalize()?;
    let at = libraries::with_real_folder(Path::new("/bin/busybox"));
    cpio::add(entries, &at, Entry::Copy(real.clone()));
    let list = crate::stdout_of("busybox", &["--list"])?;
    for applet in list.lines().filter(|name| *name != "busybox") {
        let name = at.with_file_name(applet);
        let elsewhere = Path::new("/usr/sbin").join(applet);
        if !entries.contains_key(&elsewhere) {
            cpio::add(entries, &name, Entry::Link(at.clone()));
        }
    }
    Ok(())
}
