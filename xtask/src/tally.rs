// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts what libtest and our fixtures print.
//!
//! libtest knows no skipping at run time: a skipped test passes, and its fixture prints
//! `skipped: NAME: REASON` on stderr. So such tests are taken off the passed ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// How the fixture ends the line of a test that a quick run does not do.
const WHOLE: &str = ": all of it";
/// How libtest ends the line of what only another test starts, as a process of its own.
const HELPER: &str = "... ignored, a helper of other tests";

/// The sum over all test binaries.
#[derive(Debug, Default)]
pub struct Tally {
    passed: usize,
    failed: usize,
    ignored: usize,
    helpers: usize,
    failures: Vec<String>,
    skipped: BTreeMap<Test, String>,
    /// What tests said that they leave out, and how many a quick run did not start.
    left_out: Vec<String>,
    tests_left_out: usize,
    /// Those that a quick run started in vain: libtest counts them as passed.
    wholly_left_out: BTreeSet<Test>,
    running: PathBuf,
}

/// The test binary and the name in it.
type Test = (PathBuf, String);

impl Tally {
    /// Takes a line of output into account.
    pub fn read(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("test result: ") {
            self.passed += count(rest, "passed");
            self.failed += count(rest, "failed");
            self.ignored += count(rest, "ignored");
        } else if let Some(rest) = line.strip_prefix("skipped: ") {
            let (test, reason) = rest.split_once(": ").unwrap_or((rest, ""));
            let test = (self.running.clone(), test.to_owned());
            self.skipped.insert(test, reason.to_owned());
        } else if let Some(what) = line.strip_prefix("left out: ") {
            self.left_out.push(what.to_owned());
            if let Some(test) = what.strip_suffix(WHOLE) {
                let test = (self.running.clone(), test.to_owned());
                self.wholly_left_out.insert(test);
            }
        } else if let Some(binary) = started_binary(line) {
            self.start(&binary);
        } else if line.starts_with("test ") && line.ends_with(HELPER) {
            self.helpers += 1;
        } else if let Some(test) = failed_test(line) {
            self.failures.push(test.to_owned());
        }
    }

    /// What is skipped from now on is of this binary. Cargo says so on stderr, as tests do.
    pub fn start(&mut self, binary: &Path) {
        binary.clone_into(&mut self.running);
    }

    /// The tests that were skipped for a reason that `counts`, by their binaries.
    pub fn skipped_because(&self, counts: impl Fn(&str) -> bool) -> BTreeMap<PathBuf, Vec<String>> {
        let mut found: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        let skipped = self.skipped.iter().filter(|(_, reason)| counts(reason));
        for ((binary, test), _) in skipped {
            found.entry(binary.clone()).or_default().push(test.clone());
        }
        found
    }

    /// These tests run again, elsewhere: what comes of them there is what counts.
    pub fn start_again(&mut self, binary: &Path, tests: &[String]) {
        self.start(binary);
        for test in tests {
            let known = self.skipped.remove(&(binary.to_owned(), test.clone()));
            // A binary that crashed after it said so had no result.
            self.passed = self.passed.saturating_sub(usize::from(known.is_some()));
        }
    }

    /// These tests could run elsewhere, and shall not for lack of time: they are neither passed nor
    /// skipped.
    pub fn leave_out(&mut self, binary: &Path, tests: &[String]) {
        self.start_again(binary, tests);
        self.tests_left_out += tests.len();
    }

    /// Counts something that failed without a line of libtest, such as a build.
    pub fn add_failure(&mut self, what: &str) {
        self.failed += 1;
        self.failures.push(what.to_owned());
    }

    /// How many tests have run, skipped ones among them.
    pub fn ran(&self) -> usize {
        self.passed + self.failed + self.ignored
    }

    /// How many tests failed.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// How many tests said that they are skipped, and ran nowhere else.
    pub fn skipped(&self) -> usize {
        self.skipped.len()
    }

    /// How many tests are marked `#[ignore]` and are not helpers, which none is allowed to be.
    pub fn ignored(&self) -> usize {
        self.ignored.saturating_sub(self.helpers)
    }

    /// What did not run and why, and what failed, a line each.
    pub fn details(&self) -> Vec<String> {
        let skipped = self
            .skipped
            .iter()
            .map(|((_, test), why)| format!("skipped: {test}: {why}"));
        let left_out = self.left_out.iter().map(|what| format!("left out: {what}"));
        let failed = self.failures.iter().map(|test| format!("failed: {test}"));
        skipped.chain(left_out).chain(failed).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One that failed is not among the passed ones.
        let has_failed = |test: &&Test| self.failures.contains(&test.1);
        let wholly = self.wholly_left_out.iter();
        let wholly = wholly.filter(|test| !has_failed(test)).count();
        let passed = self.passed.saturating_sub(self.skipped.len() + wholly);
        let skipped = self.skipped.len() + self.ignored();
        write!(
            f,
            "{passed} passed, {} failed, {skipped} skipped",
            self.failed
        )?;
        match self.tests_left_out + wholly {
            0 => Ok(()),
            number => write!(f, ", {number} left out by --quick"),
        }
    }
}

/// `ok. 14 passed; 0 failed; ...`
fn count(result: &str, word: &str) -> usize {
    let mut words = result.split([' ', ';']);
    let mut last = "";
    for next in words.by_ref() {
        if next == word {
            return last.parse().unwrap_or(0);
        }
        last = next;
    }
    0
}

/// `test module::name ... FAILED`
fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

/// `     Running tests/quota.rs (target/debug/deps/quota-351eccfc85f99467)`; after these come
/// `   Doc-tests mosaic_core`, which have no binary.
fn started_binary(line: &str) -> Option<PathBuf> {
    if line.starts_with("   Doc-tests ") {
        return Some(PathBuf::new());
    }
    let rest = line.strip_prefix("     Running ")?.strip_suffix(')')?;
    rest.rsplit_once(" (").map(|(_, path)| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binaries_are_summed_and_skipped_tests_have_not_passed() {
        let mut tally = Tally::default();
        for line in [
            "test a ... ok",
            "skipped: root_b: needs root",
            "skipped: root_b: needs root",
            "test root_b ... ok",
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.18s",
            "test c::d ... FAILED",
            "left out: e: 90 of 100 rounds",
            "test result: FAILED. 10 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 1s",
        ] {
            tally.read(line);
        }
        assert_eq!(tally.to_string(), "11 passed, 1 failed, 3 skipped");
        assert_eq!(
            tally.details(),
            [
                "skipped: root_b: needs root",
                "left out: e: 90 of 100 rounds",
                "failed: c::d"
            ]
        );
    }

    #[test]
    fn what_was_skipped_here_counts_as_what_it_is_elsewhere() {
        let mut tally = Tally::default();
        for line in [
            "     Running unittests src/lib.rs (target/debug/deps/core-1)",
            "skipped: a: needs the virtual machine",
            "skipped: b: needs root",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0s",
            "     Running tests/quota.rs (target/debug/deps/quota-2)",
            "skipped: a: no quota",
            "skipped: b: no quota",
            "skipped: b: no other quota",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0s",
        ] {
            tally.read(line);
        }
        assert_eq!(tally.to_string(), "2 passed, 0 failed, 4 skipped");
        let elsewhere = tally.skipped_because(|why| why != "needs root");
        let expected = [
            ("target/debug/deps/core-1", vec!["a"]),
            ("target/debug/deps/quota-2", vec!["a", "b"]),
        ];
        assert_eq!(elsewhere.len(), expected.len());
        for (binary, tests) in expected {
            let binary = Path::new(binary);
            assert_eq!(elsewhere[binary], tests);
            tally.start_again(binary, &elsewhere[binary]);
            tally.read("skipped: b: no such luck");
            let passed = tests.len();
            tally.read(&format!(
                "test result: ok. {passed} passed; 0 failed; 0 ignored; 0 measured; 1 filtered out"
            ));
        }
        // Of core `b` still is skipped, which also was said again, of quota `b` again.
        assert_eq!(tally.to_string(), "4 passed, 0 failed, 2 skipped");
    }

    #[test]
    fn what_a_quick_run_does_not_start_is_neither_skipped_nor_passed() {
        let mut tally = Tally::default();
        for line in [
            "     Running tests/quota.rs (target/debug/deps/quota-2)",
            "skipped: a: no quota",
            "skipped: b: no quota",
            "skipped: c: needs root",
            "left out: e: all of it",
            "left out: e: all of it",
            "test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0s",
        ] {
            tally.read(line);
        }
        let binary = Path::new("target/debug/deps/quota-2");
        tally.leave_out(binary, &["a".to_owned(), "b".to_owned()]);
        let sum = "1 passed, 0 failed, 1 skipped, 3 left out by --quick";
        assert_eq!(tally.to_string(), sum);
        assert_eq!(tally.details()[0], "skipped: c: needs root");
        assert_eq!(tally.skipped(), 1);
    }

    #[test]
    fn what_failed_has_not_been_left_out() {
        let mut tally = Tally::default();
        for line in [
            "left out: a: all of it",
            "test a ... FAILED",
            "left out: b: all of it",
            "test b ... ok",
            "test c ... ok",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s",
        ] {
            tally.read(line);
        }
        let sum = "1 passed, 1 failed, 0 skipped, 1 left out by --quick";
        assert_eq!(tally.to_string(), sum);
    }

    #[test]
    fn helpers_of_other_tests_are_no_ignored_tests() {
        let mut tally = Tally::default();
        for line in [
            "test a ... ignored, a helper of other tests",
            "test b ... ignored, too slow",
            "test result: ok. 0 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 1s",
        ] {
            tally.read(line);
        }
        assert_eq!(tally.ignored(), 1);
        assert_eq!(tally.to_string(), "0 passed, 0 failed, 1 skipped");
    }

    #[test]
    fn what_breaks_without_a_test_is_a_failure() {
        let mut tally = Tally::default();
        tally.add_failure("the build");
        assert_eq!(tally.to_string(), "0 passed, 1 failed, 0 skipped");
        assert_eq!(tally.failed(), 1);
    }
}
