// SPDX-License-Identifier: MIT OR Apache-2.0
//! `struct mosaic_options`: what the core gets to know of the program.

use std::ffi::{OsStr, c_long};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mosaic_core::mosaic::{Environment, LOCK_TIMEOUT};
use mosaic_core::places::{Places, folders};
use mosaic_core::{Level, Result};

use crate::c::{MosaicOptions, Options, Text};
use crate::services::Callbacks;
use crate::{library, log};

/// What the options and, where they are silent, the environment variables say.
///
/// # Errors
/// `Invalid` for the structure.
pub(crate) fn environment(
    options: &Options<MosaicOptions>,
    callbacks: &Arc<Callbacks>,
) -> Result<Environment> {
    let options = options.read("struct mosaic_options")?;
    let options = options.as_ref();
    let given = |what, member: fn(&MosaicOptions) -> &Text| -> Result<Option<&OsStr>> {
        let text = options.map(|options| member(options).os_if_given(what));
        Ok(text.transpose()?.flatten().filter(|text| !text.is_empty()))
    };
    let places = Places::from_environment();
    let first = given("driver_path", |options| &options.driver_path)?;
    let config_dir = given("config_dir", |options| &options.config_dir)?;
    for warning in places.ignored(config_dir.is_some()) {
        log::line(Level::Warning, &warning);
    }
    Ok(Environment {
        search: places.search(
            first.map_or_else(Vec::new, folders),
            library::beside(),
            report,
        ),
        config_dir: config_dir.map_or(places.config_dir, PathBuf::from),
        lock_timeout: lock_timeout(options.map_or(0, |options| options.lock_timeout_ms)),
        services: Arc::clone(callbacks) as _,
    })
}

fn lock_timeout(milliseconds: c_long) -> Duration {
    match u64::try_from(milliseconds) {
        Ok(0) => LOCK_TIMEOUT,
        Ok(milliseconds) => Duration::from_millis(milliseconds),
        Err(_) => Duration::ZERO,
    }
}

/// `MOSAIC_ABI_DEBUG` is for those who work on drivers: hundreds of lines.
fn report(text: &str) {
    for line in text.lines() {
        log::line(Level::Debug, line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_waited_for_as_long_as_the_options_say() {
        assert_eq!(lock_timeout(0), LOCK_TIMEOUT);
        assert_eq!(lock_timeout(1), Duration::from_millis(1));
        assert_eq!(lock_timeout(-1), Duration::ZERO);
        assert_eq!(lock_timeout(c_long::MIN), Duration::ZERO);
    }
}
