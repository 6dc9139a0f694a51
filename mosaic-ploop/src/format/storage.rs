// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the format stands on: a file, and the folder with a disk's files. Where they are, who may
//! open them, how they are locked is the implementor's.

use std::io;

use super::units::FileOffset;

/// Zeros to write from.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Whether bytes are all zeros.
pub fn is_zero(bytes: &[u8]) -> bool {
    // A comparison of memory is much faster than looking at each byte.
    let mut parts = bytes.chunks(ZEROS.len());
    parts.all(|part| part == &ZEROS[..part.len()])
}

/// An image file.
///
/// What was written may be lost, in any order and by the sector, until [`ImageFile::flush`]
/// returned; afterwards it is not.
pub trait ImageFile {
    /// Fills the buffer from `at`.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before; the kernel's.
    fn read_at(&self, buffer: &mut [u8], at: FileOffset) -> io::Result<()>;

    /// Writes all of `data` to `at`. The file becomes longer where that is needed; what is between
    /// its old end and `at` reads as zeros.
    ///
    /// # Errors
    /// The kernel's.
    fn write_at(&self, data: &[u8], at: FileOffset) -> io::Result<()>;

    /// The first byte from `at` on that may be other than zero, as far as that is known without
    /// reading; `None` if none is.
    ///
    /// # Errors
    /// The kernel's.
    fn next_data(&self, at: FileOffset) -> io::Result<Option<FileOffset>> {
        Ok(Some(at))
    }

    /// The first byte from `at` on that takes no space or was never written, as far as that is known;
    /// `None` if none is.
    ///
    /// # Errors
    /// The kernel's.
    fn next_hole(&self, at: FileOffset) -> io::Result<Option<FileOffset>> {
        let _ = at;
        Ok(None)
    }

    /// Bytes in the file.
    ///
    /// # Errors
    /// The kernel's.
    fn length(&self) -> io::Result<u64>;

    /// Cuts the file off, or makes it longer by zeros.
    ///
    /// # Errors
    /// The kernel's.
    fn set_length(&self, bytes: u64) -> io::Result<()>;

    /// Makes durable what was written before, and the length.
    ///
    /// # Errors
    /// The kernel's.
    fn flush(&self) -> io::Result<()>;

    /// Makes a range read as zeros. The file becomes longer where that is needed, and has space for
    /// the range.
    ///
    /// # Errors
    /// The kernel's.
    fn zero(&self, at: FileOffset, bytes: u64) -> io::Result<()> {
        self.write_zeros(at, bytes)
    }

    /// Writes zeros to a range, for those that can make none otherwise.
    ///
    /// # Errors
    /// The kernel's.
    fn write_zeros(&self, at: FileOffset, bytes: u64) -> io::Result<()> {
        let mut done = 0;
        while done < bytes {
            let left = usize::try_from(bytes - done).unwrap_or(ZEROS.len());
            let part = &ZEROS[..left.min(ZEROS.len())];
            self.write_at(part, at.plus(done))?;
            done += part.len() as u64;
        }
        Ok(())
    }

    /// Makes a range within the file read as zeros, giving its space back where that is possible.
    ///
    /// # Errors
    /// The kernel's.
    fn punch(&self, at: FileOffset, bytes: u64) -> io::Result<()> {
        self.zero(at, bytes)
    }
}

/// How a file of a [`Folder`] is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// For reading.
    Read,
    /// For reading and writing.
    Write,
}

/// The folder of a disk: where its descriptor is. Names are paths relative to it, or absolute, as
/// the descriptor has them.
pub trait Folder {
    /// Its files.
    type File: ImageFile;

    /// The name relative to the folder of a file whose absolute path leads into it; `None` of any
    /// other.
    ///
    /// # Errors
    /// The kernel's.
    fn within(&self, path: &str) -> io::Result<Option<String>> {
        let _ = path;
        Ok(None)
    }

    /// Opens a file that is there.
    ///
    /// # Errors
    /// `NotFound`; the kernel's.
    fn open(&self, name: &str, access: Access) -> io::Result<Self::File>;

    /// Makes an empty file, readable by others if it is `public`.
    ///
    /// # Errors
    /// `AlreadyExists`; the kernel's.
    fn create(&self, name: &str, public: bool) -> io::Result<Self::File>;

    /// Gives a file another name, in the place of what has that name.
    ///
    /// # Errors
    /// The kernel's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name.
    ///
    /// # Errors
    /// `NotFound`; the kernel's.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes durable which names are beside this one.
    ///
    /// # Errors
    /// The kernel's.
    fn sync(&self, name: &str) -> io::Result<()>;

    /// Whether the file has other names too: then it may belong to another disk as well, and must
    /// never be changed.
    ///
    /// # Errors
    /// `NotFound`; the kernel's.
    fn is_shared(&self, name: &str) -> io::Result<bool>;

    /// Random bytes, for a name that nobody has.
    ///
    /// # Errors
    /// The kernel's.
    fn random(&self) -> io::Result<[u8; 16]>;
}
