// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk in a folder of its own, attached, and taken down whatever happens.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mosaic_core::loopdev::LoopDevice;
use mosaic_core::volume::Lifetime;
use mosaic_core::{ErrorKind, Host};
use mosaic_ploop::attachment::{self, Attached, How, Place, VolumeId};
use mosaic_ploop::files::DiskFolder;
use mosaic_ploop::format::disk::{Disk, Kind, NewDisk};
use mosaic_ploop::format::header::Version;
use mosaic_ploop::format::units::{ClusterSize, DiskOffset, Sectors};
use mosaic_ploop::gpt;
use mosaic_tests::{Said, Scratch, block_servers_beneath, eventually, run};

pub const MIB: u64 = 1 << 20;

/// Shows all of a disk for writing, until it is detached.
pub const HOW: How = How {
    read_only: false,
    lifetime: Lifetime::Explicit,
    partition: None,
};

/// A disk under test.
pub struct Site {
    pub host: Host,
    path: PathBuf,
    folder: OwnedFd,
    private: PathBuf,
    /// What is there, if it is ours; goes last.
    _scratch: Option<Scratch>,
}

impl Site {
    /// A new disk of that many MiB.
    pub fn new(name: &str, mib: u64) -> Self {
        Self::with(name, mib, Kind::Expanded(Version::V2), 2048)
    }

    /// A new disk of that kind, with clusters of so many sectors.
    pub fn with(name: &str, mib: u64, kind: Kind, cluster: u32) -> Self {
        let scratch = Scratch::new(name).unwrap();
        let mut site = Self::at(scratch.path(), mib, kind, cluster);
        site._scratch = Some(scratch);
        site
    }

    /// The same in an empty folder.
    pub fn at(path: &Path, mib: u64, kind: Kind, cluster: u32) -> Self {
        let volume = path.join("volume");
        let private = path.join(".mosaic");
        std::fs::create_dir(&volume).unwrap();
        std::fs::create_dir(&private).unwrap();
        let new = NewDisk {
            file: "root.hds",
            size: Sectors(mib * MIB / 512),
            cluster: ClusterSize::new(cluster).unwrap(),
            kind,
        };
        Disk::create(DiskFolder::open(&volume).unwrap(), &new).unwrap();
        Self {
            host: Host::new(Arc::new(Said::default())),
            folder: File::open(&volume).unwrap().into(),
            path: path.to_owned(),
            private,
            _scratch: None,
        }
    }

    pub fn volume(&self) -> PathBuf {
        self.path.join("volume")
    }

    pub fn place(&self) -> Place<'_> {
        Place {
            folder: self.folder.as_fd(),
            private: &self.private,
        }
    }

    pub fn attach(&self) -> PathBuf {
        self.attach_how(&HOW).path()
    }

    pub fn attach_how(&self, how: &How) -> LoopDevice {
        attachment::attach(&self.host, &self.place(), how).unwrap()
    }

    pub fn find(&self) -> Option<Attached> {
        attachment::find(&self.place()).unwrap()
    }

    pub fn detach(&self) {
        let attached = self.find().expect("it is attached");
        attached.detach(&self.host, &self.place()).unwrap();
    }

    /// The disk, which nobody has open.
    pub fn disk(&self) -> Disk<DiskFolder> {
        Disk::open(DiskFolder::open(&self.volume()).unwrap()).unwrap()
    }

    /// Where its server is called.
    pub fn socket(&self) -> PathBuf {
        let id = VolumeId::of(&self.folder).unwrap();
        self.private.join(id.socket())
    }

    /// Gives the disk a partition table as `ploop init` does. Where the partition begins.
    pub fn partition(&self) -> u64 {
        let mut chain = self.disk().write().unwrap();
        let partition = gpt::partition(chain.size(), chain.cluster()).unwrap();
        let table = gpt::new_table(chain.size(), partition, [1; 16], [2; 16]);
        chain.write(&table.front, DiskOffset(0)).unwrap();
        chain.write(&table.back, DiskOffset(table.back_at)).unwrap();
        chain.close().unwrap();
        partition.at
    }

    /// The processes that serve it: the keeper first, then the worker.
    pub fn servers(&self) -> Vec<u32> {
        block_servers_beneath(&self.volume())
    }

    pub fn kill_servers(&self) {
        let servers = self.servers();
        for pid in &servers {
            run("kill", &["-KILL", &pid.to_string()]).unwrap();
        }
        assert!(eventually(|| servers.iter().all(|pid| is_dead(*pid))));
    }

    /// Removes the sockets of all servers, which stay.
    pub fn remove_sockets(&self) {
        for socket in self.private.read_dir().unwrap().flatten() {
            std::fs::remove_file(socket.path()).unwrap();
        }
    }

    /// It is not attached as long as we have a lock on it, and we are named.
    pub fn assert_ours(&self) {
        let refused = attachment::attach(&self.host, &self.place(), &HOW).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Busy);
        let me = format!("pid {}", std::process::id());
        assert!(refused.chain().contains(&me), "{}", refused.chain());
        self.assert_nothing_left();
    }

    /// Nothing of an attachment is left.
    pub fn assert_nothing_left(&self) {
        assert_eq!(self.find(), None);
        assert!(eventually(|| self.servers().is_empty()), "a server is left");
        attachment::await_closed(&self.host, &self.place()).unwrap();
        let left: Vec<_> = self.private.read_dir().unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Whether all that a process had is closed: then it is gone, or only its status is left.
fn is_dead(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| stat.contains(") Z "))
}

impl Drop for Site {
    fn drop(&mut self) {
        // What a test that failed left mounted.
        let _ = run("umount", &[self.path.join("mounted")]);
        if let Ok(Some(attached)) = attachment::find(&self.place()) {
            let _ = attached.detach(&self.host, &self.place());
        }
    }
}
