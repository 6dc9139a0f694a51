// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver `btrfs` beside bare ioctls and btrfs-progs, among few and among many volumes, with and
//! without quotas.
//!
//! What the three leave is the same and as durable: a volume with a limit where quotas are on, on
//! disk when the last program ends.

use anyhow::Result;

use super::ground::Ground;
use super::{Case, Options, case, rounds};
use crate::interrupt::Interrupt;

/// What counts and limits the data of subvolumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Quota {
    /// Nothing.
    Off,
    /// Simple quotas, Linux 6.7.
    Simple,
    /// Qgroups that count what is shared.
    Full,
}

/// Measures with each kind of quota among each number of volumes, and prints.
///
/// # Errors
/// Something failed.
pub fn measure(options: &Options, interrupt: &Interrupt) -> Result<()> {
    for &quota in &options.quota {
        for &volumes in &options.volumes {
            let ground = Ground::new("btrfs", 16 << 30, "type: btrfs\n")?;
            if quota != Quota::Off {
                let kind = if quota == Quota::Simple {
                    "simple"
                } else {
                    "full"
                };
                ground.run(1, &format!("subvolume quota L {kind}"))?;
            }
            ground.run(0, "new fs base 1G")?;
            ground.run(2, "cp -r /etc/default L/base")?;
            ground.run(1, &format!("subvolume fill L {volumes}"))?;
            ground.run(1, "subvolume settle L")?;
            let cases = cases(quota);
            let mut table = rounds(&ground, &cases, options.rounds, interrupt, |ground| {
                ground.run(1, "subvolume settle L").map(drop)
            })?;
            let quota = format!("{quota:?}").to_lowercase();
            table.print(&format!("btrfs, {volumes} volumes, quotas {quota}"), &cases);
        }
    }
    Ok(())
}

/// In this order in each round: what the first makes the last takes away.
fn cases(quota: Quota) -> Vec<Case> {
    let mut cases = vec![
        case("have", "have base", "have L/base", "test -e L/base"),
        case(
            "info V",
            "info base",
            "subvolume info L/base",
            "btrfs subvolume show L/base",
        ),
        case(
            "list",
            "list",
            "subvolume list L",
            match quota {
                Quota::Off => "btrfs subvolume list L",
                _ => "btrfs subvolume list L && btrfs qgroup show -r L",
            },
        ),
        case(
            "create",
            "new fs m 1G",
            "subvolume new L/f 1073741824",
            match quota {
                Quota::Off => "btrfs subvolume create L/t && sync -f L",
                _ => "btrfs subvolume create L/t && btrfs qgroup limit 1G L/t && sync -f L",
            },
        ),
        case(
            "clone",
            "clone base mc",
            "subvolume clone L/base L/fc 1073741824",
            match quota {
                Quota::Simple => {
                    "btrfs subvolume snapshot L/base L/tc && btrfs qgroup limit 1G L/tc && sync -f L"
                }
                // With full ones it inherits the source's limit.
                _ => "btrfs subvolume snapshot L/base L/tc",
            },
        ),
        case(
            "mount",
            "mount m A",
            "subvolume mount L/f A",
            "mount --bind -o nosuid,nodev L/t A",
        ),
        case("umount", "umount m A", "umount A", "umount A"),
    ];
    if quota != Quota::Off {
        cases.push(case(
            "resize",
            "resize m 2G",
            "subvolume limit L/f 2147483648",
            "btrfs qgroup limit 2G L/t && sync -f L",
        ));
    }
    cases.extend([
        case(
            "drop clone",
            "drop mc",
            "subvolume drop L/fc",
            "btrfs subvolume delete -c L/tc",
        ),
        case(
            "drop",
            "drop m",
            "subvolume drop L/f",
            "btrfs subvolume delete -c L/t",
        ),
    ]);
    cases
}
