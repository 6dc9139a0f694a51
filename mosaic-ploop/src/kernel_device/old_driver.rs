// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices of the first driver, `/dev/ploopN`, on the kernels of OpenVZ 6 and Virtuozzo 7.
//!
//! Each has the paths of its deltas in sysfs, from the base up: `/sys/block/ploopN/pdelta/0/image`.
//! libploop finds the device of a disk in the same way, by the file that the path leads to. Those
//! kernels (2.6.32 and 3.10) are too old for Mosaic, so all of this was tried on a made-up sysfs only.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use mosaic_core::loopdev::Identity;

const SYSFS: &str = "/sys/block";

/// The files that are deltas of a device, each with its device.
pub(super) fn images() -> Vec<(Identity, PathBuf)> {
    images_in(Path::new(SYSFS)).unwrap_or_default()
}

fn images_in(sysfs: &Path) -> io::Result<Vec<(Identity, PathBuf)>> {
    let mut images = Vec::new();
    for device in fs::read_dir(sysfs)?.flatten() {
        let name = device.file_name();
        if !name.to_string_lossy().starts_with("ploop") {
            continue;
        }
        let Ok(deltas) = fs::read_dir(device.path().join("pdelta")) else {
            continue;
        };
        for delta in deltas.flatten() {
            let text = fs::read_to_string(delta.path().join("image")).unwrap_or_default();
            let image = Path::new(text.trim_end_matches('\n'));
            let stat = statx(CWD, image, AtFlags::STATX_DONT_SYNC, StatxFlags::INO);
            images.extend(
                stat.map(|stat| (Identity::from_statx(&stat), Path::new("/dev").join(&name))),
            );
        }
    }
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel_device::Showers;

    #[test]
    fn a_device_is_found_by_any_of_its_deltas() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        for (device, number, image) in [
            ("ploop123", 0, "a/base"),
            ("ploop123", 1, "a/top"),
            ("ploop9", 0, "gone"),
            ("sda", 0, "b"),
        ] {
            let delta = at.join(format!("sys/{device}/pdelta/{number}"));
            fs::create_dir_all(&delta).unwrap();
            let image = format!("{}\n", at.join(image).display());
            fs::write(delta.join("image"), image).unwrap();
        }
        fs::create_dir_all(at.join("sys/ploop7")).unwrap();
        fs::create_dir(at.join("a")).unwrap();
        let found = |name: &str| {
            fs::write(at.join(name), "").unwrap();
            let file = fs::File::open(at.join(name)).unwrap();
            {
                let images = images_in(&at.join("sys")).unwrap();
                Showers::from(images).of(&[file]).map(Path::to_owned)
            }
        };
        let device = Some(PathBuf::from("/dev/ploop123"));
        assert_eq!(found("a/base"), device);
        assert_eq!(found("a/top"), device);
        assert_eq!(found("b"), None);
        assert_eq!(found("other"), None);
    }
}
