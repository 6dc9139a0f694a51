// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attach and detach, and what they leave: the data, and nothing else.

use std::os::unix::fs::FileExt;

use mosaic_core::ErrorKind;
use mosaic_ploop::attachment;
use mosaic_ploop::format::disk::Kind;
use mosaic_ploop::format::header::Version;
use mosaic_ploop::format::units::DiskOffset;
use mosaic_tests::requires_root;

use crate::site::{HOW, MIB, Site};

#[test]
fn root_what_is_written_to_the_device_is_in_the_disk() {
    if !requires_root() {
        return;
    }
    for (kind, cluster) in [
        (Kind::Expanded(Version::V2), 2048),
        (Kind::Expanded(Version::V1), 64),
        (Kind::Raw, 2048),
    ] {
        let site = Site::with("attach", 64, kind, cluster);
        let device = site.attach();
        assert_eq!(site.servers().len(), if kind == Kind::Raw { 0 } else { 2 });
        let again = attachment::attach(&site.host, &site.place(), &HOW).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Busy);
        assert!(again.chain().contains(device.to_str().unwrap()), "{again}");
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(&device);
        let file = file.unwrap();
        let data: Vec<u8> = (0..3 * MIB).map(|n| (n % 251) as u8).collect();
        file.write_all_at(&data, 5 * MIB + 512).unwrap();
        file.sync_all().unwrap();
        drop(file);
        site.detach();
        site.assert_nothing_left();
        let disk = site.disk();
        let chain = disk.read(disk.descriptor().top()).unwrap();
        let mut found = vec![0; data.len()];
        chain.read(&mut found, DiskOffset(5 * MIB + 512)).unwrap();
        assert!(found == data);
        // Not marked in use.
        disk.write().unwrap().close().unwrap();
    }
}
