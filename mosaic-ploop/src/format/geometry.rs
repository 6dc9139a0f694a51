// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cylinders and heads as libploop gives them to a new image. Nobody reads them; they are here so
//! that our headers are equal to its to the byte.

use super::units::Sectors;

/// Above this and below [`FIXED_UP_TO`] the geometry is always 16 heads of 63 sectors.
const FIXED_FROM: u64 = 1_032_192;
/// The end of that range.
const FIXED_UP_TO: u64 = 16_777_216;

/// A disk's geometry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Tracks in a cylinder.
    pub heads: u32,
    /// Cylinders.
    pub cylinders: u32,
}

impl Geometry {
    /// The geometry of a disk of that size.
    pub fn of(size: Sectors) -> Self {
        let sectors = size.0;
        if (FIXED_FROM + 1..FIXED_UP_TO).contains(&sectors) {
            return Self::new(16, sectors / (63 * 16));
        }
        first_divisor(sectors, &[63, 32, 16, 8])
            .and_then(|track| {
                let tracks = sectors / u64::from(track);
                let heads = first_divisor(tracks, &[16, 8, 4, 2])?;
                Some(Self::new(heads, tracks / u64::from(heads)))
            })
            .unwrap_or_else(|| Self::new(1, sectors))
    }

    /// Sectors in a track, as the descriptor has it.
    pub fn sectors(self, size: Sectors) -> u64 {
        let tracks = u64::from(self.heads) * u64::from(self.cylinders);
        size.0.checked_div(tracks).unwrap_or_default()
    }

    fn new(heads: u32, cylinders: u64) -> Self {
        Self {
            heads,
            // Beyond what the field holds there is no right number.
            cylinders: u32::try_from(cylinders).unwrap_or(u32::MAX),
        }
    }
}

/// The first that leaves nothing.
fn first_divisor(number: u64, divisors: &[u32]) -> Option<u32> {
    let divides = |divisor: &&u32| number != 0 && number.is_multiple_of(u64::from(**divisor));
    divisors.iter().find(divides).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometry_is_that_of_libploop() {
        for (size, cylinders, heads, sectors) in [
            (131_072, 256, 16, 32),
            (100_352, 196, 16, 32),
            (2_097_152, 2080, 16, 63),
            (41_943_040, 81_920, 16, 32),
            (7, 7, 1, 1),
        ] {
            let size = Sectors(size);
            let geometry = Geometry::of(size);
            assert_eq!((geometry.cylinders, geometry.heads), (cylinders, heads));
            assert_eq!(geometry.sectors(size), sectors);
        }
        assert_eq!(Geometry::of(Sectors(0)).sectors(Sectors(0)), 0);
        assert_eq!(Geometry::of(Sectors(u64::MAX)).cylinders, u32::MAX);
    }
}
