// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changing bytes at random, the same way each time.

/// Numbers at which things tend to go wrong.
const NUMBERS: [u32; 16] = [
    0,
    1,
    2,
    3,
    63,
    64,
    65,
    128,
    511,
    512,
    2048,
    131_072,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    u32::MAX,
];

/// Makes new bytes from old ones.
pub struct Mutator {
    state: u64,
    words: &'static [&'static [u8]],
}

impl Mutator {
    /// `words` mean something to what is fuzzed.
    pub fn new(words: &'static [&'static [u8]]) -> Self {
        Self { state: 1, words }
    }

    /// One of the corpus, with some changes.
    pub fn change(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(6) {
            self.change_once(&mut bytes, corpus);
        }
        bytes
    }

    fn change_once(&mut self, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(bytes.len() + 1);
        let end = (at + 1 + self.below(32)).min(bytes.len());
        match self.below(8) {
            0 => {
                let bit = 1 << self.below(8);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= bit;
                }
            }
            1 => {
                let random = self.next().to_le_bytes()[0];
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random;
                }
            }
            2 | 3 => self.put_number(bytes, at),
            4 => drop(bytes.drain(at..end.max(at))),
            5 => {
                let part = bytes[at..end.max(at)].to_vec();
                let to = self.below(bytes.len() + 1);
                bytes.splice(to..to, part);
            }
            6 if !self.words.is_empty() => {
                let word = self.words[self.below(self.words.len())];
                bytes.splice(at..at, word.iter().copied());
            }
            _ => {
                let other = &corpus[self.below(corpus.len())];
                let from = self.below(other.len() + 1);
                let to = (from + self.below(64)).min(other.len());
                let end = (at + to - from).min(bytes.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
        }
    }

    /// Puts a number where one may be, or near the one that is there.
    fn put_number(&mut self, bytes: &mut [u8], at: usize) {
        let at = at / 4 * 4;
        let Some(place) = bytes.get_mut(at..at + 4) else {
            return;
        };
        let mut old = [0; 4];
        old.copy_from_slice(place);
        let number = match self.below(3) {
            0 => NUMBERS[self.below(NUMBERS.len())],
            1 => u32::from_le_bytes(old).wrapping_add(NUMBERS[self.below(4)]),
            _ => u32::from_le_bytes(old).wrapping_sub(NUMBERS[self.below(4)]),
        };
        place.copy_from_slice(&number.to_le_bytes());
    }

    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % end).unwrap_or_default()
    }

    /// splitmix64
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
