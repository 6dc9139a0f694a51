// SPDX-License-Identifier: MIT OR Apache-2.0
//! CRC-32C (Castagnoli), reflected: of the catalog, and of dm-thin's own metadata blocks.

/// The polynomial 0x1edc6f41, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Bytes that are taken at once.
const STRIDE: usize = 8;

/// In table 0, eight steps of a bit for each value of a byte; in table N, that and N zero bytes more.
/// No constant, which an unoptimised program copies as a whole at each use.
static TABLES: [[u32; 256]; STRIDE] = tables();

const fn tables() -> [[u32; 256]; STRIDE] {
    let mut tables = [[0; 256]; STRIDE];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut crc = byte;
        let mut bit = 0;
        while bit < 8 {
            let low = crc & 1;
            crc >>= 1;
            if low != 0 {
                crc ^= POLYNOMIAL;
            }
            bit += 1;
        }
        tables[0][byte as usize] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < STRIDE {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[table - 1][byte];
            tables[table][byte] = tables[0][(crc & 0xff) as usize] ^ (crc >> 8);
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// Goes on from `crc` over more bytes, without a final inversion: the kernel's `crc32c()`.
pub fn update(mut crc: u32, bytes: &[u8]) -> u32 {
    let (strides, rest) = bytes.as_chunks::<STRIDE>();
    for stride in strides {
        let all = u64::from_le_bytes(*stride) ^ u64::from(crc);
        let [a, b, c, d, e, f, g, h] = all.to_le_bytes();
        crc = TABLES[7][usize::from(a)]
            ^ TABLES[6][usize::from(b)]
            ^ TABLES[5][usize::from(c)]
            ^ TABLES[4][usize::from(d)]
            ^ TABLES[3][usize::from(e)]
            ^ TABLES[2][usize::from(f)]
            ^ TABLES[1][usize::from(g)]
            ^ TABLES[0][usize::from(h)];
    }
    for byte in rest {
        let [low, ..] = crc.to_le_bytes();
        crc = TABLES[0][usize::from(low ^ byte)] ^ (crc >> 8);
    }
    crc
}

/// The checksum of some bytes, as most formats have it.
pub fn checksum(bytes: &[u8]) -> u32 {
    !update(!0, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_published_values() {
        // RFC 3720, appendix B.4.
        assert_eq!(checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(checksum(&[0xff; 32]), 0x62a8_ab43);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(checksum(&ascending), 0x46dd_794e);
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn goes_on_where_it_was() {
        let whole = update(!0, b"123456789");
        assert_eq!(update(update(!0, b"1234"), b"56789"), whole);
        let bytes: Vec<u8> = (0..100_u8).map(|n| n.wrapping_mul(37)).collect();
        let one_by_one = bytes.iter().fold(!0, |crc, byte| update(crc, &[*byte]));
        assert_eq!(update(!0, &bytes), one_by_one);
    }
}
