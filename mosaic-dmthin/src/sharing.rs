// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices of a pool that are not Mosaic's.
//!
//! The kernel lets any number of devices show one thin id, and two mounts of it destroy the file
//! system. Ours have one uuid per id; this finds the others.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use mosaic_core::{Context, Result};

use crate::block_device;
use crate::naming;
use crate::target::{DeviceNumber, ThinId, ThinTable};
use mosaic_core::dm::By;
use mosaic_core::dm::Dm;

/// The thin ids that other programs' devices show, with one device of each.
///
/// # Errors
/// The kernel's.
///
/// Kernel: `/sys/dev/block/MAJOR:MINOR/holders`, sysfs-block in Documentation/ABI.
pub fn others(dm: Dm<'_>, pool: DeviceNumber) -> Result<HashMap<ThinId, PathBuf>> {
    let failed = || "cannot list the devices of a thin pool".to_owned();
    let ours = dm.list(&naming::uuid_prefix(pool)).context(failed)?;
    let ours: HashSet<u32> = ours
        .iter()
        .map(|device| DeviceNumber::from(device.dev).minor)
        .collect();
    let folder = format!("/sys/dev/block/{pool}/holders");
    let mut found = HashMap::new();
    for holder in std::fs::read_dir(folder).context(failed)? {
        let name = holder.context(failed)?.file_name();
        let minor = name.to_str().and_then(|name| name.strip_prefix("dm-"));
        let Some(minor) = minor.and_then(|minor| minor.parse().ok()) else {
            continue;
        };
        if ours.contains(&minor) {
            continue;
        }
        let number = DeviceNumber {
            major: pool.major,
            minor,
        };
        // It may have gone since; what is no thin device shows none.
        let Ok(lines) = dm.table(By::Number(number.dev())) else {
            continue;
        };
        if let Some((table, _)) = ThinTable::of(&lines)?
            && table.pool == pool
        {
            let path = block_device::node(number);
            let path = path.unwrap_or_else(|_| format!("/dev/dm-{minor}").into());
            found.insert(table.id, path);
        }
    }
    Ok(found)
}
