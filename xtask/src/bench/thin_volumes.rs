// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver `dmthin` beside bare ioctls and dmsetup, each on a pool of its own.
//!
//! The floor keeps a catalog of the same volumes and writes it as durably, with the same messages. An
//! administrator with dmsetup has no names for volumes, and writes nothing down: what the tool column
//! lacks is that.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};
use mosaic_tests::{Scratch, ThinPool};

use super::ground::{Ground, Place};
use super::{Case, Options, case, rounds};
use crate::interrupt::Interrupt;

/// Sizes of each pool's devices, which are sparse files.
const DATA: u64 = 4 << 30;
const METADATA: u64 = 16 << 20;
/// Sectors of a data block: 64 KiB.
const BLOCK: u64 = 128;

/// In this order in each round. Ids from 2001 on are the tool's.
const ROUND: [Case; 16] = [
    case("have", "have base", "have P base", "dmsetup status P"),
    case("info V", "info base", "info P base", "dmsetup status P"),
    case(
        "list",
        "list",
        "list P",
        "dmsetup message P 0 reserve_metadata_snap && thin_ls -m M \
         && dmsetup message P 0 release_metadata_snap",
    ),
    case(
        "new disk",
        "new disk m 1G",
        "new P m 1073741824",
        "dmsetup message P 0 create_thin 2001",
    ),
    case(
        "clone idle",
        "clone m mc",
        "clone P m mc",
        "dmsetup message P 0 create_snap 2002 2001",
    ),
    case(
        "drop",
        "drop mc",
        "drop P mc",
        "dmsetup message P 0 delete 2002",
    ),
    case(
        "attach",
        "attach m",
        "attach P m",
        "dmsetup create P/m --table T/2001/2097152",
    ),
    case(
        "clone in use",
        "clone m mu",
        "clone P m mu",
        "dmsetup suspend P/m && dmsetup message P 0 create_snap 2003 2001 && dmsetup resume P/m",
    ),
    case(
        "resize",
        "resize m 2G",
        "resize P m 2147483648",
        "dmsetup load P/m --table T/2001/4194304 && dmsetup resume P/m",
    ),
    case("detach", "detach m", "detach P m", "dmsetup remove P/m"),
    case("rename", "rename m m2", "rename P m m2", ""),
    case(
        "new fs (ext4)",
        "new fs mf 64M",
        "new-fs P mf 67108864",
        "dmsetup message P 0 create_thin 2004 && dmsetup create P/mf --table T/2004/131072 \
         && mkfs.ext4 -q -F V/mf && dmsetup remove P/mf",
    ),
    case(
        "mount",
        "mount mf A",
        "mount P mf A",
        "dmsetup create P/mf --table T/2004/131072 && mount -o nosuid,nodev V/mf A",
    ),
    case(
        "clone mounted",
        "clone mf mg",
        "clone P mf mg",
        "sync -f A && dmsetup suspend P/mf && dmsetup message P 0 create_snap 2005 2004 \
         && dmsetup resume P/mf && dmsetup create P/mg --table T/2005/131072 \
         && e2fsck -fp V/mg && tune2fs -U random V/mg && dmsetup remove P/mg",
    ),
    case(
        "umount",
        "umount mf A",
        "umount A",
        "umount A && dmsetup remove P/mf",
    ),
    case(
        "drop fs",
        "drop mf",
        "drop P mf",
        "dmsetup message P 0 delete 2004",
    ),
];

/// Measures among 100 volumes, and prints.
///
/// # Errors
/// Something failed.
pub fn measure(options: &Options, interrupt: &Interrupt) -> Result<()> {
    let pools = Pools::new()?;
    let config = format!("type: dmthin\nmetadata_size: 64M\n{}", pools.of[0].config());
    let ground = Ground::on(Box::new(pools), &config)?;
    ground.run(0, "init")?;
    let names = (0..99)
        .map(|at| format!("volume{at}"))
        .chain(["base".to_owned()]);
    for name in names {
        ground.run(0, &format!("new disk {name} 1G"))?;
        if interrupt.is_raised() {
            anyhow::bail!("interrupted");
        }
    }
    ground.run(1, "fill P 100")?;
    for id in 1..=100 {
        ground.run(2, &format!("dmsetup message P 0 create_thin {id}"))?;
    }
    let mut table = rounds(&ground, &ROUND, options.rounds, interrupt, tidy)?;
    table.print("dmthin, 100 volumes, pools on loop devices", &ROUND);
    Ok(())
}

/// What no case takes away.
fn tidy(ground: &Ground) -> Result<()> {
    for name in ["m2", "mu", "mg"] {
        ground.run(0, &format!("drop {name}"))?;
        ground.run(1, &format!("drop P {name}"))?;
    }
    for id in [2001, 2003, 2005] {
        ground.run(2, &format!("dmsetup message P 0 delete {id}"))?;
    }
    Ok(())
}

/// A pool for each side. The first is the driver's to make.
#[derive(Debug)]
struct Pools {
    of: [ThinPool; 3],
    // Goes last.
    folder: Scratch,
}

impl Pools {
    fn new() -> Result<Self> {
        let pool = || ThinPool::new(DATA, METADATA);
        let of = [pool()?, pool()?, pool()?];
        for pool in &of[1..] {
            pool.activate(BLOCK)?;
        }
        Ok(Self {
            of,
            folder: Scratch::new("bench")?,
        })
    }
}

impl Place for Pools {
    fn folder(&self) -> Result<PathBuf> {
        self.folder.folder("bench")
    }

    fn config(&self) -> String {
        format!("location: {}\n", self.of[0].name())
    }

    fn floor(&self) -> &'static str {
        "thin_floor"
    }

    /// `P` is the side's pool by name, `P/NAME` and `V/NAME` the name and the node of a device in it,
    /// `T/ID/SECTORS` the table of a thin device, `M` the device of the metadata.
    fn word(&self, word: &str, side: usize) -> Result<Option<OsString>> {
        let pool = &self.of[side];
        let name = pool.name();
        Ok(match word.split_once('/') {
            None if word == "P" => Some(name.into()),
            None if word == "M" => Some(pool.metadata_device().into()),
            Some(("P", device)) => Some(format!("{name}-{device}").into()),
            Some(("V", device)) => Some(format!("/dev/mapper/{name}-{device}").into()),
            Some(("T", table)) => {
                let (id, sectors) = table.split_once('/').context("T/ID/SECTORS")?;
                let node = pool.device().context("the pool is not active")?;
                Some(format!("0 {sectors} thin {} {id}", node.display()).into())
            }
            _ => None,
        })
    }
}
