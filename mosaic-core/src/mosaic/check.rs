// SPDX-License-Identifier: MIT OR Apache-2.0
//! `check`: location, leftovers, volumes, against kernel and storage.

use super::Mosaic;
use crate::error::{Context, Result};
use crate::volume::Finding;

impl Mosaic {
    /// Compares what is there with what should be; with `repair` mends what can be mended, under
    /// the exclusive lock of the mosaic. File systems on volumes are not read.
    ///
    /// # Errors
    /// Whatever kept it from looking; `Busy` with `repair` while any changing verb is at work.
    pub fn check(&self, repair: bool) -> Result<Vec<Finding>> {
        let failed = || format!("cannot check mosaic {:?}", self.config.name);
        let guard = repair
            .then(|| self.lock_mosaic())
            .transpose()
            .context(failed)?;
        let mut findings = self.driver.check(repair).context(failed)?;
        findings.extend(self.find_leftovers(guard.as_ref()).context(failed)?);
        Ok(findings)
    }
}
