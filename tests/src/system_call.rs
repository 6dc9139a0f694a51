// SPDX-License-Identifier: MIT OR Apache-2.0
//! A system call of a traced program, and what can come of it.

use nix::libc;

/// A system call that the program is about to make.
#[derive(Debug, Clone, Copy)]
pub struct SystemCall {
    /// Its place among all that the program itself makes, from 0, counted from its exec on. For a
    /// call of a child: how many the program had made then.
    pub index: usize,
    /// `SYS_...`.
    pub number: i64,
    /// The first three arguments.
    pub args: [u64; 3],
    /// A child of the program makes it.
    pub is_child: bool,
}

impl SystemCall {
    /// Whether it is an ioctl with this request.
    pub fn is_ioctl(&self, request: u64) -> bool {
        self.number == libc::SYS_ioctl && self.args[1] == request
    }

    /// Whether the program asks the kernel for something that matters: it opens, reads, looks up
    /// or locks, or changes anything. Not memory, signals, or letting go.
    pub fn can_matter(&self) -> bool {
        const ASKING: [i64; 19] = [
            libc::SYS_connect,
            libc::SYS_fcntl,
            libc::SYS_fgetxattr,
            libc::SYS_flock,
            libc::SYS_fstat,
            libc::SYS_getdents64,
            libc::SYS_newfstatat,
            libc::SYS_open,
            libc::SYS_open_tree,
            libc::SYS_openat,
            libc::SYS_openat2,
            libc::SYS_pidfd_open,
            libc::SYS_pread64,
            libc::SYS_read,
            libc::SYS_recvfrom,
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_statx,
            libc::SYS_wait4,
        ];
        ASKING.contains(&self.number) || self.only_asks() || !self.leaves_nothing()
    }

    /// Whether it is an ioctl by which a driver is only asked, or a descriptor of our own changed.
    fn only_asks(&self) -> bool {
        // include/uapi/asm-generic/ioctls.h: TCGETS, FIONBIO.
        const TERMINAL: [u64; 2] = [0x01, 0x21];
        // include/uapi/linux/fs.h: BLKROGET, BLKGETSIZE, BLKSSZGET, BLKGETSIZE64.
        const BLOCK: [u64; 4] = [94, 96, 104, 114];
        // include/uapi/linux/btrfs.h: TREE_SEARCH_V2, INO_LOOKUP, SPACE_INFO, SUBVOL_GETFLAGS,
        // DEV_INFO, FS_INFO, GET_DEV_STATS, GET_SUBVOL_INFO, GET_SUBVOL_ROOTREF, INO_LOOKUP_USER.
        const BTRFS: [u64; 10] = [17, 18, 20, 25, 30, 31, 52, 60, 61, 62];
        // include/uapi/linux/dm-ioctl.h: DM_VERSION, DM_LIST_DEVICES, DM_DEV_STATUS,
        // DM_TABLE_STATUS. The last has a pool commit, which a killed program does not undo.
        const DEVICE_MAPPER: [u64; 4] = [0, 2, 7, 12];
        // include/uapi/linux/loop.h: LOOP_GET_STATUS64.
        const LOOP: [u64; 1] = [0x05];
        let [kind, number] = [self.args[1] >> 8 & 0xff, self.args[1] & 0xff];
        let asks: &[u64] = match kind {
            0x12 => &BLOCK,
            0x4c => &LOOP,
            0x54 => &TERMINAL,
            0x94 => &BTRFS,
            0xfd => &DEVICE_MAPPER,
            _ => &[],
        };
        self.number == libc::SYS_ioctl && asks.contains(&number)
    }

    /// Whether it can change nothing that is left when the process dies: killing before it or
    /// after it is the same.
    pub fn leaves_nothing(&self) -> bool {
        const HARMLESS: [i64; 66] = [
            libc::SYS_access,
            libc::SYS_arch_prctl,
            libc::SYS_brk,
            libc::SYS_capget,
            libc::SYS_clock_nanosleep,
            libc::SYS_close,
            // Who listens sees that the caller has gone, before or after it was heard.
            libc::SYS_connect,
            libc::SYS_dup,
            libc::SYS_exit_group,
            libc::SYS_faccessat2,
            // Locks and leases die with the process; what keeps one for a device is an ioctl.
            libc::SYS_fcntl,
            libc::SYS_fgetxattr,
            libc::SYS_flock,
            libc::SYS_fstat,
            libc::SYS_fstatfs,
            libc::SYS_futex,
            libc::SYS_getcwd,
            libc::SYS_getdents64,
            libc::SYS_getegid,
            libc::SYS_geteuid,
            libc::SYS_getgid,
            libc::SYS_getpid,
            libc::SYS_getrandom,
            libc::SYS_getsockopt,
            libc::SYS_getuid,
            libc::SYS_gettid,
            libc::SYS_getxattr,
            // The children die with the program, and nobody is left to wait for them.
            libc::SYS_kill,
            libc::SYS_lseek,
            libc::SYS_madvise,
            libc::SYS_mmap,
            libc::SYS_mprotect,
            libc::SYS_munmap,
            libc::SYS_open_tree,
            libc::SYS_openat2,
            libc::SYS_pidfd_open,
            libc::SYS_pipe2,
            libc::SYS_newfstatat,
            libc::SYS_poll,
            libc::SYS_ppoll,
            libc::SYS_prctl,
            libc::SYS_pread64,
            libc::SYS_prlimit64,
            libc::SYS_read,
            libc::SYS_readlink,
            libc::SYS_readlinkat,
            libc::SYS_recvfrom,
            libc::SYS_rseq,
            libc::SYS_rt_sigaction,
            libc::SYS_rt_sigprocmask,
            libc::SYS_sched_getaffinity,
            libc::SYS_sched_yield,
            libc::SYS_setns,
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_set_robust_list,
            libc::SYS_set_tid_address,
            libc::SYS_sigaltstack,
            libc::SYS_stat,
            libc::SYS_statfs,
            libc::SYS_statx,
            libc::SYS_sysinfo,
            libc::SYS_umask,
            libc::SYS_uname,
            libc::SYS_unshare,
            libc::SYS_wait4,
        ];
        // O_TMPFILE contains O_DIRECTORY.
        const UNNAMED: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;
        const MAKING: u64 = (libc::O_CREAT | UNNAMED | libc::O_TRUNC) as u64;
        let opens = match self.number {
            libc::SYS_open => self.args[1] & MAKING == 0,
            libc::SYS_openat => self.args[2] & MAKING == 0,
            _ => false,
        };
        opens || HARMLESS.contains(&self.number) || self.only_asks()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(number: i64, args: [u64; 3]) -> SystemCall {
        SystemCall {
            index: 0,
            number,
            args,
            is_child: false,
        }
    }

    #[test]
    fn what_asks_a_driver_is_told_from_what_changes_it() {
        let ioctl = |request| call(libc::SYS_ioctl, [3, request, 0]);
        // TCGETS, BLKGETSIZE64, BTRFS_IOC_FS_INFO, DM_TABLE_STATUS, LOOP_GET_STATUS64.
        for asking in [0x5401, 0x8008_1272, 0x8400_941f, 0xc138_fd0c, 0x4c05] {
            let call = ioctl(asking);
            assert!(call.leaves_nothing() && call.can_matter(), "{call:x?}");
        }
        // BLKDISCARD, FICLONE, DM_DEV_CREATE, DM_DEV_SUSPEND, DM_TARGET_MSG, LOOP_CONFIGURE.
        for changing in [
            0x4c0a,
            0x1277,
            0x4004_9409,
            0xc138_fd03,
            0xc138_fd06,
            0xc138_fd0e,
        ] {
            let call = ioctl(changing);
            assert!(!call.leaves_nothing() && call.can_matter(), "{call:x?}");
        }
    }

    #[test]
    fn to_open_is_to_ask_and_to_create_is_not() {
        let (reads, makes) = (libc::O_RDWR as u64, libc::O_CREAT as u64);
        assert!(call(libc::SYS_open, [0, reads, 0]).leaves_nothing());
        assert!(!call(libc::SYS_open, [0, makes, 0]).leaves_nothing());
        assert!(call(libc::SYS_openat, [0, 0, reads]).leaves_nothing());
        assert!(!call(libc::SYS_openat, [0, 0, makes]).leaves_nothing());
    }
}
