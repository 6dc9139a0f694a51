// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is said of volumes while it is not known whether the last change was made.

use super::cut_points::{VERBS, pool};
use super::{Cut, SimulatedPool};
use crate::catalog::Entry;
use crate::catalog::store;
use crate::doubt::{Doubt, certain};
use crate::recover::recover;
use crate::target::PoolStatus;
use crate::thin_pool::ThinPool;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// What a reader says of each name; `None`: it does not know.
fn told(pool: &SimulatedPool) -> Vec<Option<Option<Entry>>> {
    let status = pool.status().unwrap();
    let PoolStatus::Working(now) = &status else {
        panic!("{status}");
    };
    let truth = store::read(pool, now.transaction).unwrap();
    let doubt = Doubt::of(pool, &status, pool, &truth).unwrap();
    let tell = |name: &&str| certain(&truth.catalog, doubt.as_ref(), name);
    let told = NAMES.iter().map(tell);
    told.map(|told| told.ok().map(Option::<&Entry>::cloned))
        .collect()
}

#[test]
fn nothing_is_said_that_the_next_activation_does_not_find() {
    for (verb_name, verb) in VERBS {
        let mut unknown = 0;
        let mut at = 0;
        loop {
            let what = format!("{verb_name}, without metadata from call {at} on");
            let pool = pool();
            pool.cut(Cut::MetadataFails { at });
            let done = verb(&pool);
            let was_met = pool.calls() > at;
            let told = told(&pool);
            pool.check_and_activate();
            let truth = pool.truth().unwrap();
            for (name, told) in NAMES.iter().zip(told) {
                match told {
                    Some(told) => assert_eq!(told.as_ref(), truth.find(name), "{what}: {name}"),
                    None => unknown += 1,
                }
            }
            recover(&pool).unwrap();
            if !was_met {
                done.unwrap();
                break;
            }
            at += 1;
        }
        assert!(unknown > 0, "{verb_name}");
    }
}

#[test]
fn a_mark_that_was_lost_is_made_again_and_leaves_no_doubt() {
    let pool = pool();
    let status = pool.status().unwrap();
    let PoolStatus::Working(now) = &status else {
        panic!("{status}");
    };
    let mut truth = store::read(&pool, now.transaction).unwrap();
    assert!(truth.header.committed);
    truth.header.committed = false;
    let page = truth.header.encode();
    store::Medium::write_at(&pool, truth.index.offset(), &page).unwrap();
    recover(&pool).unwrap();
    let again = store::read(&pool, now.transaction).unwrap();
    assert!(again.header.committed);
    assert_eq!(again.catalog, truth.catalog);
}
