// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that do all there is to do, on each storage.

use mosaic_tests::{
    Site, ThinPool, is_in_vm, is_mountpoint, is_quick, left_out, requires, requires_program,
    requires_root, requires_thin_pools, requires_time, target_folder, word,
};

use crate::common::{functions, requires_compilers};
use crate::program::{How, program, run};

const LAYOUT: &str = "layout:\n  fs: meta\n";

pub fn on(fs: &str, driver: &str) -> Site {
    let more = match driver {
        "loop" | "ploop" => format!("default_fs: ext4\n{LAYOUT}"),
        _ => LAYOUT.to_owned(),
    };
    Site::on(fs, driver, &more).unwrap()
}

/// In a quick run one way is enough to see a driver.
pub fn ways() -> &'static [How] {
    match is_quick() {
        true => {
            left_out("C++ and the archive");
            &How::ALL[..1]
        }
        false => &How::ALL,
    }
}

#[track_caller]
fn run_historic(site: &Site, ways: &[How]) {
    let (at, metadata) = (site.mountpoint("at"), site.mountpoint("metadata"));
    let log = site.moctl().folder().join("log");
    site.ok(&["init"]);
    for way in ways {
        let words = ["m", word(&at), word(&metadata), word(&log)];
        run(site.moctl(), &program("historic", *way), &words);
        let lines = std::fs::read_to_string(&log).unwrap();
        assert!(lines.lines().count() > 10, "{lines}");
        assert!(lines.ends_with('\n') && lines.contains("1 "), "{lines}");
        assert_nothing_left(site);
    }
}

#[track_caller]
fn run_every_function(fs: &str, driver: &str, ways: &[How]) {
    for way in ways {
        // The program makes the location as well.
        let site = on(fs, driver);
        let at = site.mountpoint("at");
        let words = ["m", driver, word(&at), word(site.moctl().folder())];
        run(site.moctl(), &program("every_function", *way), &words);
        assert!(!is_mountpoint(&at));
        assert_nothing_left(&site);
    }
}

#[track_caller]
pub fn assert_nothing_left(site: &Site) {
    assert!(site.names().is_empty());
    assert_eq!(site.leftovers(), [""; 0].map(std::path::PathBuf::from));
    site.assert_idle();
    assert!(site.ok(&["check"]).contains("no faults"));
}

macro_rules! storages {
    ($($module:ident: $fs:literal, $driver:literal, $program:literal, $time:expr;)*) => {$(
        mod $module {
            use super::*;

            #[test]
            fn root_a_historic_program_runs_unchanged() {
                if requires_root() && requires_compilers() && requires_program($program) && $time {
                    run_historic(&on($fs, $driver), ways());
                }
            }

            #[test]
            fn root_every_function_does_what_it_says() {
                if requires_root() && requires_compilers() && requires_program($program) && $time {
                    run_every_function($fs, $driver, ways());
                }
            }
        }
    )*};
}

storages! {
    on_loop: "xfs", "loop", "mkfs.xfs", true;
    on_plain: "ext4", "plain", "mkfs.ext4", true;
    on_btrfs: "btrfs", "btrfs", "mkfs.btrfs", requires_time();
    on_btrfs_with_quota: "btrfs+full", "btrfs", "mkfs.btrfs", true;
    on_ploop: "ext4", "ploop", "mkfs.ext4", true;
}

/// The machine that has device mapper may have no compiler. So the program is made where there is one, of
/// the archive, and put beside the drivers: all of that is there as well.
#[test]
fn root_a_historic_program_runs_on_thin_volumes() {
    let made = target_folder().unwrap().join("libmosaic-historic");
    if !is_in_vm() && requires_compilers() {
        std::fs::copy(program("historic", How::Archive), &made).unwrap();
    }
    if !requires_root() || !requires_thin_pools() {
        return;
    }
    if !requires(made.exists(), "needs a program that was compiled elsewhere") {
        return;
    }
    let pool = ThinPool::new(2 << 30, 64 << 20).unwrap();
    let site = Site::on_pool(pool, "dmthin", "default_fs: ext4\n").unwrap();
    let (at, metadata) = (site.mountpoint("at"), site.mountpoint("metadata"));
    let log = site.moctl().folder().join("log");
    let words = ["m", word(&at), word(&metadata), word(&log)];
    run(site.moctl(), &made, &words);
    assert!(site.names().is_empty());
    site.assert_idle();
}

#[test]
fn root_a_device_is_of_the_handle_that_was_given_it() {
    if !requires_root() || !requires_compilers() {
        return;
    }
    for driver in ["loop", "ploop"] {
        let site = Site::on("ext4", driver, "").unwrap();
        run(site.moctl(), &program("device", How::C), &["m"]);
        assert_nothing_left(&site);
    }
}

#[test]
fn the_program_that_uses_every_function_does() {
    if !requires_compilers() || !requires_program("nm") {
        return;
    }
    let used = mosaic_tests::stdout_of("nm", &["-u", word(&program("every_function", How::C))]);
    let used = used.unwrap();
    let mut used: Vec<&str> = used
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .map(|symbol| symbol.split('@').next().unwrap_or_default())
        .filter(|symbol| symbol.starts_with("mosaic_"))
        .collect();
    used.sort_unstable();
    assert_eq!(used, functions());
}

#[test]
fn syslog_can_be_included_too() {
    if !requires_compilers() {
        return;
    }
    let site = Site::in_folder("plain", "").unwrap();
    for way in How::ALL {
        for name in ["syslog_before", "syslog_after"] {
            run(site.moctl(), &program(name, way), &[""; 0]);
        }
    }
}

#[test]
fn a_format_that_does_not_fit_its_arguments_is_warned_of() {
    if !requires_compilers() {
        return;
    }
    let text = "#include <stddef.h>\n#include <mosaic/mosaic.h>\n\
                void f(mosaic_log_fn log);\n\
                void f(mosaic_log_fn log) { log(LOG_ERR, \"%s\\n\", 7); }\n";
    let source = crate::common::folder().join("misfit.c");
    std::fs::write(&source, text).unwrap();
    let output = std::process::Command::new("gcc")
        .args(["-Wall", "-fsyntax-only"])
        .args(crate::common::pkg_config(&["--cflags"]))
        .arg(&source)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("-Wformat="), "{said}");
}
