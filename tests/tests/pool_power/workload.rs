// SPDX-License-Identifier: MIT OR Apache-2.0
//! Steps by chance, all of which can be done.

use mosaic_tests::Random;

use crate::model::{Expected, Kind, State, Step};

/// How many volumes there are, at least before one is dropped and at most before one is made.
const VOLUMES: (usize, usize) = (3, 6);
/// The size of a new file system or disk, and by how much it grows, in MiB.
const SIZE: u64 = 16;
/// Nothing grows beyond this.
const SIZE_MAX: u64 = 64;

/// A row of steps, and where they lead.
#[derive(Debug)]
pub struct Workload {
    random: Random,
    /// Makes names and words that were never there before.
    count: u64,
    state: State,
    steps: Vec<Step>,
    /// Nobody knows whether these are there, or how large they are.
    unknown: Vec<String>,
}

impl Workload {
    /// From a pool as it may be. What is not the same in all those states is not touched.
    pub fn new(seed: u64, from: &Expected) -> Self {
        let mut state = from.0[0].clone();
        state.mounted = None;
        let mut random = Random::new(seed);
        let mut unknown = Vec::new();
        for other in &from.0 {
            let names = state.volumes.keys().chain(other.volumes.keys());
            let differs = names.filter(|name| state.volumes.get(*name) != other.volumes.get(*name));
            unknown.extend(differs.cloned());
        }
        Self {
            count: random.below(1000) * 1000,
            random,
            state,
            steps: Vec::new(),
            unknown,
        }
    }

    /// Every kind of step once, from an empty pool.
    #[must_use]
    pub fn tour(mut self) -> Self {
        let [a, b, c, d, e, f] = ["a", "b", "c", "d", "e", "f"].map(str::to_owned);
        self.add(Step::New(Kind::Fs, a.clone(), SIZE));
        self.add(Step::New(Kind::Disk, b.clone(), SIZE));
        self.add(Step::Mount(a.clone()));
        self.write(&a, "f0", true);
        self.write(&a, "f1", false);
        self.add(Step::Clone(a.clone(), c.clone()));
        self.write(&a, "f0", false);
        self.add(Step::Grow(a.clone(), 2 * SIZE));
        self.add(Step::Rename(a, d.clone()));
        self.add(Step::Umount(d.clone()));
        self.write_disk(&b, "0");
        self.add(Step::Clone(b.clone(), e.clone()));
        self.write_disk(&b, "0");
        self.add(Step::Deactivate);
        self.add(Step::Drop(d));
        self.add(Step::Grow(c.clone(), 2 * SIZE));
        self.add(Step::Clone(c, f));
        self.add(Step::Drop(b));
        self
    }

    /// So many more, and an end with nothing mounted.
    #[must_use]
    pub fn with(mut self, count: usize) -> Self {
        for _ in 0..count {
            self.add_one();
        }
        if let Some(mounted) = self.state.mounted.clone() {
            self.add(Step::Umount(mounted));
        }
        self
    }

    /// The steps.
    pub fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    fn add(&mut self, step: Step) {
        self.state = self.state.after(&step);
        self.steps.push(step);
    }

    fn add_one(&mut self) {
        loop {
            let kind = *self.random.pick(&[Kind::Fs, Kind::Fs, Kind::Disk]);
            let count = self.state.volumes.len();
            let (may_make, may_drop) = (count < VOLUMES.1, count > VOLUMES.0);
            let mounted = self.state.mounted.clone();
            let file = *self.random.pick(&["f0", "f1", "f2"]);
            let synced = self.random.below(2) == 0;
            match (self.random.below(12), mounted) {
                (0, _) if may_make => {
                    let name = self.name();
                    self.add(Step::New(kind, name, SIZE));
                }
                (1 | 2, _) if may_make => {
                    let Some(from) = self.volume(|_, _| true) else {
                        continue;
                    };
                    let name = self.name();
                    self.add(Step::Clone(from, name));
                }
                (3 | 4, mounted) if may_drop => {
                    let Some(name) = self.volume(|name, _| mounted.as_deref() != Some(name)) else {
                        continue;
                    };
                    self.add(Step::Drop(name));
                }
                (5, _) => {
                    let Some(from) = self.volume(|_, _| true) else {
                        continue;
                    };
                    let name = self.name();
                    self.add(Step::Rename(from, name));
                }
                (6, _) => {
                    let state = self.state.clone();
                    let small = |name: &str, _| state.volumes[name].size < SIZE_MAX;
                    let Some(name) = self.volume(small) else {
                        continue;
                    };
                    let size = self.state.volumes[&name].size + SIZE;
                    self.add(Step::Grow(name, size));
                }
                (7 | 8, Some(name)) => self.write(&name, file, synced),
                (9, Some(name)) => self.add(Step::Umount(name)),
                (7 | 8, None) => {
                    let Some(name) = self.volume(|_, kind| kind == Kind::Fs) else {
                        continue;
                    };
                    self.add(Step::Mount(name));
                }
                (10, _) => {
                    let Some(name) = self.volume(|_, kind| kind == Kind::Disk) else {
                        continue;
                    };
                    let slot = self.random.below(3).to_string();
                    self.write_disk(&name, &slot);
                }
                (11, None) => self.add(Step::Deactivate),
                _ => continue,
            }
            return;
        }
    }

    fn write(&mut self, volume: &str, file: &str, synced: bool) {
        let word = self.name();
        self.add(Step::Write {
            volume: volume.to_owned(),
            file: file.to_owned(),
            word,
            synced,
        });
    }

    fn write_disk(&mut self, volume: &str, slot: &str) {
        let word = self.name();
        self.add(Step::WriteDisk {
            volume: volume.to_owned(),
            slot: slot.to_owned(),
            word,
        });
    }

    fn name(&mut self) -> String {
        self.count += 1;
        format!("n{}", self.count)
    }

    /// One that is surely there.
    fn volume(&mut self, suits: impl Fn(&str, Kind) -> bool) -> Option<String> {
        let known = self.state.volumes.iter();
        let known = known.filter(|(name, _)| !self.unknown.contains(name));
        let names: Vec<_> = known
            .filter(|(name, volume)| suits(name, volume.kind))
            .map(|(name, _)| name.clone())
            .collect();
        (!names.is_empty()).then(|| self.random.pick(&names).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::discriminant;

    #[test]
    fn the_tour_and_chance_lead_to_every_kind_of_step() {
        let empty = Expected(vec![State::default()]);
        let tour = Workload::new(1, &empty).tour();
        assert_eq!((tour.steps.len(), tour.state.volumes.len()), (18, 3));
        let chance = tour.with(1000).into_steps();
        for step in &chance[..18] {
            let again = chance[18..]
                .iter()
                .filter(|s| discriminant(*s) == discriminant(step));
            assert!(again.count() > 10, "{step}");
        }
    }

    #[test]
    fn what_may_have_changed_is_not_touched() {
        let empty = Expected(vec![State::default()]);
        let tour = Workload::new(1, &empty).tour();
        let (before, name) = (tour.state, "c");
        let during = before.during(&Step::Drop(name.to_owned()));
        let steps = Workload::new(2, &Expected(during.to_vec()))
            .with(500)
            .into_steps();
        assert!(
            steps
                .iter()
                .all(|step| !format!("{step}").contains("\"c\""))
        );
    }
}
