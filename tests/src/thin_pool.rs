// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices for a thin pool, and a look at what is made of them, by dmsetup and sysfs.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::await_condition::eventually;
use crate::loop_file::LoopFile;
use crate::scratch::keep;
use crate::shell::{run, stdout_of};
use crate::{requires, requires_program, requires_root};

/// Whether this kernel has device mapper. A node may be there without it: dmsetup makes that.
pub fn has_device_mapper() -> bool {
    File::open("/dev/mapper/control").is_ok()
}

/// True where thin pools can be made; otherwise says that the test is skipped.
///
/// # Panics
/// With `MOSAIC_TEST_REQUIRED=1`, if only an installation is missing.
pub fn requires_thin_pools() -> bool {
    // In this order: where it is not, the virtual machine has it, and root as well.
    requires(has_device_mapper(), "needs device mapper")
        && requires_root()
        && ["dmsetup", "thin_check", "losetup"]
            .into_iter()
            .all(requires_program)
}

/// Two loop devices, and a name for the pool that is made of them. All devices on them are removed
/// when it is dropped.
#[derive(Debug)]
pub struct ThinPool {
    name: String,
    data: LoopFile,
    metadata: LoopFile,
    /// A device over one of them, which can be made to fail.
    fragile: Option<(Part, String)>,
    more: String,
}

/// What a pool is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The blocks of its volumes.
    Data,
    /// What says which block is whose.
    Metadata,
}

/// How a device fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Each write.
    Writes,
    /// Each read and each write.
    All,
}

/// A device made of a pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ThinPoolDevice {
    /// Its name in device mapper.
    pub name: String,
    /// As dmsetup(8) has them: live table, inactive table, suspended, writable.
    pub attributes: String,
}

impl ThinPoolDevice {
    /// It has a table, is not suspended, and is not about to get another table.
    pub fn works(&self) -> bool {
        self.attributes.starts_with("L--")
    }
}

impl ThinPool {
    /// Blank devices of these sizes, in bytes. Needs root.
    ///
    /// # Errors
    /// What `losetup` said.
    pub fn new(data: u64, metadata: u64) -> Result<Self> {
        let (data, metadata) = (LoopFile::new(data)?, LoopFile::new(metadata)?);
        // A process of another container may have our id. The kernel gives each loop device once.
        let device = data.device().file_name().context("no loop device")?;
        let device = device.to_string_lossy();
        Ok(Self {
            name: format!("mosaic-test-{}-{device}", std::process::id()),
            data,
            metadata,
            fragile: None,
            more: String::new(),
        })
    }

    /// The same with a further line for the `pool` of its config.
    #[must_use]
    pub fn with(mut self, line: &str) -> Self {
        self.more += &format!("  {line}\n");
        self
    }

    /// The same with one device that can be made to fail.
    ///
    /// # Errors
    /// What `losetup` or `dmsetup` said.
    pub fn with_fragile(part: Part, data: u64, metadata: u64) -> Result<Self> {
        let mut pool = Self::new(data, metadata)?;
        let name = format!("{}-fragile", pool.name);
        let table = linear(pool.part(part))?;
        run("dmsetup", &["create", &name, "--table", &table])?;
        pool.fragile = Some((part, name));
        Ok(pool)
    }

    /// Has the fragile device fail from now on.
    ///
    /// # Errors
    /// What `dmsetup` said; there is no such device.
    pub fn fail(&self, fault: Fault) -> Result<()> {
        self.reload(|linear| {
            let on = linear.replace("linear", "flakey");
            match fault {
                Fault::Writes => format!("{on} 0 1000000 1 error_writes"),
                Fault::All => format!("{on} 0 1000000"),
            }
        })
    }

    /// Has it work again.
    ///
    /// # Errors
    /// As [`Self::fail`].
    pub fn mend(&self) -> Result<()> {
        self.reload(str::to_owned)
    }

    fn reload(&self, table: impl FnOnce(&str) -> String) -> Result<()> {
        let (part, name) = self.fragile.as_ref().context("no such device")?;
        let table = table(&linear(self.part(*part))?);
        run("dmsetup", &["suspend", "--nolockfs", "--noflush", name])?;
        run("dmsetup", &["load", name, "--table", &table])?;
        run("dmsetup", &["resume", name])
    }

    fn part(&self, part: Part) -> &LoopFile {
        match part {
            Part::Data => &self.data,
            Part::Metadata => &self.metadata,
        }
    }

    /// Gives one of its devices, which is not fragile, more room.
    ///
    /// # Errors
    /// What `losetup` said.
    pub fn enlarge(&self, part: Part, size: u64) -> Result<()> {
        let file = self.part(part);
        let image = std::fs::File::options().write(true).open(file.image())?;
        image.set_len(size)?;
        run("losetup", &["--set-capacity".as_ref(), file.device()])
    }

    /// Its name in device mapper.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The data device.
    pub fn data(&self) -> &LoopFile {
        &self.data
    }

    /// The metadata device.
    pub fn metadata(&self) -> &LoopFile {
        &self.metadata
    }

    /// What the pool has its metadata on.
    pub fn metadata_device(&self) -> PathBuf {
        self.device_for(Part::Metadata)
    }

    /// What the pool has its data on.
    pub fn data_device(&self) -> PathBuf {
        self.device_for(Part::Data)
    }

    fn device_for(&self, part: Part) -> PathBuf {
        let fragile = self.fragile.as_ref().filter(|(of, _)| *of == part);
        let fragile = fragile.and_then(|(_, name)| device_of(name));
        fragile.unwrap_or_else(|| self.part(part).device().to_owned())
    }

    /// Lines of a config with which Mosaic activates it.
    pub fn config(&self) -> String {
        format!(
            "pool:\n  data: {}\n  metadata: {}\n{}",
            self.data_device().display(),
            self.metadata_device().display(),
            self.more
        )
    }

    /// Activates it as an administrator would, with blocks of so many sectors.
    ///
    /// # Errors
    /// What `dmsetup` said.
    pub fn activate(&self, block: u64) -> Result<()> {
        let sectors = stdout_of("blockdev", &[Path::new("--getsz"), self.data.device()])?;
        let table = format!(
            "0 {} thin-pool {} {} {block} 0",
            sectors.trim(),
            self.metadata_device().display(),
            self.data_device().display()
        );
        run("dmsetup", &["create", &self.name, "--table", &table])
    }

    /// The words of its status.
    ///
    /// # Errors
    /// It is not active.
    pub fn status(&self) -> Result<Vec<String>> {
        let text = stdout_of("dmsetup", &["status", &self.name])?;
        Ok(text.split_whitespace().skip(3).map(str::to_owned).collect())
    }

    /// The devices made of it, by their names in device mapper.
    ///
    /// # Errors
    /// They cannot be looked at.
    pub fn devices(&self) -> Result<Vec<String>> {
        Ok(self.look()?.into_iter().map(|device| device.name).collect())
    }

    /// The devices made of it. The kernel tells who uses a pool, but knows that only of a device that
    /// has a table.
    ///
    /// # Errors
    /// They cannot be looked at.
    pub fn look(&self) -> Result<Vec<ThinPoolDevice>> {
        let args = "info -c --noheadings --separator : -o name,attr,minor";
        let list = stdout_of("dmsetup", &args.split(' ').collect::<Vec<_>>())?;
        let all = list.lines().filter_map(|line| {
            let (rest, minor) = line.rsplit_once(':')?;
            let (name, attributes) = rest.rsplit_once(':')?;
            Some((name, attributes, minor))
        });
        let fragile = self.fragile.as_ref().map(|(_, name)| name.as_str());
        let is_pool = |name: &str| name == self.name || Some(name) == fragile;
        let pool = all.clone().find(|(name, ..)| *name == self.name);
        let holders = pool.map_or_else(Vec::new, |(_, _, minor)| holders_of(minor));
        let begin = format!("{}-", self.name);
        let is_of_it =
            |name: &str| name.starts_with(&begin) || holders.iter().any(|holder| holder == name);
        let mut found: Vec<ThinPoolDevice> = all
            .filter(|(name, ..)| !is_pool(name) && is_of_it(name))
            .map(|(name, attributes, _)| ThinPoolDevice {
                name: name.to_owned(),
                attributes: attributes.to_owned(),
            })
            .collect();
        found.sort();
        Ok(found)
    }

    /// The thin ids in it, by a copy of its metadata that is reserved for that: `meta` for the one of
    /// the metadata, none for the catalog's.
    ///
    /// # Panics
    /// It is not active, or somebody has reserved a copy.
    #[track_caller]
    pub fn entries(&self) -> Vec<String> {
        let message = |text: &str| run("dmsetup", &["message", &self.name, "0", text]);
        message("reserve_metadata_snap").expect("nobody else reserves a copy");
        let words = ["-m", "--no-headers", "-o", "DEV"].map(Path::new);
        let metadata = self.metadata_device();
        let list = stdout_of("thin_ls", &[&words[..], &[&metadata]].concat());
        message("release_metadata_snap").expect("it was reserved");
        let list = list.expect("thin_ls reads the copy");
        let ids = list.lines().map(str::trim).filter(|id| *id != "16777215");
        ids.map(|id| match id {
            "0" => "meta".to_owned(),
            id => format!("thin id {id}"),
        })
        .collect()
    }

    /// Its device, if it is active: `/dev/dm-N`.
    pub fn device(&self) -> Option<PathBuf> {
        device_of(&self.name)
    }

    /// Removes all devices that are made of it, and itself.
    ///
    /// # Errors
    /// One of them is in use.
    pub fn deactivate(&self) -> Result<()> {
        for name in self.devices()? {
            run("dmsetup", &["remove", "--retry", &name])?;
        }
        if self.device().is_some() {
            run("dmsetup", &["remove", "--retry", &self.name])?;
        }
        Ok(())
    }

    /// Whether nothing is wrong with its metadata as they are on disk, by thin_check. An active one
    /// must be idle.
    ///
    /// # Errors
    /// What thin_check said.
    pub fn check(&self) -> Result<()> {
        run("thin_check", &[self.metadata.image()])
    }
}

impl Drop for ThinPool {
    fn drop(&mut self) {
        if !keep() {
            // A suspended device would hold up everybody who looks at it.
            for name in self.devices().unwrap_or_default() {
                let _ = run("dmsetup", &["resume", &name]);
            }
            eventually(|| self.deactivate().is_ok());
            if let Some((_, fragile)) = &self.fragile {
                let _ = self.mend();
                let _ = run("dmsetup", &["remove", "--retry", fragile]);
            }
        }
    }
}

/// The device of a name in device mapper: `/dev/dm-N`.
fn device_of(name: &str) -> Option<PathBuf> {
    let args = ["info", "-c", "--noheadings", "-o", "minor", name];
    let minor = stdout_of("dmsetup", &args).ok()?;
    Some(PathBuf::from(format!("/dev/dm-{}", minor.trim())))
}

/// A table that shows all of a device as it is.
fn linear(file: &LoopFile) -> Result<String> {
    let device = file.device();
    let sectors = stdout_of("blockdev", &[Path::new("--getsz"), device])?;
    Ok(format!(
        "0 {} linear {} 0",
        sectors.trim(),
        device.display()
    ))
}

/// The devices over another one, by sysfs; of a device that just goes there are none.
fn holders_of(minor: &str) -> Vec<String> {
    let folder = format!("/sys/block/dm-{minor}/holders");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|holder| std::fs::read_to_string(holder.path().join("dm/name")).ok())
        .map(|name| name.trim_end().to_owned())
        .collect()
}
