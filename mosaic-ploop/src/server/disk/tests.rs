// SPDX-License-Identifier: MIT OR Apache-2.0

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, memfd_create};
use tempfile::TempDir;

use super::*;
use crate::files::DiskFolder;
use crate::format::disk::{Kind, NewDisk};
use crate::format::units::ClusterSize;

const IMAGE: &str = "root.hds";
const SIZE: Sectors = Sectors(8 << 11);

/// A served disk of real files.
struct Served {
    disk: ServedDisk,
    folder: TempDir,
}

impl Served {
    fn new(kind: Kind, ledger: OwnedFd) -> Self {
        let folder = TempDir::new().unwrap();
        let new = NewDisk {
            file: IMAGE,
            size: SIZE,
            cluster: ClusterSize::MIN,
            kind,
        };
        Disk::create(DiskFolder::open(folder.path()).unwrap(), &new).unwrap();
        let opened = ServedFolder::new(File::open(folder.path()).unwrap().into());
        let access = Access::Write { ledger };
        let disk = ServedDisk::open(opened, access, None, Vec::new()).unwrap();
        Self { disk, folder }
    }
}

fn guid(byte: u8) -> Guid {
    Guid::from_random([byte; 16])
}

fn memory() -> OwnedFd {
    memfd_create("ledger", MemfdFlags::CLOEXEC).unwrap()
}

/// The notes of a server that lost something, and could not say so to who wrote.
fn with_loss() -> OwnedFd {
    let notes = File::from(memory());
    let mut head = [0; 1024];
    head[..IMAGE.len()].copy_from_slice(IMAGE.as_bytes());
    head[1023] = 1;
    notes.write_all_at(&head, 0).unwrap();
    notes.into()
}

/// That it is lost is told once; what is done for others meanwhile does not take it away.
#[test]
fn who_writes_a_raw_disk_is_told_of_a_loss_that_others_have_heard_of() {
    let commands: [fn(&ServedDisk) -> bool; 3] = [
        |disk| disk.freeze(guid(1), |_| ()).is_ok(),
        |disk| disk.grow(Sectors(SIZE.0 * 2)).is_ok(),
        |disk| disk.is_broken().is_ok(),
    ];
    for command in commands {
        let served = Served::new(Kind::Raw, with_loss());
        assert!(!command(&served.disk));
        assert!(!command(&served.disk));
        let told = served.disk.flush().unwrap_err();
        assert!(matches!(told, Error::Io { .. }), "{told:?}");
        served.disk.flush().unwrap();
        assert!(command(&served.disk));
        drop(served.folder);
    }
}
