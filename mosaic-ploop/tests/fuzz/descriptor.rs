// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any bytes as a descriptor.

use mosaic_ploop::format::descriptor::{Descriptor, DescriptorFault};
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::units::Sectors;
use mosaic_ploop::format::xml::Document;

/// What descriptors are made of.
pub const WORDS: &[&[u8]] = &[
    b"<Shot>",
    b"</Shot>",
    b"<Image>",
    b"</Image>",
    b"<GUID>",
    b"</GUID>",
    b"<ParentGUID>",
    b"<TopGUID>",
    b"<Temporary/>",
    b"<TemporaryZero/>",
    b"<Storage>",
    b"</Storage>",
    b"<Volume/>",
    b"<Preallocated>1</Preallocated>",
    b"<Max_delta_size>0x10</Max_delta_size>",
    b"<Type>Plain</Type>",
    b"<!--",
    b"-->",
    b"<![CDATA[",
    b"]]>",
    b"<?x?>",
    b"<!DOCTYPE a [<!ENTITY b \"c\">]>",
    b"&amp;",
    b"&#x41;",
    b"&b;",
    b"/>",
    b"\xef\xbb\xbf",
    b"{5fbaabe3-6958-40ff-92a7-860e329aab41}",
    b"{00000000-0000-0000-0000-000000000000}",
    b"{704718e1-2314-44c8-9087-d78ed36b0f4e}",
    b"{11111111-1111-1111-1111-111111111111}",
];

/// Parses and changes it; a word for how that went.
pub fn run(input: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(document) = Document::parse(text)
    {
        assert_eq!(document.to_string(), text, "it is written as it was read");
    }
    let descriptor = match Descriptor::parse(input) {
        Ok(descriptor) => descriptor,
        Err(fault) => return word(&fault),
    };
    let again = Descriptor::parse(descriptor.to_string().as_bytes());
    assert_eq!(again.as_ref(), Ok(&descriptor));
    let top = descriptor.top();
    assert!(descriptor.chain(top).len() <= descriptor.images().len());
    let mut words = String::new();
    for change in CHANGES {
        let mut changed = descriptor.clone();
        match change(&mut changed) {
            Ok(()) => {
                let text = changed.to_string();
                let again = Descriptor::parse(text.as_bytes()).unwrap();
                // Not as trees: what was between two elements is one text if both are gone.
                assert_eq!(again.to_string(), text);
                assert_eq!(facts(&again), facts(&changed));
            }
            Err(fault) => {
                assert_eq!(changed, descriptor, "{fault}");
                words += &word(&fault);
            }
        }
    }
    words
}

/// What it says.
fn facts(disk: &Descriptor) -> impl PartialEq + std::fmt::Debug {
    let (size, base, top) = (disk.size(), disk.base(), disk.top());
    (size, base, top, disk.images(), disk.shots())
}

type Change = fn(&mut Descriptor) -> Result<(), DescriptorFault>;

/// One of each change.
const CHANGES: &[Change] = &[
    |disk| disk.set_size(Sectors(u64::MAX)),
    Descriptor::set_usual_top,
    Descriptor::set_expanded,
    Descriptor::remove_top,
    |disk| disk.insert_top(new(), "new&<>\"'"),
    |disk| disk.replace_top(first(disk), "new"),
    |disk| disk.branch_top(new(), first(disk), "new"),
    |disk| disk.remove(last(disk)),
    |disk| disk.set_temporary(first(disk)),
    |disk| {
        let (lower, upper) = (first(disk), last(disk));
        disk.merge(lower, upper, "merged")
    },
];

fn new() -> Guid {
    Guid::from_random([7; 16])
}

fn first(disk: &Descriptor) -> Guid {
    disk.shots()[0].guid
}

fn last(disk: &Descriptor) -> Guid {
    disk.shots().last().map_or(Guid::NONE, |shot| shot.guid)
}

/// Which fault it was, without what it was about.
fn word(fault: &DescriptorFault) -> String {
    let text = format!("{fault:?}");
    let letters = text.chars().filter(char::is_ascii_alphabetic);
    letters.take(24).collect()
}
