// SPDX-License-Identifier: MIT OR Apache-2.0
//! A thin pool's beginnings: `init` on blank devices, and the first command after a boot, which
//! activates the pool. Both are disturbed like any other changing command.

use std::cell::Cell;

use mosaic_tests::{
    Action, Moctl, Outcome, ThinPool, ThinPoolDevice, Traced, Tracee, is_long, left_out,
    requires_program, requires_thin_pools, run,
};

use super::points::{self, Most};

/// A pool's devices, and a mosaic on them that need not be there yet.
pub struct Start {
    // The pool goes after whoever uses it.
    moctl: Moctl,
    pool: ThinPool,
}

impl Start {
    /// On blank devices; `None` where there are no thin pools. That was said.
    pub fn new() -> Option<Self> {
        if !requires_thin_pools() || !requires_program("mkfs.ext4") {
            return None;
        }
        let (moctl, pool) = (
            Moctl::new().unwrap(),
            ThinPool::new(256 << 20, 4 << 20).unwrap(),
        );
        let more = format!("{}metadata_size: 16M\ndefault_fs: ext4\n", pool.config());
        moctl
            .mosaic("m", "dmthin", pool.name().as_ref(), &more)
            .unwrap();
        Some(Self { moctl, pool })
    }

    /// `init`: the next one finishes it, or says that it was done. Where a reader comes between, it
    /// says what is missing; it may activate the pool. Nothing is left in the kernel but pool and
    /// catalog.
    pub fn disturb_init(&self, action: Action) {
        let turns = Cell::new(0);
        self.disturb(action, &["m", "init"], &|| self.wipe(), &|traced, place| {
            let turn = turns.replace(turns.get() + 1);
            let list = (turn % 2 == 1).then(|| self.moctl.run(&["m", "list"]));
            let again = self.moctl.run(&["m", "init"]);
            let was_done = again.status == 4 && again.stderr.contains("already");
            assert!(again.status == 0 || was_done, "{place}\n{again:?}");
            if let Some(list) = list {
                assert_eq!(was_done, list.status == 0, "{place}\n{list:?}\n{again:?}");
                let says_it = list.stderr.contains("init") && list.stderr.lines().count() == 1;
                assert!(was_done || says_it, "{place}\n{list:?}");
            }
            if traced.outcome == Outcome::Exited(0) {
                assert!(was_done, "{place}\n{again:?}");
            }
            self.moctl.ok(&["m", "new", "disk", "a", "1M"]);
            self.assert_sound(place);
        });
    }

    /// A reader and a writer, each the first after a boot: the next command finds everything as it
    /// was.
    pub fn disturb_activation(&self, action: Action) {
        let (moctl, pool) = (&self.moctl, &self.pool);
        moctl.ok(&["m", "init"]);
        moctl.ok(&["m", "new", "disk", "a", "1M"]);
        let boot = || pool.deactivate().unwrap();
        self.disturb(action, &["m", "list"], &boot, &|_, place| {
            assert!(moctl.have("m", "a"), "{place}");
            self.assert_sound(place);
        });
        if !is_long() {
            left_out("a writer that is the first");
            return;
        }
        let new = ["m", "new", "disk", "b", "1M"];
        self.disturb(action, &new, &boot, &|traced, place| {
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
        });
    }

    fn disturb(
        &self,
        action: Action,
        words: &[&str],
        before: &dyn Fn(),
        verify: &dyn Fn(&Traced, &str),
    ) {
        let tracee = || {
            before();
            Tracee::new(&self.moctl.command(words))
        };
        let calls = tracee().record().unwrap();
        points::disturb_each(action, most(action), &calls, &tracee, &|traced, place| {
            verify(traced, &format!("{words:?} with {place}"));
        });
        before();
    }

    /// Blank devices again.
    fn wipe(&self) {
        self.pool.deactivate().unwrap();
        for file in [self.pool.data(), self.pool.metadata()] {
            run("blkdiscard", &[file.device()]).unwrap();
        }
    }

    /// One volume is there, nothing waits, and there is no device but the catalog's.
    fn assert_sound(&self, place: &str) {
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
        asks: 2,
        others: 100,
    }
}
