// SPDX-License-Identifier: MIT OR Apache-2.0
//! A thin pool's beginnings: `init` on blank devices, and the first command after a boot, which
//! activates the pool. Both are disturbed like any other changing command.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use mosaic_tests::{
    Action, Moctl, Outcome, Output, SystemCall, ThinPool, ThinPoolDevice, Traced, Tracee, is_long,
    left_out, requires_program, requires_thin_pools, requires_time, run,
};

use super::points::{self, Most, Verdict};

/// include/uapi/linux/dm-ioctl.h: DM_DEV_CREATE
const DM_DEV_CREATE: u64 = 0xc138_fd03;

/// What there is before an init.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// Blank devices.
    Blank,
    /// Devices with something on them.
    Full,
    /// An empty pool that an administrator made.
    Adopted,
}

/// What is on a device that is not blank: text, at its beginning and its end.
const OLD: [u8; 4096] = [b'o'; 4096];

/// A pool's devices, and a mosaic on them that need not be there yet.
pub struct Start {
    // The pool goes after whoever uses it.
    pub(super) moctl: Moctl,
    pub(super) pool: ThinPool,
}

impl Start {
    /// On blank devices; `None` where there are no thin pools. That was said.
    pub fn new() -> Option<Self> {
        if !requires_time() || !requires_thin_pools() || !requires_program("mkfs.ext4") {
            return None;
        }
        // As dmsetup makes one that is to be adopted.
        let pool = ThinPool::new(256 << 20, 4 << 20).unwrap();
        let pool = pool.with("error_if_no_space: false");
        let moctl = Moctl::new().unwrap();
        let more = format!("{}metadata_size: 16M\ndefault_fs: ext4\n", pool.config());
        moctl
            .mosaic("m", "dmthin", pool.name().as_ref(), &more)
            .unwrap();
        Some(Self { moctl, pool })
    }

    /// `init`: the next one finishes it, or says that it was done. Where a reader comes between, it
    /// says what is missing; it may activate the pool. Nothing is left in the kernel but pool and
    /// catalog.
    ///
    /// Where it begins otherwise, only what is done otherwise is disturbed at each call: what is before
    /// the pool is made, and a sample of what is done to one that is there.
    pub fn disturb_init(&self, action: Action, beginning: Beginning) {
        let words: &[&str] = match beginning {
            Beginning::Blank => &["m", "init"],
            Beginning::Full => &["m", "init", "--force"],
            Beginning::Adopted => &["m", "init", "--adopt"],
        };
        let before = || self.begin(beginning);
        let mut most = most(action);
        match (beginning, action) {
            (Beginning::Blank, _) => {}
            (_, Action::Fail(_)) => (most.changes, most.asks) = (4, 0),
            (Beginning::Full, _) => most.is_part = true,
            (Beginning::Adopted, _) => most.changes = 8,
        }
        let choose = |mut calls: Vec<SystemCall>| {
            let makes = |call: &SystemCall| call.is_ioctl(DM_DEV_CREATE);
            if let (Beginning::Full, Some(at)) = (beginning, calls.iter().position(makes)) {
                // What follows is on blank devices.
                calls.truncate(at + 1);
            }
            calls
        };
        let turns = Cell::new(0);
        self.disturb(action, most, words, &before, &choose, &|traced, place| {
            let turn = turns.replace(turns.get() + 1);
            let look = (turn % 2 == 1).then(|| match beginning {
                Beginning::Blank => self.moctl.run(&["m", "list"]),
                Beginning::Full | Beginning::Adopted => self.init_plainly(beginning, place),
            });
            let again = self.moctl.run(words);
            let was_done = again.status == 4 && again.stderr.contains("already");
            assert!(again.status == 0 || was_done, "{place}\n{again:?}");
            if let (Some(list), Beginning::Blank) = (&look, beginning) {
                assert_eq!(was_done, list.status == 0, "{place}\n{list:?}\n{again:?}");
                let says_it = list.stderr.contains("init") && list.stderr.lines().count() == 1;
                assert!(was_done || says_it, "{place}\n{list:?}");
            }
            if traced.outcome == Outcome::Exited(0) {
                assert!(was_done, "{place}\n{again:?}");
            }
            self.moctl.ok(&["m", "new", "disk", "a", "1M"]);
            self.assert_sound(place);
            let by_plain = look.is_some_and(|look| look.status == 0);
            match was_done && (beginning == Beginning::Blank || !by_plain) {
                true => Verdict::After,
                false => Verdict::Between,
            }
        });
    }

    /// Between the two: without the option nothing is taken that is not blank, or not Mosaic's.
    fn init_plainly(&self, beginning: Beginning, place: &str) -> Output {
        let holds_old = || self.devices().map(holds_old);
        let before = holds_old();
        let plain = self.moctl.run(&["m", "init"]);
        let says = |word: &str| plain.status == 4 && plain.stderr.contains(word);
        let is_right = match beginning {
            Beginning::Full if before.contains(&true) => {
                says("--force destroys") && holds_old() == before
            }
            Beginning::Adopted => says("--adopt") || says("already"),
            _ => plain.status == 0 || says("already"),
        };
        assert!(is_right, "{place}\nold: {before:?}\n{plain:?}");
        plain
    }

    /// A reader and a writer, each the first after a boot: the next command finds everything as it
    /// was.
    pub fn disturb_activation(&self, action: Action) {
        let (moctl, pool) = (&self.moctl, &self.pool);
        moctl.ok(&["m", "init"]);
        moctl.ok(&["m", "new", "disk", "a", "1M"]);
        let boot = || pool.deactivate().unwrap();
        let all = |calls: Vec<SystemCall>| calls;
        let mut most = most(action);
        most.changes = usize::MAX;
        let list = ["m", "list"];
        self.disturb(action, most, &list, &boot, &all, &|_, place| {
            let was_active = pool.device().is_some();
            assert!(moctl.have("m", "a"), "{place}");
            self.assert_sound(place);
            match was_active {
                true => Verdict::After,
                false => Verdict::Before,
            }
        });
        if !is_long() {
            left_out("a writer that is the first");
            return;
        }
        let new = ["m", "new", "disk", "b", "1M"];
        self.disturb(action, most, &new, &boot, &all, &|traced, place| {
            let is_there = moctl.have("m", "b");
            if traced.outcome == Outcome::Exited(0) {
                assert!(is_there, "{place}");
            }
            assert_eq!(
                moctl.run(&["m", "drop", "b"]).status == 0,
                is_there,
                "{place}"
            );
            self.assert_sound(place);
            match is_there {
                true => Verdict::After,
                false => Verdict::Before,
            }
        });
    }

    fn disturb(
        &self,
        action: Action,
        most: Most,
        words: &[&str],
        before: &dyn Fn(),
        choose: &dyn Fn(Vec<SystemCall>) -> Vec<SystemCall>,
        verify: &dyn Fn(&Traced, &str) -> Verdict,
    ) {
        let tracee = || {
            before();
            Tracee::new(&self.moctl.command(words))
        };
        let calls = choose(tracee().record().unwrap());
        points::disturb_each(action, most, &calls, &tracee, &|traced, place| {
            verify(traced, &format!("{words:?} with {place}"))
        });
        before();
    }

    fn devices(&self) -> [&Path; 2] {
        [self.pool.data().device(), self.pool.metadata().device()]
    }

    /// Has the devices as they are before an init.
    fn begin(&self, beginning: Beginning) {
        self.pool.deactivate().unwrap();
        for device in self.devices() {
            run("blkdiscard", &[device]).unwrap();
            if beginning == Beginning::Full {
                let file = File::options().write(true).open(device).unwrap();
                let end = std::io::Seek::seek(&mut &file, std::io::SeekFrom::End(0)).unwrap();
                for at in [0, end - OLD.len() as u64] {
                    file.write_all_at(&OLD, at).unwrap();
                }
                file.sync_all().unwrap();
            }
        }
        if beginning == Beginning::Adopted {
            self.pool.activate(128).unwrap();
        }
    }

    /// One volume is there, nothing waits, and there is no device but the catalog's.
    pub(super) fn assert_sound(&self, place: &str) {
        let pool = &self.pool;
        self.moctl.ok(&["m", "check"]);
        assert_eq!(pool.entries().len(), 2, "{place}");
        let devices = pool.look().unwrap();
        let is_catalog = |d: &ThinPoolDevice| d.works() && d.name.ends_with("-mosaic-catalog");
        assert!(
            matches!(&devices[..], [one] if is_catalog(one)),
            "{place}\n{devices:?}"
        );
        pool.check().expect(place);
    }
}

/// Each verdict takes long. Where a call fails the next command finds less than where it was killed,
/// and most of what an activation asks is asked of each process, whether that has a device open.
fn most(action: Action) -> Most {
    let changes = match action {
        Action::Fail(_) => 8,
        _ => usize::MAX,
    };
    Most {
        changes,
        least: 8,
        is_part: false,
        asks: 2,
        others: 100,
    }
}

/// Whether what was on a device is there, at either end.
fn holds_old(device: &Path) -> bool {
    let file = File::open(device).unwrap();
    let end = std::io::Seek::seek(&mut &file, std::io::SeekFrom::End(0)).unwrap();
    [0, end - OLD.len() as u64].into_iter().any(|at| {
        let mut bytes = [0; OLD.len()];
        file.read_exact_at(&mut bytes, at).unwrap();
        bytes == OLD
    })
}
