// SPDX-License-Identifier: MIT OR Apache-2.0
//! Chance that can be had again.

use std::time::SystemTime;

use crate::requires::say;

/// SplitMix64: the same row of numbers from the same seed on any machine.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The row of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed for one run, which is said: that of `MOSAIC_SEED`, else another one each time.
    ///
    /// # Panics
    /// `MOSAIC_SEED` is set, and no number.
    pub fn seed_of_run() -> u64 {
        let seed = match std::env::var("MOSAIC_SEED") {
            Ok(text) => text.parse().expect("MOSAIC_SEED is a number"),
            Err(_) => {
                let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
                // Short enough to be typed.
                u64::from(now.subsec_nanos() ^ std::process::id())
            }
        };
        say("chance", &format!("MOSAIC_SEED={seed}"));
        seed
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below another one, or 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number().checked_rem(end).unwrap_or(0)
    }

    /// One of some things.
    ///
    /// # Panics
    /// There is none.
    pub fn pick<'t, T>(&mut self, things: &'t [T]) -> &'t T {
        let at = self.below(things.len() as u64);
        &things[usize::try_from(at).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_row_again_and_another_one_another() {
        let row = |seed| {
            let mut random = Random::new(seed);
            [0; 8].map(|_| random.below(1000))
        };
        assert_eq!(row(1), row(1));
        assert_ne!(row(1), row(2));
        assert!(row(3).iter().all(|number| *number < 1000));
        assert_eq!(Random::new(1).below(0), 0);
        assert_eq!(*Random::new(1).pick(&[7]), 7);
    }
}
