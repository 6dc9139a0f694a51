// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every verb, cut at every call: what is left is the state before or the state after, and nothing
//! besides.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mosaic_core::VolumeName;
use mosaic_tests::{is_quick, left_out};

use super::*;
use crate::catalog::{Content, Entry};
use crate::create::Request;
use crate::health::Floors;
use crate::recover::recover;
use crate::{change, clone, create};

const SIZE: Bytes = Bytes(1 << 30);

fn name(text: &str) -> VolumeName {
    VolumeName::parse(text).unwrap()
}

fn new(pool: &SimulatedPool, volume: &str) -> Result<()> {
    new_of(pool, volume, SIZE)
}

fn new_of(pool: &SimulatedPool, volume: &str, size: Bytes) -> Result<()> {
    let request = Request {
        content: Content::Fs("ext4".into()),
        size,
        created: 7,
    };
    let format = |path: &Path| write_through(pool, path, &format!("fs of {volume}"));
    create::create(pool, Floors::default(), &name(volume), request, &format)
}

fn write_through(pool: &SimulatedPool, path: &Path, text: &str) -> Result<()> {
    // mkfs dies with us.
    if pool.is_dead() {
        return Err(Error::new(ErrorKind::Io, "killed"));
    }
    let id = path.file_name().unwrap().to_str().unwrap();
    pool.write(id.parse().unwrap(), text);
    Ok(())
}

/// What is written to a clone; the first copies of it may be unfit.
struct Origin<'p> {
    pool: &'p SimulatedPool,
    name: &'static str,
    unfit: Cell<usize>,
}

impl clone::Source for Origin<'_> {
    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn finish(&self, copy: &Path, _: bool) -> Result<clone::Copied> {
        if self.unfit.get() > 0 {
            self.unfit.set(self.unfit.get() - 1);
            return Ok(clone::Copied::Unfit);
        }
        write_through(self.pool, copy, &format!("clone of {}", self.name))?;
        Ok(clone::Copied::Finished)
    }
}

fn clone_of(pool: &SimulatedPool, from: &'static str, size: Option<Bytes>) -> Result<()> {
    let source = Origin {
        pool,
        name: from,
        unfit: Cell::new(1),
    };
    let request = clone::Request {
        from,
        to: &name("c"),
        size,
        created: 8,
    };
    clone::clone(pool, Floors::default(), request, &source)
}

fn clone_of_a(pool: &SimulatedPool) -> Result<()> {
    clone_of(pool, "a", Some(Bytes(SIZE.0 * 2)))
}

/// A pool with the volumes a and b, of which the first is attached and in use.
pub(super) fn pool() -> SimulatedPool {
    let pool = SimulatedPool::new();
    new(&pool, "a").unwrap();
    new(&pool, "b").unwrap();
    pool.attach(entry(&pool, "a").unwrap().id, SIZE, true);
    pool
}

fn entry(pool: &SimulatedPool, volume: &str) -> Option<Entry> {
    pool.truth().unwrap().find(volume).cloned()
}

/// Names and what they stand for.
type Volumes = Vec<(String, Entry)>;
pub(super) type Verb = fn(&SimulatedPool) -> Result<()>;

pub(super) const VERBS: [(&str, Verb); 7] = [
    ("new", |pool| new(pool, "c")),
    ("clone of a volume in use", clone_of_a),
    ("clone of an idle volume", |pool| clone_of(pool, "b", None)),
    ("drop", |pool| {
        change::drop_volume(pool, Floors::default(), "b", true)
    }),
    ("rename of a volume in use", |pool| {
        change::rename(pool, Floors::default(), "a", &name("c"))
    }),
    ("grow of a volume in use", |pool| {
        change::resize(pool, Floors::default(), "a", Bytes(SIZE.0 * 2))
    }),
    ("shrink", |pool| {
        change::resize(pool, Floors::default(), "b", Bytes(SIZE.0 / 2))
    }),
];

/// What is in the catalog, the next id and what is pending left out.
fn volumes(pool: &SimulatedPool) -> Volumes {
    let truth = pool.truth().unwrap();
    let volumes = truth.volumes();
    volumes
        .map(|(name, entry)| (name.to_owned(), entry.clone()))
        .collect()
}

/// The states before and after, and the number of calls between.
fn run(verb: Verb) -> (Volumes, Volumes, usize) {
    let pool = pool();
    let before = volumes(&pool);
    pool.cut(Cut::None);
    verb(&pool).unwrap();
    let calls = pool.calls();
    let after = volumes(&pool);
    assert_ne!(before, after);
    (before, after, calls)
}

/// The thin ids that there must be.
fn known(pool: &SimulatedPool) -> BTreeSet<ThinId> {
    let truth = pool.truth().unwrap();
    let volumes = truth.volumes().map(|(_, entry)| entry.id);
    volumes.chain([ThinId::CATALOG]).collect()
}

/// What must hold whenever nobody is at work and the next command has recovered.
fn check(pool: &SimulatedPool, what: &str) {
    let truth = pool.truth().unwrap();
    assert_eq!(pool.ids(), known(pool), "{what}");
    let state = pool.state.borrow();
    for (id, device) in &state.devices {
        let size = truth
            .volumes()
            .find(|(_, entry)| entry.id == *id)
            .unwrap()
            .1
            .size;
        assert_eq!(device.size, size, "{what}: the device of {id}");
        assert!(device.in_use, "{what}: a stray device of {id}");
        assert!(
            device.is_active && !device.is_suspended,
            "{what}: {device:?}"
        );
    }
    drop(state);
    for (volume, entry) in truth.volumes() {
        let content = pool.content(entry.id).unwrap();
        let expected = match (volume, entry.origin) {
            ("c", Some(origin)) => format!("clone of {}", truth.name_of(origin).unwrap_or("b")),
            // It was renamed.
            ("c", None) if content == "fs of a" => content.clone(),
            (volume, _) => format!("fs of {volume}"),
        };
        assert_eq!(content, expected, "{what}: {volume}");
    }
}

/// Recovers, twice, and works on.
fn go_on(pool: &SimulatedPool, what: &str) {
    recover(pool).unwrap();
    check(pool, what);
    let state = volumes(pool);
    recover(pool).unwrap();
    assert_eq!(volumes(pool), state, "{what}");
    new(pool, "z").unwrap_or_else(|error| panic!("{what}: {}", error.chain()));
    check(pool, what);
}

#[test]
fn a_kill_at_any_call_leaves_before_or_after() {
    for (verb_name, verb) in VERBS {
        let (before, after, calls) = run(verb);
        for at in 0..calls {
            for done in [false, true] {
                let what = format!("{verb_name}, killed at call {at} of {calls}, done: {done}");
                let pool = pool();
                pool.cut(Cut::Kill { at, done });
                let outcome = verb(&pool);
                assert!(pool.is_dead(), "{what}");
                pool.next_process();
                recover(&pool).unwrap();
                let now = volumes(&pool);
                assert!(now == before || now == after, "{what}");
                assert!(
                    outcome.is_err() || now == after,
                    "{what}: acknowledged and lost"
                );
                go_on(&pool, &what);
            }
        }
    }
}

#[test]
fn a_panic_at_any_call_leaves_nothing_suspended() {
    for (verb_name, verb) in VERBS {
        let (before, after, calls) = run(verb);
        for at in 0..calls {
            let what = format!("{verb_name}, panicked at call {at} of {calls}");
            let pool = pool();
            pool.cut(Cut::Panic { at });
            let outcome = catch_unwind(AssertUnwindSafe(|| verb(&pool)));
            let state = pool.state.borrow();
            assert!(state.devices.values().all(|d| !d.is_suspended), "{what}");
            drop(state);
            pool.next_process();
            recover(&pool).unwrap();
            let now = volumes(&pool);
            assert!(now == before || now == after, "{what}");
            assert!(outcome.is_err() || now == after, "{what}");
            go_on(&pool, &what);
        }
    }
}

#[test]
fn a_kill_while_recovering_is_recovered_from() {
    for (verb_name, verb) in VERBS {
        let (before, after, calls) = run(verb);
        for at in 0..calls {
            let mut second = 0;
            loop {
                let what = format!("{verb_name}, killed at call {at}, then at {second}");
                let pool = pool();
                pool.cut(Cut::Kill { at, done: true });
                let _ = verb(&pool);
                pool.next_process();
                let done = second % 2 == 0;
                pool.cut(Cut::Kill { at: second, done });
                let recovered = recover(&pool);
                if !pool.is_dead() {
                    recovered.unwrap();
                    break;
                }
                pool.next_process();
                go_on(&pool, &what);
                let now: Vec<_> = volumes(&pool).into_iter().filter(|v| v.0 != "z").collect();
                assert!(now == before || now == after, "{what}");
                second += 1;
            }
        }
    }
}

#[test]
fn a_cut_of_power_at_any_call_leaves_before_or_after() {
    for (verb_name, verb) in VERBS {
        let (before, after, calls) = run(verb);
        for at in 0..=calls {
            for seed in 1..8_u64 {
                let what = format!("{verb_name}, power cut at call {at}, seed {seed}");
                let pool = pool();
                let done = seed % 2 == 0;
                pool.cut(Cut::Kill { at, done });
                let outcome = verb(&pool);
                pool.cut_power(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                recover(&pool).unwrap();
                let now = volumes(&pool);
                assert!(now == before || now == after, "{what}");
                assert!(
                    outcome.is_err() || now == after,
                    "{what}: acknowledged and lost"
                );
                go_on(&pool, &what);
            }
        }
    }
}

#[test]
fn an_error_at_any_call_leaves_before_or_after_and_says_which() {
    for (verb_name, verb) in VERBS {
        let (before, after, calls) = run(verb);
        for at in 0..calls {
            for done in [false, true] {
                let what = format!("{verb_name}, error at call {at} of {calls}, done: {done}");
                let pool = pool();
                pool.cut(Cut::Fail { at, done });
                let outcome = verb(&pool);
                pool.cut(Cut::None);
                let now = volumes(&pool);
                match &outcome {
                    Ok(()) => assert_eq!(now, after, "{what}"),
                    Err(error) if error.chain().contains("unknown") => {
                        assert!(now == before || now == after, "{what}");
                    }
                    // Only the device that shows the new size is missing.
                    Err(_) if verb_name.starts_with("grow") && now == after => {
                        verb(&pool).unwrap();
                    }
                    Err(error) => {
                        assert_eq!(now, before, "{what}: {}", error.chain());
                        assert_eq!(pool.ids(), known(&pool), "{what}: not undone");
                    }
                }
                go_on(&pool, &what);
            }
        }
    }
}

#[test]
fn a_metadata_device_that_fails_never_acknowledges_what_it_loses() {
    for (verb_name, verb) in VERBS {
        let (before, after, calls) = run(verb);
        let mut lost = 0;
        for at in 0..calls {
            let what = format!("{verb_name}, metadata fails from call {at}");
            let pool = pool();
            pool.cut(Cut::MetadataFails { at });
            let outcome = verb(&pool);
            // A command that comes before the way back is told, and makes nothing worse.
            recover(&pool).unwrap();
            pool.check_and_activate();
            recover(&pool).unwrap();
            let now = volumes(&pool);
            match outcome {
                Ok(()) => assert_eq!(now, after, "{what}"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Io, "{what}: {}", error.chain());
                    let may_be = error.chain().contains("unknown") && now == after;
                    assert!(may_be || now == before, "{what}: {}", error.chain());
                    lost += 1;
                }
            }
            go_on(&pool, &what);
        }
        assert!(lost > 0, "{verb_name}: never met the failing device");
    }
}

#[test]
fn the_content_of_a_clone_is_that_of_one_instant_and_the_origin_goes_on() {
    let pool = pool();
    let a = entry(&pool, "a").unwrap();
    pool.write(a.id, "fs of a");
    clone_of_a(&pool).unwrap();
    let clone = entry(&pool, "c").unwrap();
    assert_eq!(clone.origin, Some(a.id));
    assert_eq!(clone.size, Bytes(SIZE.0 * 2));
    assert_ne!(clone.id, a.id);
    check(&pool, "a clone");
    change::drop_volume(&pool, Floors::default(), "c", false).unwrap();
    check(&pool, "dropped again");
}

#[test]
fn a_thin_id_that_nobody_knows_is_never_deleted_or_taken() {
    for at in 0..40 {
        let pool = pool();
        let next = ThinId::new(3).unwrap();
        pool.make_orphan(next);
        pool.cut(Cut::Kill { at, done: true });
        let _ = new(&pool, "c");
        pool.next_process();
        recover(&pool).unwrap();
        new(&pool, "d").unwrap();
        assert_eq!(pool.content(next).as_deref(), Some("orphan"));
        assert_ne!(entry(&pool, "d").unwrap().id, next);
        assert!(pool.warnings().iter().any(|warning| warning.contains("3")));
    }
}

#[test]
fn an_attempt_deletes_only_what_was_made_in_its_transaction() {
    for at in 0..30 {
        let pool = pool();
        pool.cut(Cut::Kill { at, done: false });
        let _ = new(&pool, "c");
        pool.next_process();
        let next = ThinId::new(3).unwrap();
        if !pool.ids().contains(&next) {
            pool.make_orphan(next);
            recover(&pool).unwrap();
            assert_eq!(pool.content(next).as_deref(), Some("orphan"), "{at}");
        }
    }
}

#[test]
fn a_pool_without_space_refuses_what_needs_some_and_drops_all_the_same() {
    let pool = pool();
    let many = if is_quick() { 50 } else { 200 };
    if is_quick() {
        left_out("150 of 200 volumes");
    }
    for volume in 0..many {
        new(&pool, &format!("volume-{volume:0200}")).unwrap();
    }
    pool.set_free_data(0);
    let refused: [Verb; 3] = [
        |pool| new(pool, "c"),
        clone_of_a,
        |pool| change::resize(pool, Floors::default(), "a", Bytes(SIZE.0 * 2)),
    ];
    for verb in refused {
        let error = verb(&pool).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert!(error.chain().contains("0 of 10000 data blocks"), "{error}");
    }
    change::rename(&pool, Floors::default(), "a", &name(&"n".repeat(200))).unwrap();
    for volume in 0..many {
        let name = format!("volume-{volume:0200}");
        change::drop_volume(&pool, Floors::default(), &name, false).unwrap();
    }
    recover(&pool).unwrap();
    assert_eq!(pool.truth().unwrap().len(), 2);
}

#[test]
fn a_shrunk_volume_gives_back_its_tail_once() {
    let pool = pool();
    let b = entry(&pool, "b").unwrap().id;
    change::resize(&pool, Floors::default(), "b", Bytes(SIZE.0 / 2)).unwrap();
    assert_eq!(pool.discarded(), [(b, Bytes(SIZE.0 / 2), SIZE)]);
    assert_eq!(pool.truth().unwrap().pending, []);
    recover(&pool).unwrap();
    change::resize(&pool, Floors::default(), "b", SIZE).unwrap();
    recover(&pool).unwrap();
    assert_eq!(pool.discarded().len(), 1);
}

/// The kernel would refuse its device for ever after.
#[test]
fn a_size_that_the_disk_beneath_cannot_have_is_refused_before_anything_is_done() {
    let pool = pool();
    let before = volumes(&pool);
    let odd = Bytes(SIZE.0 + 512);
    let verbs: [&dyn Fn() -> Result<()>; 3] = [
        &|| new_of(&pool, "c", odd),
        &|| clone_of(&pool, "a", Some(odd)),
        &|| change::resize(&pool, Floors::default(), "a", odd),
    ];
    for verb in verbs {
        let error = verb().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let next = (SIZE.0 + 4096).to_string();
        assert!(error.to_string().contains(&next), "{error}");
        assert_eq!(volumes(&pool), before);
    }
}
