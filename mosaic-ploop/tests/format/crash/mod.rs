// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every operation, stopped at every step: by a crash that loses any part of what was not flushed,
//! or by an error of the storage. What is left opens, a check finds it clean or repairs it, and it
//! is the old disk or the new one. To do the operation again then leads to the new one.

mod killed;
mod mending;
mod operations;
mod partition;
mod writes;

use mosaic_ploop::format::check::{Fault, Repair};
use mosaic_ploop::format::disk::{Disk, DiskReport};
use mosaic_ploop::format::{Error, Result};
use mosaic_tests::{is_quick, left_out};

use crate::disk::MemDisk;
use crate::storage::{Content, Loss, MemFolder, Step, after_crash};
use crate::view::View;

/// Different halves that are lost at each flush.
const HALVES: u64 = 3;

/// Each how many steps something is disturbed.
fn stride() -> usize {
    if is_quick() { 4 } else { 1 }
}

/// An operation and what it is done to.
struct Operation {
    before: View,
    after: View,
    start: Content,
    steps: Vec<Step>,
    run: fn(&mut MemDisk) -> Result<()>,
}

/// Stops an operation everywhere.
fn survives(setup: fn() -> MemDisk, run: fn(&mut MemDisk) -> Result<()>) {
    let operation = Operation::new(setup(), run);
    let count = operation.crash_everywhere();
    operation.fail_everywhere();
    let enough = count > 20 / stride();
    assert!(enough, "{count} crashes are too few to say anything");
    if is_quick() {
        left_out("3 of 4 steps of an operation");
    }
}

impl Operation {
    fn new(mut disk: MemDisk, run: fn(&mut MemDisk) -> Result<()>) -> Self {
        let (before, start) = (View::of(&disk), disk.folder().content());
        disk.folder().take_steps();
        run(&mut disk).unwrap();
        let steps = disk.folder().take_steps();
        Self {
            before,
            after: View::of(&disk),
            start,
            steps,
            run,
        }
    }

    /// How many crashes there were.
    fn crash_everywhere(&self) -> usize {
        let mut count = 0;
        let mut crash = |at: usize, loss: Loss| {
            let folder = after_crash(&self.start, &self.steps[..at], loss);
            let when = format!("crash before step {at} of {}, {loss:?}", self.steps.len());
            self.verify(folder, &when);
            count += 1;
        };
        for at in (0..=self.steps.len()).step_by(stride()) {
            crash(at, Loss::Nothing);
        }
        // What is lost before a flush may have been lost at any step since the one before.
        for (at, _) in flushes(&self.steps) {
            crash(at, Loss::All);
            for seed in (0..HALVES).step_by(stride()) {
                crash(at, Loss::Half(seed + HALVES * at as u64));
            }
            for lost in (0..at).rev().take(8).step_by(stride()) {
                crash(at, Loss::Step(lost));
            }
        }
        count
    }

    /// Lets each step fail, alone or with all that follow.
    fn fail_everywhere(&self) {
        for good in (0..self.steps.len()).step_by(stride()) {
            for stays_broken in [false, true] {
                let folder = MemFolder::with(self.start.clone());
                let mut disk = Disk::open(folder.clone()).unwrap();
                folder.fail_after(good, stays_broken);
                let done = (self.run)(&mut disk);
                assert!(folder.heal(), "step {good} did not come");
                let when = format!("step {good} failed, broken {stays_broken}: {done:?}");
                if done.is_ok() {
                    // Only what is a courtesy may fail unnoticed.
                    assert_eq!(View::of(&disk), self.after, "{when}");
                }
                drop(disk);
                self.verify(folder, &when);
            }
        }
    }

    /// A crash at each flush, and another one while the repair puts the disk in order.
    fn crash_twice(&self) {
        for (at, _) in flushes(&self.steps) {
            let broken = after_crash(&self.start, &self.steps[..at], Loss::Nothing);
            let start = broken.content();
            repair(&mut Disk::open(broken.clone()).unwrap(), "a first crash");
            let steps = broken.take_steps();
            for (second, seed) in flushes(&steps) {
                for loss in [Loss::Nothing, Loss::All, Loss::Half(seed)] {
                    let folder = after_crash(&start, &steps[..second], loss);
                    let when = format!("crash before {at}, again before {second}, {loss:?}");
                    self.verify(folder, &when);
                }
            }
        }
    }

    fn verify(&self, folder: MemFolder, when: &str) {
        let mut disk = Disk::open(folder).unwrap_or_else(|e| panic!("{when}: {e:?}"));
        repair(&mut disk, when);
        View::of(&disk).assert_between(&self.before, &self.after, when);
        let again = (self.run)(&mut disk);
        let is_done = matches!(again, Ok(()) | Err(Error::Refused(_)));
        assert!(is_done, "{when}, and then again: {again:?}");
        assert_eq!(View::of(&disk), self.after, "{when}, and then again");
        repair(&mut disk, when);
        assert_nothing_left(&disk, when);
    }
}

/// The places of flushes among steps, and the end; with a number for each.
fn flushes(steps: &[Step]) -> impl Iterator<Item = (usize, u64)> {
    let is_flush = |at: &usize| {
        let step = steps.get(*at);
        matches!(step, None | Some(Step::Flush { .. } | Step::Sync))
    };
    (0..=steps.len()).filter(is_flush).zip(0..)
}

/// Checks a disk, and repairs it if all that is wrong is what a crash leaves.
fn repair(disk: &mut MemDisk, when: &str) {
    match disk.check(None) {
        Ok(report) if report.is_clean() => {}
        Ok(report) => assert_only_marks(&report, when),
        Err(Error::Converting { .. }) => {}
        Err(error) => panic!("{when}: {error:?}"),
    }
    let repaired = disk.check(Some(Repair::Safe));
    let repaired = repaired.unwrap_or_else(|e| panic!("{when}: {e:?}"));
    assert!(repaired.is_clean(), "{when}: {repaired:?}");
    let report = disk.check(None).unwrap();
    assert!(
        report.is_clean() && report.stale_size.is_none(),
        "{when}: {report:?}"
    );
    assert!(
        report.files.iter().all(|file| file.faults.is_empty()),
        "{when}"
    );
}

/// A file that is not marked in use has nothing wrong with it, one that is has nothing that only a
/// hard repair would mend.
fn assert_only_marks(report: &DiskReport, when: &str) {
    assert!(report.misfits.is_empty(), "{when}: {report:?}");
    for file in &report.files {
        let is_marked = file.faults.is_empty() || file.faults.contains(&Fault::InUse);
        assert!(is_marked && !file.is_fatal, "{when}: {file:?}");
    }
}

/// After an operation only such files are there that belong to the disk, or that a crash between
/// the last step and the one before left and that are known for it.
fn assert_nothing_left(disk: &MemDisk, when: &str) {
    let descriptor = disk.descriptor();
    for name in disk.folder().names() {
        let is_known = descriptor.images().iter().any(|image| image.file == name)
            || name == "DiskDescriptor.xml"
            || name.starts_with("clone")
            || descriptor.is_leftover(&name);
        assert!(is_known, "{when}: {name} is left");
    }
}
