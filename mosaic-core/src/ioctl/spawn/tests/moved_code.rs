// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program around us whose code was moved to other pages, such as huge ones: it is of no file then,
//! and so is nothing that can be executed.

use std::ptr;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};

use super::preloaded::runs_by;
use crate::command::tests::{VICTIM, passes_in};

/// The first mapping of our own code: its place, its length, and whether it is of a file.
fn code() -> (usize, usize, bool) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let here = (code as *const u8).addr();
    let lines = maps.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (start, end) = words[0].split_once('-').unwrap();
        let [start, end] = [start, end].map(|place| usize::from_str_radix(place, 16).unwrap());
        (start, end - start, words[4] != "0")
    });
    let mut ours = lines.filter(|(start, length, _)| (*start..start + length).contains(&here));
    ours.next().unwrap()
}

/// Puts memory with the same content in the place of our code.
fn move_code() {
    let (place, length, _) = code();
    let from = ptr::with_exposed_provenance_mut::<std::ffi::c_void>(place);
    // SAFETY: new memory. The code can be read, and its copy is as long.
    let copy = unsafe {
        let both = ProtFlags::READ | ProtFlags::WRITE;
        let copy = mmap_anonymous(ptr::null_mut(), length, both, MapFlags::PRIVATE).unwrap();
        ptr::copy_nonoverlapping(from.cast::<u8>(), copy.cast::<u8>(), length);
        copy
    };
    // SAFETY: at each moment there is the same code in that place, and nobody else has the copy.
    unsafe {
        mprotect(copy, length, MprotectFlags::READ | MprotectFlags::EXEC).unwrap();
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        assert_eq!(libc::mremap(copy, length, length, flags, from), from);
    }
}

#[test]
fn a_waiter_has_the_data_of_code_that_was_moved() {
    if std::env::var_os(VICTIM).is_some() {
        assert!(code().2);
        move_code();
        assert!(!code().2);
        runs_by(1);
        std::process::exit(77);
    }
    let name = "ioctl::spawn::tests::moved_code::a_waiter_has_the_data_of_code_that_was_moved";
    passes_in(&[], name);
}
