// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is written is read back; what the kernel was seen to say is understood; anything else is
//! refused without a panic.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use super::*;

fn round_trip<T: FromStr<Err = Error> + Display + PartialEq + Debug>(text: &str) -> T {
    let value: T = text.parse().unwrap();
    assert_eq!(value.to_string(), text);
    assert_eq!(value.to_string().parse::<T>().unwrap(), value);
    value
}

#[test]
fn a_pool_table_goes_there_and_back() {
    let table: PoolTable = round_trip("254:0 254:1 128 32 0");
    assert_eq!(table.block, Sectors(128));
    let table: PoolTable = round_trip(
        "8:1 8:2 2048 0 4 skip_block_zeroing no_discard_passdown read_only error_if_no_space",
    );
    assert!(table.features.skip_block_zeroing && table.features.error_if_no_space);
    assert_eq!(table.features.others, ["no_discard_passdown", "read_only"]);
    // As one writes it by hand, and in another order.
    let bare: PoolTable = "254:0 254:1 128 32".parse().unwrap();
    assert_eq!(bare.to_string(), "254:0 254:1 128 32 0");
    let text = "254:0 254:1 128 32 2 error_if_no_space skip_block_zeroing";
    let other: PoolTable = text.parse().unwrap();
    assert!(other.features.skip_block_zeroing && other.features.error_if_no_space);
}

#[test]
fn a_thin_table_goes_there_and_back() {
    let table: ThinTable = round_trip("253:4 7");
    assert_eq!(table.id, ThinId::new(7).unwrap());
    let table: ThinTable = round_trip("253:4 16777215 8:16");
    assert_eq!(table.id, ThinId::CATALOG);
    assert_eq!(table.external_origin.unwrap().to_string(), "8:16");
    let line = table.line(Sectors(2048));
    let (read, length) = ThinTable::of(&[line]).unwrap().unwrap();
    assert_eq!((read, length), (table, Sectors(2048)));
    assert!(ThinTable::of(&[]).unwrap().is_none());
}

#[test]
fn a_pool_status_goes_there_and_back() {
    let seen = "1 216/2048 8/3968 1064 rw discard_passdown queue_if_no_space - 512";
    let PoolStatus::Working(pool) = round_trip(seen) else {
        panic!("it works");
    };
    assert_eq!(pool.transaction, 1);
    assert_eq!((pool.metadata.free(), pool.data.free()), (1832, 3960));
    assert_eq!(pool.held_root, Some(1064));
    assert_eq!(pool.mode, PoolMode::ReadWrite);
    assert!(!pool.needs_check && !pool.error_if_no_space);
    assert_eq!(pool.metadata_low_water, Some(512));
    for text in [
        "7 216/2048 3968/3968 - out_of_data_space no_discard_passdown error_if_no_space - 512",
        "7 216/2048 8/3968 - ro ignore_discard error_if_no_space needs_check 512",
        // Without the words that later kernels added.
        "0 5/512 0/64 - rw discard_passdown queue_if_no_space -",
        "Fail",
        "Error",
    ] {
        round_trip::<PoolStatus>(text);
    }
    let newer = format!("{seen} some more words");
    assert_eq!(newer.parse::<PoolStatus>().unwrap().to_string(), seen);
    let older: WorkingPool = "0 5/512 0/64 - rw discard_passdown queue_if_no_space"
        .parse()
        .unwrap();
    assert!(!older.needs_check);
}

#[test]
fn a_thin_status_goes_there_and_back() {
    for text in ["0 -", "8192 262143", "Fail", "Error"] {
        round_trip::<ThinStatus>(text);
    }
}

#[test]
fn messages_are_the_kernels() {
    let id = |number| ThinId::new(number).unwrap();
    for (message, text) in [
        (Message::CreateThin(id(7)), "create_thin 7"),
        (
            Message::CreateSnap {
                id: id(8),
                origin: id(7),
            },
            "create_snap 8 7",
        ),
        (Message::Delete(ThinId::CATALOG), "delete 16777215"),
        (Message::SetTransactionId(3, 4), "set_transaction_id 3 4"),
    ] {
        assert_eq!(message.to_string(), text);
    }
}

#[test]
fn ids_have_24_bits_and_volumes_begin_at_1() {
    assert!(ThinId::new(1 << 24).is_none());
    assert!("16777216".parse::<ThinId>().is_err());
    assert!(!ThinId::METADATA.is_volume() && !ThinId::CATALOG.is_volume());
    assert_eq!(ThinId::METADATA.next(), ThinId::VOLUMES.0);
    assert_eq!(ThinId::VOLUMES.1.next(), ThinId::VOLUMES.0);
    assert!(ThinId::VOLUMES.1.is_volume());
}

#[test]
fn what_is_not_in_the_grammar_is_refused() {
    for text in [
        "",
        "-",
        "254:0",
        "254:0 254:1 128",
        "254:0 254:1 0 32",
        "254:0 254:1 +128 32",
        "254 254:1 128 32",
        "254:0 254:1 128 32 3 read_only",
        "254:0 254:1 128 32 x",
        "99999999999:0 254:1 128 32",
    ] {
        assert!(text.parse::<PoolTable>().is_err(), "{text}");
    }
    for text in ["", "7", "253:4", "253:4 x", "253:4 7 x", "253:4 16777216"] {
        assert!(text.parse::<ThinTable>().is_err(), "{text}");
    }
    for text in [
        "",
        "-",
        "1",
        "1 216 8/3968 - rw discard_passdown queue_if_no_space - 512",
        "1 216/2048 8/3968 - rx discard_passdown queue_if_no_space - 512",
        "-1 216/2048 8/3968 - rw discard_passdown queue_if_no_space - 512",
        "18446744073709551616 1/2 1/2 - rw a b - 5",
    ] {
        assert!(text.parse::<PoolStatus>().is_err(), "{text}");
    }
    for text in ["", "-", "8192", "x y"] {
        assert!(text.parse::<ThinStatus>().is_err(), "{text}");
    }
}
