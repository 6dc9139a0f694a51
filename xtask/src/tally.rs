// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts what libtest and our fixtures print.
//!
//! libtest knows no skipping at run time: a skipped test passes, and its fixture prints
//! `skipped: NAME: REASON` on stderr. So such tests are taken off the passed ones.

use std::collections::BTreeMap;
use std::fmt;

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
    skipped: BTreeMap<String, String>,
    left_out: Vec<String>,
}

impl Tally {
    /// Takes a line of output into account.
    pub fn read(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("test result: ") {
            self.passed += count(rest, "passed");
            self.failed += count(rest, "failed");
            self.ignored += count(rest, "ignored");
        } else if let Some(rest) = line.strip_prefix("skipped: ") {
            let (test, reason) = rest.split_once(": ").unwrap_or((rest, ""));
            self.skipped.insert(test.to_owned(), reason.to_owned());
        } else if let Some(what) = line.strip_prefix("left out: ") {
            self.left_out.push(what.to_owned());
        } else if line.starts_with("test ") && line.ends_with(HELPER) {
            self.helpers += 1;
        } else if let Some(test) = failed_test(line) {
            self.failures.push(test.to_owned());
        }
    }

    /// Counts something that failed without a line of libtest, such as a build.
    pub fn add_failure(&mut self, what: &str) {
        self.failed += 1;
        self.failures.push(what.to_owned());
    }

    /// How many tests failed.
    pub fn failed(&self) -> usize {
        self.failed
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
            .map(|(test, why)| format!("skipped: {test}: {why}"));
        let left_out = self.left_out.iter().map(|what| format!("left out: {what}"));
        let failed = self.failures.iter().map(|test| format!("failed: {test}"));
        skipped.chain(left_out).chain(failed).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.passed.saturating_sub(self.skipped.len());
        let skipped = self.skipped.len() + self.ignored();
        write!(
            f,
            "{passed} passed, {} failed, {skipped} skipped",
            self.failed
        )
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
