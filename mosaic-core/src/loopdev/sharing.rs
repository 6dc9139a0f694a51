// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device that several mounts share, and how long those are waited for who only look at it.

use std::path::Path;
use std::time::{Duration, Instant};

use super::LoopDevice;
use crate::busy::{self, Use};
use crate::volume::MountSource;
use crate::{Error, ErrorKind, Host, Result};

/// How long an opener that comes and goes (udev looks at every new device) is waited for.
pub const PASSING: Duration = Duration::from_secs(1);
/// How long a device that is just going away is waited for.
pub const PATIENCE: Duration = Duration::from_secs(5);

impl LoopDevice {
    /// The device as what a mount gets.
    pub fn into_source(self) -> MountSource {
        MountSource::Device {
            path: self.path(),
            handle: self.into_fd(),
        }
    }
}

/// Refuses a device that somebody besides mounts has open, after a look or two: programs that list
/// devices open them for a moment.
///
/// # Errors
/// `Busy`, with who has it open; `Interrupted`; the kernel's.
pub fn refuse_shared_use(host: &Host, device: &Path) -> Result<()> {
    let others = |used: &Use| !matches!(used, Use::Mount { .. });
    let start = Instant::now();
    loop {
        let users = busy::openers_of_device(device)?;
        if !users.uses.iter().any(others) {
            return Ok(());
        }
        if start.elapsed() > PASSING {
            let why = format!("{} is {}", device.display(), users.describe());
            return Err(Error::new(ErrorKind::Busy, why));
        }
        host.check_cancelled()?;
        std::thread::sleep(Duration::from_millis(20));
    }
}
