// SPDX-License-Identifier: MIT OR Apache-2.0
//! What has to be in the pool: worked out here from the steps that were acknowledged, and held
//! against what was found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How much is in a file, or in a slot of a disk: `yes WORD` up to this size.
pub const LENGTH: u64 = 192 << 10;
/// A disk's slots are so many bytes apart.
pub const SLOT: u64 = 256 << 10;

/// A file system or a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// With an ext4 on it.
    Fs,
    /// Without anything.
    Disk,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// What it is.
    pub kind: Kind,
    /// In MiB.
    pub size: u64,
    /// Its file system takes all of it.
    pub is_filled: bool,
    /// The words in its files, or slots, that were synced.
    pub synced: BTreeMap<String, String>,
    /// Those that were written since: what was there before may be, too, or a part of both. `None`:
    /// such a part, which stays.
    pub loose: BTreeMap<String, Option<String>>,
}

impl Volume {
    fn new(kind: Kind, size: u64) -> Self {
        Self {
            kind,
            size,
            is_filled: true,
            synced: BTreeMap::new(),
            loose: BTreeMap::new(),
        }
    }

    /// All that was written is durable.
    fn sync(&mut self) {
        for (file, word) in std::mem::take(&mut self.loose) {
            match word {
                Some(word) => self.synced.insert(file, word).map(drop),
                None => self.loose.insert(file, None).map(drop),
            };
        }
    }

    fn set(&mut self, file: &str, word: &str, synced: bool) {
        self.synced.remove(file);
        self.loose.remove(file);
        match synced {
            true => self
                .synced
                .insert(file.to_owned(), word.to_owned())
                .map(drop),
            false => self
                .loose
                .insert(file.to_owned(), Some(word.to_owned()))
                .map(drop),
        };
    }
}

/// One command, or one write, that a job does and acknowledges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// `init`.
    Init,
    /// `new fs` or `new disk`; the size in MiB.
    New(Kind, String, u64),
    /// `clone`, from and to.
    Clone(String, String),
    /// `drop`.
    Drop(String),
    /// `rename`, from and to.
    Rename(String, String),
    /// `resize` to a larger size in MiB.
    Grow(String, u64),
    /// `mount`.
    Mount(String),
    /// A file of the mounted volume is written, over what was in it, and synced if that is said.
    Write {
        /// Where.
        volume: String,
        /// Its name.
        file: String,
        /// What is in it.
        word: String,
        /// Whether it is synced.
        synced: bool,
    },
    /// `umount`.
    Umount(String),
    /// `attach`, a slot of the disk is written and synced, `detach`.
    WriteDisk {
        /// Where.
        volume: String,
        /// Its number.
        slot: String,
        /// What is in it.
        word: String,
    },
    /// The pool's devices are removed, as at a shutdown; the next command activates it.
    Deactivate,
}

/// All that is in the pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// By name.
    pub volumes: BTreeMap<String, Volume>,
    /// The one that is mounted.
    pub mounted: Option<String>,
    /// One that is mounted by a command of its own, which grows it.
    pub grows: Option<String>,
}

impl State {
    /// The state after a step.
    pub fn after(&self, step: &Step) -> Self {
        let mut state = self.clone();
        let volumes = &mut state.volumes;
        match step {
            Step::Init | Step::Deactivate => {}
            Step::New(kind, name, size) => {
                volumes.insert(name.clone(), Volume::new(*kind, *size));
            }
            Step::Clone(from, to) => {
                let mut clone = volumes[from].clone();
                // It has all that was written before the command.
                clone.sync();
                volumes.insert(to.clone(), clone);
            }
            Step::Drop(name) => {
                volumes.remove(name);
            }
            Step::Rename(from, to) => {
                let volume = volumes.remove(from);
                volumes.extend(volume.map(|volume| (to.clone(), volume)));
                if state.mounted.as_ref() == Some(from) {
                    state.mounted = Some(to.clone());
                }
            }
            Step::Grow(name, size) => state.change(name, |volume| {
                volume.size = *size;
                volume.is_filled = true;
            }),
            Step::Mount(name) => state.mounted = Some(name.clone()),
            Step::Umount(name) => {
                state.mounted = None;
                state.change(name, Volume::sync);
            }
            Step::Write {
                volume,
                file,
                word,
                synced,
            } => state.change(volume, |volume| volume.set(file, word, *synced)),
            Step::WriteDisk { volume, slot, word } => {
                state.change(volume, |volume| volume.set(slot, word, true));
            }
        }
        state
    }

    /// The states that may be found if the power is cut while the step is done.
    pub fn during(&self, step: &Step) -> [Self; 2] {
        let (mut before, mut after) = (self.clone(), self.after(step));
        match step {
            Step::Grow(name, _) => {
                after.change(name, |volume| volume.is_filled = false);
                after.grows = Some(name.clone());
            }
            Step::Write {
                volume: name,
                file,
                word,
                ..
            }
            | Step::WriteDisk {
                volume: name,
                slot: file,
                word,
            } => before.change(name, |volume| volume.set(file, word, false)),
            _ => {}
        }
        [before, after]
    }

    /// The state at the next boot: nothing is mounted, and what is there stays as it is found.
    pub fn settled(mut self, found: &Found) -> Self {
        (self.mounted, self.grows) = (None, None);
        for (name, volume) in &mut self.volumes {
            volume.loose.clear();
            let there = found.volumes.get(name).into_iter().flat_map(|v| &v.files);
            for (file, content) in there {
                match &content.word {
                    Some(word) => volume.set(file, word, true),
                    None => volume
                        .loose
                        .insert(file.clone(), None)
                        .map(drop)
                        .unwrap_or(()),
                }
            }
        }
        self
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Volume)) {
        change(
            self.volumes
                .get_mut(name)
                .expect("a step's volume is there"),
        );
    }

    /// What is found otherwise than it has to be.
    pub fn differences(&self, found: &Found) -> Vec<String> {
        let names = |names: BTreeSet<&String>| format!("{names:?}");
        let (ours, theirs) = (
            names(self.volumes.keys().collect()),
            names(found.volumes.keys().collect()),
        );
        let mut differences = Vec::new();
        if ours != theirs {
            differences.push(format!("volumes {theirs} and not {ours}"));
        }
        for (name, volume) in &self.volumes {
            let Some(found) = found.volumes.get(name) else {
                continue;
            };
            let (kind, size) = (volume.kind, volume.size << 20);
            if (found.kind, found.size) != (kind, size) {
                differences.push(format!("{name} is {found:?} and not {kind:?} {size}"));
            }
            match found.fs_size {
                Some(fs) if fs == size || (!volume.is_filled && fs < size) => {}
                None if kind == Kind::Disk => {}
                other => differences.push(format!("{name}: file system of {other:?} in {size}")),
            }
            for (file, word) in &volume.synced {
                let content = found.files.get(file);
                if content.and_then(|content| content.word.as_ref()) != Some(word) {
                    differences.push(format!("{name}/{file} is {content:?} and not {word}"));
                }
            }
            for file in found.files.keys() {
                if !volume.synced.contains_key(file) && !volume.loose.contains_key(file) {
                    differences.push(format!("{name}/{file} was never written"));
                }
            }
        }
        differences
    }
}

/// What a file or a slot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The word, if it is that from the beginning to the end.
    pub word: Option<String>,
}

/// A volume as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundVolume {
    /// What it is.
    pub kind: Kind,
    /// In bytes.
    pub size: u64,
    /// The size of the file system on it, in bytes.
    pub fs_size: Option<u64>,
    /// What is in it.
    pub files: BTreeMap<String, Content>,
}

/// What was found in the pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// By name.
    pub volumes: BTreeMap<String, FoundVolume>,
}

/// States of which one has to be found.
#[derive(Debug, Clone)]
pub struct Expected(pub Vec<State>);

impl Expected {
    /// The one that was.
    ///
    /// # Errors
    /// None of them: what differs from each.
    pub fn settle(self, found: &Found) -> anyhow::Result<State> {
        let differences: Vec<_> = self
            .0
            .iter()
            .map(|state| state.differences(found))
            .collect();
        let at = differences.iter().position(Vec::is_empty);
        match at.and_then(|at| self.0.into_iter().nth(at)) {
            Some(state) => Ok(state.settled(found)),
            None => anyhow::bail!("neither before nor after: {differences:#?}"),
        }
    }

    /// Whether a step was on its way.
    pub fn is_amid_a_step(&self) -> bool {
        self.0.len() > 1
    }

    /// Volumes that may have been mounted at the cut.
    pub fn mounted(&self) -> BTreeSet<&str> {
        let states = self.0.iter();
        let mounted = states.flat_map(|state| [&state.mounted, &state.grows]);
        mounted.flatten().map(String::as_str).collect()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
