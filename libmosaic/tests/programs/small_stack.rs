// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs with little stack for each thread, as those with many threads or coroutines have.

use mosaic_tests::{requires_program, requires_root, requires_time, word};

use crate::common::requires_compilers;
use crate::program::{How, program, run};
use crate::storage::{assert_nothing_left, on, ways};

fn every_function_runs(fs: &str, driver: &str, ways: &[How]) {
    if !requires_root() || !requires_compilers() || !requires_program(&format!("mkfs.{fs}")) {
        return;
    }
    for way in ways {
        let site = on(fs, driver);
        let at = site.mountpoint("at");
        let words = ["m", driver, word(&at), word(site.moctl().folder())];
        run(site.moctl(), &program("small_stack", *way), &words);
        assert_nothing_left(&site);
    }
}

#[test]
fn root_every_function_runs_on_a_small_stack_on_loop() {
    every_function_runs("xfs", "loop", ways());
}

#[test]
fn root_every_function_runs_on_a_small_stack_on_btrfs() {
    if requires_time() {
        every_function_runs("btrfs", "btrfs", &[How::C]);
    }
}

#[test]
fn root_every_function_runs_on_a_small_stack_on_ploop() {
    if requires_time() {
        every_function_runs("ext4", "ploop", &[How::C]);
    }
}
