// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much of the calling thread's stack is left: in a program that is not ours it may be little.

use std::mem::MaybeUninit;
use std::ptr;

/// The bytes of the calling thread's stack that are not in use. `None` if the C library does not know
/// them: on a stack that is none of a thread's, as coroutines have, or of the first thread without
/// `/proc`.
///
/// C library: pthread_getattr_np(3), pthread_attr_getstack(3).
pub(crate) fn left() -> Option<usize> {
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: the thread is the one that asks; the call fills the attributes, or fails.
    match unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) } {
        0 => {}
        _ => return None,
    }
    let (mut lowest, mut size) = (ptr::null_mut(), 0);
    // SAFETY: the attributes were filled; the two places live across the call.
    let asked = unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &mut lowest, &mut size) };
    // SAFETY: the attributes were filled, and are not used any more.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    // It grows downwards on all that Linux runs on but PA-RISC.
    let here = (&raw const asked).addr();
    let left = here.checked_sub(lowest.addr())?;
    (asked == 0 && left < size).then_some(left)
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::thread::Builder;

    use super::*;

    const SIZE: usize = 1 << 20;

    #[inline(never)]
    fn left_below(taken: usize) -> usize {
        let taking = black_box([0_u8; SIZE / 4]);
        let left = left().unwrap();
        assert_eq!(black_box(taking).len(), taken);
        left
    }

    #[test]
    fn what_is_taken_of_a_stack_is_not_left() {
        let thread = Builder::new().stack_size(SIZE).spawn(|| {
            let before = left().unwrap();
            (before, left_below(SIZE / 4))
        });
        let (before, below) = thread.unwrap().join().unwrap();
        // It may be the stack of a thread that has ended, and larger.
        assert!((SIZE / 2..=4 * SIZE).contains(&before), "{before}");
        let most = before - SIZE / 4;
        assert!((1..=most).contains(&below), "{below} of {before}");
    }
}
