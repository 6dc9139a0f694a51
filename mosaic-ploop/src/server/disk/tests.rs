// SPDX-License-Identifier: MIT OR Apache-2.0

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use nix::fcntl::{FcntlArg, fcntl};
use rustix::fs::{MemfdFlags, memfd_create};
use tempfile::TempDir;

use super::*;
use crate::files::DiskFolder;
use crate::format::disk::{Kind, NewDisk};
use crate::format::header::Version;
use crate::format::units::ClusterSize;
use crate::locks::{Hold, ImageLock, lock_of, short};
use crate::server::image_locks::PATIENCE;

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

/// Whoever takes over takes all for done that has come to the keeper.
#[test]
fn what_is_beneath_a_new_top_is_shared_when_the_keeper_gets_that() {
    let served = Served::new(Kind::Expanded(Version::V2), memory());
    served.disk.write(&[1; 512], ShownOffset(0)).unwrap();
    let read = || {
        let image = File::open(served.folder.path().join(IMAGE)).unwrap();
        ImageLock::take(image.into(), IMAGE, &Hold::READ).map(drop)
    };
    read().unwrap_err();
    let mut kept = 0;
    let frozen = served.disk.freeze(guid(1), |files| {
        kept = files.len();
        read().unwrap();
    });
    assert_eq!((frozen.unwrap(), kept), (guid(1), 2));
}

/// It is not written without a lock, and the old one is as it was.
#[test]
fn a_disk_whose_new_top_another_has_locked_goes_on_with_the_old_one() {
    let served = Served::new(Kind::Expanded(Version::V2), memory());
    let deltas = || {
        let names = served.folder.path().read_dir().unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("root.hds.{")).count()
    };
    served.disk.write(&[1; 512], ShownOffset(0)).unwrap();
    let mut locked = None;
    let refused = served.disk.freeze_with(
        guid(1),
        |folder, name| {
            // As `qemu-img info` does.
            let file = File::open(served.folder.path().join(name)).unwrap();
            let lock = lock_of(short::READ, (201, 1));
            fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
            locked = Some(file);
            assert_eq!(deltas(), 1);
            let start = Instant::now();
            let refused = ImageLocks::lock_new_top(folder, name);
            // Nobody reads or writes meanwhile.
            assert!(start.elapsed() < PATIENCE);
            refused
        },
        |_| panic!("there is no new top"),
    );
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Busy, "{}", refused.chain());
    let me = format!("pid {}", std::process::id());
    assert!(refused.chain().contains(&me), "{}", refused.chain());
    assert_eq!(deltas(), 0);
    drop(locked);
    served.disk.write(&[2; 512], ShownOffset(512)).unwrap();
    served.disk.flush().unwrap();
    assert!(!served.disk.is_broken().unwrap());
    served.disk.freeze(guid(2), |_| ()).unwrap();
    let mut found = [0; 1024];
    served.disk.read(&mut found, ShownOffset(0)).unwrap();
    assert!(found[..512] == [1; 512] && found[512..] == [2; 512]);
    served.disk.close().unwrap();
    let mut disk = Disk::open(DiskFolder::open(served.folder.path()).unwrap()).unwrap();
    assert_eq!((disk.descriptor().shots().len(), deltas()), (2, 1));
    assert!(disk.check(None).unwrap().is_clean());
}

/// That it is lost is told once; what is done for others meanwhile does not take it away.
#[test]
fn who_writes_a_raw_disk_is_told_of_a_loss_that_others_have_heard_of() {
    let commands: [fn(&ServedDisk) -> bool; 2] = [
        |disk| disk.freeze(guid(1), |_| ()).is_ok(),
        |disk| disk.grow(Sectors(SIZE.0 * 2)).is_ok(),
    ];
    for command in commands {
        let served = Served::new(Kind::Raw, with_loss());
        assert!(!command(&served.disk));
        assert!(!command(&served.disk));
        assert!(!served.disk.is_broken().unwrap());
        let told = served.disk.flush().unwrap_err();
        assert!(matches!(told, Error::Io { .. }), "{told:?}");
        served.disk.flush().unwrap();
        assert!(command(&served.disk));
        drop(served.folder);
    }
}
