// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares the location, its volumes and their images.
//!
//! Storage only: whether the file system in a volume is sound is for fsck to say.

use std::time::Duration;

use mosaic_core::finding::{Finding, Remedy, Repair};
use mosaic_core::label;
use mosaic_core::{Bytes, Context, Error, ErrorKind, Result, VolumeName};
use rustix::fs::{Dir, Mode, fchmod, fstat};
use rustix::io::Errno;

use crate::driver::Ploop;
use crate::files::DiskFolder;
use crate::format::check::{Repair as Depth, Report};
use crate::format::disk::{Disk, DiskReport};
use crate::format::error::Error as FormatError;
use crate::format::storage::{Access, Folder};
use crate::layout;
use crate::volume_dir::VolumeDir;

/// Others may write to an image.
const OTHERS_WRITE: Mode = Mode::WGRP.union(Mode::WOTH);
/// Faults of an image that are told one by one.
const TOLD: usize = 3;

/// What is wrong with one volume, as it is put together.
struct Findings<'a> {
    stored: &'a str,
    repair: &'a Repair,
    all: &'a mut Vec<Finding>,
}

impl Findings<'_> {
    /// What cannot be mended here.
    fn fault(&mut self, fault: String) {
        self.add(fault, None, false);
    }

    fn add(&mut self, fault: String, remedy: Option<Remedy>, repaired: bool) {
        self.all.push(Finding {
            volume: Some(self.stored.to_owned()),
            fault,
            remedy,
            repaired,
        });
    }

    /// What is mended by `mend` if the repair covers it.
    fn mend(&mut self, fault: String, remedy: Remedy, mend: impl FnOnce() -> Result<()>) {
        if !self.repair.covers(&remedy) {
            return self.add(fault, Some(remedy), false);
        }
        match mend() {
            Ok(()) => self.add(fault, Some(remedy), true),
            Err(error) => self.add(format!("{fault}; {}", error.chain()), Some(remedy), false),
        }
    }
}

impl Ploop {
    /// Looks at everything; mends what `repair` covers.
    pub(crate) fn findings(&self, repair: &Repair) -> Result<Vec<Finding>> {
        let inventory = layout::inventory(&self.location, self.options.metadata.as_deref())?;
        let mut all = Vec::new();
        for (path, reason) in inventory.strangers {
            all.push(Finding {
                volume: None,
                fault: format!("{path:?} in the location is no volume: {reason}"),
                remedy: None,
                repaired: false,
            });
        }
        for name in &inventory.volumes {
            self.host.check_cancelled()?;
            let mut findings = Findings {
                stored: name.stored(),
                repair,
                all: &mut all,
            };
            // What was dropped just then is gone when it is looked for again.
            let find = || VolumeDir::find(&self.location, name);
            let looked = match find().or_else(|_| find()) {
                Ok(Some(dir)) => match self.check_volume(name, &dir, &mut findings) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
                    Err(_) if self.prove_same(name, &dir).is_err() => Ok(()),
                    other => other,
                },
                // Dropped while we were looking.
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            match looked {
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                Err(error) => findings.fault(error.chain()),
                Ok(()) => {}
            }
        }
        Ok(all)
    }

    fn check_volume(
        &self,
        name: &VolumeName,
        dir: &VolumeDir,
        findings: &mut Findings<'_>,
    ) -> Result<()> {
        if let Err(error) = label::kind(dir, self.options.default_fs.name()) {
            findings.fault(error.chain());
        }
        // Ours: what is open is not checked, and there is nothing to be said of it.
        if self.shown(dir).find()?.is_some() {
            return Ok(());
        }
        if findings.repair.is_any() {
            return match self.claim(dir) {
                Ok(_claim) => {
                    check_disk(dir, dir.disk()?, findings)?;
                    self.fill_holes(dir, findings)
                }
                Err(error) => self.pass_over(name, error),
            };
        }
        let look = match self.look(dir, Duration::ZERO) {
            Ok(look) => look,
            Err(error) => return self.pass_over(name, error),
        };
        let before = findings.all.len();
        let folder = dir.folder()?.giving_way();
        let looked = Disk::open(folder)
            .map_err(Error::from)
            .and_then(|disk| check_disk(dir, disk, findings));
        if looked.is_ok() && findings.all.len() == before {
            return Ok(());
        }
        // What was found may be what somebody has not finished, or was dropping.
        if self.prove_same(name, dir).is_err() {
            findings.all.truncate(before);
            return Ok(());
        }
        let error = match (look.is_still(dir, &self.host), looked) {
            (Err(error), _) => error,
            // Somebody wanted it, and has it no more.
            (_, Err(error)) if error.errno() == Some(Errno::BUSY.raw_os_error()) => {
                Error::new(ErrorKind::Busy, "in use: another command wanted it")
            }
            (Ok(()), looked) => return looked,
        };
        findings.all.truncate(before);
        self.pass_over(name, error)
    }

    /// For libploop up to 7. A disk of ours has holes as a rule, so nothing is said unless it is asked
    /// for.
    fn fill_holes(&self, dir: &VolumeDir, findings: &mut Findings<'_>) -> Result<()> {
        let remedy = Remedy::new("holes", "write zeros there").by_name();
        if !findings.repair.covers(&remedy) {
            return Ok(());
        }
        let disk = dir.disk()?;
        for image in disk.descriptor().images() {
            let name = &image.file;
            let filled = disk.fill_holes(name, || self.host.check_cancelled().is_ok());
            self.host.check_cancelled()?;
            match filled {
                Ok(0) => {}
                Ok(bytes) => {
                    let bytes = Bytes(bytes);
                    let fault = format!("{bytes} of {name:?} were holes or had never been written");
                    findings.add(fault, Some(remedy.clone()), true);
                }
                Err(error) => findings.fault(format!("holes of {name:?} are not filled: {error}")),
            }
        }
        Ok(())
    }

    /// Goes on without a volume that somebody uses.
    fn pass_over(&self, name: &VolumeName, error: Error) -> Result<()> {
        if error.kind() != ErrorKind::Busy {
            return Err(error);
        }
        let why = error.chain();
        self.host
            .warn(&format!("volume \"{name}\" is not checked: it is {why}"));
        Ok(())
    }
}

/// Looks at a disk that nobody changes.
fn check_disk(
    dir: &VolumeDir,
    mut disk: Disk<DiskFolder>,
    findings: &mut Findings<'_>,
) -> Result<()> {
    check_modes(&disk, findings)?;
    if let Some(file) = disk.newer_elsewhere()? {
        let fault = format!(
            "a snapshot that another program was making was interrupted, and {file:?} may have \
                 newer data than the disk"
        );
        let remedy = Remedy::new("snapshots", "end it, so that the disk has them").by_name();
        findings.mend(fault, remedy, || Ok(disk.finish_interrupted()?));
    }
    match disk.is_interrupted()? {
        // Said already.
        true if disk.newer_elsewhere()?.is_some() => return Ok(()),
        true => {
            let fault = "a change of it was interrupted".to_owned();
            let remedy = Remedy::new("leftovers", "delete what that left");
            findings.mend(fault, remedy, || Ok(disk.settle()?));
        }
        false => check_strays(dir, &disk, findings)?,
    }
    let report = match disk.check(None) {
        Err(FormatError::Converting { file }) => {
            let fault = format!("{file:?} is in the middle of a conversion between versions");
            let remedy = Remedy::new("conversion", "undo it");
            findings.mend(fault, remedy, || {
                Ok(disk.check(Some(Depth::Safe)).map(drop)?)
            });
            return Ok(());
        }
        other => other?,
    };
    check_images(&mut disk, &report, findings);
    check_size(&mut disk, &report, findings);
    Ok(())
}

fn check_modes(disk: &Disk<DiskFolder>, findings: &mut Findings<'_>) -> Result<()> {
    for image in disk.descriptor().images() {
        let name = &image.file;
        let failed = || format!("cannot open {name:?}");
        let file = disk.folder().open(name, Access::Read).context(failed)?;
        let stat = fstat(&file).context(failed)?;
        let mode = Mode::from_raw_mode(stat.st_mode);
        if mode.intersects(OTHERS_WRITE) {
            let fault = format!(
                "{name:?} has mode {:04o}: others may write to it",
                mode.bits()
            );
            let mode = Mode::RUSR | Mode::WUSR;
            findings.mend(fault, Remedy::new("modes", "set mode 0600"), || {
                fchmod(&file, mode).context(|| "its mode cannot be set".to_owned())
            });
        }
    }
    Ok(())
}

/// Files that look like deltas of the disk and are none.
fn check_strays(
    dir: &VolumeDir,
    disk: &Disk<DiskFolder>,
    findings: &mut Findings<'_>,
) -> Result<()> {
    let failed = || format!("cannot look into {:?}", dir.path());
    for entry in Dir::read_from(dir).context(failed)? {
        let entry = entry.context(failed)?;
        let Some(name) = entry.file_name().to_str().ok() else {
            continue;
        };
        if disk.descriptor().is_leftover(name) {
            let fault = format!("{name:?} is no part of the disk that its descriptor describes");
            // An older descriptor that was put in place would be the reason to keep it.
            let remedy = Remedy::new("deltas", "delete it").by_name();
            findings.mend(fault, remedy, || {
                let removed = disk.folder().remove(name);
                removed.context(|| "it cannot be deleted".to_owned())
            });
        }
    }
    Ok(())
}

/// What is wrong within and between the images.
fn check_images(disk: &mut Disk<DiskFolder>, report: &DiskReport, findings: &mut Findings<'_>) {
    for misfit in &report.misfits {
        findings.fault(misfit.to_string());
    }
    // One repair is for all images, and one of the kind that is needed: which, the worst one says.
    let is_fatal = report.files.iter().any(|file| file.is_fatal);
    let (remedy, depth) = match is_fatal {
        false => (
            Remedy::new(
                "images",
                "close it, and mend what can be mended without loss",
            ),
            Depth::Safe,
        ),
        true => (
            Remedy::new(
                "lost-clusters",
                "forget what entries that lead nowhere were to hold",
            )
            .by_name(),
            Depth::Hard,
        ),
    };
    let mut repaired = None;
    for file in report.files.iter().filter(|file| !file.is_clean()) {
        let fault = format!("{:?}: {}", file.file, words(file));
        if disk.folder().is_shared(&file.file).unwrap_or(true) {
            findings.fault(format!("{fault}; another volume has the file too"));
            continue;
        }
        findings.mend(fault, remedy.clone(), || {
            let done = repaired.get_or_insert_with(|| disk.check(Some(depth)));
            match done {
                Ok(report)
                    if report
                        .files
                        .iter()
                        .any(|f| f.file == file.file && f.is_clean()) =>
                {
                    Ok(())
                }
                Ok(_) => Err(mosaic_core::Error::new(
                    ErrorKind::Corrupt,
                    "it is still damaged",
                )),
                Err(error) => Err(mosaic_core::Error::new(error.kind(), error.to_string())),
            }
        });
    }
}

fn words(report: &Report) -> String {
    let told: Vec<_> = report
        .faults
        .iter()
        .take(TOLD)
        .map(ToString::to_string)
        .collect();
    let more = (report.faults.len() - told.len()) as u64 + report.more;
    match more {
        0 => told.join("; "),
        more => format!("{}; and {more} more", told.join("; ")),
    }
}

/// A descriptor that a killed resize did not come to.
fn check_size(disk: &mut Disk<DiskFolder>, report: &DiskReport, findings: &mut Findings<'_>) {
    let Some(stale) = report.stale_size else {
        return;
    };
    let fault = format!("its descriptor has a size of {stale}, its top another one");
    let remedy = Remedy::new("sizes", "write the size of the top to the descriptor");
    findings.mend(fault, remedy, || {
        Ok(disk.check(Some(Depth::Safe)).map(drop)?)
    });
}
