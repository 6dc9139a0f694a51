// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the objects of this process are: the program and the shared objects that it has loaded.
//!
//! The loader says it, dl_iterate_phdr(3), not `/proc/self/maps`: there `.bss` is one mapping with
//! memory that happens to be behind it, and code that was moved to huge pages is of no file.

use std::ops::Range;
use std::ptr;

use libc::{c_int, c_void, dl_phdr_info, size_t};

/// Those that there was room for, and how many there are.
struct Found {
    objects: Vec<Range<usize>>,
    count: usize,
}

/// Each object from its first byte to its last, `.bss` among it.
pub(super) fn objects() -> Vec<Range<usize>> {
    let mut room = 0;
    loop {
        let mut found = Found {
            objects: Vec::with_capacity(room),
            count: 0,
        };
        let to = ptr::from_mut(&mut found).cast();
        // SAFETY: the function gets what it expects, and that lives until this returns.
        unsafe { libc::dl_iterate_phdr(Some(note), to) };
        if found.count <= found.objects.capacity() {
            return found.objects;
        }
        room = found.count;
    }
}

/// Notes an object. It allocates nothing: the loader is locked meanwhile, which a program's own
/// malloc(3) may call.
///
/// # Safety
/// As dl_iterate_phdr(3) calls it, with a [`Found`] of its caller's.
unsafe extern "C" fn note(info: *mut dl_phdr_info, _: size_t, found: *mut c_void) -> c_int {
    // SAFETY: the caller's; nobody else has it now.
    let found = unsafe { &mut *found.cast::<Found>() };
    // SAFETY: the caller's.
    let object = unsafe { extent(&*info) };
    if let Some(object) = object {
        found.count += 1;
        if found.objects.len() < found.objects.capacity() {
            found.objects.push(object);
        }
    }
    0
}

/// From the first to the last of the segments that are loaded; `None`: there is none.
///
/// # Safety
/// The information is the loader's.
#[allow(clippy::cast_possible_truncation, reason = "addresses of this process")]
#[allow(
    clippy::unnecessary_cast,
    reason = "as wide as pointers, whatever libc calls it"
)]
unsafe fn extent(info: &dl_phdr_info) -> Option<Range<usize>> {
    let mut extent: Option<Range<usize>> = None;
    for at in 0..usize::from(info.dlpi_phnum) {
        // SAFETY: the loader has as many headers as it says.
        let header = unsafe { &*info.dlpi_phdr.add(at) };
        if header.p_type == libc::PT_LOAD {
            let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
            let end = start.wrapping_add(header.p_memsz as usize);
            extent = Some(match extent {
                Some(before) => before.start.min(start)..before.end.max(end),
                None => start..end,
            });
        }
    }
    extent
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    /// In `.bss`, and too large to be in the pages of other data by chance.
    static ZEROES: [AtomicU8; 1 << 20] = [const { AtomicU8::new(0) }; 1 << 20];

    #[test]
    fn code_and_data_of_all_objects_are_in_them() {
        let objects = objects();
        assert!(objects.len() >= 3, "{objects:?}");
        let holder = |place: *const u8| {
            let place = place.addr();
            let holders = objects.iter().filter(|object| object.contains(&place));
            let holders: Vec<_> = holders.collect();
            assert!(holders.len() < 2, "{objects:?}");
            holders.first().copied().cloned()
        };
        let ours = holder(objects_place()).expect("we are loaded");
        ZEROES[0].store(0, Ordering::Relaxed);
        for at in [0, ZEROES.len() - 1] {
            assert!(ours.contains(&ptr::from_ref(&ZEROES[at]).addr()));
        }
        let libcs = holder(libc::malloc as *const u8).expect("it is loaded");
        assert_ne!(libcs, ours);
        let memory = vec![0_u8; 1 << 20];
        assert_eq!(holder(memory.as_ptr()), None);
        assert_eq!(holder(ptr::from_ref(&libcs).cast()), None);
    }

    fn objects_place() -> *const u8 {
        super::objects as *const u8
    }
}
