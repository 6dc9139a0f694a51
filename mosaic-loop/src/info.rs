// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is known of one volume. Reading disturbs nobody and needs no privilege: what cannot be seen
//! is said in a note.

use mosaic_core::label;
use mosaic_core::volume::{Access, Kind, Volume};
use mosaic_core::{Context, Result};
use rustix::io::Errno;

use crate::attachment::{self, Attached, BoundDevices};
use crate::driver::Loop;
use crate::image::Image;
use crate::sysfs;

impl Loop {
    /// The volume's kind by its label.
    ///
    /// # Errors
    /// `Corrupt` if the label is not in the grammar; the kernel's.
    pub(crate) fn kind_of(&self, image: &Image) -> Result<Kind> {
        let query = image.open_for_query();
        let query = query.context(|| format!("cannot open {:?}", image.path()))?;
        label::kind(&query, self.default_fs.name())
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
            used: Some(image.used()),
            exclusive: None,
            origin: None,
            read_only: false,
            attachment: None,
            notes: Vec::new(),
            facts: vec![("image".into(), image.path().display().to_string())],
        };
        let attached = match image.open_for_query() {
            Ok(query) => {
                match label::kind(&query, self.default_fs.name()) {
                    Ok(kind) => volume.kind = kind,
                    Err(error) => volume.notes.push(error.chain()),
                }
                volume.user = label::name(&query).ok().flatten();
                match attachment::find_ours(&query, image) {
                    Ok(attached) => attached,
                    Err(error) => {
                        volume.notes.push(error.chain());
                        None
                    }
                }
            }
            Err(errno) => {
                volume.notes.push(unreadable(errno));
                None
            }
        };
        let attached = attached.or_else(|| bound.find(image.identity(), image.leaf()));
        if let Some(attached) = attached {
            show(&mut volume, attached);
        }
        volume
    }
}

fn show(volume: &mut Volume, attached: Attached) {
    let io = match sysfs::is_direct(attached.number) {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    };
    volume.facts.push(("direct I/O".into(), io.into()));
    if attached.foreign {
        volume
            .notes
            .push("another program has attached it, not Mosaic".into());
    }
    volume.attachment = Some(attached.attachment());
}

fn unreadable(errno: Errno) -> String {
    match errno {
        Errno::WOULDBLOCK => "it is being changed just now; its kind is a guess".into(),
        Errno::ACCESS | Errno::PERM => {
            "no permission to open it; its kind is a guess, and it may be attached".into()
        }
        _ => format!(
            "it cannot be opened ({}); its kind is a guess",
            std::io::Error::from(errno).kind()
        ),
    }
}
