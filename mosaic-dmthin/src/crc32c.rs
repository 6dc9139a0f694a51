// SPDX-License-Identifier: MIT OR Apache-2.0
//! CRC-32C (Castagnoli), reflected: of the catalog, and of dm-thin's own metadata blocks.

/// The polynomial 0x1edc6f41, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// One step of eight bits for each value of a byte.
const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
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
        table[byte as usize] = crc;
        byte += 1;
    }
    table
}

/// Goes on from `crc` over more bytes, without a final inversion: the kernel's `crc32c()`.
pub fn update(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        let index = (crc ^ u32::from(*byte)) & 0xff;
        TABLE[index as usize] ^ (crc >> 8)
    })
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
    }
}
