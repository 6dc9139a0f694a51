// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that are needed, the Debian packages that they are in, and their installation.

use std::path::Path;

use anyhow::Result;
use mosaic_tests::apt_get;

/// Programs and their packages in Debian and Ubuntu.
const PACKAGES: [(&str, &str); 50] = [
    ("mkfs.ext4", "e2fsprogs"),
    ("tune2fs", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("xfs_io", "xfsprogs"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("btrfs", "btrfs-progs"),
    ("mount", "mount"),
    ("losetup", "mount"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("mkswap", "util-linux"),
    ("setfacl", "acl"),
    ("pivot_root", "util-linux"),
    // Where util-linux, which is always there, does not have them.
    ("mkfs.cramfs", "util-linux-extra"),
    ("mkfs.minix", "util-linux-extra"),
    ("mksquashfs", "squashfs-tools"),
    ("fio", "fio"),
    ("bash", "bash"),
    ("zsh", "zsh"),
    ("fish", "fish"),
    ("man", "man-db"),
    ("mandoc", "mandoc"),
    ("readelf", "binutils"),
    ("cc", "gcc"),
    // Programs that use the C library.
    ("gcc", "gcc"),
    ("g++", "g++"),
    ("pkg-config", "pkg-config"),
    ("nm", "binutils"),
    ("valgrind", "valgrind"),
    ("go", "golang-go"),
    ("python3", "python3"),
    ("repquota", "quota"),
    ("setquota", "quota"),
    ("dmsetup", "dmsetup"),
    ("thin_check", "thin-provisioning-tools"),
    ("thin_dump", "thin-provisioning-tools"),
    ("thin_ls", "thin-provisioning-tools"),
    // Other programs that know images of ploop.
    ("ploop", "ploop"),
    ("qemu-img", "qemu-utils"),
    ("qemu-io", "qemu-utils"),
    ("qemu-nbd", "qemu-utils"),
    ("flock", "util-linux"),
    ("strace", "strace"),
    // Programs that know partition tables.
    ("sfdisk", "fdisk"),
    ("parted", "parted"),
    // The virtual machine.
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("depmod", "kmod"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
];

/// What all tests together run: everything that we know the package of.
pub fn for_tests() -> Vec<&'static str> {
    PACKAGES.iter().map(|(program, _)| *program).collect()
}

/// What the demo runs.
pub const FOR_DEMO: &[&str] = &[
    "mkfs.ext4",
    "mkfs.xfs",
    "mkfs.btrfs",
    "mount",
    "losetup",
    "cc",
];

/// What the bench runs.
pub const FOR_BENCH: &[&str] = &[
    "mkfs.ext4",
    "mkfs.xfs",
    "mkfs.btrfs",
    "btrfs",
    "mount",
    "losetup",
    "dmsetup",
    "thin_check",
    "thin_ls",
    "fio",
    "cc",
];

/// Installs what is missing, as root where there is apt; elsewhere says what to install.
///
/// # Errors
/// The installation failed.
pub fn install(programs: &[&str]) -> Result<()> {
    let missing: Vec<&str> = programs.iter().copied().filter(|p| !is_here(p)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|p| package_of(p)).collect();
    packages.sort_unstable();
    packages.dedup();
    println!("missing programs: {}", missing.join(" "));
    if !is_here("apt-get") {
        println!(
            "install them with your system's packager; on Debian they are in the packages {}",
            packages.join(" ")
        );
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        println!(
            "install them as root: apt-get install {}",
            packages.join(" ")
        );
        return Ok(());
    }
    println!("installing the packages {}", packages.join(" "));
    let here = Path::new(".");
    apt_get(here, &["update"])?;
    let words = ["install", "--yes", "--no-install-recommends"];
    apt_get(here, &[&words[..], &packages].concat())
}

fn package_of(program: &str) -> &str {
    let row = PACKAGES.iter().find(|(name, _)| *name == program);
    row.map_or(program, |(_, package)| package)
}

/// Whether the system has the program, in PATH or where root's programs are.
pub fn is_here(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"])
        .any(|folder| Path::new(folder).join(program).is_file())
}

#[cfg(test)]
mod tests {
    use mosaic_tests::vm;

    use super::*;

    #[test]
    fn every_program_has_its_package() {
        for program in FOR_DEMO.iter().chain(FOR_BENCH).chain(&vm::PROGRAMS) {
            assert!(
                PACKAGES.iter().any(|(name, _)| name == program),
                "{program}"
            );
        }
    }

    #[test]
    fn a_shell_is_here_and_nonsense_is_not() {
        assert!(is_here("sh"));
        assert!(!is_here("mkfs.nonesuch"));
    }
}
