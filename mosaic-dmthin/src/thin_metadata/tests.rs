// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees made by hand, damaged, and changed under the reader.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::*;
use crate::crc32c;
use crate::target::Sectors;

#[derive(Default, Clone)]
struct Memory {
    blocks: BTreeMap<u64, Box<[u8; BLOCK]>>,
}

impl Blocks for Memory {
    fn block(&self, number: u64) -> Result<Box<[u8; BLOCK]>> {
        let block = self.blocks.get(&number).cloned();
        block.ok_or_else(|| corrupt("beyond the device"))
    }
}

fn sealed(mut block: Box<[u8; BLOCK]>, xor: u32) -> Box<[u8; BLOCK]> {
    let sum = crc32c::update(!0, &block[4..]) ^ xor;
    block[..4].copy_from_slice(&sum.to_le_bytes());
    block
}

fn put(block: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A superblock as the kernel writes it.
pub(crate) fn superblock(transaction: u64, details_root: u64) -> Box<[u8; BLOCK]> {
    let mut block = Box::new([0; BLOCK]);
    put(&mut block, 32, &superblock::MAGIC.to_le_bytes());
    put(&mut block, 40, &2_u32.to_le_bytes());
    put(&mut block, 48, &transaction.to_le_bytes());
    put(&mut block, 64, &4000_u64.to_le_bytes());
    put(&mut block, 328, &details_root.to_le_bytes());
    put(&mut block, 336, &128_u32.to_le_bytes());
    put(&mut block, 344, &2048_u64.to_le_bytes());
    sealed(block, superblock::SUM_XOR)
}

fn node(number: u64, flags: u32, entries: &[(u64, Vec<u8>)]) -> Box<[u8; BLOCK]> {
    let value = entries.first().map_or(24, |(_, value)| value.len());
    let room = (BLOCK - btree::HEADER) / (8 + value) / 3 * 3;
    let mut block = Box::new([0; BLOCK]);
    put(&mut block, 4, &flags.to_le_bytes());
    put(&mut block, 8, &number.to_le_bytes());
    for (at, field) in [(16, entries.len()), (20, room), (24, value)] {
        let field = u32::try_from(field).unwrap();
        put(&mut block, at, &field.to_le_bytes());
    }
    for (index, (key, value)) in entries.iter().enumerate() {
        put(&mut block, btree::HEADER + 8 * index, &key.to_le_bytes());
        let at = btree::HEADER + 8 * room + value.len() * index;
        put(&mut block, at, value);
    }
    sealed(block, btree::SUM_XOR)
}

fn details(mapped: u64, made_in: u64) -> Vec<u8> {
    [mapped.to_le_bytes(), made_in.to_le_bytes(), [0; 8]].concat()
}

/// Ids 0, 3, 6... in leaves of ten beneath one root.
fn pool(devices: u64) -> Memory {
    let ids: Vec<u64> = (0..devices).map(|n| n * 3).collect();
    let mut blocks = BTreeMap::new();
    let mut children = Vec::new();
    for (number, ids) in (10..).zip(ids.chunks(10)) {
        let entries: Vec<_> = ids
            .iter()
            .map(|id| (*id, details(id * 2, id / 3)))
            .collect();
        blocks.insert(number, node(number, btree::LEAF, &entries));
        children.push((ids[0], number.to_le_bytes().to_vec()));
    }
    blocks.insert(5, node(5, btree::INTERNAL, &children));
    blocks.insert(0, superblock(7, 5));
    Memory { blocks }
}

#[test]
fn devices_are_found_and_listed() {
    let pool = pool(95);
    for number in 0..290 {
        let found = find(&pool, ThinId::new(number).unwrap()).unwrap();
        let expected = (number % 3 == 0 && number < 285).then_some(Details {
            mapped: u64::from(number) * 2,
            made_in: u64::from(number) / 3,
        });
        assert_eq!(found, expected, "{number}");
    }
    let all = list(&pool).unwrap();
    assert_eq!(all.len(), 95);
    assert!(all.is_sorted_by_key(|(id, _)| *id));
    let mut empty = Memory::default();
    empty.blocks.insert(0, superblock(0, 1));
    empty.blocks.insert(1, node(1, btree::LEAF, &[]));
    assert_eq!(find(&empty, ThinId::METADATA).unwrap(), None);
    assert_eq!(list(&empty).unwrap(), []);
}

#[test]
fn a_block_is_found_through_both_trees() {
    let mut pool = pool(10);
    let mut block = superblock(7, 5);
    put(&mut block, 320, &40_u64.to_le_bytes());
    pool.blocks.insert(0, sealed(block, superblock::SUM_XOR));
    let number = |number: u64| number.to_le_bytes().to_vec();
    let roots = node(40, btree::LEAF, &[(0, number(41)), (9, number(99))]);
    pool.blocks.insert(40, roots);
    let entries = [(0, number(5 << 24 | 3)), (4, number(77 << 24 | 3))];
    pool.blocks.insert(41, node(41, btree::LEAF, &entries));
    let find = |id, block| find_block(&pool, ThinId::new(id).unwrap(), block).unwrap();
    assert_eq!((find(0, 0), find(0, 4)), (Some(5), Some(77)));
    assert_eq!((find(0, 1), find(0, 5), find(3, 0)), (None, None, None));
    let beyond = find_block(&pool, ThinId::new(9).unwrap(), 0).unwrap_err();
    assert_eq!(beyond.kind(), ErrorKind::Corrupt);
}

/// Blocks referred to by more than one thing, in a bitmap at `number`.
fn bitmap(number: u64, single: &[usize], shared: &[usize]) -> Box<[u8; BLOCK]> {
    let mut block = Box::new([0; BLOCK]);
    put(&mut block, 8, &number.to_le_bytes());
    for (places, bits) in [(single, 0b10), (shared, 0b01)] {
        for place in places {
            block[space_map::HEADER + place / 4] |= bits << (place % 4 * 2);
        }
    }
    sealed(block, space_map::BITMAP_XOR)
}

/// Device 1 with blocks 0 to 4 in two leaves, device 2 that shares the second leaf and has block 3.
fn shared_pool() -> Memory {
    let number = |number: u64| number.to_le_bytes().to_vec();
    let mapped = |blocks: &[u64]| -> Vec<(u64, Vec<u8>)> {
        let entries = blocks.iter();
        entries.map(|b| (*b, number((b + 100) << 24 | 1))).collect()
    };
    let mut first = superblock(7, 5);
    for (at, root) in [(80, 60_u64), (208, 70), (320, 40)] {
        put(&mut first, at, &root.to_le_bytes());
    }
    let mut index = Box::new([0; BLOCK]);
    put(&mut index, 8, &70_u64.to_le_bytes());
    put(&mut index, space_map::HEADER, &71_u64.to_le_bytes());
    let entry = [61_u64.to_le_bytes(), [0; 8]].concat();
    let blocks = [
        (0, sealed(first, superblock::SUM_XOR)),
        (
            40,
            node(
                40,
                btree::LEAF,
                &[(1, number(41)), (2, number(42)), (3, number(41))],
            ),
        ),
        (
            41,
            node(41, btree::INTERNAL, &[(0, number(43)), (3, number(44))]),
        ),
        (
            42,
            node(42, btree::INTERNAL, &[(0, number(45)), (3, number(44))]),
        ),
        (43, node(43, btree::LEAF, &mapped(&[0, 1, 2]))),
        (44, node(44, btree::LEAF, &mapped(&[3, 4]))),
        (45, node(45, btree::LEAF, &mapped(&[2]))),
        (60, node(60, btree::LEAF, &[(0, entry)])),
        (61, bitmap(61, &[100, 101, 103, 104], &[102])),
        (70, sealed(index, space_map::INDEX_XOR)),
        (71, bitmap(71, &[41, 42, 43, 45], &[44])),
    ];
    Memory {
        blocks: blocks.into_iter().collect(),
    }
}

#[test]
fn what_only_one_device_has_is_counted() {
    let pool = shared_pool();
    let ids = [1, 2, 9].map(|id| ThinId::new(id).unwrap());
    let all = exclusive::Limit::Blocks(1000);
    let found = exclusive::count(&pool, &ids, all);
    assert_eq!(found.get(&ids[0]), Some(&2), "{found:?}");
    assert_eq!(found.get(&ids[1]), Some(&0));
    assert_eq!(found.get(&ids[2]), None);
    // Without an answer rather than without an end.
    for most in 0..20 {
        let few = exclusive::count(&pool, &ids, exclusive::Limit::Blocks(most));
        assert!(few.iter().all(|(id, count)| found[id] == *count), "{few:?}");
    }
    assert!(exclusive::count(&pool, &ids, exclusive::Limit::Blocks(3)).is_empty());
    let past = exclusive::Limit::Until(std::time::Instant::now());
    assert!(exclusive::count(&pool, &ids, past).is_empty());
    // A damaged block is no answer for those whom it concerns.
    for number in [41, 43, 61, 71] {
        let mut bad = pool.clone();
        bad.blocks.get_mut(&number).unwrap()[50] ^= 1;
        assert_eq!(
            exclusive::count(&bad, &ids, all).get(&ids[0]),
            None,
            "{number}"
        );
    }
}

#[test]
fn a_superblock_says_what_cannot_be_asked_of_an_inactive_pool() {
    let read = Superblock::decode(&superblock(7, 5)[..]).unwrap();
    assert_eq!((read.transaction, read.details_root), (7, 5));
    assert_eq!(read.data_block, Sectors(128));
    assert_eq!((read.data_blocks, read.metadata_blocks), (4000, 2048));
    assert!(!read.needs_check);
    for at in [0, 4, 40, 300, 4095] {
        let mut block = superblock(7, 5);
        block[at] ^= 1;
        let error = Superblock::decode(&block[..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{at}");
    }
    assert!(Superblock::decode(&[0; BLOCK]).is_err());
    assert!(Superblock::decode(&[]).is_err());
}

#[test]
fn damage_is_an_error_and_never_a_panic_or_a_loop() {
    let good = pool(95);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let rounds = if mosaic_tests::is_long() { 5000 } else { 500 };
    for _ in 0..rounds {
        let mut bad = good.clone();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let numbers: Vec<u64> = bad.blocks.keys().copied().collect();
        let number = numbers[usize::try_from(state >> 40).unwrap() % numbers.len()];
        let block = bad.blocks.get_mut(&number).unwrap();
        // Mostly in the header, and half of the time with a right checksum over it.
        let at = 4 + usize::try_from(state >> 20 & 0xfff).unwrap() % 200 % (BLOCK - 4);
        block[at] = state.to_le_bytes()[1];
        if state & 1 == 0 {
            let xor = if number == 0 {
                superblock::SUM_XOR
            } else {
                btree::SUM_XOR
            };
            let again = sealed(block.clone(), xor);
            bad.blocks.insert(number, again);
        }
        let _ = list(&bad);
        let _ = find(&bad, ThinId::new(30).unwrap());
    }
    let mut endless = Memory::default();
    endless.blocks.insert(0, superblock(0, 1));
    let child = vec![(0, 1_u64.to_le_bytes().to_vec())];
    endless.blocks.insert(1, node(1, btree::INTERNAL, &child));
    assert_eq!(list(&endless).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(find(&endless, ThinId::METADATA).is_err());
    // The same leaf under every key: as many devices as that would be, none is listed twice.
    let children: Vec<_> = (0..200)
        .map(|key| (key, 10_u64.to_le_bytes().to_vec()))
        .collect();
    let mut shared = good.clone();
    shared.blocks.insert(5, node(5, btree::INTERNAL, &children));
    assert_eq!(list(&shared).unwrap_err().kind(), ErrorKind::Corrupt);
    // No key at the end of 200 ways at each of fifteen levels: more than can be walked, none listed.
    let mut barren = Memory::default();
    barren.blocks.insert(0, superblock(0, 1));
    for level in 1..15_u64 {
        let below = (level + 1).to_le_bytes().to_vec();
        let children: Vec<_> = (0..200).map(|key| (key, below.clone())).collect();
        let node = node(level, btree::INTERNAL, &children);
        barren.blocks.insert(level, node);
    }
    barren.blocks.insert(15, node(15, btree::LEAF, &[]));
    assert_eq!(list(&barren).unwrap_err().kind(), ErrorKind::Corrupt);
}

/// A pool that commits while its superblock is being followed.
struct Changing {
    states: RefCell<Vec<Memory>>,
    left: Cell<usize>,
}

impl Blocks for Changing {
    fn block(&self, number: u64) -> Result<Box<[u8; BLOCK]>> {
        let mut states = self.states.borrow_mut();
        let block = states[0].block(number);
        if number != 0 && self.left.get() > 0 {
            self.left.set(self.left.get() - 1);
            states.remove(0);
        }
        block
    }
}

#[test]
fn what_changed_meanwhile_is_read_again() {
    let state = |transaction, devices| {
        let mut memory = pool(devices);
        memory.blocks.insert(0, superblock(transaction, 5));
        memory
    };
    let changing = Changing {
        states: RefCell::new(vec![state(1, 10), state(2, 20), state(3, 30)]),
        left: Cell::new(2),
    };
    assert_eq!(list(&changing).unwrap().len(), 30);
}

#[test]
fn two_readings_that_agree_will_do_where_nothing_stands_still() {
    let state = |transaction| {
        let mut memory = pool(20);
        memory.blocks.insert(0, superblock(transaction, 5));
        memory
    };
    let changing = |states: Vec<Memory>| Changing {
        left: Cell::new(states.len() - 1),
        states: RefCell::new(states),
    };
    // A state for each block that is read.
    let restless = changing((0..40).map(state).collect());
    assert_eq!(list(&restless).unwrap().len(), 20);
    let restless = changing((0..40).map(state).collect());
    let found = find(&restless, ThinId::new(3).unwrap()).unwrap();
    assert_eq!(found.unwrap().made_in, 1);
}

#[test]
fn what_the_tools_write_is_read() {
    if !mosaic_tests::requires_program("thin_restore") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (xml, image) = (folder.path().join("xml"), folder.path().join("image"));
    // Both share a run, and each has one of its own; more than one node and one bitmap each.
    let text = r#"<superblock uuid="" time="1" transaction="7" flags="0" version="2"
            data_block_size="128" nr_data_blocks="40000">
          <device dev_id="1" mapped_blocks="21000" transaction="0" creation_time="0" snap_time="1">
            <range_mapping origin_begin="0" data_begin="0" length="1000" time="0"/>
            <range_mapping origin_begin="5000" data_begin="2000" length="20000" time="0"/>
          </device>
          <device dev_id="2" mapped_blocks="1003" transaction="2" creation_time="1" snap_time="1">
            <range_mapping origin_begin="0" data_begin="0" length="1000" time="0"/>
            <range_mapping origin_begin="7000" data_begin="30000" length="3" time="1"/>
          </device>
        </superblock>"#;
    std::fs::write(&xml, text).unwrap();
    std::fs::write(&image, vec![0; 8 << 20]).unwrap();
    let paths = [xml, image.clone()].map(|path| path.to_str().unwrap().to_owned());
    let words = ["-q", "-i", &paths[0], "-o", &paths[1]];
    mosaic_tests::run("thin_restore", &words).unwrap();
    let bytes = std::fs::read(image).unwrap();
    let blocks = bytes.chunks(BLOCK).enumerate().map(|(number, block)| {
        let block: &[u8; BLOCK] = block.try_into().unwrap();
        (number as u64, Box::new(*block))
    });
    let pool = Memory {
        blocks: blocks.collect(),
    };
    let ids = [1, 2].map(|id| ThinId::new(id).unwrap());
    let mapped: Vec<u64> = list(&pool).unwrap().iter().map(|(_, d)| d.mapped).collect();
    assert_eq!(mapped, [21_000, 1003]);
    assert_eq!(find_block(&pool, ids[0], 5001).unwrap(), Some(2001));
    assert_eq!(find_block(&pool, ids[0], 1000).unwrap(), None);
    let found = exclusive::count(&pool, &ids, exclusive::Limit::Blocks(1000));
    let found = ids.map(|id| found.get(&id).copied());
    assert_eq!(found, [Some(20_000), Some(3)]);
}
