// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Mosaic's devices are called in device-mapper.
//!
//! A device is known by its uuid, `MOSAIC-253:4-7`: of the pool with the number 253:4, thin id 7. The
//! pool keeps its number as long as any device of it is there, and the kernel takes a uuid only
//! once, so one thin id is shown by one device at most. The name is for people, and found again by
//! nobody.

use crate::target::{DeviceNumber, ThinId};
use mosaic_core::dm::NAME_MAX;

/// Start of the uuids of whatever Mosaic made, by the custom of device-mapper's users.
pub const SUBSYSTEM: &str = "MOSAIC-";

/// Start of the uuids of all devices of a pool.
pub fn uuid_prefix(pool: DeviceNumber) -> String {
    format!("{SUBSYSTEM}{pool}-")
}

/// The uuid of the device of a thin id.
pub fn uuid(pool: DeviceNumber, id: ThinId) -> String {
    format!("{}{id}", uuid_prefix(pool))
}

/// The thin id of a device by its uuid; `None`: it is none of this pool.
pub fn thin_id(pool: DeviceNumber, uuid: &str) -> Option<ThinId> {
    let id: ThinId = uuid.strip_prefix(&uuid_prefix(pool))?.parse().ok()?;
    (self::uuid(pool, id) == uuid).then_some(id)
}

/// The uuid of a pool that Mosaic activated, by its metadata device.
pub fn pool_uuid(metadata: DeviceNumber) -> String {
    format!("{SUBSYSTEM}pool-{metadata}")
}

/// The name of the device of a thin id.
pub fn name(pool: DeviceNumber, pool_name: &str, id: ThinId) -> String {
    let what = match id {
        ThinId::CATALOG => "catalog".to_owned(),
        ThinId::METADATA => "metadata".to_owned(),
        id => id.to_string(),
    };
    let name = format!("{pool_name}-mosaic-{what}");
    match name.len() {
        0..=NAME_MAX => name,
        _ => format!("mosaic-{pool}-{what}"),
    }
}

/// Who made a pool that is not for Mosaic to use, by uuid and name.
pub fn owner(uuid: &str, name: &str) -> Option<&'static str> {
    let by_uuid = [("LVM-", "LVM"), ("stratis-", "stratis")];
    let found = by_uuid.iter().find(|(start, _)| uuid.starts_with(start));
    found
        .map(|(_, owner)| *owner)
        .or_else(|| is_of_docker(name).then_some("docker"))
}

/// Who keeps something of its own on a device of this uuid: a part of a logical volume, or of a pool.
/// A whole logical volume is for whoever it was made for.
pub fn owner_of_part(uuid: &str) -> Option<&'static str> {
    // The uuids of volume group and logical volume, then what the part is: `-tdata`, `-real`.
    const LVM: usize = "LVM-".len() + 2 * 32;
    match uuid {
        lvm if lvm.starts_with("LVM-") && lvm.len() > LVM => Some("LVM"),
        stratis if stratis.starts_with("stratis-") => Some("stratis"),
        _ => None,
    }
}

/// `docker-MAJOR:MINOR-INODE-pool`: docker gives its pool no uuid.
fn is_of_docker(name: &str) -> bool {
    let middle = name
        .strip_prefix("docker-")
        .and_then(|rest| rest.strip_suffix("-pool"));
    middle.is_some_and(|middle| {
        let mut parts = middle.split([':', '-']);
        let number = |part: Option<&str>| part.is_some_and(|p| p.parse::<u64>().is_ok());
        (0..3).all(|_| number(parts.next())) && parts.next().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: DeviceNumber = DeviceNumber {
        major: 253,
        minor: 4,
    };

    #[test]
    fn an_id_is_found_again_by_the_uuid_alone() {
        for id in [ThinId::METADATA, ThinId::VOLUMES.0, ThinId::CATALOG] {
            assert_eq!(thin_id(POOL, &uuid(POOL, id)), Some(id));
        }
        let other = DeviceNumber { minor: 41, ..POOL };
        for text in [
            "",
            "MOSAIC-",
            "MOSAIC-253:4",
            "MOSAIC-253:4-",
            "MOSAIC-253:4-x",
            "MOSAIC-253:4-07",
            "MOSAIC-253:4-16777216",
            "LVM-253:4-7",
            &uuid(other, ThinId::VOLUMES.0),
            &pool_uuid(POOL),
        ] {
            assert_eq!(thin_id(POOL, text), None, "{text}");
        }
    }

    #[test]
    fn names_fit() {
        assert_eq!(name(POOL, "web", ThinId::CATALOG), "web-mosaic-catalog");
        assert_eq!(name(POOL, "web", ThinId::METADATA), "web-mosaic-metadata");
        let long = "x".repeat(NAME_MAX);
        assert_eq!(name(POOL, &long, ThinId::VOLUMES.0), "mosaic-253:4-1");
    }

    #[test]
    fn a_logical_volume_can_be_given_to_a_pool_and_a_part_of_one_not() {
        let whole = format!("LVM-{}", "x".repeat(64));
        assert_eq!(owner_of_part(&whole), None);
        assert_eq!(owner_of_part(&format!("{whole}-tdata")), Some("LVM"));
        let stratis = "stratis-1-private-0123-flex-thindata";
        assert_eq!(owner_of_part(stratis), Some("stratis"));
        assert_eq!(owner_of_part(""), None);
        assert_eq!(owner_of_part(&uuid(POOL, ThinId::VOLUMES.0)), None);
    }

    #[test]
    fn other_peoples_pools_are_told_by_uuid_or_name() {
        assert_eq!(owner("LVM-abc-tpool", "vg-pool-tpool"), Some("LVM"));
        let stratis = "stratis-1-0123-thin-pool";
        assert_eq!(owner(stratis, stratis), Some("stratis"));
        assert_eq!(owner("", "docker-253:1-1234567-pool"), Some("docker"));
        for name in [
            "pool",
            "docker-pool",
            "docker-a:b-c-pool",
            "docker-1:2-3-4-pool",
        ] {
            assert_eq!(owner("", name), None, "{name}");
        }
    }
}
