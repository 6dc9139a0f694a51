// SPDX-License-Identifier: MIT OR Apache-2.0
//! All volumes: by one pass over the file system's trees, or without CAP_SYS_ADMIN by a look at each
//! directory that can be one.

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;
use std::path::Path;

use mosaic_core::volume::Volume;
use mosaic_core::{Context, Error, ErrorKind, Result, VolumeName, label};
use rustix::fs::{OFlags, fstat};
use rustix::io::Errno;

use crate::commit;
use crate::driver::Btrfs;
use crate::info::{Seen, Sizes};
use crate::inventory::{self, Entry};
use crate::ioctl;
use crate::origin;
use crate::quota::{self, Account, Accounts, Mode};

/// The folders that hold volumes, by the subvolume that each is in and its inode there: the path in
/// the location, empty or with a `/` at its end.
type Folders = HashMap<(u64, u64), String>;

/// How often those are looked at again that are moved while we look.
const ATTEMPTS: u32 = 100;

impl Btrfs {
    /// All volumes. A subvolume whose name no volume can have is left out.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn volumes(&self) -> Result<Vec<Volume>> {
        let sizes = self.sizes();
        let seen = match inventory::subvolumes(self.location.dir()) {
            Ok(entries) => self.placed(entries, &sizes)?,
            Err(Errno::PERM) => {
                let how = "look at each directory: to search the trees needs CAP_SYS_ADMIN";
                self.host.debug(how);
                self.looked_at(&sizes)?
            }
            Err(errno) => return Err(Error::io(errno, "cannot search the tree of subvolumes")),
        };
        Ok(origin::with_origins(seen))
    }

    /// The volumes among all subvolumes.
    fn placed(&self, entries: Vec<Entry>, sizes: &Sizes) -> Result<Vec<Seen>> {
        let dir = self.location.dir();
        // Of which transaction the tree of quotas has not heard, asked before it is read.
        let (running, accounts) = match sizes.mode.is_on() {
            true => (commit::generation(dir)?, quota::accounts(dir)?),
            false => (u64::MAX, Accounts::default()),
        };
        let placed = self.place_all(entries)?;
        let seen = placed.into_iter().map(|(name, entry)| {
            let mut seen = Seen::new(&name, entry.id, &entry.root, entry.nested);
            let mut account = accounts.of(entry.id);
            if entry.root.generation >= running {
                account = self.newest(entry.id, account, sizes.mode);
            }
            self.show_account(&mut seen, entry.id, sizes, &account);
            seen.volume.user = self.label_of(&name);
            seen
        });
        Ok(seen.collect())
    }

    /// What the quota tree says of a subvolume, or of one that was made since the last commit, which
    /// that has not heard of, what the kernel counts with.
    fn newest(&self, id: u64, account: Account, mode: Mode) -> Account {
        // With full quotas one that was committed refers to its root block at least, with simple ones
        // one that is younger than these.
        let is_committed = account.usage.is_some_and(|usage| usage.referenced > 0);
        match is_committed {
            true => account,
            false => self.account(id, mode).unwrap_or(account),
        }
    }

    /// Those that are in the place of a volume and have a name that one can have.
    ///
    /// What is moved while we look can be seen where it was, so that two have the same name: the one
    /// that was seen first has it no more. Folders come and go along with the volumes in them: who is
    /// in none of ours, and is still there after we looked for them again, is in another one, since
    /// a folder stays while there is something in it.
    fn place_all(&self, mut entries: Vec<Entry>) -> Result<Vec<(VolumeName, Entry)>> {
        let mut placed = Vec::with_capacity(entries.len());
        for _ in 0..ATTEMPTS {
            let folders = self.folders()?;
            let above: HashSet<u64> = folders.keys().map(|(above, _)| *above).collect();
            let mut others = Vec::new();
            for entry in entries {
                match folders.get(&(entry.above, entry.place.directory)) {
                    Some(folder) => {
                        let name = self.name_in(folder, &entry.place.name);
                        placed.extend(name.map(|name| (name, entry)));
                    }
                    None if above.contains(&entry.above) => others.push(entry),
                    None => {}
                }
            }
            if self.options.depth == 1 {
                // The only folder is the location, and stays.
                others.clear();
            }
            entries = Vec::new();
            for entry in others {
                entries.extend(self.now(&entry)?.filter(|now| *now != entry));
            }
            for entry in take_displaced(&mut placed) {
                entries.extend(self.now(&entry)?);
            }
            if entries.is_empty() {
                break;
            }
        }
        Ok(placed)
    }

    /// A subvolume where it is now; `Ok(None)` if it is gone.
    fn now(&self, entry: &Entry) -> Result<Option<Entry>> {
        let now = inventory::place_of(self.location.dir(), entry.id);
        let now = now.context(|| "cannot search the tree of subvolumes".to_owned())?;
        Ok(now.map(|(above, place)| Entry {
            above,
            place,
            ..entry.clone()
        }))
    }

    /// The name of the volume that a subvolume in this folder is.
    fn name_in(&self, folder: &str, leaf: &[u8]) -> Option<VolumeName> {
        let leaf = std::str::from_utf8(leaf).ok()?;
        let name = match folder {
            "" => VolumeName::parse(leaf),
            _ => VolumeName::parse(&format!("{folder}{leaf}")),
        };
        let name = name.ok()?;
        let is_metadata = self.options.metadata.as_ref().is_some_and(|metadata| {
            let path = Path::new(name.stored());
            path.starts_with(metadata) || metadata.starts_with(path)
        });
        (!is_metadata).then_some(name)
    }

    /// The folders in which volumes are. One that goes meanwhile, or that a mount covers, holds none.
    fn folders(&self) -> Result<Folders> {
        let mut folders = Folders::new();
        if self.options.depth == 1 {
            let place = place_of(self.location.dir());
            let failed = || format!("cannot look at location {:?}", self.location.path());
            folders.insert(place.context(failed)?, String::new());
            return Ok(folders);
        }
        for name in self.location.directories(self.options.depth - 1, None)? {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let Ok(folder) = self.location.open_beneath(name.stored(), flags) else {
                continue;
            };
            if self.refuse_covered(&folder, name.stored()).is_ok()
                && let Ok(place) = place_of(&folder)
            {
                folders.insert(place, format!("{}/", name.stored()));
            }
        }
        Ok(folders)
    }

    /// The user's name that a volume carries, where a volume map may have changed it.
    fn label_of(&self, name: &VolumeName) -> Option<String> {
        if !self.options.mapped {
            return None;
        }
        label::name(self.place(name).ok()??).ok()?
    }

    /// All volumes without privilege.
    fn looked_at(&self, sizes: &Sizes) -> Result<Vec<Seen>> {
        let names = self
            .location
            .directories(self.options.depth, self.options.metadata.as_deref())?;
        let mut seen = Vec::new();
        for name in &names {
            match self.look_at(name, sizes) {
                Ok(found) => seen.extend(found),
                // No subvolume.
                Err(error) if error.kind() == ErrorKind::Exists => {}
                Err(error) => seen.push(Seen::unknown(name, error.chain())),
            }
        }
        Ok(seen)
    }
}

/// Takes out those whose name another one has that was seen later.
fn take_displaced(placed: &mut Vec<(VolumeName, Entry)>) -> Vec<Entry> {
    let mut displaced = Vec::new();
    let mut last = HashMap::with_capacity(placed.len());
    for (at, (name, _)) in placed.iter().enumerate() {
        displaced.extend(last.insert(name.stored(), at));
    }
    displaced.sort_unstable();
    let from_the_end = displaced.into_iter().rev();
    from_the_end.map(|at| placed.remove(at).1).collect()
}

/// The subvolume that a directory is in, and its inode there.
fn place_of(dir: impl AsFd) -> rustix::io::Result<(u64, u64)> {
    Ok((ioctl::subvolume_id(&dir)?, fstat(&dir)?.st_ino))
}
