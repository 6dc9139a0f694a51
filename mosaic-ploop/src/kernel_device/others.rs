// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which device of the kernel's ploop shows a file: of whoever attached it.
//!
//! The target answers the message `get_img_name N` with the path of its N-th image from the base up,
//! as it is now, also after a rename. An empty answer is the end. libploop finds its devices in the
//! same way (lib/dm.c, `dm_get_delta_name`; drivers/md/dm-ploop-cmd.c, `ploop_get_delta_name_cmd`).

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use mosaic_core::dm::{By, Dm, open_control};
use mosaic_core::loopdev::Identity;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::{TARGET, old_driver};

/// There if device-mapper is in the kernel now.
const REGISTERED: &str = "/sys/class/misc/device-mapper";
/// Deltas that a device has at most.
const MAX_IMAGES: usize = 128;

/// The files that the kernel's devices show, whoever attached them, as it was when they were asked.
#[derive(Debug, Default)]
pub struct Showers(Vec<(Identity, PathBuf)>);

impl Showers {
    /// Asks all devices. Without privilege none is seen but those of the old driver.
    pub fn look() -> Self {
        let mut all = old_driver::images();
        if let Some(control) = open_target() {
            let dm = Dm::unlogged(&control);
            for device in dm.devices().unwrap_or_default() {
                let node = format!("/dev/dm-{}", rustix::fs::minor(device.dev));
                let images = images(dm, &device.name).into_iter();
                all.extend(images.map(|image| (image, PathBuf::from(&node))));
            }
        }
        Self(all)
    }

    /// The device that has one of these files for an image.
    pub fn of(&self, files: &[impl AsFd]) -> Option<&Path> {
        let wanted: Vec<_> = files.iter().filter_map(|f| Identity::of(f).ok()).collect();
        let found = self.0.iter().find(|(image, _)| wanted.contains(image));
        found.map(|(_, device)| device.as_path())
    }
}

#[cfg(test)]
impl From<Vec<(Identity, PathBuf)>> for Showers {
    fn from(images: Vec<(Identity, PathBuf)>) -> Self {
        Self(images)
    }
}

/// Device-mapper, if it has the target now. A module is not loaded for the question, as opening the
/// control node would.
pub(super) fn open_target() -> Option<OwnedFd> {
    if !Path::new(REGISTERED).exists() {
        return None;
    }
    let control = open_control().ok()?;
    let has = Dm::unlogged(&control).has_target(TARGET);
    has.is_ok_and(|has| has).then_some(control)
}

/// The files that a device of the target shows; none of any other device.
fn images(dm: Dm<'_>, name: &str) -> Vec<Identity> {
    let table = dm.table(By::Name(name)).unwrap_or_default();
    if !table.iter().any(|line| line.target == TARGET) {
        return Vec::new();
    }
    let image = |number: usize| {
        let answer = dm.ask(By::Name(name), &format!("get_img_name {number}"));
        named(&answer.ok()??)
    };
    let images = (0..MAX_IMAGES).map_while(image);
    let identity = |image| {
        let flags = AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
        let stat = statx(CWD, image, flags, StatxFlags::INO).ok()?;
        Some(Identity::from_statx(&stat))
    };
    images.filter_map(identity).collect()
}

/// The path in an answer; `None`: there is no such image.
fn named(answer: &str) -> Option<PathBuf> {
    let path = answer.strip_suffix('\n').unwrap_or(answer);
    path.starts_with('/').then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_path_or_the_end() {
        let path = Some(PathBuf::from("/vz/private/101/root.hdd/root.hds"));
        assert_eq!(named("/vz/private/101/root.hdd/root.hds\n"), path);
        assert_eq!(named("/vz/private/101/root.hdd/root.hds"), path);
        assert_eq!(named(""), None);
        assert_eq!(named("\n"), None);
    }
}
