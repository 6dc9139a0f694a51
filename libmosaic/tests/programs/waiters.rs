// SPDX-License-Identifier: MIT OR Apache-2.0
//! What waits for programs has what it needs, whatever runs them and however that was linked.

use mosaic_tests::{Site, requires_program, requires_root};

use crate::common::requires_compilers;
use crate::program::{How, program, run};

fn programs_are_run(how: How) {
    if !requires_root() || !requires_compilers() || !requires_program("mkfs.ext4") {
        return;
    }
    let site = Site::on("ext4", "loop", "default_fs: ext4\n").unwrap();
    run(site.moctl(), &program("waiters", how), &["m"]);
    assert_eq!(site.entries(), [""; 0]);
    site.assert_idle();
}

#[test]
fn root_a_program_with_the_shared_library_runs_programs() {
    programs_are_run(How::C);
}

#[test]
fn root_a_program_with_the_archive_runs_programs() {
    programs_are_run(How::Archive);
}
