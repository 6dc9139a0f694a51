// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether this process runs with more rights than its caller.
//!
//! The kernel has put that on the stack with the program, so no file has to be read for it:
//! `/proc/self/auxv` belongs to root in a process that has given up root (proc(5), "dumpable").

/// `getauxval(AT_SECURE)`, of glibc 2.16 and musl 1.1.
///
/// Kernel: `AT_SECURE` in include/uapi/linux/auxvec.h; it is in every vector (create_elf_tables() in
/// fs/binfmt_elf.c).
pub(crate) fn is_secure_execution() -> bool {
    // SAFETY: a number in, a number out; it reads what the C library has kept since the program began.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}
