// SPDX-License-Identifier: MIT OR Apache-2.0
//! The virtual machine has what tests go there for.

use std::path::Path;

use mosaic_tests::{Moctl, requires_vm, run, stdout_of};

/// What no test can do without; the programs are those that the machine's base says.
const MODULES: [&str; 13] = [
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

const PROGRAMS: &str = "bash mkfs.ext4 e2fsck resize2fs tune2fs mkfs.xfs xfs_repair xfs_io mkfs.btrfs btrfs \
    losetup mount unshare setpriv blockdev blkdiscard repquota setquota dmsetup thin_check thin_dump thin_ls";

#[test]
fn root_every_module_is_loaded_and_every_program_there() {
    if !requires_vm() {
        return;
    }
    for module in MODULES {
        assert!(Path::new("/sys/module").join(module).exists(), "{module}");
        // By name as well, as who does not know that it is loaded does.
        run("modprobe", &[module]).unwrap();
    }
    for program in PROGRAMS.split_whitespace() {
        run("sh", &["-c", "command -v \"$0\"", program]).unwrap();
    }
}

#[test]
fn root_the_real_moctl_runs_with_its_drivers() {
    if !requires_vm() {
        return;
    }
    let moctl = Moctl::new().unwrap();
    let said = moctl.ok(&["drivers"]);
    for driver in ["btrfs", "dmthin", "loop", "plain", "ploop"] {
        assert!(said.contains(driver), "{said}");
    }
}

/// A thin pool on two halves of the disk, a volume with a file system, a snapshot of it.
const THIN: &str = r#"set -e
export DM_DISABLE_UDEV=1
disk=/dev/vm/disk
dmsetup create meta --table "0 16384 linear $disk 0"
dmsetup create data --table "0 1048576 linear $disk 16384"
dmsetup create pool --table "0 1048576 thin-pool /dev/mapper/meta /dev/mapper/data 128 0"
dmsetup message pool 0 "create_thin 0"
dmsetup create thin --table "0 262144 thin /dev/mapper/pool 0"
mkfs.ext4 -q /dev/mapper/thin
mount /dev/mapper/thin /mnt
echo kept >/mnt/file
sync -f /mnt
dmsetup suspend thin
dmsetup message pool 0 "create_snap 1 0"
dmsetup resume thin
umount /mnt
dmsetup create snapshot --table "0 262144 thin /dev/mapper/pool 1"
mount /dev/mapper/snapshot /mnt
cat /mnt/file
umount /mnt
dmsetup remove snapshot
dmsetup remove thin
dmsetup remove pool
thin_check -q /dev/mapper/meta
dmsetup remove data
dmsetup remove meta
"#;

#[test]
fn root_device_mapper_makes_thin_volumes_without_udev() {
    if !requires_vm() {
        return;
    }
    assert!(!Path::new("/run/udev").exists());
    assert_eq!(stdout_of("bash", &["-c", THIN]).unwrap(), "kept\n");
}
