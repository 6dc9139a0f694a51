// SPDX-License-Identifier: MIT OR Apache-2.0
//! A set of clusters: a bitmap whose pages are there only where a cluster is.

use std::marker::PhantomData;

use super::units::{FileCluster, Numbered};

/// Bits of a word.
const WORD: usize = u64::BITS as usize;
/// Words of a page.
const WORDS: usize = 512;
/// Clusters of a page.
const BITS: usize = WORD * WORDS;

type Page = [u64; WORDS];

/// A set of clusters, of a file or of a disk.
#[derive(Debug, Clone)]
pub struct ClusterSet<C = FileCluster> {
    pages: Vec<Option<Box<Page>>>,
    count: u64,
    of: PhantomData<C>,
}

impl<C> Default for ClusterSet<C> {
    fn default() -> Self {
        Self {
            pages: Vec::new(),
            count: 0,
            of: PhantomData,
        }
    }
}

impl<C: Numbered> ClusterSet<C> {
    /// Adds a cluster; `false` if it was in the set.
    pub fn insert(&mut self, cluster: C) -> bool {
        let (number, word, bit) = position(&cluster);
        if self.pages.len() <= number {
            self.pages.resize_with(number + 1, || None);
        }
        let page = self.pages[number].get_or_insert_with(|| Box::new([0; WORDS]));
        let is_new = page[word] & bit == 0;
        page[word] |= bit;
        self.count += u64::from(is_new);
        is_new
    }

    /// Takes a cluster out; `false` if it was not in the set.
    pub fn remove(&mut self, cluster: C) -> bool {
        let (number, word, bit) = position(&cluster);
        let Some(Some(page)) = self.pages.get_mut(number) else {
            return false;
        };
        let was_in = page[word] & bit != 0;
        page[word] &= !bit;
        self.count -= u64::from(was_in);
        was_in
    }

    /// Whether a cluster is in the set.
    pub fn contains(&self, cluster: C) -> bool {
        let (number, word, bit) = position(&cluster);
        let page = self.pages.get(number).and_then(Option::as_ref);
        page.is_some_and(|page| page[word] & bit != 0)
    }

    /// Clusters in the set.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Clusters in the set whose number is below `end`.
    pub fn count_below(&self, end: u64) -> u64 {
        let pages = self.pages.iter().enumerate();
        let words = pages.flat_map(|(number, page)| {
            let words = page.iter().flat_map(|page| page.iter().enumerate());
            words.map(move |(word, bits)| ((number * BITS + word * WORD) as u64, *bits))
        });
        let below = words.map(|(first, bits)| match end.saturating_sub(first) {
            0 => 0,
            left if left < WORD as u64 => (bits & ((1 << left) - 1)).count_ones(),
            _ => bits.count_ones(),
        });
        below.map(u64::from).sum()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first cluster from `start` on that is not in the set; `None` beyond the last number.
    pub fn first_absent(&self, start: C) -> Option<C> {
        let mut next = start.number();
        loop {
            let (number, word, bit) = position(&C::numbered(next));
            let Some(Some(page)) = self.pages.get(number) else {
                return Some(C::numbered(next));
            };
            // Bits below the start count as set.
            let taken = page[word] | (bit - 1);
            let aligned = next / u64::BITS * u64::BITS;
            if taken != u64::MAX {
                return Some(C::numbered(aligned + taken.trailing_ones()));
            }
            next = aligned.checked_add(u64::BITS)?;
        }
    }

    /// The end of the last cluster in the set, in clusters; 0 if there is none.
    pub fn end(&self) -> u64 {
        for (number, page) in self.pages.iter().enumerate().rev() {
            let mut words = page.iter().flat_map(|page| page.iter().enumerate().rev());
            if let Some((word, bits)) = words.find(|(_, bits)| **bits != 0) {
                let last = WORD - bits.leading_zeros() as usize;
                return (number * BITS + word * WORD + last) as u64;
            }
        }
        0
    }
}

impl<C: Numbered> FromIterator<C> for ClusterSet<C> {
    fn from_iter<I: IntoIterator<Item = C>>(clusters: I) -> Self {
        let mut set = Self::default();
        for cluster in clusters {
            set.insert(cluster);
        }
        set
    }
}

/// Page, word in it, bit in that.
fn position(cluster: &impl Numbered) -> (usize, usize, u64) {
    let at = cluster.number() as usize;
    (at / BITS, at % BITS / WORD, 1 << (at % WORD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_is_in() {
        let mut set = ClusterSet::default();
        for at in [0, 63, 64, 32_767, 32_768, u32::MAX] {
            assert!(set.insert(FileCluster(at)), "{at}");
            assert!(!set.insert(FileCluster(at)), "{at}");
            assert_eq!(set.end(), u64::from(at) + 1);
        }
        assert_eq!(set.len(), 6);
        assert!(!set.contains(FileCluster(65)));
        assert!(!set.remove(FileCluster(65)));
        assert!(set.remove(FileCluster(u32::MAX)));
        assert_eq!((set.len(), set.end()), (5, 32_769));
        for (end, count) in [(0, 0), (1, 1), (63, 1), (64, 2), (32_768, 4), (u64::MAX, 5)] {
            assert_eq!(set.count_below(end), count, "{end}");
        }
    }

    #[test]
    fn the_first_gap_is_found_across_words_and_pages() {
        let mut set = ClusterSet::default();
        let first = |set: &ClusterSet, start| set.first_absent(FileCluster(start)).unwrap().0;
        assert_eq!(first(&set, 7), 7);
        for at in 3..70_000 {
            set.insert(FileCluster(at));
        }
        assert_eq!(first(&set, 0), 0);
        assert_eq!(first(&set, 3), 70_000);
        assert_eq!(first(&set, 64), 70_000);
        set.remove(FileCluster(127));
        assert_eq!(first(&set, 64), 127);
        assert_eq!(first(&set, 128), 70_000);
        assert_eq!(first(&set, u32::MAX), u32::MAX);
        for at in u32::MAX - 70..=u32::MAX {
            set.insert(FileCluster(at));
        }
        assert_eq!(set.first_absent(FileCluster(u32::MAX - 9)), None);
    }
}
