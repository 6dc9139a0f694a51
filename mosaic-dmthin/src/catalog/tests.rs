// SPDX-License-Identifier: MIT OR Apache-2.0
//! The catalog as bytes and back; bytes of anything; slots that were cut.

use std::cell::RefCell;

use super::format::{decode, encode};
use super::slot::{Header, PAGE, PoolUuid, SPACING, SlotIndex};
use super::store::{self, Found, Medium};
use super::*;

pub(crate) const POOL: PoolUuid = PoolUuid(*b"0123456789abcdef");

pub(crate) fn id(number: u32) -> ThinId {
    ThinId::new(number).unwrap()
}

pub(crate) fn entry(number: u32) -> Entry {
    Entry {
        id: id(number),
        made_in: 30 + u64::from(number),
        user: None,
        content: Content::Fs("ext4".into()),
        size: Bytes(10 << 30),
        origin: None,
        created: 1_700_000_000,
    }
}

fn deleted(number: u32) -> Pending {
    Pending::Delete {
        id: id(number),
        made_in: 9,
    }
}

fn full() -> Catalog {
    let mut catalog = Catalog {
        metadata: Some(Metadata {
            fs: "ext4".into(),
            size: Bytes(1 << 30),
        }),
        ..Catalog::default()
    };
    catalog.insert("web", entry(1)).unwrap();
    let disk = Entry {
        content: Content::Disk,
        user: Some("größe".into()),
        origin: Some(id(1)),
        ..entry(2)
    };
    catalog.insert("1/12", disk).unwrap();
    catalog.pending = vec![
        Pending::Delete {
            id: id(3),
            made_in: 9,
        },
        Pending::Discard {
            id: id(2),
            from: Bytes(512),
            to: Bytes(1024),
        },
        Pending::Show(id(1)),
    ];
    catalog.skip_ids_to(id(4));
    catalog
}

/// Numbers that look random and are the same on every run.
fn random() -> impl FnMut() -> u64 {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

#[test]
fn a_state_goes_there_and_back() {
    for catalog in [Catalog::default(), full()] {
        assert_eq!(decode(&encode(&catalog).unwrap()).unwrap(), catalog);
    }
    let mut many = full();
    let mut random = random();
    for number in 10..10_010 {
        let name = "x".repeat(usize::try_from(random() % 200).unwrap());
        let name = format!("{number}{name}");
        many.insert(&name, entry(number)).unwrap();
    }
    let bytes = encode(&many).unwrap();
    assert_eq!(decode(&bytes).unwrap(), many);
}

#[test]
fn the_layout_is_what_the_manual_says() {
    let mut catalog = Catalog::default();
    catalog.insert("a", entry(7)).unwrap();
    let bytes = encode(&catalog).unwrap();
    let expected: Vec<u8> = [
        &[1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
        &[0; 8],
        &[7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        &(20_u64 << 20).to_le_bytes(),
        &1_700_000_000_u64.to_le_bytes(),
        &37_u64.to_le_bytes(),
        &[1, 0, 0, 0, 4, 0, 0, 0],
        b"aext4",
    ]
    .concat();
    assert_eq!(bytes, expected);
    let page = Header::new(POOL, 5, 128 << 10, b"x").encode();
    assert_eq!(&page[..16], b"MOSAIC CATALOG\0\0");
    assert_eq!(page[16..24], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(&page[24..40], b"0123456789abcdef");
    assert_eq!(page[40..48], 5_u64.to_le_bytes());
    assert_eq!(page[48..56], 1_u64.to_le_bytes());
    assert_eq!(page[56..64], (128_u64 << 10).to_le_bytes());
    assert!(page[72..].iter().all(|byte| *byte == 0));
}

#[test]
fn any_bytes_are_read_without_a_panic_and_changed_ones_refused() {
    let good = encode(&full()).unwrap();
    for length in 0..good.len() {
        assert!(decode(&good[..length]).is_err(), "cut at {length}");
    }
    let mut random = random();
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=random() % 4 {
            let at = usize::try_from(random()).unwrap() % bytes.len();
            bytes[at] = random().to_le_bytes()[0];
        }
        // Whatever is taken for a state is one: it can be written, and read again.
        if let Ok(catalog) = decode(&bytes) {
            assert_eq!(decode(&encode(&catalog).unwrap()).unwrap(), catalog);
        }
        let length = usize::try_from(random() % 300).unwrap();
        let noise: Vec<u8> = (0..length).map(|_| random().to_le_bytes()[0]).collect();
        let _ = decode(&noise);
    }
}

#[test]
fn a_state_that_contradicts_itself_is_refused() {
    let refused = |change: fn(&mut Catalog)| {
        let mut catalog = full();
        change(&mut catalog);
        let error = decode(&encode(&catalog).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    };
    refused(|c| c.insert("other", entry(1)).unwrap());
    refused(|c| c.insert("other", entry(3)).unwrap());
    refused(|c| {
        c.insert(
            "other",
            Entry {
                id: ThinId::METADATA,
                ..entry(9)
            },
        )
        .unwrap()
    });
    refused(|c| {
        c.insert(
            "other",
            Entry {
                id: ThinId::CATALOG,
                ..entry(9)
            },
        )
        .unwrap()
    });
    refused(|c| c.insert("../other", entry(9)).unwrap());
    refused(|c| {
        c.insert(
            "other",
            Entry {
                size: Bytes(0),
                ..entry(9)
            },
        )
        .unwrap()
    });
    refused(|c| {
        let content = Content::Fs("../sh".into());
        c.insert(
            "other",
            Entry {
                content,
                ..entry(9)
            },
        )
        .unwrap();
    });
    refused(|c| c.pending.push(deleted(2)));
    refused(|c| c.pending.push(deleted(3)));
    refused(|c| {
        let (from, to) = (Bytes(512), Bytes(1024));
        c.pending.push(Pending::Discard {
            id: id(9),
            from,
            to,
        });
    });
    refused(|c| c.pending.push(Pending::Show(id(9))));
    refused(|c| c.skip_ids_to(ThinId::CATALOG));
    refused(|c| {
        let size = Bytes(0);
        c.metadata = Some(Metadata {
            fs: "ext4".into(),
            size,
        });
    });
}

#[test]
fn an_id_is_used_again_only_after_all_others() {
    let mut catalog = full();
    assert_eq!(catalog.take_id().unwrap(), id(4));
    assert_eq!(catalog.take_id().unwrap(), id(5));
    catalog.skip_ids_to(ThinId::VOLUMES.1);
    assert_eq!(catalog.take_id().unwrap(), ThinId::VOLUMES.1);
    // 1 and 2 are volumes, 3 is to be deleted.
    assert_eq!(catalog.take_id().unwrap(), id(4));
}

#[test]
fn a_clone_outlives_its_origin() {
    let mut catalog = full();
    let origin = catalog.remove("web").unwrap();
    assert_eq!(catalog.require("1/12").unwrap().origin, Some(origin.id));
    catalog.forget_origin(origin.id);
    assert_eq!(catalog.require("1/12").unwrap().origin, None);
}

#[test]
fn a_name_beneath_is_found() {
    let mut catalog = full();
    catalog.insert("12", entry(8)).unwrap();
    catalog.insert("1-", entry(9)).unwrap();
    assert_eq!(catalog.beneath("1"), Some("1/12"));
    assert_eq!(catalog.beneath("12"), None);
    assert_eq!(catalog.beneath("w"), None);
    for name in ["web", "web/a", "web/a/b", "1", "1/12", "1/12/x"] {
        let error = catalog.check_free(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exists, "{name}");
    }
    for name in ["we", "webb", "1/1", "1/123", "a/b"] {
        catalog.check_free(name).unwrap();
    }
}

/// A device in memory, with what was written last and not yet made durable.
#[derive(Default)]
struct Memory {
    bytes: RefCell<std::collections::BTreeMap<u64, Vec<u8>>>,
    /// Pages written since the last sync.
    dirty: RefCell<Vec<u64>>,
    /// A page that cannot be read.
    bad: std::cell::Cell<Option<u64>>,
}

impl Medium for Memory {
    fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let pages = self.bytes.borrow();
        let read = offset..offset + length as u64;
        if self.bad.get().is_some_and(|bad| read.contains(&bad)) {
            return Err(Error::new(ErrorKind::Io, "a bad page"));
        }
        let mut bytes = Vec::new();
        for at in (offset..offset + length as u64).step_by(PAGE) {
            bytes.extend(pages.get(&at).cloned().unwrap_or(vec![0; PAGE]));
        }
        Ok(bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        assert!(offset.is_multiple_of(PAGE as u64) && bytes.len().is_multiple_of(PAGE));
        let written = offset..offset + bytes.len() as u64;
        // A disk has other sectors for it.
        if self.bad.get().is_some_and(|bad| written.contains(&bad)) {
            self.bad.set(None);
        }
        for (at, page) in (offset..).step_by(PAGE).zip(bytes.chunks(PAGE)) {
            self.bytes.borrow_mut().insert(at, page.to_vec());
            self.dirty.borrow_mut().push(at);
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.dirty.borrow_mut().clear();
        Ok(())
    }
}

const CAPACITY: u64 = 1 << 20;

fn written(states: &[(SlotIndex, u64, &Catalog)]) -> Memory {
    let memory = Memory::default();
    for (index, stamp, catalog) in states {
        store::write(&memory, *index, POOL, *stamp, CAPACITY, catalog).unwrap();
    }
    memory
}

#[test]
fn the_slot_with_the_pools_stamp_is_the_true_one() {
    let (old, new) = (Catalog::default(), full());
    let memory = written(&[(SlotIndex::First, 5, &old), (SlotIndex::Second, 6, &new)]);
    let truth = store::read(&memory, 6).unwrap();
    assert_eq!((truth.index, &truth.catalog), (SlotIndex::Second, &new));
    assert_eq!((truth.attempt, truth.header.pool), (None, POOL));
    let truth = store::read(&memory, 5).unwrap();
    assert_eq!((truth.index, &truth.catalog), (SlotIndex::First, &old));
    assert_eq!(truth.attempt.as_ref(), Some(&new));
    for transaction in [0, 4, 7, u64::MAX] {
        let error = store::read(&memory, transaction).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let text = error.chain();
        for number in [&transaction.to_string(), "5", "6"] {
            assert!(text.contains(number), "{text}");
        }
    }
    let candidates = store::candidates(&memory).unwrap();
    let stamps: Vec<u64> = candidates.iter().map(|c| c.header.stamp).collect();
    assert_eq!(stamps, [6, 5]);
    // Whatever the pool is at, the state that is taken is the only one of its time.
    for (transaction, stamp) in [(2, 7), (6, 7), (9, 10)] {
        for (chosen, state) in candidates.iter().zip([&new, &old]) {
            let memory = written(&[(SlotIndex::First, 5, &old), (SlotIndex::Second, 6, &new)]);
            let written = store::write_again(&memory, chosen, transaction).unwrap();
            assert_eq!(written.stamp, stamp);
            let truth = store::read(&memory, stamp).unwrap();
            assert!(truth.catalog.volumes().eq(state.volumes()));
            assert!(truth.catalog.pending.is_empty());
            assert_eq!(truth.attempt, None);
        }
    }
    let first = written(&[(SlotIndex::First, POOL.first_transaction(), &old)]);
    for (memory, transaction) in [(Memory::default(), 0), (first, 0), (Memory::default(), 5)] {
        let nothing = store::read(&memory, transaction).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::NotFound);
    }
}

#[test]
fn a_pool_begins_at_a_transaction_of_its_own() {
    assert_eq!(POOL.first_transaction(), 0x6162_6364_6566);
    assert_eq!(PoolUuid([0; 16]).first_transaction(), 1);
    let header = |stamp| Header::new(POOL, stamp, 128 << 10, b"x");
    assert!(header(POOL.first_transaction()).is_first());
    assert!(!header(1).is_first());
}

#[test]
fn a_slot_cut_while_written_is_none_and_the_true_one_stays() {
    let mut long = full();
    for number in 10..400 {
        long.insert(&format!("volume-{number}"), entry(number))
            .unwrap();
    }
    let before = written(&[
        (SlotIndex::First, 5, &long),
        (SlotIndex::Second, 4, &full()),
    ]);
    let mut longer = long.clone();
    longer.insert("another", entry(500)).unwrap();
    let after = written(&[(SlotIndex::Second, 6, &longer)]);
    let pages = after.bytes.borrow().clone();
    assert!(pages.len() > 3);
    // Any set of the pages may have reached the disk.
    for cut in 0..1 << pages.len().min(8) {
        let memory = Memory::default();
        *memory.bytes.borrow_mut() = before.bytes.borrow().clone();
        for (bit, (at, page)) in pages.iter().enumerate() {
            if cut >> bit.min(7) & 1 == 1 {
                memory.bytes.borrow_mut().insert(*at, page.clone());
            }
        }
        let truth = store::read(&memory, 5).unwrap();
        assert_eq!(truth.catalog, long, "cut {cut:b}");
        if let Some(attempt) = truth.attempt {
            assert_eq!(attempt, longer, "cut {cut:b}");
        }
    }
}

#[test]
fn any_change_of_a_slot_is_noticed() {
    let good = written(&[(SlotIndex::First, 5, &full())]);
    let mut random = random();
    for _ in 0..2000 {
        let memory = Memory::default();
        *memory.bytes.borrow_mut() = good.bytes.borrow().clone();
        let used = PAGE + encode(&full()).unwrap().len();
        // Behind its sum the page holds nothing.
        let at = match usize::try_from(random()).unwrap() % (used - PAGE + 72) {
            at if at < 72 => at,
            at => at - 72 + PAGE,
        };
        let page = (at / PAGE * PAGE) as u64;
        let bit = 1 << (random() % 8);
        memory.bytes.borrow_mut().get_mut(&page).unwrap()[at % PAGE] ^= bit;
        let error = store::read(&memory, 5).unwrap_err();
        let expected = [ErrorKind::Corrupt, ErrorKind::NotFound];
        assert!(expected.contains(&error.kind()), "{at}: {}", error.chain());
    }
}

#[test]
fn a_newer_layout_is_refused() {
    let memory = written(&[(SlotIndex::First, 5, &full())]);
    let page = memory.bytes.borrow()[&0].clone();
    let mut header = Header::decode(&page).unwrap().unwrap();
    header.version += 1;
    memory.write_at(0, &header.encode()).unwrap();
    let error = store::read(&memory, 5).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn a_newer_layout_is_told_whatever_else_it_says() {
    let memory = written(&[
        (SlotIndex::First, 5, &full()),
        (SlotIndex::Second, 4, &full()),
    ]);
    let mut page = memory.bytes.borrow()[&0].clone();
    page[16] = 2;
    page[20..24].fill(7);
    page[56..64].fill(0xff);
    let sum = crate::crc32c::checksum(&page[..68]);
    page[68..72].copy_from_slice(&sum.to_le_bytes());
    memory.write_at(0, &page).unwrap();
    // Whether it is the true one or the other.
    for transaction in [4, 5, 6] {
        let error = store::read(&memory, transaction).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    let error = store::candidates(&memory).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn a_pool_behind_a_committed_state_is_older_than_its_catalog() {
    let memory = Memory::default();
    let old = Catalog::default();
    store::write(&memory, SlotIndex::First, POOL, 5, CAPACITY, &old).unwrap();
    let next = store::write(&memory, SlotIndex::Second, POOL, 6, CAPACITY, &full()).unwrap();
    assert!(store::read(&memory, 5).unwrap().attempt.is_some());
    store::mark_committed(&memory, SlotIndex::Second, next).unwrap();
    let truth = store::read(&memory, 6).unwrap();
    assert!(truth.header.committed && truth.catalog == full());
    let Found::NoTruth(error) = store::look(&memory, 5).unwrap() else {
        panic!("believed");
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.chain().contains("older than its catalog"), "{error}");
    // The next state takes the mark with it.
    store::write(&memory, SlotIndex::Second, POOL, 6, CAPACITY, &old).unwrap();
    assert_eq!(store::read(&memory, 5).unwrap().attempt, Some(old));
    // A mark of another page is none.
    let page = memory.bytes.borrow()[&SPACING].clone();
    let mut torn = page.clone();
    torn[512..528].copy_from_slice(b"COMMITTED\0\0\0abcd");
    assert!(!Header::decode(&torn).unwrap().unwrap().committed);
}

#[test]
fn a_slot_that_cannot_be_read_matters_only_where_it_is_needed() {
    let memory = written(&[
        (SlotIndex::First, 5, &full()),
        (SlotIndex::Second, 4, &full()),
    ]);
    for bad in [SPACING, SPACING + PAGE as u64] {
        memory.bad.set(Some(bad));
        let truth = store::read(&memory, 5).unwrap();
        assert_eq!(truth.catalog, full());
        // Of a slot with T - 1 the payload is not looked at.
        assert_eq!(truth.require_other().is_err(), bad == SPACING);
        for transaction in [4, 6] {
            let error = store::look(&memory, transaction);
            let is_io = error.is_err_and(|error| error.kind() == ErrorKind::Io);
            assert_eq!(
                is_io,
                bad == SPACING || transaction == 4,
                "{bad} {transaction}"
            );
        }
        assert_eq!(
            store::candidates(&memory).unwrap_err().kind(),
            ErrorKind::Io
        );
    }
    memory.bad.set(Some(PAGE as u64));
    assert_eq!(store::look(&memory, 5).unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn a_slot_that_cannot_be_read_is_written_anew_with_zeroes() {
    for (bad, stamp) in [(SPACING, 4), (SPACING, 6), (SPACING + PAGE as u64, 6)] {
        let memory = written(&[
            (SlotIndex::First, 5, &full()),
            (SlotIndex::Second, stamp, &full()),
        ]);
        memory.bad.set(Some(bad));
        let truth = store::read(&memory, 5).unwrap();
        let told = truth.require_other().unwrap_err().to_string();
        assert!(told.contains("check --repair=slot"), "{told}");
        store::clear_other(&memory, &truth).unwrap();
        let now = store::read(&memory, 5).unwrap();
        now.require_other().unwrap();
        assert_eq!((now.catalog, now.attempt), (full(), None));
        assert!(memory.dirty.borrow().is_empty());
        // Beyond what either slot has blocks for nothing is written.
        let last = memory.bytes.borrow().keys().last().copied().unwrap();
        assert_eq!(last, SPACING + CAPACITY - PAGE as u64);
    }
}

#[test]
fn capacity_is_a_block_more_than_is_needed() {
    let small = Catalog::default();
    assert_eq!(store::wanted_capacity(&small, 64 << 10).unwrap(), 128 << 10);
    assert_eq!(store::wanted_capacity(&small, 1 << 20).unwrap(), 2 << 20);
    assert_eq!(
        store::wanted_capacity(&small, 192 << 10).unwrap(),
        384 << 10
    );
    assert_eq!(store::wanted_capacity(&small, SPACING).unwrap(), SPACING);
    let memory = Memory::default();
    store::provision(&memory, PAGE as u64, 256 << 10).unwrap();
    assert!(memory.bytes.borrow().contains_key(&(SPACING + (252 << 10))));
    assert!(!memory.bytes.borrow().contains_key(&0));
    assert!(memory.dirty.borrow().is_empty());
    let too_small = PAGE as u64;
    let written = store::write(&memory, SlotIndex::First, POOL, 1, too_small, &full());
    assert_eq!(written.unwrap_err().kind(), ErrorKind::NoSpace);
    assert!(!memory.bytes.borrow().contains_key(&0));
}
