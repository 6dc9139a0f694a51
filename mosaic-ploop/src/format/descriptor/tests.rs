// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;

const A: &str = "{11111111-1111-1111-1111-111111111111}";
const B: &str = "{22222222-2222-2222-2222-22222222222A}";

fn guid(text: &str) -> Guid {
    text.parse().unwrap()
}

fn new(base: Base) -> Descriptor {
    Descriptor::new(Sectors(131_072), ClusterSize::DEFAULT, base, "root.hds").unwrap()
}

fn parse(text: &str) -> Result<Descriptor, DescriptorFault> {
    Descriptor::parse(text.as_bytes())
}

/// A disk with A beneath the top, changed by a replacement in its text.
fn changed(from: &str, to: &str) -> Result<Descriptor, DescriptorFault> {
    let mut descriptor = new(Base::Expanded);
    descriptor.insert_top(guid(A), "root.hds.1").unwrap();
    let text = descriptor.to_string();
    assert!(text.contains(from), "{from}");
    parse(&text.replacen(from, to, 1))
}

/// A disk whose first element of a name has that text.
fn set(name: &str, text: &str) -> Result<Descriptor, DescriptorFault> {
    let descriptor = new(Base::Expanded).to_string();
    let tag = format!("<{name}>");
    let start = descriptor.find(&tag).unwrap() + tag.len();
    let end = descriptor.find(&format!("</{name}>")).unwrap();
    parse(&format!(
        "{}{text}{}",
        &descriptor[..start],
        &descriptor[end..]
    ))
}

#[test]
fn what_is_written_is_read() {
    for base in [Base::Expanded, Base::Preallocated, Base::Raw] {
        let mut descriptor = new(base);
        assert_eq!(descriptor.base(), base);
        descriptor.insert_top(guid(A), "a&b <c>").unwrap();
        let again = parse(&descriptor.to_string()).unwrap();
        assert_eq!(again, descriptor);
        assert_eq!(again.file(Guid::TOP), Some("a&b <c>"));
        assert_eq!(again.chain(Guid::TOP), [guid(A), Guid::TOP]);
        assert_eq!(again.base(), base);
    }
}

#[test]
fn what_is_not_known_survives_every_change() {
    let top = "<GUID>{5fbaabe3-6958-40ff-92a7-860e329aab41}</GUID>";
    let hint = "<Hint b='1'>x &amp; y</Hint>";
    let upper = top.to_uppercase();
    let descriptor = changed(top, &format!("{upper}{hint}")).unwrap();
    let vendor = "  <Vendor:Data a=\"&lt;\"/>\n  <StorageData>";
    let text = descriptor.to_string().replace("  <StorageData>", vendor);
    let end = "<!-- the end --></Parallels_disk_image>";
    let text = text.replace("</Parallels_disk_image>", end);
    let mut descriptor = parse(&text).unwrap();
    assert_eq!(descriptor.to_string(), text);
    descriptor.insert_top(guid(B), "root.hds.2").unwrap();
    descriptor.set_size(Sectors(262_144)).unwrap();
    descriptor.set_temporary(guid(A)).unwrap();
    descriptor.merge(guid(A), guid(B), "root.hds").unwrap();
    let text = descriptor.to_string();
    for part in [
        "<Vendor:Data a=\"&lt;\"/>",
        hint,
        "<!-- the end -->",
        "<Disk_size>262144</Disk_size>",
        "<Cylinders>512</Cylinders>",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    // What was the top's is now the snapshot's.
    let image = &text[text.find("<Image>").unwrap()..text.find("</Image>").unwrap()];
    let name = "{22222222-2222-2222-2222-22222222222a}";
    assert!(image.contains(name) && image.contains(hint), "{text}");
}

#[test]
fn numbers_are_read_as_c_reads_them() {
    for text in ["0x20000", "0X20000", "0400000", " 131072 "] {
        let size = set("Disk_size", text).unwrap().size();
        assert_eq!(size, Sectors(131_072), "{text}");
    }
    for text in [
        "",
        "0x",
        "08",
        "+1",
        "-1",
        "1K",
        "0x+1",
        "99999999999999999999",
        "1<a/>x",
    ] {
        assert!(set("Disk_size", text).is_err(), "{text}");
    }
    for text in ["0", "63", "96", "262144", "4294967360"] {
        assert!(set("Blocksize", text).is_err(), "{text}");
    }
}

#[test]
fn an_older_top_gets_the_usual_name() {
    let fault = changed("<TopGUID>{5fbaabe3", "<TopGUID>{6fbaabe3").unwrap_err();
    assert!(matches!(fault, DescriptorFault::Top(_)));
    let usual = new(Base::Expanded).to_string();
    let mut descriptor = parse(&usual.replace("5fbaabe3", "6fbaabe3")).unwrap();
    assert_ne!(descriptor.top(), Guid::TOP);
    descriptor.set_usual_top().unwrap();
    assert_eq!(descriptor, new(Base::Expanded));
    // Without a word about it, it is the one with that name.
    let word = "<TopGUID>{5fbaabe3-6958-40ff-92a7-860e329aab41}</TopGUID>";
    let text = usual.replacen(word, "", 1);
    assert_eq!(parse(&text).unwrap().top(), Guid::TOP);
    assert!(parse(&text.replace("5fbaabe3", "6fbaabe3")).is_err());
}

#[test]
fn a_missing_shot_is_added_as_libploop_does() {
    let text = new(Base::Expanded).to_string();
    let start = text.find("  <Snapshots>").unwrap();
    let end = text.find("</Parallels").unwrap();
    let descriptor = parse(&format!("{}{}", &text[..start], &text[end..])).unwrap();
    assert_eq!(descriptor.chain(Guid::TOP), [Guid::TOP]);
    assert_eq!(parse(&descriptor.to_string()).unwrap(), descriptor);
}

#[test]
fn the_base_alone_says_whether_it_is_raw() {
    let mut descriptor = new(Base::Raw);
    descriptor.insert_top(guid(A), "root.hds.1").unwrap();
    let text = descriptor.to_string();
    assert_eq!(text.matches("Plain").count(), 2);
    let (before, after) = text.rsplit_once("Plain").unwrap();
    let mixed = parse(&format!("{before}Compressed{after}")).unwrap();
    assert_eq!(mixed.base(), Base::Raw);
    descriptor.set_expanded().unwrap();
    assert_eq!(descriptor.base(), Base::Expanded);
}

#[test]
fn snapshots_that_are_no_tree_are_refused() {
    let top = Guid::TOP.to_string();
    let none = Guid::NONE.to_string();
    let parent = |guid: &str| format!("<ParentGUID>{guid}</ParentGUID>");
    let cases = [
        // Two bases, none, one that is not there, one upon itself.
        (parent(A), parent(&none)),
        (parent(&none), parent(&top)),
        (parent(A), parent(B)),
        (parent(A), parent(&top)),
        // The same name or the same file twice.
        (format!("<GUID>{A}</GUID>"), format!("<GUID>{top}</GUID>")),
        ("root.hds.1".to_owned(), "root.hds".to_owned()),
        // A shot without an image.
        (format!("<GUID>{A}</GUID>"), format!("<GUID>{B}</GUID>")),
    ];
    for (from, to) in cases {
        assert!(changed(&from, &to).is_err(), "{from} {to}");
    }
    let mut descriptor = new(Base::Expanded);
    assert!(descriptor.set_temporary(Guid::TOP).is_err());
    assert!(descriptor.remove(Guid::TOP).is_err());
    assert!(descriptor.remove_top().is_err());
    assert_eq!(descriptor, new(Base::Expanded));
}

#[test]
fn what_is_not_supported_is_refused() {
    assert!(set("Padding", "1").is_err());
    assert!(set("Type", "Sparse").is_err());
    assert!(set("File", "").is_err());
    assert!(set("File", "a/").is_err());
    let squeezed = set("File", "a//b///c").unwrap();
    assert_eq!(squeezed.file(Guid::TOP), Some("a/b/c"));
    let fault = changed("</Storage>", "</Storage><Storage></Storage>").unwrap_err();
    assert_eq!(fault, DescriptorFault::Number("Storage", 2));
    let raw = new(Base::Raw).to_string();
    let both = raw.replace("<End>", "<Preallocated>1</Preallocated><End>");
    assert_eq!(parse(&both), Err(DescriptorFault::PreallocatedRaw));
    assert_eq!(Descriptor::parse(&[0xff]), Err(DescriptorFault::Encoding));
    let long = " ".repeat(1 << 20) + &raw;
    assert!(matches!(parse(&long), Err(DescriptorFault::TooLong(_))));
}

#[test]
fn what_must_be_treated_with_care_is_told() {
    let volume = "<Volume><Parent>/v</Parent></Volume><Storage>";
    assert!(changed("<Storage>", volume).unwrap().is_volume());
    let key = "<Encryption><KeyId>k</KeyId></Encryption><Padding>";
    assert!(changed("<Padding>", key).unwrap().is_encrypted());
    let limit = "<Max_delta_size>4096</Max_delta_size><Padding>";
    let limit = changed("<Padding>", limit).unwrap();
    assert_eq!(limit.max_delta(), Some(Sectors(4096)));
    for (tag, temporary) in [
        ("Temporary", Temporary::Deleted),
        ("TemporaryZero", Temporary::OnlineMerge),
        ("TemporaryZeroSwap", Temporary::OnlineMerge),
    ] {
        let none = format!("<ParentGUID>{}</ParentGUID>", Guid::NONE);
        let descriptor = changed(&none, &format!("{none}<{tag}/>")).unwrap();
        let shot = descriptor.shot(guid(A)).unwrap();
        assert_eq!(shot.temporary, Some(temporary), "{tag}");
    }
}
