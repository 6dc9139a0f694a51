// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making a location, and switching quotas on in its file system when asked to.

use std::path::Path;

use mosaic_core::volume::InitOptions;
use mosaic_core::{Context, Error, ErrorKind, Host, Location, Result, Settings};
use rustix::io::Errno;

use crate::config::Options;
use crate::error::{Call, refused};
use crate::layout;
use crate::quota::{self, Mode};
use crate::{commit, ioctl};

/// Makes the location's directory on a btrfs, as far as it is not there, and switches quotas of the
/// kind asked for on. Nothing else ever switches them on.
///
/// # Errors
/// `Exists` if nothing had to be done; `Unsupported` where it would not be on btrfs, or quotas of
/// the other kind are on; `Invalid` for another word; `Permission`; those of [`Location::init`].
pub(crate) fn init(host: &Host, settings: &Settings, options: &InitOptions) -> Result<Vec<String>> {
    let config = Options::new(settings)?;
    let (path, metadata) = (config.location.as_path(), config.metadata.as_deref());
    let above = open_or_above(path)?;
    let wanted = options.quota.as_deref().map(Kind::parse).transpose()?;
    let wanted = match wanted {
        Some(kind) if !kind.is_on(&above)? => Some(kind),
        _ => None,
    };
    let mut made = match Location::init(path, metadata) {
        // Then there is this to do.
        Err(error) if wanted.is_some() && is_made(&error, path, metadata) => Vec::new(),
        Err(error) if options.quota.is_some() && is_made(&error, path, metadata) => {
            return Err(Error::new(
                ErrorKind::Exists,
                format!("location {path:?} is there already, and quotas of this kind are on"),
            ));
        }
        other => other?,
    };
    if let Some(kind) = wanted {
        made.push(kind.switch_on(host, path)?);
    }
    Ok(made)
}

/// The location if it is there, else the directory that it would be made in; on btrfs.
fn open_or_above(path: &Path) -> Result<Location> {
    match layout::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        other => return other,
    }
    let above = match path.parent() {
        Some(above) if above != Path::new("") => above,
        _ => Path::new("."),
    };
    match layout::open(above) {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::new(
            ErrorKind::NotFound,
            format!("the folder {above:?} that is to hold location {path:?} does not exist"),
        )),
        other => other.context(|| format!("cannot make location {path:?} in {above:?}")),
    }
}

/// Whether making a location was refused only since all of it is there.
fn is_made(error: &Error, path: &Path, metadata: Option<&Path>) -> bool {
    let has_all = |location: Location| match metadata {
        Some(metadata) => location.open_metadata(Some(metadata)).is_ok(),
        None => true,
    };
    error.kind() == ErrorKind::Exists && layout::open(path).is_ok_and(has_all)
}

/// A kind of quota to be switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Simple,
    Full,
}

impl Kind {
    fn parse(word: &str) -> Result<Self> {
        match word {
            "simple" => Ok(Self::Simple),
            "full" => Ok(Self::Full),
            other => Err(Error::new(
                ErrorKind::Invalid,
                format!("there are no quotas {other:?}; btrfs has simple and full"),
            )),
        }
    }

    /// Whether quotas of this kind are on.
    fn is_on(self, location: &Location) -> Result<bool> {
        let path = location.path();
        let other = match (self, quota::mode(location.dir())?) {
            (_, Mode::Off) => return Ok(false),
            (Self::Simple, Mode::Simple) | (Self::Full, Mode::Full { .. }) => return Ok(true),
            (Self::Simple, Mode::Full { .. }) => "full",
            (Self::Full, Mode::Simple) => "simple",
        };
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "quotas on the btrfs at {path:?} are {other}, and only one kind can be on; btrfs \
                 quota disable {} ends these, all limits with them",
                path.display()
            ),
        ))
    }

    fn switch_on(self, host: &Host, path: &Path) -> Result<String> {
        let failed = || format!("cannot switch quotas on at {path:?}");
        let location = layout::open(path)?;
        host.debug(&format!("BTRFS_IOC_QUOTA_CTL {self:?}"));
        match ioctl::enable_quotas(location.dir(), self == Self::Simple) {
            Ok(()) => {}
            Err(errno @ (Errno::PERM | Errno::INVAL)) => {
                let error = Error::io(errno, failed());
                return Err(refused(Call::EnableQuotas, error, path).context(failed()));
            }
            Err(errno) => return Err(Error::io(errno, failed())),
        }
        commit::everything(location.dir())?;
        Ok(match self {
            Self::Simple => format!(
                "switched simple quotas on for the btrfs at {path:?}: what is there already does \
                 not count"
            ),
            Self::Full => format!(
                "switched full quotas on for the btrfs at {path:?}: the kernel counts what is \
                 there already"
            ),
        })
    }
}
