// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask demo`: the main job before the reader's eyes, in a temporary mosaic.
//!
//! As root: image files on an xfs of its own, which can reflink, and subvolumes of a btrfs. Else: plain
//! folders, which need no privilege. Every fixture undoes itself when the demo ends, fails or is interrupted.

use std::path::Path;

use anyhow::{Context, Result};
use mosaic_tests::{MountedFs, Scratch};

use crate::cargo;
use crate::interrupt::Interrupt;
use crate::packages;
use crate::show::{Stage, Step};

const fn step(why: &'static str, line: &'static str) -> Step {
    Step {
        why,
        line,
        status: 0,
    }
}

const fn refused(why: &'static str, line: &'static str, status: i32) -> Step {
    Step { why, line, status }
}

const WITH_ROOT: &[Step] = &[
    step(
        "A mosaic is one file: a type of storage, and where it is.",
        "cat demo.mos",
    ),
    step(
        "What can be done there, and what not and why.",
        "moctl demo info",
    ),
    step(
        "A volume with a file system, 512 MiB, made in one step.",
        "time -p moctl demo new fs web1 512M",
    ),
    step(
        "Mount it and write into it.",
        "mkdir web1 web2 && moctl demo mount web1 web1",
    ),
    step(
        "",
        "seq 100000 > web1/numbers && cp -r /etc/default web1/ && ls web1",
    ),
    step(
        "Clone it while it is mounted: copy-on-write, one instant, a UUID of its own.",
        "time -p moctl demo clone web1 web2",
    ),
    step("", "moctl demo mount web2 web2"),
    step(
        "The clone holds the same...",
        "diff -r web1 web2 && echo identical",
    ),
    step(
        "...and is a volume of its own from then on.",
        "echo changed > web2/numbers && head -n 1 web1/numbers web2/numbers",
    ),
    step("Grow it while it is in use.", "df -h web2 | tail -n 1"),
    step("", "moctl demo resize web2 +512M"),
    step("", "df -h web2 | tail -n 1"),
    step(
        "What is there? The kernel and the storage know, nobody else keeps a book.",
        "moctl demo list",
    ),
    step("The same for programs.", "moctl demo --json have web2"),
    refused(
        "What is in use is not dropped, and you learn who uses it.",
        "moctl demo drop web2",
        5,
    ),
    step(
        "Unmount, drop.",
        "moctl demo umount web2 web2 && moctl demo drop web2",
    ),
    step(
        "A disk for a virtual machine is a block device.",
        "moctl demo new disk vm1 1G",
    ),
    step("", "moctl demo attach vm1"),
    step("", "moctl demo list"),
    step("Tidy up.", "moctl demo detach vm1 && moctl demo drop vm1"),
    step("", "moctl demo umount web1 web1 && moctl demo drop web1"),
    step("", "moctl demo list && moctl demo check"),
];

const ON_BTRFS: &[Step] = &[
    step(
        "The same verbs on another storage: here each volume is a subvolume.",
        "cat trees.mos",
    ),
    step(
        "Its sizes are quotas of the file system, which somebody has to switch on. Simple ones cost \
         next to nothing, and need Linux 6.7.",
        "moctl trees init --quota simple || moctl trees init --quota full",
    ),
    step(
        "A container's tree.",
        "moctl trees new fs ct1 64M && mkdir ct1 ct2 && moctl trees mount ct1 ct1",
    ),
    step("", "cp -r /etc/default ct1/ && ls ct1"),
    step(
        "Its clone has all of that, and its size.",
        "time -p moctl trees clone ct1 ct2",
    ),
    step("", "moctl trees mount ct2 ct2"),
    step("", "diff -r ct1 ct2 && echo identical"),
    refused(
        "More than its size does not fit into a volume.",
        "head -c 100M /dev/zero > ct2/zeros",
        1,
    ),
    step("What is there?", "moctl trees list"),
    step(
        "Drop one, and wait until its space is back.",
        "moctl trees umount ct2 ct2 && moctl trees drop ct2 --wait",
    ),
    step(
        "Tidy up.",
        "moctl trees umount ct1 ct1 && moctl trees drop ct1",
    ),
    step("", "moctl trees list && moctl trees check"),
];

const WITHOUT_ROOT: &[Step] = &[
    step(
        "A mosaic is one file: a type of storage, and where it is.",
        "cat demo.mos",
    ),
    step(
        "What can be done there, and what not and why.",
        "moctl demo info",
    ),
    step("A volume.", "moctl demo new fs web1 512M"),
    step(
        "Volumes of this type are folders.",
        "seq 1000 > location/web1/numbers && moctl demo list",
    ),
    step(
        "Answers for scripts.",
        "moctl demo have web1 && moctl demo have web2",
    ),
    step("The same for programs.", "moctl demo --json have web1"),
    refused(
        "A name is never given twice.",
        "moctl demo new fs web1 512M",
        4,
    ),
    refused(
        "What cannot be done is said, with the reason.",
        "moctl demo clone web1 web2",
        6,
    ),
    step(
        "Give it another name, drop it.",
        "moctl demo rename web1 www && moctl demo drop www",
    ),
    step("", "moctl demo list && moctl demo check"),
];

const BUILD: [&str; 9] = [
    "build",
    "--package",
    "moctl",
    "--package",
    "mosaic-loop",
    "--package",
    "mosaic-btrfs",
    "--package",
    "mosaic-plain",
];

/// Installs, builds (unless `cargo xtask test` has), shows.
///
/// # Errors
/// Something did not work as it should.
pub fn run() -> Result<()> {
    let interrupt = Interrupt::catch()?;
    packages::install(packages::FOR_DEMO)?;
    if std::env::var_os("MOSAIC_TEST_BUILT").is_none() {
        cargo::run(&BUILD, &[])?;
    }
    let programs = cargo::target().join("debug");
    if rustix::process::geteuid().is_root() {
        with_root(&programs, interrupt)
    } else {
        without_root(&programs, interrupt)
    }
}

fn with_root(programs: &Path, interrupt: Interrupt) -> Result<()> {
    println!("\n# Making a temporary xfs on a loop device: image files there can be cloned.");
    let location = MountedFs::with_size("xfs", 8 << 30).context("cannot make a location")?;
    let config = "type: loop\nlocation: HERE\ndefault_fs: xfs\n";
    let stage = stage_on(&location, "demo", config, programs, interrupt.clone())?;
    stage.show(WITH_ROOT)?;
    drop(location);
    println!("\n# Making a temporary btrfs on a loop device.");
    match MountedFs::with_size("btrfs", 1 << 30) {
        Ok(location) => {
            let stage = stage_on(
                &location,
                "trees",
                "type: btrfs\nlocation: HERE\n",
                programs,
                interrupt,
            )?;
            stage.show(ON_BTRFS)?;
        }
        Err(error) => println!("# Left out what Mosaic does on btrfs: {error:#}"),
    }
    println!("\n# All of it is gone again: volumes, devices, mounts, the locations.");
    Ok(())
}

/// A stage beside a location, with a config for it.
fn stage_on(
    location: &MountedFs,
    name: &str,
    config: &str,
    programs: &Path,
    interrupt: Interrupt,
) -> Result<Stage> {
    let folder = location.folder_beside("demo")?;
    let config = config.replace("HERE", &location.path().display().to_string());
    std::fs::write(folder.join(format!("{name}.mos")), config)?;
    Ok(Stage::new(&folder, programs, interrupt))
}

fn without_root(programs: &Path, interrupt: Interrupt) -> Result<()> {
    let scratch = Scratch::new("demo")?;
    scratch.folder("location")?;
    std::fs::write(
        scratch.path().join("demo.mos"),
        "type: plain\nlocation: location\n",
    )?;
    Stage::new(scratch.path(), programs, interrupt).show(WITHOUT_ROOT)?;
    drop(scratch);
    println!("\n# All of it is gone again.");
    println!("# As root you would see more: volumes on image files with a file system of their");
    println!(
        "# own, mounted, cloned copy-on-write while in use, grown, attached as block devices,"
    );
    println!(
        "# a drop refused because somebody uses the volume, and the same on btrfs, where sizes"
    );
    println!("# are quotas: sudo cargo xtask demo");
    Ok(())
}
