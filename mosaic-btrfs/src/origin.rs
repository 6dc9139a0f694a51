// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a volume was cloned from: the kernel keeps the UUID of that subvolume with each snapshot.
//! Only a volume of the same location has a name here; the UUID stays a fact of its own.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;

use linux_raw_sys::btrfs::BTRFS_UUID_KEY_SUBVOL;
use mosaic_core::VolumeName;
use mosaic_core::volume::Volume;
use rustix::fs::fstat;

use crate::driver::Btrfs;
use crate::info::Seen;
use crate::inventory;
use crate::ioctl;
use crate::items::Uuid;
use crate::search::{self, Key, UUID_TREE};

/// Names the origins among all volumes of a location.
pub(crate) fn with_origins(mut seen: Vec<Seen>) -> Vec<Volume> {
    if seen.iter().any(|seen| seen.parent.is_some()) {
        let uuids = seen
            .iter()
            .enumerate()
            .filter_map(|(at, seen)| Some((seen.uuid?, at)));
        let by_uuid: HashMap<Uuid, usize> = uuids.collect();
        for at in 0..seen.len() {
            let origin = seen[at].parent.and_then(|parent| by_uuid.get(&parent));
            seen[at].volume.origin = origin.map(|origin| seen[*origin].volume.stored.clone());
        }
    }
    seen.into_iter().map(|seen| seen.volume).collect()
}

impl Btrfs {
    /// The name of the volume of this location that a volume is a snapshot of; `None` also without
    /// CAP_SYS_ADMIN.
    pub(crate) fn origin_of(&self, seen: &Seen) -> Option<String> {
        let parent = seen.parent?;
        let name = VolumeName::parse(&self.path_of(id_of(self.location.dir(), parent)?)?).ok()?;
        if name.components().count() != self.options.depth as usize {
            return None;
        }
        // The way there was found step by step: it is believed if it leads there.
        let found = self.open_subvolume(&name).ok()??;
        (found.root().ok()?.uuid == Some(parent)).then(|| name.stored().to_owned())
    }

    /// The path of a subvolume in the location.
    fn path_of(&self, mut id: u64) -> Option<String> {
        let dir = self.location.dir();
        let home = ioctl::subvolume_id(dir).ok()?;
        let mut path = Vec::new();
        // Each folder on the way can be another subvolume, not more.
        for _ in 0..self.options.depth {
            let (above, place) = inventory::place_of(dir, id).ok()??;
            let mut whole = ioctl::path_in_tree(dir, above, place.directory).ok()?;
            whole.extend(place.name);
            whole.extend(path);
            if above == home {
                let location = ioctl::path_in_tree(dir, home, fstat(dir).ok()?.st_ino).ok()?;
                let beneath = whole.strip_prefix(location.as_slice())?;
                return String::from_utf8(beneath.to_vec()).ok();
            }
            path = [b"/", whole.as_slice()].concat();
            id = above;
        }
        None
    }
}

/// The id of the subvolume that has this UUID.
fn id_of(dir: BorrowedFd<'_>, uuid: Uuid) -> Option<u64> {
    let [object, offset] = uuid.halves();
    let key = Key {
        object,
        kind: BTRFS_UUID_KEY_SUBVOL,
        offset,
    };
    let mut id = None;
    search::each(dir, UUID_TREE, [key, key], |_, data| {
        id = data.first_chunk().copied().map(u64::from_le_bytes);
    })
    .ok()?;
    id
}
