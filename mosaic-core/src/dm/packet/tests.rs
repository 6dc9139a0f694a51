// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is put is read back, and an answer of anything is read without a panic.

use super::*;

fn line(words: &str) -> Line {
    Line {
        start: 0,
        length: 2048,
        target: "thin".into(),
        words: words.into(),
    }
}

#[test]
fn a_table_stands_behind_the_header_in_whole_eights() {
    let mut packet = Packet::new(4096);
    packet.put_table(&line("253:4 7")).unwrap();
    assert_eq!(packet.room(), 48);
    assert_eq!(packet.lines().unwrap(), [line("253:4 7")]);
    for words in ["", "1234567", "12345678"] {
        packet.put_table(&line(words)).unwrap();
        assert_eq!(packet.room() % 8, 0, "{words}");
        assert_eq!(packet.lines().unwrap()[0].words, words);
    }
}

#[test]
fn names_and_words_that_would_be_cut_are_refused() {
    let mut packet = Packet::new(0);
    for name in ["", "a\0b", &"x".repeat(NAME_MAX + 1)] {
        assert_eq!(packet.select(By::Name(name)), Err(Errno::INVAL), "{name:?}");
    }
    packet.put_name(&"x".repeat(NAME_MAX)).unwrap();
    packet.put_name("y").unwrap();
    assert_eq!(packet.name(), "y");
    packet.put_uuid(&"u".repeat(UUID_MAX)).unwrap();
    assert_eq!(packet.uuid().len(), UUID_MAX);
    assert!(packet.put_message("delete 1\0").is_err());
    assert!(packet.put_table(&line("a\0b")).is_err());
    let long = Line {
        target: "t".repeat(16),
        ..line("")
    };
    assert!(packet.put_table(&long).is_err());
}

/// An answer of LIST_DEVICES as drivers/md/dm-ioctl.c lays it out.
fn listing(devices: &[(Dev, &str, Option<&str>)]) -> Packet {
    let mut data = Vec::new();
    for (at, (dev, name, uuid)) in devices.iter().enumerate() {
        let mut entry = dev.to_ne_bytes().to_vec();
        entry.extend([0; 4]);
        entry.extend(name.as_bytes());
        entry.push(0);
        entry.resize(entry.len().next_multiple_of(8), 0);
        entry.extend(3_u32.to_ne_bytes());
        entry.extend(if uuid.is_some() { 1_u32 } else { 2 }.to_ne_bytes());
        if let Some(uuid) = uuid {
            entry.extend(uuid.as_bytes());
            entry.push(0);
        }
        entry.resize(entry.len().next_multiple_of(8), 0);
        if at + 1 < devices.len() {
            let next = u32::try_from(entry.len()).unwrap();
            entry[8..12].copy_from_slice(&next.to_ne_bytes());
        }
        data.append(&mut entry);
    }
    let mut packet = Packet::new(0);
    packet.bytes.append(&mut data);
    packet
}

#[test]
fn a_list_is_read_with_uuids() {
    let packet = listing(&[
        (0xfd00, "a", Some("MOSAIC-253:0-1")),
        (0xfd01, "longer-name", None),
        (0xfd02, "1234", Some("LVM-x")),
    ]);
    let devices = packet.devices().unwrap();
    let uuids: Vec<_> = devices.iter().map(|d| d.uuid.as_deref()).collect();
    assert_eq!(uuids, [Some("MOSAIC-253:0-1"), Some(""), Some("LVM-x")]);
    assert_eq!(devices[1].name, "longer-name");
    let mut none = Packet::new(16);
    assert_eq!(none.devices().unwrap(), []);
    none.put_flags(flag::BUFFER_FULL);
    assert_eq!(none.flags(), flag::BUFFER_FULL);
}

#[test]
fn any_answer_is_read_without_a_panic() {
    let good = listing(&[(0xfd00, "a", Some("u")), (0xfd01, "b", None)]);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..20_000 {
        let mut packet = good.clone();
        for _ in 0..4 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let bytes = state.to_le_bytes();
            let at = usize::from(u16::from_le_bytes([bytes[0], bytes[1]])) % packet.bytes.len();
            packet.bytes[at] = bytes[2];
        }
        let _ = packet.devices();
        let _ = packet.lines();
        let _ = (packet.name(), packet.uuid(), packet.answer());
    }
}

#[test]
fn targets_are_read_up_to_the_last() {
    let mut packet = Packet::new(0);
    for (next, name) in [(24_u32, "linear"), (32, "snapshot-origin"), (0, "ploop")] {
        let mut entry = next.to_ne_bytes().to_vec();
        entry.extend([0; 12]);
        entry.extend(name.as_bytes());
        entry.push(0);
        entry.resize(entry.len().max(next as usize), 0);
        packet.bytes.append(&mut entry);
    }
    assert_eq!(
        packet.targets().unwrap(),
        ["linear", "snapshot-origin", "ploop"]
    );
    packet.bytes.truncate(HEADER + 30);
    packet.put32(HEADER + 24, 900);
    packet.bytes.resize(HEADER + 60, 0);
    assert_eq!(packet.targets(), Err(Errno::PROTO));
}

#[test]
fn a_uuid_that_no_device_can_have_is_not_given() {
    let mut packet = Packet::new(0);
    assert!(packet.put_new_uuid("").is_err());
    assert!(packet.put_new_uuid("a\0b").is_err());
    assert!(packet.put_new_uuid(&"u".repeat(UUID_MAX + 1)).is_err());
    packet.put_new_uuid("MOSAIC").unwrap();
    assert_eq!(packet.flags(), flag::UUID);
    assert_eq!(packet.bytes[HEADER..], *b"MOSAIC\0");
}
