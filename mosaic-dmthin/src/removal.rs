// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices taken away, and who keeps them from going.
//!
//! Whatever looks at new devices, such as udev, has one open for a moment. So a removal waits a
//! little, whether the user wants to stop or not: it is what an undo ends with.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mosaic_core::busy::{self, Use};
use mosaic_core::{Error, ErrorKind, Result};
use rustix::io::Errno;

use crate::block_device;
use crate::target::DeviceNumber;
use mosaic_core::dm::By;
use mosaic_core::dm::{DeviceInfo, Dm};

/// How long a device is waited for that somebody has open.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// The kernel has no event for a device that goes.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Removes a device, if there is one.
///
/// # Errors
/// `Busy`, naming who has it open; the kernel's.
pub(crate) fn remove(dm: Dm<'_>, by: By<'_>) -> Result<()> {
    let start = Instant::now();
    loop {
        match dm.remove(by) {
            Ok(()) | Err(Errno::NXIO) => return Ok(()),
            Err(Errno::BUSY) if start.elapsed() < PATIENCE => std::thread::sleep(LOOK_AGAIN),
            Err(Errno::BUSY) => {
                let info = dm.info(by).ok().flatten();
                return info.map_or(Ok(()), |info| Err(in_use(&node_of(&info))));
            }
            Err(errno) => return Err(Error::io(errno, format!("cannot remove device {by}"))),
        }
    }
}

/// `/dev/dm-N`, which devtmpfs makes and no program has to.
pub(crate) fn node_of(info: &DeviceInfo) -> PathBuf {
    let number = DeviceNumber::from(info.dev);
    block_device::node(number).unwrap_or_else(|_| format!("/dev/dm-{}", number.minor).into())
}

/// What is said of a device that is in the way.
pub(crate) fn in_use(path: &Path) -> Error {
    let shown = path.display();
    let text = match busy::openers_of_device(path) {
        Ok(uses) if !uses.is_empty() => format!("attached at {shown}, {}", uses.describe()),
        _ => format!("attached at {shown}"),
    };
    Error::new(ErrorKind::Busy, text)
}

/// What is said of a device that more have open than mounts of it, whether they are seen or not.
pub(crate) fn open_elsewhere(path: &Path) -> Error {
    let mut uses = busy::openers_of_device(path).unwrap_or_default();
    let is_mount = |used: &Use| matches!(used, Use::Mount { .. } | Use::DistantMount { .. });
    uses.uses.retain(|used| !is_mount(used));
    let text = format!("attached at {}, {}", path.display(), uses.describe());
    Error::new(ErrorKind::Busy, text)
}
