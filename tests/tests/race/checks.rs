// SPDX-License-Identifier: MIT OR Apache-2.0
//! A check beside a command that is at work: what that has begun is no fault, what a killed one has
//! left is one.

use std::thread;

use mosaic_tests::{Action, Outcome, Site, Tracee, requires_root};

/// The ioctl by which a loop device is told that its file has another size. linux/loop.h.
const LOOP_SET_CAPACITY: u64 = 0x4c07;
/// What a check says that found nothing.
const CLEAN: &str = "no faults found\n";

/// An attached disk whose device was not told yet when `then` is called, which says how it goes on.
fn grow(then: impl Fn(&Site) -> Action) -> (Site, Outcome) {
    let site = Site::in_folder("loop", "").unwrap();
    site.ok(&["new", "disk", "d", "1M"]);
    site.ok(&["attach", "d"]);
    let mut is_reached = false;
    let tracee = Tracee::new(&site.command(&["resize", "d", "2M"]));
    let traced = tracee.run(|call| match call.is_ioctl(LOOP_SET_CAPACITY) {
        true => {
            is_reached = true;
            then(&site)
        }
        false => Action::Continue,
    });
    assert!(is_reached);
    (site, traced.unwrap().outcome)
}

#[test]
fn root_a_check_beside_a_growth_takes_nothing_for_a_fault() {
    if !requires_root() {
        return;
    }
    let waiting = std::cell::RefCell::new(Vec::new());
    let (site, outcome) = grow(|site| {
        let output = site.run(&["check", "--lock-timeout", "0"]);
        // Neither a fault nor that there is none.
        assert_eq!((output.status, output.stdout.as_str()), (5, ""));
        let error = output.stderr;
        assert!(error.contains("cannot check mosaic"), "{error}");
        assert!(error.contains("volume \"d\" is locked by"), "{error}");
        // What made it ask.
        let warning = error.lines().next().unwrap();
        assert!(warning.contains("not sure of volume \"d\": "), "{error}");
        assert!(warning.contains("its image 2097152: "), "{error}");
        let mut command = site.command(&["check"]);
        waiting
            .borrow_mut()
            .push(thread::spawn(move || command.output()));
        Action::Continue
    });
    assert_eq!(outcome, Outcome::Exited(0));
    for check in waiting.into_inner() {
        let output = check.join().unwrap().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout, CLEAN.as_bytes());
        assert!(output.stderr.is_empty(), "{output:?}");
    }
    site.ok(&["detach", "d"]);
}

#[test]
fn root_what_a_check_is_sure_of_is_found_beside_a_growth() {
    if !requires_root() {
        return;
    }
    const LEFT: &str = ".mosaic/tmp/0123456789abcdef";
    let (site, outcome) = grow(|site| {
        let left = site.location().join(LEFT);
        std::fs::create_dir_all(left.parent().unwrap()).unwrap();
        std::fs::write(left, "").unwrap();
        let output = site.run(&["check", "--lock-timeout", "0"]);
        assert_eq!(output.status, 10, "{output:?}");
        assert!(output.stdout.contains(LEFT), "{output:?}");
        assert!(!output.stdout.contains("\"d\""), "{output:?}");
        let doubt = "not sure of volume \"d\": ";
        assert!(output.stderr.contains(doubt), "{output:?}");
        let output = site.run(&["check", "--lock-timeout", "0", "--json"]);
        assert_eq!((output.status, output.stderr.as_str()), (10, ""));
        let answer: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
        assert_eq!(answer["clean"], false);
        assert_eq!(answer["findings"].as_array().unwrap().len(), 1);
        let warning = answer["warnings"][0].as_str().unwrap();
        assert!(warning.contains(doubt), "{warning}");
        assert!(warning.contains("is locked by pid "), "{warning}");
        Action::Continue
    });
    assert_eq!(outcome, Outcome::Exited(0));
    site.ok(&["check", "--repair=leftovers"]);
    site.ok(&["check"]);
    site.ok(&["detach", "d"]);
}

#[test]
fn root_a_check_finds_what_a_killed_growth_has_left() {
    if !requires_root() {
        return;
    }
    let (site, outcome) = grow(|_| Action::KillBefore);
    assert_eq!(outcome, Outcome::Killed);
    let output = site.run(&["check"]);
    assert_eq!(output.status, 10, "{output:?}");
    assert!(output.stdout.contains("its image 2097152"), "{output:?}");
    site.ok(&["check", "--repair=sizes"]);
    site.ok(&["check"]);
    site.ok(&["detach", "d"]);
}
