// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine's disks. Their sizes are part of the template: the kernel asks for them only once.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The script to run; `init` reads no more.
pub(super) const JOB_SIZE: u64 = 64 << 10;
/// What runs, and what it reads. All of these files are sparse.
pub(super) const PAYLOAD_SIZE: u64 = 4 << 30;
/// `/tmp`.
pub(super) const SCRATCH_SIZE: u64 = 16 << 30;

/// A disk of the test's own, `/dev/vm/disk` inside. The file can be given to one machine after
/// another: what the first had sent to it is there for the next.
#[derive(Debug, Clone)]
pub struct Disk {
    image: PathBuf,
    log: Option<PathBuf>,
}

/// More than any test writes. The file is sparse.
const LOG_SIZE: u64 = 64 << 30;

impl Disk {
    /// How large it is, in bytes.
    pub const SIZE: u64 = 1 << 30;

    /// A blank one; the file is sparse.
    ///
    /// # Errors
    /// The file exists, or cannot be made.
    pub fn create(image: &Path) -> Result<Self> {
        sparse(image, Self::SIZE)?;
        Self::open(image)
    }

    /// One that was made before, or a copy of it.
    ///
    /// # Errors
    /// It is not there; its size is another one.
    pub fn open(image: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(image);
        let file = file.with_context(|| format!("cannot open {}", image.display()))?;
        let size = file.metadata()?.len();
        ensure!(
            size == Self::SIZE,
            "{} has {size} bytes, a disk has {}",
            image.display(),
            Self::SIZE
        );
        Ok(Self {
            image: image.canonicalize()?,
            log: None,
        })
    }

    /// Has what one machine writes recorded to a new file, for a
    /// [`WriteLog`](super::WriteLog).
    ///
    /// # Errors
    /// The file exists, or cannot be made.
    pub fn record(mut self, log: &Path) -> Result<Self> {
        sparse(log, LOG_SIZE)?;
        self.log = Some(log.canonicalize()?);
        Ok(self)
    }

    /// The file.
    pub fn image(&self) -> &Path {
        &self.image
    }

    pub(super) fn log(&self) -> Option<&Path> {
        self.log.as_deref()
    }
}

/// The files beneath all disks of one machine.
#[derive(Debug)]
pub(super) struct Disks {
    pub(super) job: PathBuf,
    pub(super) payload: PathBuf,
    pub(super) scratch: PathBuf,
    pub(super) disk: Disk,
}

impl Disks {
    pub(super) fn paths(&self) -> [&Path; 4] {
        [&self.job, &self.payload, &self.scratch, &self.disk.image]
    }
}

/// Disks of zeros in a folder, for the template.
pub(super) fn blank(folder: &Path) -> Result<Disks> {
    let at = |name: &str, size| -> Result<PathBuf> {
        let path = folder.join(name);
        sparse(&path, size)?;
        Ok(path)
    };
    Ok(Disks {
        job: at("job", JOB_SIZE)?,
        payload: at("payload", PAYLOAD_SIZE)?,
        scratch: at("scratch", SCRATCH_SIZE)?,
        disk: Disk::create(&folder.join("disk"))?,
    })
}

/// A new file of zeros.
pub(super) fn sparse(path: &Path, size: u64) -> Result<()> {
    let file =
        File::create_new(path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(file.set_len(size)?)
}
