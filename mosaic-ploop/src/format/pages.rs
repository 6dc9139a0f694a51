// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory as direct I/O wants it.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bytes of a page, on which they begin.
pub const PAGE: usize = 4096;

#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable)]
#[repr(C, align(4096))]
struct Page([u8; PAGE]);

/// Whole pages of memory, taken once.
#[derive(Debug)]
pub struct Pages(Vec<Page>);

impl Pages {
    /// Memory for at least that many bytes, all zeros.
    pub fn new(bytes: usize) -> Self {
        let pages = bytes.div_ceil(PAGE).max(1);
        Self(vec![Page([0; PAGE]); pages])
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// All of it, to be filled.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.as_mut_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_begins_with_a_page() {
        for bytes in [0, 1, PAGE, PAGE + 1] {
            let buffer = Pages::new(bytes);
            assert!(buffer.bytes().as_ptr().addr().is_multiple_of(PAGE));
            assert!(buffer.bytes().len() >= bytes.max(1));
            assert!(buffer.bytes().iter().all(|byte| *byte == 0));
        }
    }
}
