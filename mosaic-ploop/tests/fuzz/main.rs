// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any bytes as an image, as a descriptor and as a partition table: nothing panics, nothing takes
//! memory that the bytes do not have, what is repaired is right, and what is changed is read again.
//!
//! `MOSAIC_FUZZ=1000000 cargo test -p mosaic-ploop --test fuzz` runs each target that often. Each run
//! begins with the corpus, which is in `tests/corpus`, and changes what is there; bytes with an
//! outcome that no others had are changed further. The changes are the same each time: only with more
//! runs than before anything new is tried.

mod descriptor;
mod image;
mod mutate;
mod sparse_file;
mod table;

use std::collections::HashSet;
use std::path::Path;

use mosaic_tests::{is_long, is_quick};

use mutate::Mutator;

/// Runs a target on the corpus of its name and on changes of it.
fn fuzz(name: &str, words: &'static [&'static [u8]], target: fn(&[u8]) -> String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut corpus = read_corpus(&folder.join(name));
    assert!(!corpus.is_empty(), "there is no corpus");
    let mut outcomes: HashSet<String> = corpus.iter().map(|bytes| target(bytes)).collect();
    let mut mutator = Mutator::new(words);
    for run in 0..runs() {
        let bytes = mutator.change(&corpus);
        let outcome = std::panic::catch_unwind(|| target(&bytes)).unwrap_or_else(|_| {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            panic!("run {run} of {name}: {hex}");
        });
        if outcomes.insert(outcome) {
            corpus.push(bytes);
        }
    }
    assert!(outcomes.len() > 10, "{outcomes:?}");
}

fn runs() -> u64 {
    if let Ok(runs) = std::env::var("MOSAIC_FUZZ") {
        return runs.parse().expect("MOSAIC_FUZZ is a number");
    }
    match (is_long(), is_quick()) {
        (true, _) => 200_000,
        (_, true) => 1_000,
        _ => 4_000,
    }
}

fn read_corpus(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("the corpus is in the tree");
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    // The same runs each time.
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

#[test]
fn any_bytes_as_an_image() {
    fuzz("image", &[], image::run);
}

#[test]
fn any_bytes_as_a_descriptor() {
    fuzz("descriptor", descriptor::WORDS, descriptor::run);
}

#[test]
fn any_bytes_as_a_partition_table() {
    fuzz("table", &[], table::run);
}
