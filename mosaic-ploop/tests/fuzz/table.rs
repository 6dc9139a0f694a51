// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any bytes as a partition table.
//!
//! | bytes | what they are |
//! |---|---|
//! | 1 | which checksums are mended: bits 0 and 1 those of the copy in front and at the end; bit 2: each copy has entries of its own; above them the cluster size |
//! | 8 | the disk's size in sectors, up to 2^49 |
//! | 16 | the first entry of the protective MBR |
//! | 96 | how the header in front begins |
//! | 96 | how the one at the end begins |
//! | the rest | how the entries begin, one copy's after the other's |
//!
//! What is not there is zeros.

use mosaic_ploop::format::units::{ClusterSize, Sectors};
use mosaic_ploop::gpt::{self, Found, NewTable, Table, TableFault};

const SECTOR: usize = 512;
/// Bytes of the entries of one copy.
const ENTRIES: usize = gpt::END - SECTOR;
/// No ploop disk is larger: 2^32 - 1 clusters of 2^17 sectors.
const LARGEST: u64 = 1 << 49;

/// Both copies of what is looked at as a table.
struct Copies {
    front: Vec<u8>,
    back: Vec<u8>,
}

/// Looks for a table and gives it to disks of other sizes; a word for how that went.
pub fn run(input: &[u8]) -> String {
    let mut input = input.to_vec();
    input.resize(input.len().max(217), 0);
    let (facts, entries) = input.split_at(217);
    let size = number(&facts[1..9]) % (LARGEST + 1);
    let copies = copies(facts, entries);
    let table = match Table::find(&copies.front, &copies.back, Sectors(size)) {
        Found::Table(table) => table,
        other => return format!("{other:?}"),
    };
    let partition = table.partition();
    assert!(partition.at >= gpt::START as u64 && partition.bytes > 0);
    assert!(partition.at + partition.bytes <= size * SECTOR as u64);
    let cluster = ClusterSize::new(64 << (facts[0] >> 3).min(11)).unwrap();
    let overhead = table.overhead(cluster);
    let mut words = format!("{:?}", table.refusal());
    for bytes in [partition.at, partition.bytes, overhead] {
        words += &format!(" 2^{}", bytes.ilog2());
    }
    for to in [size, size * 2 + 1, size / 2, 67].map(Sectors) {
        match table.resized(to, cluster) {
            Ok(new) => {
                assert_eq!(new.partition.bytes, to.bytes() - overhead);
                check(&new, &table, to, cluster);
                words += " done";
            }
            Err(TableFault::NotLast) => assert!(table.refusal().is_some()),
            Err(TableFault::TooSmall(_)) => {
                assert!(to.bytes() <= overhead, "{to} {overhead}");
                words += " too small";
            }
        }
    }
    words
}

/// It is a table for that size, in both copies, and has the same partition, which is as large as it
/// can be.
fn check(new: &NewTable, old: &Table, size: Sectors, cluster: ClusterSize) {
    assert_eq!((new.front.len(), new.back.len()), (gpt::START, gpt::END));
    assert_eq!(new.back_at + new.back.len() as u64, size.bytes());
    assert_eq!(new.partition.at, old.partition().at);
    assert!(new.partition.at + new.partition.bytes <= new.back_at);
    let mut damaged = new.front.clone();
    damaged[SECTOR + 16] ^= 1;
    for front in [&new.front, &damaged] {
        let Found::Table(found) = Table::find(front, &new.back, size) else {
            panic!("no table any more: {new:?}");
        };
        assert_eq!(found.partition(), new.partition);
        assert_eq!(found.overhead(cluster), old.overhead(cluster));
        assert_eq!(found.resized(size, cluster).as_ref(), Ok(new));
    }
}

fn copies(facts: &[u8], entries: &[u8]) -> Copies {
    let flags = facts[0];
    let (of_front, of_back) = match flags & 4 {
        0 => (entries, entries),
        _ => entries.split_at(entries.len() / 2),
    };
    let (front, back) = (&facts[25..121], &facts[121..217]);
    let [of_front, of_back] = [of_front, of_back].map(|entries| padded(entries, ENTRIES));
    let mut mbr = vec![0; SECTOR];
    mbr[446..462].copy_from_slice(&facts[9..25]);
    let header = |bytes, entries: &[u8], flag| {
        let mut header = padded(bytes, SECTOR);
        if flags & flag != 0 {
            seal(&mut header, entries);
        }
        header
    };
    let (front, back) = (header(front, &of_front, 1), header(back, &of_back, 2));
    Copies {
        front: [mbr, front, of_front].concat(),
        back: [of_back, back].concat(),
    }
}

fn padded(bytes: &[u8], length: usize) -> Vec<u8> {
    let mut bytes = bytes[..bytes.len().min(length)].to_vec();
    bytes.resize(length, 0);
    bytes
}

/// Puts the right checksums into a header: without them hardly any would be looked at.
fn seal(header: &mut [u8], entries: &[u8]) {
    let [length, count] = [12, 80].map(|at| number(&header[at..at + 4]));
    let end = usize::try_from(count * 128).unwrap().min(entries.len());
    let crc = crc32(&entries[..end]);
    header[88..92].copy_from_slice(&crc.to_le_bytes());
    header[16..20].fill(0);
    let length = usize::try_from(length).unwrap().min(SECTOR);
    let crc = crc32(&header[..length]);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
}

fn number(bytes: &[u8]) -> u64 {
    let places = bytes.iter().rev();
    places.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// That of Ethernet, by half bytes.
fn crc32(bytes: &[u8]) -> u32 {
    let table: [u32; 16] = std::array::from_fn(|low| {
        let low = u32::try_from(low).unwrap();
        (0..4).fold(low, |crc, _| (crc >> 1) ^ ((crc & 1) * 0xedb8_8320))
    });
    let step = |crc: u32, low: u32| table[((crc ^ low) & 15) as usize] ^ (crc >> 4);
    let all = bytes.iter().fold(u32::MAX, |crc, byte| {
        let byte = u32::from(*byte);
        step(step(crc, byte), byte >> 4)
    });
    !all
}
