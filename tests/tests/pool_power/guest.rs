// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a machine does, as shell, and how it is read what it says.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use mosaic_tests::vm::Disk;
use serde_json::Value;

use crate::model::{Content, Found, FoundVolume, Kind, LENGTH, SLOT, Step};

/// A volume that only the look at the pool knows of.
const PROBE: &str = "probe";
/// The first part of the disk.
const METADATA: u64 = 8 << 20;
/// Where the pool ends, in bytes, and a job notes how far it is.
pub const MARK: u64 = Disk::SIZE - (1 << 16);

/// A script in the making.
#[derive(Debug, Clone)]
pub struct Script(String);

/// How the pool is used first after a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// By init, which may not have come to its end before.
    Init,
    /// By a command that only reads.
    Read,
    /// By one that changes it.
    Change,
}

impl Script {
    /// With the devices of the pool, and nothing done yet.
    pub fn new() -> Self {
        let variables =
            format!("METADATA={METADATA} END={MARK} LENGTH={LENGTH} SLOT={SLOT} probe={PROBE}\n");
        Self(variables + include_str!("guest.sh"))
    }

    fn line(mut self, line: &str) -> Self {
        self.0.push_str(line);
        self.0.push('\n');
        self
    }

    /// Each step that is done is from now on noted at [`MARK`].
    pub fn marking(self) -> Self {
        self.line("marks=yes")
    }

    /// Steps, which are numbered.
    pub fn steps(mut self, steps: &[Step]) -> Self {
        for (number, step) in steps.iter().enumerate() {
            self = self.line(&line(step)).line(&format!("done_with {number}"));
        }
        self
    }

    /// Activates the pool after a cut, and has the first change done. What is said to be wrong after
    /// that ends the job.
    pub fn first_command(self, first: First) -> Self {
        let lines: &[&str] = match first {
            // Where init was not cut, it refuses.
            First::Init => &["m init || m list"],
            First::Read => &["thin_check -q /dev/mapper/disk-metadata", "m list"],
            First::Change => &["thin_check -q /dev/mapper/disk-metadata"],
        };
        let begun = lines
            .iter()
            .fold(self.line("echo booted"), |s, line| s.line(line));
        begun
            .line("m new disk $probe 64K --exist-ok")
            .line("moctl power check")
    }

    /// Tells all that is in the pool; these volumes may have been mounted.
    pub fn look<'n>(self, mounted: impl IntoIterator<Item = &'n str>) -> Self {
        let mounted: Vec<&str> = mounted.into_iter().collect();
        self.line(&format!("mounted='{}'", mounted.join(" ")))
            .line("look")
    }

    /// Shuts the pool down: nothing is in use, and its metadata are good.
    pub fn end(self) -> Self {
        self.line("m drop $probe")
            .line("moctl power check")
            .line("deactivate")
            .line("thin_check -q /dev/mapper/disk-metadata")
            .line("echo end")
    }

    /// Nothing more happens, until the power is cut.
    pub fn wait(self) -> Self {
        self.line("sleep 1000")
    }

    /// The lines.
    pub fn text(&self) -> &str {
        &self.0
    }
}

fn line(step: &Step) -> String {
    match step {
        Step::Init => "m init".to_owned(),
        Step::New(Kind::Fs, name, size) => format!("m new fs {name} {size}M"),
        Step::New(Kind::Disk, name, size) => format!("m new disk {name} {size}M"),
        Step::Clone(from, to) => format!("m clone {from} {to}"),
        Step::Drop(name) => format!("m drop {name}"),
        Step::Rename(from, to) => format!("m rename {from} {to}"),
        Step::Grow(name, size) => format!("m resize {name} {size}M"),
        Step::Mount(name) => format!("m mount {name} /mnt"),
        Step::Umount(name) => format!("m umount {name} /mnt"),
        Step::Write {
            file, word, synced, ..
        } => match synced {
            true => format!("write_file {file} {word}; sync /mnt/{file} /mnt"),
            false => format!("write_file {file} {word}"),
        },
        Step::WriteDisk { volume, slot, word } => format!("write_disk {volume} {slot} {word}"),
        Step::Deactivate => "deactivate".to_owned(),
    }
}

/// Reads what [`Script::look`] told.
///
/// # Errors
/// It is something else; something is suspended, or was left.
pub fn read(lines: &[String]) -> Result<Found> {
    let mut found = Found::default();
    let mut devices = Vec::new();
    for line in lines {
        if let Some(list) = line.strip_prefix("list ") {
            found.volumes = volumes(list).with_context(|| format!("in {list}"))?;
            continue;
        }
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["device", name, state] => devices.push((name, state)),
            ["fs", name, size] => volume(&mut found, name)?.fs_size = Some(size.parse()?),
            ["file", name, file, ref word @ ..] => {
                let word = word.first().map(|word| (*word).to_owned());
                let files = &mut volume(&mut found, name)?.files;
                files.insert(file.to_owned(), Content { word });
            }
            _ => {}
        }
    }
    devices.sort_unstable();
    let names = [
        "disk-data",
        "disk-metadata",
        "power",
        "power-mosaic-catalog",
    ];
    let expected = names.map(|name| (name, "Active"));
    ensure!(devices == expected, "devices {devices:?}");
    Ok(found)
}

fn volume<'f>(found: &'f mut Found, name: &str) -> Result<&'f mut FoundVolume> {
    let volume = found.volumes.get_mut(name);
    volume.with_context(|| format!("{name} was not listed"))
}

fn volumes(list: &str) -> Result<BTreeMap<String, FoundVolume>> {
    let list: Value = serde_json::from_str(list)?;
    let mut volumes = BTreeMap::new();
    for volume in list["volumes"].as_array().context("no volumes")? {
        let name = volume["name"].as_str().context("no name")?;
        if name == PROBE {
            continue;
        }
        let found = FoundVolume {
            kind: match volume["kind"].as_str() {
                Some("disk") => Kind::Disk,
                _ => Kind::Fs,
            },
            size: volume["size"].as_u64().context("no size")?,
            fs_size: None,
            files: BTreeMap::new(),
        };
        volumes.insert(name.to_owned(), found);
    }
    Ok(volumes)
}
