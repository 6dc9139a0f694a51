// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes of a thin pool, by the driver alone.

mod common;

use common::{MIB, Thins};
use mosaic_core::ErrorKind;
use mosaic_core::volume::{Kind, Lifetime};
use mosaic_tests::{eventually, requires_thin_pools};

#[test]
fn root_a_volume_is_made_used_cloned_and_dropped() {
    if !requires_thin_pools() {
        return;
    }
    let thins = Thins::new();
    thins.create_fs("a", "ext4", 64 * MIB).unwrap();
    let found = thins.find("a").unwrap();
    assert_eq!(found.size.unwrap().0, 64 * MIB);
    assert!(matches!(&found.kind, Kind::Fs { fs: Some(fs), .. } if fs == "ext4"));
    assert_eq!(found.attachment, None);
    let mounted = thins.mount("a", "").unwrap();
    std::fs::write(mounted.file("file"), "kept").unwrap();
    let attachment = thins.attachment("a").unwrap();
    assert_eq!(attachment.lifetime, Lifetime::Mount);
    assert_eq!(attachment.device, mounted.device);
    // Written, not synced: the clone has it all the same.
    thins.clone("a", "b", Some(96 * MIB)).unwrap();
    assert_eq!(thins.find("b").unwrap().origin.as_deref(), Some("a"));
    let error = thins.drop_volume("a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(
        error.chain().contains(mounted.at.to_str().unwrap()),
        "{}",
        error.chain()
    );
    mounted.umount();
    thins.drop_volume("a").unwrap();
    assert_eq!(thins.names(), ["b"]);
    let mounted = thins.mount("b", "").unwrap();
    assert_eq!(
        std::fs::read_to_string(mounted.file("file")).unwrap(),
        "kept"
    );
    let size = rustix::fs::statvfs(&mounted.at).unwrap();
    let size = size.f_blocks * size.f_frsize;
    assert!(size > 80 * MIB, "{size}");
    mounted.umount();
    assert!(eventually(|| thins.attachment("b").is_none()));
    thins.drop_volume("b").unwrap();
    assert_eq!(thins.names(), [""; 0]);
    let catalog = format!("{}-mosaic-catalog", thins.pool.name());
    assert_eq!(thins.pool.devices().unwrap(), [catalog]);
    thins.pool.deactivate().unwrap();
    thins.pool.check().unwrap();
}
