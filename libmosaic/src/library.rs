// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which file this library was loaded from: drivers lie beside it.

use std::sync::OnceLock;

use mosaic_core::loader::Beside;
use mosaic_core::mapped_file::MappedFile;

/// What drivers lie beside: the library, or the program that holds it, which it also is if the kernel
/// does not say.
pub(crate) fn beside() -> Beside {
    static BESIDE: OnceLock<Beside> = OnceLock::new();
    let look = || {
        let here = beside as fn() -> Beside as *const ();
        match MappedFile::of(here) {
            Some(file) if !file.is_the_program() => Beside::Library(file),
            _ => Beside::Program,
        }
    };
    BESIDE.get_or_init(look).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn these_tests_are_a_program_that_holds_the_library() {
        assert_eq!(beside(), Beside::Program);
    }
}
