// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a crash leaves: all that was flushed, and of the rest any part, by the sector.

use super::{Content, MemFolder, Step, set_length, write};

const SECTOR: usize = 512;

/// What of the things that were not flushed is lost.
#[derive(Debug, Clone, Copy)]
pub enum Loss {
    /// Nothing: a process that was killed.
    Nothing,
    /// All.
    All,
    /// One step alone, counted from the first.
    Step(usize),
    /// Half, by the sector, differently for each number.
    Half(u64),
}

/// The folder as a crash leaves it that comes when `steps` were done upon `start`.
pub fn after_crash(start: &Content, steps: &[Step], loss: Loss) -> MemFolder {
    let mut content = start.clone();
    // The inodes of files that were made: they are there even if their names are lost.
    for step in steps {
        if let Step::Create { inode, .. } = step
            && content.inodes.len() <= *inode
        {
            content.inodes.resize(inode + 1, Vec::new());
        }
    }
    let mut dice = Dice(match loss {
        Loss::Half(seed) => seed,
        _ => 0,
    });
    for (number, step) in steps.iter().enumerate() {
        let is_durable = is_durable(step, &steps[number + 1..]);
        let mut survives = || {
            is_durable
                || match loss {
                    Loss::Nothing => true,
                    Loss::All => false,
                    Loss::Step(lost) => lost != number,
                    Loss::Half(_) => dice.throw(),
                }
        };
        apply(&mut content, step, &mut survives);
    }
    MemFolder::with(content)
}

/// Whether one of the later steps made a step durable.
fn is_durable(step: &Step, later: &[Step]) -> bool {
    let file = match step {
        Step::Write { inode, .. } | Step::SetLength { inode, .. } => Some(*inode),
        _ => None,
    };
    later.iter().any(|later| match (later, file) {
        (Step::Flush { inode }, Some(file)) => *inode == file,
        (Step::Sync, None) => true,
        _ => false,
    })
}

fn apply(content: &mut Content, step: &Step, survives: &mut impl FnMut() -> bool) {
    match step {
        Step::Write { inode, at, data } => {
            // The first piece ends with its sector.
            let first = SECTOR - usize::try_from(*at).unwrap() % SECTOR;
            let (first, rest) = data.split_at(first.min(data.len()));
            let mut at = *at;
            for piece in [first].into_iter().chain(rest.chunks(SECTOR)) {
                if survives() {
                    write(&mut content.inodes[*inode], at, piece);
                }
                at += piece.len() as u64;
            }
        }
        Step::SetLength { inode, bytes } => {
            if survives() {
                set_length(&mut content.inodes[*inode], *bytes);
            }
        }
        Step::Create { inode, name } => {
            if survives() {
                content.names.insert(name.clone(), *inode);
            }
        }
        Step::Rename { from, to } => {
            if survives()
                && let Some(inode) = content.names.remove(from)
            {
                content.names.insert(to.clone(), inode);
            }
        }
        Step::Remove { name } => {
            if survives() {
                content.names.remove(name);
            }
        }
        Step::Flush { .. } | Step::Sync => {}
    }
}

/// Numbers that look random (splitmix64).
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) & 1 == 0
    }
}
