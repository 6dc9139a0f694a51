// SPDX-License-Identifier: MIT OR Apache-2.0
//! A folder in memory that can fail a step, remembers all steps, and can be what a crash leaves.

mod crash;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use mosaic_ploop::format::storage::{Access, Folder, ImageFile, is_zero};
use mosaic_ploop::format::units::FileOffset;

pub use crash::{Loss, after_crash};

/// Bytes that are a hole, or none is in them.
const BLOCK: usize = 4096;

/// A step that changed something or made a change durable.
#[derive(Debug, Clone)]
pub enum Step {
    Write {
        inode: usize,
        at: u64,
        data: Vec<u8>,
    },
    SetLength {
        inode: usize,
        bytes: u64,
    },
    Flush {
        inode: usize,
    },
    Create {
        inode: usize,
        name: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        name: String,
    },
    Sync,
}

/// What is in a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    pub names: BTreeMap<String, usize>,
    pub inodes: Vec<Vec<u8>>,
}

#[derive(Debug, Default)]
struct State {
    content: Content,
    steps: Vec<Step>,
    /// Steps until one fails; `None`: none will.
    good: Option<usize>,
    has_failed: bool,
    /// Whether all fail after the one that failed.
    stays_broken: bool,
    /// Whether those go on that need no space.
    is_full: bool,
    /// Writes that have failed.
    failed_writes: usize,
    /// Flushes of each inode that have failed.
    failed_flushes: BTreeMap<usize, u64>,
    random: u64,
}

/// A folder in memory; clones are the same folder.
#[derive(Debug, Clone, Default)]
pub struct MemFolder(Arc<Mutex<State>>);

/// A file of it.
#[derive(Debug)]
pub struct MemFile {
    folder: MemFolder,
    inode: usize,
    access: Access,
    /// Failed flushes that it knows of, as each open file of the kernel does.
    told: AtomicU64,
}

impl MemFolder {
    /// A folder with that content.
    pub fn with(content: Content) -> Self {
        let folder = Self::default();
        let mut state = folder.state();
        // No number comes twice: whoever takes one makes a file.
        state.random = content.inodes.len() as u64;
        state.content = content;
        drop(state);
        folder
    }

    /// What is in it now.
    pub fn content(&self) -> Content {
        self.state().content.clone()
    }

    /// The steps since it was made or this was called last.
    pub fn take_steps(&self) -> Vec<Step> {
        std::mem::take(&mut self.state().steps)
    }

    /// Lets the step after `good` others fail; and all after it, if it `stays_broken`.
    pub fn fail_after(&self, good: usize, stays_broken: bool) {
        let mut state = self.state();
        state.good = Some(good);
        state.stays_broken = stays_broken;
        state.is_full = false;
        state.failed_writes = 0;
    }

    /// As [`MemFolder::fail_after`], for want of space. If it `stays_full` nothing has any for which some
    /// file system takes new blocks; what was written can be made durable.
    pub fn fill_after(&self, good: usize, stays_full: bool) {
        self.fail_after(good, stays_full);
        self.state().is_full = true;
    }

    /// Lets nothing fail any more; whether something did.
    pub fn heal(&self) -> bool {
        let mut state = self.state();
        state.good = None;
        std::mem::take(&mut state.has_failed)
    }

    /// Gives a file one more name, as a clone does.
    pub fn link(&self, from: &str, to: &str) {
        let mut state = self.state();
        let inode = state.content.names[from];
        state.content.names.insert(to.to_owned(), inode);
    }

    /// The bytes of a file.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.content.inodes[state.content.names[name]].clone()
    }

    /// Puts bytes in the place of a file, or makes it.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let content = &mut self.state().content;
        if let Some(inode) = content.names.get(name) {
            content.inodes[*inode] = bytes.to_vec();
        } else {
            content.names.insert(name.to_owned(), content.inodes.len());
            content.inodes.push(bytes.to_vec());
        }
    }

    /// Takes a name away.
    pub fn remove_name(&self, name: &str) {
        self.state().content.names.remove(name);
    }

    /// Its names.
    pub fn names(&self) -> Vec<String> {
        self.state().content.names.keys().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Notes a step, or fails it: a write then has been done by half, by the first and the second one in
    /// turn.
    fn step(&self, step: Step) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if state.fails(&step) {
            state.has_failed = true;
            if let Step::Write { inode, at, data } = step {
                let is_first = state.failed_writes.is_multiple_of(2);
                state.failed_writes += 1;
                let (first, second) = data.split_at(data.len() / 2);
                let (at, data) = match is_first {
                    true => (at, first.to_vec()),
                    false => (at + first.len() as u64, second.to_vec()),
                };
                write(&mut state.content.inodes[inode], at, &data);
                state.steps.push(Step::Write { inode, at, data });
            }
            let errno = if state.is_full { 28 } else { 5 };
            return Err(io::Error::from_raw_os_error(errno));
        }
        state.good = state.good.map(|good| good.saturating_sub(1));
        state.steps.push(step);
        Ok(state)
    }
}

impl State {
    fn fails(&self, step: &Step) -> bool {
        let is_bad = self.good == Some(0) && (!self.has_failed || self.stays_broken);
        is_bad && !(self.is_full && self.stays_broken && !self.needs_space(step))
    }

    /// Whether a file system may take new blocks for it: some write none twice.
    fn needs_space(&self, step: &Step) -> bool {
        match step {
            Step::Write { .. } | Step::Create { .. } | Step::Rename { .. } => true,
            Step::SetLength { inode, bytes } => *bytes > self.content.inodes[*inode].len() as u64,
            Step::Flush { .. } | Step::Remove { .. } | Step::Sync => false,
        }
    }
}

impl Folder for MemFolder {
    type File = MemFile;

    fn within(&self, path: &str) -> io::Result<Option<String>> {
        Ok(path.strip_prefix("/memory/").map(str::to_owned))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<MemFile> {
        let inode = *self.state().content.names.get(name).ok_or_else(missing)?;
        let failed = self.state().failed_flushes.get(&inode).copied();
        Ok(MemFile {
            folder: self.clone(),
            inode,
            access,
            told: AtomicU64::new(failed.unwrap_or_default()),
        })
    }

    fn create(&self, name: &str, _public: bool) -> io::Result<MemFile> {
        if self.state().content.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = self.state().content.inodes.len();
        let mut state = self.step(Step::Create {
            inode,
            name: name.to_owned(),
        })?;
        state.content.names.insert(name.to_owned(), inode);
        state.content.inodes.push(Vec::new());
        drop(state);
        self.open(name, Access::Write)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.step(Step::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        })?;
        let inode = state.content.names.remove(from).ok_or_else(missing)?;
        state.content.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        if !self.state().content.names.contains_key(name) {
            return Err(missing());
        }
        let name = name.to_owned();
        let mut state = self.step(Step::Remove { name: name.clone() })?;
        state.content.names.remove(&name);
        Ok(())
    }

    fn sync(&self, _name: &str) -> io::Result<()> {
        self.step(Step::Sync).map(drop)
    }

    fn is_shared(&self, name: &str) -> io::Result<bool> {
        let state = self.state();
        let inode = state.content.names.get(name).ok_or_else(missing)?;
        let names = state.content.names.values().filter(|other| *other == inode);
        Ok(names.count() > 1)
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        let mut state = self.state();
        state.random += 1;
        let number =
            u128::from(state.random).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        Ok(number.to_be_bytes())
    }
}

impl MemFile {
    fn writable(&self) -> io::Result<()> {
        let is_writable = self.access == Access::Write;
        is_writable
            .then_some(())
            .ok_or_else(|| io::Error::from_raw_os_error(9))
    }

    /// The first byte from `at` on that is in such a block.
    fn next_block(&self, at: FileOffset, is_it: impl Fn(&[u8]) -> bool) -> Option<FileOffset> {
        let state = self.folder.state();
        let blocks = state.content.inodes[self.inode].chunks(BLOCK).zip(0..);
        let from = at.0 / BLOCK as u64;
        let mut later = blocks.skip_while(|(_, number)| *number < from);
        let (_, number) = later.find(|(block, _)| is_it(block))?;
        Some(FileOffset(at.0.max(number * BLOCK as u64)))
    }
}

impl ImageFile for MemFile {
    fn read_at(&self, buffer: &mut [u8], at: FileOffset) -> io::Result<()> {
        let state = self.folder.state();
        let bytes = &state.content.inodes[self.inode];
        let start = usize::try_from(at.0).unwrap_or(usize::MAX);
        let end = start.saturating_add(buffer.len());
        let part = bytes.get(start..end);
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, data: &[u8], at: FileOffset) -> io::Result<()> {
        self.writable()?;
        let mut state = self.folder.step(Step::Write {
            inode: self.inode,
            at: at.0,
            data: data.to_vec(),
        })?;
        write(&mut state.content.inodes[self.inode], at.0, data);
        Ok(())
    }

    fn next_data(&self, at: FileOffset) -> io::Result<Option<FileOffset>> {
        Ok(self.next_block(at, |block| !is_zero(block)))
    }

    /// Blocks of zeros are holes, those too that were written.
    fn next_hole(&self, at: FileOffset) -> io::Result<Option<FileOffset>> {
        Ok(self.next_block(at, is_zero))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.folder.state().content.inodes[self.inode].len() as u64)
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.writable()?;
        let inode = self.inode;
        let mut state = self.folder.step(Step::SetLength { inode, bytes })?;
        set_length(&mut state.content.inodes[inode], bytes);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let inode = self.inode;
        let done = self.folder.step(Step::Flush { inode }).map(drop);
        let mut state = self.folder.state();
        let failed = state.failed_flushes.entry(inode).or_default();
        *failed += u64::from(done.is_err());
        let failed = *failed;
        if self.told.swap(failed, Ordering::SeqCst) == failed {
            return done;
        }
        Err(io::Error::from_raw_os_error(5))
    }
}

fn write(bytes: &mut Vec<u8>, at: u64, data: &[u8]) {
    let start = usize::try_from(at).unwrap();
    let end = start + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[start..end].copy_from_slice(data);
}

fn set_length(bytes: &mut Vec<u8>, length: u64) {
    bytes.resize(usize::try_from(length).unwrap(), 0);
}

fn missing() -> io::Error {
    io::Error::from_raw_os_error(2)
}
