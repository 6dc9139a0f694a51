// SPDX-License-Identifier: MIT OR Apache-2.0
//! Another table for an active pool: what its devices have now, or what the config says of it.
//!
//! A reload of the table is all that it takes to grow data or metadata, but the kernel passes over
//! that without a word where the metadata met an error. So the status has to show it.

use mosaic_core::{Bytes, Context, Error, ErrorKind, Result};
use rustix::io::Errno;

use crate::config::PoolDevices;
use crate::kernel_pool::KernelPool;
use crate::remedy;
use crate::target::{PoolStatus, PoolTable, Sectors};
use crate::thin_pool::ThinPool;
use mosaic_core::dm::Audience;
use mosaic_core::dm::By;

/// The table that the config wants of a pool. What it does not speak of stays.
pub(crate) fn wanted(active: &PoolTable, devices: &PoolDevices) -> PoolTable {
    let mut table = active.clone();
    table.low_water = devices.low_water_blocks(active.block);
    table.features.skip_block_zeroing = devices.skip_zeroing;
    table.features.error_if_no_space = devices.error_if_no_space;
    table
}

/// In what two tables of a pool differ, by the keys of the config.
pub(crate) fn differences(active: &PoolTable, wanted: &PoolTable) -> Vec<String> {
    let differ = |key: &str, has: &dyn ToString, says: &dyn ToString| {
        let (has, says) = (has.to_string(), says.to_string());
        (has != says).then(|| format!("pool.{key}: {has}, and the config says {says}"))
    };
    let low_water = |table: &PoolTable| {
        let bytes = table.block.bytes().saturating_mul(table.low_water);
        Bytes(bytes).to_string()
    };
    let (has, says) = (&active.features, &wanted.features);
    [
        differ("low_water", &low_water(active), &low_water(wanted)),
        differ(
            "error_if_no_space",
            &has.error_if_no_space,
            &says.error_if_no_space,
        ),
        differ(
            "skip_zeroing",
            &has.skip_block_zeroing,
            &says.skip_block_zeroing,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Gives a pool a table and a length.
///
/// Steps: TABLE_LOAD; **commit**: resume; see that the status shows the length. Killed before the
/// commit the pool has a table in its inactive slot, which the next load replaces.
///
/// # Errors
/// The kernel's, with the table that it had; `Io` if the status does not show it.
pub(crate) fn reload(pool: &KernelPool<'_>, table: &PoolTable, length: Sectors) -> Result<()> {
    let by = By::Number(pool.number.dev());
    let failed = || format!("cannot give {} another table", pool.label());
    // Suspended, the pool holds up whatever the log goes to.
    let dm = pool.dm.silent();
    // It may have got another one since it was found.
    let before = dm.table(by).context(failed)?;
    let before = before
        .first()
        .ok_or_else(|| Error::io(Errno::NXIO, failed()))?;
    dm.load(by, &table.line(length), false).context(failed)?;
    if let Err(errno) = dm.resume(by, Audience::Ourselves) {
        let error = Error::io(errno, failed());
        let undone = dm
            .load(by, before, false)
            .and_then(|()| dm.resume(by, Audience::Ourselves));
        let left = || {
            let resume = remedy::dmsetup("resume", &[&pool.name], "");
            format!("{} is suspended; {resume}", pool.label())
        };
        return Err(error.after_undo(undone.map(|_| ()).context(left)));
    }
    let blocks = length.0 / table.block.0;
    match pool.committed_status()? {
        PoolStatus::Working(status) if status.data.total == blocks => Ok(()),
        status => Err(Error::new(
            ErrorKind::Io,
            format!(
                "{} has the table, and says {:?}, which are not {blocks} data blocks; {}",
                pool.label(),
                status.to_string(),
                pool.way_back()
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_config_wants_is_told_by_its_keys() {
        let active: PoolTable = "7:0 7:1 128 5 2 skip_block_zeroing ignore_discard"
            .parse()
            .unwrap();
        let mut devices = PoolDevices {
            data: "/dev/a".into(),
            metadata: "/dev/b".into(),
            block: None,
            low_water: Some(Bytes(5 << 16)),
            error_if_no_space: false,
            skip_zeroing: true,
        };
        assert_eq!(wanted(&active, &devices), active);
        assert_eq!(differences(&active, &active), [""; 0]);
        devices.low_water = Some(Bytes(1));
        devices.error_if_no_space = true;
        devices.skip_zeroing = false;
        let table = wanted(&active, &devices);
        assert_eq!(
            table.to_string(),
            "7:0 7:1 128 1 2 ignore_discard error_if_no_space"
        );
        assert_eq!(
            differences(&active, &table),
            [
                "pool.low_water: 320 KiB, and the config says 64 KiB",
                "pool.error_if_no_space: false, and the config says true",
                "pool.skip_zeroing: true, and the config says false",
            ]
        );
    }
}
