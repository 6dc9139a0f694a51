// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is known of one volume. Reading refuses nobody anything and needs no privilege: what cannot
//! be seen is said in a note. Looking at one volume takes a lease on it for microseconds (see
//! [`crate::claim::is_free`]), in which an opener waits.

use mosaic_core::label;
use mosaic_core::loopdev::sysfs;
use mosaic_core::size::SECTOR;
use mosaic_core::volume::{Access, Kind, Volume};
use mosaic_core::{Bytes, Error, Result};
use rustix::io::Errno;

use crate::attachment::{self, Attached, BoundDevices};
use crate::driver::Loop;
use crate::image::Image;

impl Loop {
    /// The volume's kind by its label.
    ///
    /// # Errors
    /// `Corrupt` if the label is not in the grammar; the kernel's.
    pub(crate) fn kind_of(&self, image: &Image) -> Result<Kind> {
        label::kind(image, self.default_fs.name())
    }

    /// The volume, whatever of it can be seen.
    pub(crate) fn volume(&self, image: &Image, bound: &BoundDevices) -> Volume {
        let mut volume = Volume {
            stored: image.name().stored().to_owned(),
            user: None,
            kind: Kind::Fs {
                fs: Some(self.default_fs.name().to_owned()),
                assumed: true,
            },
            access: Access::Device,
            size: Some(image.size()),
            overhead: Bytes(0),
            used: Some(image.used()),
            exclusive: None,
            origin: None,
            read_only: false,
            attachment: None,
            notes: Vec::new(),
            facts: vec![("image".into(), image.path().display().to_string())],
        };
        match self.kind_of(image) {
            Ok(kind) => volume.kind = kind,
            Err(error) => volume
                .notes
                .push(format!("its kind is a guess: {}", error.chain())),
        }
        volume.user = label::name(image).ok().flatten();
        let attached = self.ours(image).unwrap_or_else(|error| {
            volume.notes.push(error.chain());
            None
        });
        let attached = attached.or_else(|| bound.find(image.identity(), image.leaf()));
        if let Some(attached) = attached {
            show(&mut volume, attached);
        }
        volume
    }

    /// Our attachment of the image. While a verb holds a lease on it, it is proven to have none.
    fn ours(&self, image: &Image) -> Result<Option<Attached>> {
        match image.open_for_query() {
            Ok(query) => attachment::find_ours(&query, image),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(Error::io(errno, "whether it is attached cannot be seen")),
        }
    }
}

fn show(volume: &mut Volume, attached: Attached) {
    let io = match sysfs::is_direct(attached.number) {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    };
    volume.facts.push(("direct I/O".into(), io.into()));
    let image = volume.size.map_or(0, |size| size.0);
    if attached.foreign {
        let note = "another program has attached it, not Mosaic";
        volume.notes.push(note.into());
    } else if let Some(shown) = sysfs::size(attached.number)
        && shown < image / SECTOR * SECTOR
    {
        // A resize was cut short: the volume has the size that its users see.
        volume.size = Some(Bytes(shown));
        volume.notes.push(format!(
            "its image has {image} bytes, its device {shown}; resize again, or check --repair"
        ));
    }
    volume.attachment = Some(attached.attachment());
}
