// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands that a message tells its reader, to be pasted as they are.

use std::path::Path;

use mosaic_core::volume::Lifetime;

use crate::block_device;
use crate::kernel_pool::KernelPool;
use crate::naming;
use crate::target::{DeviceNumber, PoolTable, Sectors, ThinId, WorkingPool};
use crate::thin_metadata::Superblock;
use crate::thin_pool::ThinPool;
use mosaic_core::dm::By;

/// Most devices that are named one by one.
const NAMED: usize = 16;

/// A word for a shell.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:=@%+,-".contains(c);
    match !word.is_empty() && !word.starts_with('-') && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// The same of a path.
pub(crate) fn quoted_path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// Whether a name means the same to the kernel and to dmsetup, which writes other letters as `\xNN`
/// before it asks the kernel (`_is_whitelisted_char` in libdm/libdm-common.c, LVM2).
pub(crate) fn is_plain_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c);
    !name.starts_with('-') && name.chars().all(is_plain)
}

/// A command of dmsetup on devices by their names, which stand before the `rest`.
pub(crate) fn dmsetup(command: &str, names: &[&str], rest: &str) -> String {
    let all_plain = names.iter().all(|name| is_plain_name(name));
    let how = if all_plain { "" } else { " --manglename none" };
    let mut text = format!("dmsetup{how} {command}");
    for word in names.iter().map(|name| quoted(name)) {
        text += " ";
        text += &word;
    }
    text + rest
}

/// The node of a device, or its number where it has none.
pub(crate) fn node(number: DeviceNumber) -> String {
    match block_device::node(number) {
        Ok(path) => quoted_path(&path),
        Err(_) => number.to_string(),
    }
}

/// How metadata on a device are checked and mended.
pub(crate) fn check_metadata(device: &str) -> String {
    format!(
        "thin_check --clear-needs-check-flag {device} (if it fails: thin_repair -i {device} -o \
         SPARE, and SPARE in its place)"
    )
}

/// What activates a pool of Mosaic as Mosaic would, without a look at its catalog.
pub(crate) fn activate(name: &str, table: &PoolTable, superblock: &Superblock) -> String {
    let length = Sectors(superblock.data_blocks.saturating_mul(table.block.0));
    create(name, &naming::pool_uuid(table.metadata), table, length)
}

fn create(name: &str, uuid: &str, table: &PoolTable, length: Sectors) -> String {
    let line = table.line(length);
    let uuid = match uuid {
        "" => String::new(),
        uuid => format!(" --uuid {}", quoted(uuid)),
    };
    let table = format!(
        "{uuid} --table \"{} {} {} {}\"",
        line.start, line.length, line.target, line.words
    );
    dmsetup("create", &[name], &table)
}

/// All that it takes to have the metadata of an active pool checked.
pub(crate) fn way_back(pool: &KernelPool<'_>) -> String {
    let name = &pool.name;
    let device = node(pool.table.metadata);
    let (down, check) = (take_down(pool), check_metadata(&device));
    match pool.is_ours_to_activate {
        true => format!("{down}; {check}; the next command activates it again"),
        false => {
            let create = create(name, &pool.uuid, &pool.table, pool.length);
            format!("{down}; {check}; when the check finds nothing: {create}")
        }
    }
}

/// What is said of a copy of the metadata that somebody has the kernel hold, as backups do for the
/// time that they run. Mosaic holds none.
pub(crate) fn held_snapshot(pool: &KernelPool<'_>, status: &WorkingPool) -> Option<String> {
    let root = status.held_root?;
    let release = dmsetup("message", &[&pool.name], " 0 release_metadata_snap");
    Some(format!(
        "{} has a metadata snapshot (block {root}), which keeps metadata from being freed; if no \
         backup is at work on it: {release}",
        pool.label()
    ))
}

/// What takes a pool out of use.
fn take_down(pool: &KernelPool<'_>) -> String {
    let (mut mounted, mut attached) = (Vec::new(), Vec::new());
    let devices = pool.devices().unwrap_or_default();
    for device in &devices {
        match device.lifetime {
            Lifetime::Mount => mounted.push(quoted_path(&device.path)),
            Lifetime::Explicit => {
                let uuid = pool.uuid(device.id);
                if let Ok(Some(info)) = pool.dm.info(By::Uuid(&uuid)) {
                    attached.push(info.name);
                }
            }
        }
    }
    let catalog = naming::name(pool.number, &pool.name, ThinId::CATALOG);
    if devices.len() > NAMED {
        let remove = dmsetup("remove", &[&catalog, &pool.name], "");
        return format!("umount its volumes and dmsetup remove their devices, then: {remove}");
    }
    let mut names: Vec<&str> = attached.iter().map(String::as_str).collect();
    names.extend([&*catalog, &*pool.name]);
    let remove = dmsetup("remove", &names, "");
    match mounted.is_empty() {
        true if attached.is_empty() => remove,
        true => format!("end what uses its volumes, then: {remove}"),
        false => format!("umount -A {}; {remove}", mounted.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_command_are_quoted_where_a_shell_would_take_them_apart() {
        for plain in ["web", "/dev/dm-3", "253:0", "a.b_c+d@e"] {
            assert_eq!(quoted(plain), plain);
        }
        for (word, text) in [
            ("", "''"),
            ("a b", "'a b'"),
            ("-f", "'-f'"),
            ("it's", r"'it'\''s'"),
            ("$(x)", "'$(x)'"),
            (r"a\x20b", r"'a\x20b'"),
        ] {
            assert_eq!(quoted(word), text);
        }
    }

    #[test]
    fn dmsetup_is_told_to_take_odd_names_as_they_are() {
        assert_eq!(dmsetup("remove", &["a", "b"], ""), "dmsetup remove a b");
        assert_eq!(
            dmsetup("remove", &["a", "b c"], " x"),
            "dmsetup --manglename none remove a 'b c' x"
        );
        assert!(is_plain_name("vg-pool_1.x:y=z@#+"));
        for odd in ["a b", "-a", "ä", "a/b", r"a\x20b", "a$"] {
            assert!(!is_plain_name(odd), "{odd}");
        }
    }
}
