// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making an image. It is complete and durable before it gets into any descriptor.

use super::bat::Bat;
use super::error::{Error, Result};
use super::header::{Flags, Header};
use super::storage::ImageFile;
use super::units::{FileCluster, FileOffset, VirtualCluster};

/// Makes an image without data in an empty file.
///
/// # Errors
/// `Io`.
pub fn create_empty(name: &str, file: &impl ImageFile, header: &Header) -> Result<()> {
    write(file, header, &mut Bat::new(header.entries), 0).map_err(|e| Error::io("make", name, e))
}

/// Makes an image in an empty file that has all its clusters, in their order, all zeros.
///
/// # Errors
/// `Full` if the version has no numbers for so many clusters; `Io`.
pub fn create_preallocated(name: &str, file: &impl ImageFile, header: &Header) -> Result<()> {
    let full = || Error::Full {
        file: name.to_owned(),
    };
    let mut header = header.clone();
    header.flags = header.flags.with(Flags::EMPTY, false);
    let mut bat = Bat::new(header.entries);
    for number in 0..header.entries {
        let place = header.table_clusters().checked_add(number);
        let entry = place.and_then(|place| header.entry_for(FileCluster(place)));
        bat.set(VirtualCluster(number), entry.ok_or_else(full)?);
    }
    let data = header.size.bytes();
    write(file, &header, &mut bat, data).map_err(|e| Error::io("make", name, e))
}

fn write(file: &impl ImageFile, header: &Header, bat: &mut Bat, data: u64) -> std::io::Result<()> {
    // Slots behind the last entry must be zeros, and old drivers want no holes in the table, nor
    // space that was never written.
    let start = header.data_start();
    file.write_zeros(FileOffset(0), start.0)?;
    if data > 0 {
        file.zero(start, data)?;
    }
    bat.write(file, header)?;
    bat.write_header(file, header)?;
    file.flush()
}
