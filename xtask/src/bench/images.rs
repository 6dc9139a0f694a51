// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver `loop` beside bare system calls, coreutils and util-linux.

use anyhow::Result;

use super::ground::Ground;
use super::{Case, Options, case, rounds};
use crate::interrupt::Interrupt;

/// In this order in each round: what the first makes the last takes away.
const ROUND: [Case; 14] = [
    case("have", "have base", "have L/base", "test -e L/base"),
    case("info V", "info base", "have L/base", "stat L/base"),
    case("list", "list", "list L", "ls -l L"),
    case(
        "new disk",
        "new disk m 1G",
        "new L/f 1073741824",
        "truncate --size 1G L/t",
    ),
    case(
        "clone disk",
        "clone m mc",
        "clone L/f L/fc",
        "cp --reflink=always L/t L/tc",
    ),
    case("drop clone", "drop mc", "drop L/fc", "rm L/tc"),
    case("rename", "rename m m2", "rename L/f L/f2", "mv -n L/t L/t2"),
    case(
        "resize",
        "resize m2 2G",
        "resize L/f2 2147483648",
        "truncate --size 2G L/t2",
    ),
    case(
        "attach",
        "attach m2",
        "attach L/f2",
        "losetup --find --direct-io=on L/t2",
    ),
    case(
        "detach",
        "detach m2",
        "detach D/f2",
        "losetup --detach D/t2",
    ),
    case("drop", "drop m2", "drop L/f2", "rm L/t2"),
    case(
        "new fs (ext4)",
        "new fs mf 64M",
        "new-fs L/ff 67108864",
        "mkfs.ext4 -q -F L/tf 64M",
    ),
    case(
        "mount",
        "mount mf A",
        "mount L/ff A",
        "mount -o loop L/tf A",
    ),
    case("umount", "umount mf A", "umount A", "umount A"),
];

/// Measures among 100 volumes on an xfs, and prints.
///
/// # Errors
/// Something failed.
pub fn measure(options: &Options, interrupt: &Interrupt) -> Result<()> {
    let ground = Ground::new("xfs", 16 << 30, "type: loop\ndefault_fs: ext4\n")?;
    let names = (0..99)
        .map(|at| format!("volume{at}"))
        .chain(["base".to_owned()]);
    for name in names {
        ground.run(0, &format!("new disk {name} 1G"))?;
    }
    let mut table = rounds(&ground, &ROUND, options.rounds, interrupt, tidy)?;
    table.print("loop, 100 volumes on xfs", &ROUND);
    Ok(())
}

/// What no case takes away.
fn tidy(ground: &Ground) -> Result<()> {
    ground.run(0, "drop mf")?;
    ground.run(2, "rm L/ff L/tf")?;
    Ok(())
}
