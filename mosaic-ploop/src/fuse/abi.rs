// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes over `/dev/fuse`: structs and numbers of include/uapi/linux/fuse.h, protocol 7.38 to
//! 7.42, in the machine's byte order. Names are those of the header, without `fuse_`.

#![allow(
    missing_debug_implementations,
    reason = "each struct has it; what zerocopy adds in our macro has not"
)]

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Major number of the protocol.
pub const KERNEL_VERSION: u32 = 7;
/// The minor number that we speak: no struct here is of a later one.
pub const KERNEL_MINOR_VERSION: u32 = 38;
/// The one file: the root of the mount.
pub const ROOT_ID: u64 = 1;

/// Numbers of requests.
#[expect(missing_docs, reason = "the header's names")]
pub mod opcode {
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const INTERRUPT: u32 = 36;
    pub const DESTROY: u32 = 38;
    pub const BATCH_FORGET: u32 = 42;
    pub const FALLOCATE: u32 = 43;
}

/// What is agreed on in INIT, as one number of 64 bits: `flags` and, from bit 32 on, `flags2`.
#[expect(missing_docs, reason = "the header's names")]
pub mod init {
    pub const ASYNC_READ: u64 = 1 << 0;
    pub const BIG_WRITES: u64 = 1 << 5;
    pub const ASYNC_DIO: u64 = 1 << 15;
    pub const MAX_PAGES: u64 = 1 << 22;
    pub const INIT_EXT: u64 = 1 << 30;
    /// Linux 6.9.
    pub const HAS_RESEND: u64 = 1 << 39;
}

/// Answers past the page cache. Flag of [`OpenOut`].
pub const FOPEN_DIRECT_IO: u32 = 1 << 0;
/// Direct writes to the file need not wait for each other. Flag of [`OpenOut`]; Linux 6.2.
pub const FOPEN_PARALLEL_DIRECT_WRITES: u32 = 1 << 6;

/// Notification: data for the page cache, which makes the file longer where it ends behind it.
pub const NOTIFY_STORE: i32 = 4;
/// Notification: all requests without an answer are to be sent again. Linux 6.9.
pub const NOTIFY_RESEND: i32 = 7;

/// `fallocate` mode: as long as it was (include/uapi/linux/falloc.h).
pub const FALLOC_FL_KEEP_SIZE: u32 = 0x01;
/// `fallocate` mode: zeros, and the space back.
pub const FALLOC_FL_PUNCH_HOLE: u32 = 0x02;
/// `fallocate` mode: zeros.
pub const FALLOC_FL_ZERO_RANGE: u32 = 0x10;

macro_rules! wire {
    ($(#[$doc:meta])* $name:ident, $bytes:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
        #[repr(C)]
        #[expect(missing_docs, reason = "the header's names")]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
        const _: () = assert!(size_of::<$name>() == $bytes);
    };
}

wire! {
    /// In front of every request.
    InHeader, 40 {
        len: u32, opcode: u32, unique: u64, nodeid: u64, uid: u32, gid: u32, pid: u32,
        total_extlen: u16, padding: u16,
    }
}

wire! {
    /// In front of every answer, and of a notification, which has `unique` 0 and its code in `error`.
    OutHeader, 16 { len: u32, error: i32, unique: u64, }
}

wire! {
    /// INIT, of which older kernels send the first 16 bytes.
    InitIn, 64 {
        major: u32, minor: u32, max_readahead: u32, flags: u32, flags2: u32, unused: [u32; 11],
    }
}

wire! {
    /// Answer to INIT.
    InitOut, 64 {
        major: u32, minor: u32, max_readahead: u32, flags: u32, max_background: u16,
        congestion_threshold: u16, max_write: u32, time_gran: u32, max_pages: u16,
        map_alignment: u16, flags2: u32, unused: [u32; 7],
    }
}

wire! {
    /// READ.
    ReadIn, 40 {
        fh: u64, offset: u64, size: u32, read_flags: u32, lock_owner: u64, flags: u32, padding: u32,
    }
}

wire! {
    /// WRITE, in front of the data.
    WriteIn, 40 {
        fh: u64, offset: u64, size: u32, write_flags: u32, lock_owner: u64, flags: u32, padding: u32,
    }
}

wire! {
    /// Answer to WRITE.
    WriteOut, 8 { size: u32, padding: u32, }
}

wire! {
    /// FALLOCATE.
    FallocateIn, 32 { fh: u64, offset: u64, length: u64, mode: u32, padding: u32, }
}

wire! {
    /// Answer to OPEN.
    OpenOut, 16 { fh: u64, open_flags: u32, padding: u32, }
}

wire! {
    /// Answer to GETATTR.
    AttrOut, 104 {
        attr_valid: u64, attr_valid_nsec: u32, dummy: u32, ino: u64, size: u64, blocks: u64,
        atime: u64, mtime: u64, ctime: u64, atimensec: u32, mtimensec: u32, ctimensec: u32,
        mode: u32, nlink: u32, uid: u32, gid: u32, rdev: u32, blksize: u32, flags: u32,
    }
}

wire! {
    /// Answer to STATFS.
    StatfsOut, 80 {
        blocks: u64, bfree: u64, bavail: u64, files: u64, ffree: u64, bsize: u32, namelen: u32,
        frsize: u32, padding: u32, spare: [u32; 6],
    }
}

wire! {
    /// [`NOTIFY_STORE`], in front of the data.
    NotifyStoreOut, 24 { nodeid: u64, offset: u64, size: u32, padding: u32, }
}
