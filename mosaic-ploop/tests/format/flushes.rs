// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several who want what they wrote to be durable, at the same time.

use std::fs;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use mosaic_ploop::format::Error;
use mosaic_ploop::format::chain::Chain;
use mosaic_ploop::format::delta::Delta;
use mosaic_ploop::format::disk::Kind;
use mosaic_ploop::format::layer::Layer;
use mosaic_ploop::format::raw_image::RawImage;
use mosaic_ploop::format::storage::{Access, Folder, ImageFile};
use mosaic_ploop::format::units::{ClusterSize, FileOffset};
use mosaic_ploop::format::writer::Writer;
use mosaic_tests::eventually;

use crate::disk::{V2, file, small};
use crate::storage::MemFile;

/// A file of which one flush fails, when it is told to go on. As with the kernel, another one knows
/// nothing of that.
struct Failing<'a> {
    file: MemFile,
    host: &'a Host,
}

/// What is between such a file and the test.
struct Host {
    /// Flushes from now on until one fails; that one is waited for.
    good: AtomicUsize,
    is_in: Sender<()>,
    goes_on: Mutex<Receiver<()>>,
}

impl ImageFile for Failing<'_> {
    fn read_at(&self, buffer: &mut [u8], at: FileOffset) -> io::Result<()> {
        self.file.read_at(buffer, at)
    }

    fn write_at(&self, data: &[u8], at: FileOffset) -> io::Result<()> {
        self.file.write_at(data, at)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.file.set_length(bytes)
    }

    fn flush(&self) -> io::Result<()> {
        if self.host.good.fetch_sub(1, Ordering::SeqCst) != 0 {
            return Ok(());
        }
        self.host.is_in.send(()).unwrap();
        self.host.goes_on.lock().unwrap().recv().unwrap();
        Err(io::Error::from_raw_os_error(5))
    }
}

/// Lets two flush a disk at once, of which the first one is told that it failed. What both were told,
/// and what one is who comes later.
fn flush_twice(kind: Kind) -> [Result<bool, Error>; 3] {
    let disk = small(kind);
    let name = file(&disk, disk.descriptor().top());
    let (is_in, entered) = channel();
    let (go_on, goes_on) = channel();
    let host = Host {
        good: AtomicUsize::new(usize::MAX),
        is_in,
        goes_on: Mutex::new(goes_on),
    };
    let file = Failing {
        file: disk.folder().open(&name, Access::Write).unwrap(),
        host: &host,
    };
    let top = match kind {
        Kind::Raw => Layer::Raw(RawImage::open(&name, file, ClusterSize::MIN, true).unwrap()),
        _ => {
            let delta = Delta::open(&name, file).unwrap();
            Layer::Writer(Box::new(Writer::open(delta).unwrap()))
        }
    };
    let chain = Chain::new(Vec::new(), top).unwrap();
    host.good.store(0, Ordering::SeqCst);
    let both = thread::scope(|scope| {
        // Goes with a panic in here: the flush that waits for it fails then, and nobody waits for ever.
        let go_on = go_on;
        let first = scope.spawn(|| chain.flush_in_place());
        entered.recv().unwrap();
        let (says, said) = channel();
        let second = scope.spawn(|| {
            says.send(rustix::thread::gettid()).unwrap();
            drop(says);
            chain.flush_in_place()
        });
        let id = said.recv().unwrap();
        // It sleeps for nothing else.
        let is_there = eventually(|| second.is_finished() || sleeps(id));
        go_on.send(()).unwrap();
        assert!(is_there, "the other one neither waits nor ends");
        [first, second].map(|flush| flush.join().unwrap())
    });
    let [first, second] = both;
    [first, second, chain.flush_in_place()]
}

fn sleeps(id: rustix::thread::Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/self/task/{id}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, state)| state);
    state.is_some_and(|state| state.starts_with('S'))
}

#[test]
fn a_failed_flush_is_told_to_all_who_wait_for_it() {
    let [first, second, later] = flush_twice(V2);
    assert!(matches!(first, Err(Error::Io { .. })), "{first:?}");
    assert!(second.is_err(), "{second:?}");
    // Nobody knows what is in the image.
    assert!(matches!(later, Err(Error::Broken { .. })), "{later:?}");
}

#[test]
fn a_failed_flush_of_a_raw_file_is_told_once_to_each() {
    let [first, second, later] = flush_twice(Kind::Raw);
    assert!(matches!(first, Err(Error::Io { .. })), "{first:?}");
    assert!(matches!(second, Err(Error::Io { .. })), "{second:?}");
    assert!(matches!(later, Ok(true)), "{later:?}");
}
