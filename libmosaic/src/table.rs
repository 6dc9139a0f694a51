// SPDX-License-Identifier: MIT OR Apache-2.0
//! The objects that a program has open, by numbers that stand for them.
//!
//! A number is never given twice, so one that was closed is told from every other. As pointers the
//! numbers lie where no program's memory is: on 64 bits in the upper half of the address space,
//! beneath the kernel's part of it, so that no collector of garbage takes one for its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use mosaic_core::{Error, ErrorKind, Result};

/// The first number. On 32 bits what is from 3 GiB upward is the kernel's, mostly.
const FIRST: usize = match usize::BITS {
    64 => 1 << (usize::BITS - 1),
    _ => 3 << (usize::BITS - 2),
};

/// As far apart as what malloc(3) gives: languages that put tags into the lowest bits of pointers
/// find room.
const STEP: usize = 16;

/// So many numbers are kept of what was dropped: programs may never close these.
const MOST_DROPPED: usize = 1 << 12;

/// The next number, of all tables.
static NEXT: AtomicUsize = AtomicUsize::new(FIRST);

/// Whether a number was ever given.
pub(crate) fn was_given(number: usize) -> bool {
    let next = NEXT.load(Ordering::Relaxed);
    (FIRST..next).contains(&number) && number.is_multiple_of(STEP)
}

/// Open objects of one kind.
#[derive(Debug)]
pub(crate) struct Table<T> {
    live: RwLock<BTreeMap<usize, Arc<T>>>,
    /// Numbers whose objects were taken out as what they stand for is not there, or nobody can say.
    dropped: Mutex<BTreeSet<usize>>,
}

impl<T> Table<T> {
    /// An empty one.
    pub(crate) const fn new() -> Self {
        Self {
            live: RwLock::new(BTreeMap::new()),
            dropped: Mutex::new(BTreeSet::new()),
        }
    }

    /// The objects; never held longer than for one look.
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<usize, Arc<T>>> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<usize, Arc<T>>> {
        self.live.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an object; its number.
    ///
    /// # Errors
    /// `Io` when all numbers have been given, which takes longer than a machine lives on 64 bits.
    pub(crate) fn add(&self, object: T) -> Result<usize> {
        let next = |number: usize| number.checked_add(STEP);
        let number = NEXT
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .map_err(|_| Error::new(ErrorKind::Io, "all handles have been used up"))?;
        self.write().insert(number, Arc::new(object));
        Ok(number)
    }

    /// The object of a number.
    pub(crate) fn get(&self, number: usize) -> Option<Arc<T>> {
        self.read().get(&number).cloned()
    }

    /// Takes an object out. Calls on it that are under way have it still.
    pub(crate) fn remove(&self, number: usize) -> Option<Arc<T>> {
        self.write().remove(&number)
    }

    fn dropped(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an object out, and remembers why for a while.
    pub(crate) fn remove_dropped(&self, number: usize) {
        // Held, so that nobody finds the number in neither.
        let mut dropped = self.dropped();
        if self.remove(number).is_some() {
            dropped.insert(number);
            if dropped.len() > MOST_DROPPED {
                dropped.pop_first();
            }
        }
    }

    /// Whether an object was taken out by `remove_dropped()`.
    pub(crate) fn is_dropped(&self, number: usize) -> bool {
        self.dropped().contains(&number)
    }

    /// Remembers it no more; whether it was.
    pub(crate) fn forget_dropped(&self, number: usize) -> bool {
        self.dropped().remove(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_given_once() {
        let (words, others) = (Table::new(), Table::new());
        let first = words.add("a").unwrap();
        let other = others.add(1).unwrap();
        assert_ne!(first, other);
        assert_eq!(words.get(first).as_deref(), Some(&"a"));
        assert_eq!(words.get(other), None);
        assert_eq!(words.remove(first).as_deref(), Some(&"a"));
        assert_eq!(words.remove(first), None);
        assert_eq!(words.get(first), None);
        assert!(was_given(first) && words.add("b").unwrap() > other);
    }

    #[test]
    fn what_is_no_number_of_ours_is_told_apart() {
        let table = Table::new();
        let number = table.add(()).unwrap();
        for other in [0, 1, number + 1, usize::MAX, FIRST - STEP] {
            assert!(!was_given(other), "{other:#x}");
            assert_eq!(table.get(other), None);
        }
    }

    #[test]
    fn what_was_dropped_is_remembered_for_a_while() {
        let table = Table::new();
        let numbers: Vec<_> = (0..=MOST_DROPPED)
            .map(|at| table.add(at).unwrap())
            .collect();
        for number in &numbers {
            assert!(!table.is_dropped(*number));
            table.remove_dropped(*number);
            assert!(table.is_dropped(*number) && table.get(*number).is_none());
        }
        assert!(!table.is_dropped(numbers[0]) && table.is_dropped(numbers[1]));
        assert!(table.forget_dropped(numbers[1]) && !table.forget_dropped(numbers[1]));
        table.remove_dropped(numbers[1]);
        assert!(
            !table.is_dropped(numbers[1]),
            "there was nothing to take out"
        );
    }

    #[test]
    fn threads_get_numbers_of_their_own() {
        let table = Table::new();
        let mut numbers: Vec<usize> = std::thread::scope(|scope| {
            let add = || (0..500).map(|at| table.add(at).unwrap()).collect();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(add)).collect();
            let of_each = threads.into_iter().map(|thread| thread.join().unwrap());
            of_each.flat_map(|numbers: Vec<usize>| numbers).collect()
        });
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 8 * 500);
    }
}
