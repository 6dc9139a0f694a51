// SPDX-License-Identifier: MIT OR Apache-2.0
//! One changing command from a known state, to be disturbed at each of its system calls.
//!
//! Whatever the disturbance, afterwards there is the state before or the state after; nothing is
//! left in the kernel; the next changing command leaves nothing half-made in `.mosaic`.

use mosaic_tests::{
    Action, Outcome, Site, SystemCall, Traced, Tracee, eventually, is_long, is_quick, left_out,
    run_status,
};
use serde_json::Value;

/// How many system calls of each command a quick run disturbs.
const SAMPLE: usize = 8;

/// How many of those that only ask any run but a long one makes fail.
const FAILURES: usize = 100;

/// A command, what it needs, and how to get back to before it.
pub struct Scenario {
    /// Type of the mosaic.
    pub driver: &'static str,
    /// File system of the location.
    pub fs: &'static str,
    /// Further lines of the config.
    pub config: &'static str,
    /// Commands that lead to the state before; `AT` is a mountpoint.
    pub prepare: &'static [&'static [&'static str]],
    /// The command.
    pub command: &'static [&'static str],
    /// Commands that lead from the state after, or before, to the one before; they may fail.
    pub reset: &'static [&'static [&'static str]],
}

/// A scenario at work.
pub struct Stage {
    scenario: Scenario,
    site: Site,
    at: String,
    before: Value,
    after: Value,
    /// Its system calls.
    calls: Vec<SystemCall>,
}

impl Stage {
    /// Runs the command undisturbed, to know both states and its calls.
    pub fn new(scenario: Scenario) -> Self {
        let site = Site::on(scenario.fs, scenario.driver, scenario.config).unwrap();
        let at = site.mountpoint("at").to_str().unwrap().to_owned();
        let mut stage = Self {
            scenario,
            site,
            at,
            before: Value::Null,
            after: Value::Null,
            calls: Vec::new(),
        };
        for words in stage.scenario.prepare {
            stage.site.ok(&stage.words(words));
        }
        stage.before = stage.site.state();
        // The first changing command in a location makes `.mosaic` on its way.
        for _ in 0..2 {
            stage.calls = stage.tracee().record().unwrap();
            stage.after = stage.site.state();
            assert_ne!(stage.before, stage.after, "the command changes nothing");
            stage.reset();
        }
        stage
    }

    /// Disturbs the command at each of its calls that may change something. Where calls fail, also at
    /// those that ask, or at a sample: a program asks far more than it changes.
    pub fn disturb_each(&self, action: Action) {
        if is_long() {
            return self.disturb_those(action, |_| true, usize::MAX);
        }
        self.disturb_those(action, |call| !call.leaves_nothing(), usize::MAX);
        if let Action::Fail(_) = action {
            let asks = |call: &SystemCall| call.leaves_nothing() && call.can_matter();
            self.disturb_those(action, asks, FAILURES);
        }
    }

    fn disturb_those(&self, action: Action, is_point: impl Fn(&SystemCall) -> bool, most: usize) {
        let points = self.calls.iter().filter(|call| is_point(call)).count();
        let limit = if is_quick() { SAMPLE } else { most };
        let step = points.div_ceil(limit).max(1);
        let chosen = (0..points).step_by(step);
        if step > 1 {
            left_out(&format!(
                "{} of {points} system calls",
                points - chosen.len()
            ));
        }
        let most = chosen.len();
        let reached = chosen
            .filter(|at| self.disturb(action, &is_point, *at))
            .count();
        // From run to run a program makes a few calls more or less.
        assert!(
            reached * 10 >= most * 9,
            "{:?} made only {reached} of the {most} calls that were to be disturbed",
            self.scenario.command
        );
    }

    /// Whether the command came as far as to that call.
    fn disturb(&self, action: Action, is_point: impl Fn(&SystemCall) -> bool, at: usize) -> bool {
        let mut point = 0;
        let mut disturbed = None;
        let traced = self
            .tracee()
            .run(|call| {
                if !is_point(call) {
                    return Action::Continue;
                }
                point += 1;
                if point - 1 != at {
                    return Action::Continue;
                }
                disturbed = Some(*call);
                action
            })
            .unwrap();
        let place = format!(
            "{:?} with {action:?} at its {at}th call {disturbed:?}: {traced:?}",
            self.scenario.command
        );
        self.verify(&traced, &place);
        self.reset();
        disturbed.is_some()
    }

    fn verify(&self, traced: &Traced, place: &str) {
        let site = &self.site;
        let mut state = Value::Null;
        let whole = eventually(|| {
            state = site.state();
            state == self.before || state == self.after
        });
        assert!(
            whole,
            "{place}\nnow {state}\nbefore {}\nafter {}",
            self.before, self.after
        );
        if traced.outcome == Outcome::Exited(0) {
            assert_eq!(state, self.after, "{place}");
        }
        let in_use = volumes(&state).filter(|v| v["state"] != "idle").count();
        let expected = if self.scenario.driver == "plain" {
            0
        } else {
            in_use
        };
        assert!(
            eventually(|| site.loop_devices().len() == expected),
            "{place}\nloop devices {:?}, {expected} expected",
            site.loop_devices()
        );
        let kind = if self.scenario.driver == "plain" {
            "fs"
        } else {
            "disk"
        };
        site.ok(&["new", kind, "next", "1M"]);
        site.ok(&["drop", "next"]);
        assert!(
            site.leftovers().is_empty(),
            "{place}\nleft {:?}",
            site.leftovers()
        );
        assert_eq!(site.state(), state, "{place}");
        for volume in volumes(&state).filter(|v| v["fs"] == "ext4" && v["state"] == "idle") {
            let image = site.location().join(volume["name"].as_str().unwrap());
            let checked = run_status("e2fsck", &["-fn".as_ref(), image.as_path()]).unwrap();
            assert_eq!(checked, Some(0), "{place}\n{volume} is not clean");
        }
    }

    fn reset(&self) {
        for words in self.scenario.reset {
            // It may be the state before already.
            self.site.run(&self.words(words));
        }
        let mut state = Value::Null;
        let back = eventually(|| {
            state = self.site.state();
            state == self.before
        });
        assert!(back, "cannot get back: {state}, before {}", self.before);
    }

    fn tracee(&self) -> Tracee {
        Tracee::new(&self.site.command(&self.words(self.scenario.command)))
    }

    fn words<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        let word = |word: &&'a str| {
            if *word == "AT" {
                self.at.as_str()
            } else {
                *word
            }
        };
        words.iter().map(word).collect()
    }
}

fn volumes(state: &Value) -> impl Iterator<Item = &Value> {
    state.as_array().into_iter().flatten()
}

const LOOP: Scenario = Scenario {
    driver: "loop",
    fs: "xfs",
    config: "default_fs: ext4\n",
    prepare: &[],
    command: &[],
    reset: &[],
};

const PLAIN: Scenario = Scenario {
    driver: "plain",
    fs: "ext4",
    config: "",
    ..LOOP
};

/// Every changing verb, on both drivers where both have it.
pub const SCENARIOS: [(&str, Scenario); 15] = [
    (
        "loop new fs",
        Scenario {
            command: &["new", "fs", "a", "16M"],
            reset: &[&["drop", "a"]],
            ..LOOP
        },
    ),
    (
        "loop new disk",
        Scenario {
            command: &["new", "disk", "a", "1M"],
            reset: &[&["drop", "a"]],
            ..LOOP
        },
    ),
    (
        "loop clone",
        Scenario {
            prepare: &[&["new", "fs", "a", "16M"]],
            command: &["clone", "a", "b", "--size", "32M"],
            reset: &[&["drop", "b"]],
            ..LOOP
        },
    ),
    (
        "loop drop",
        Scenario {
            prepare: &[&["new", "disk", "a", "1M"]],
            command: &["drop", "a"],
            reset: &[&["new", "disk", "a", "1M"]],
            ..LOOP
        },
    ),
    (
        "loop rename",
        Scenario {
            prepare: &[&["new", "disk", "a", "1M"]],
            command: &["rename", "a", "b"],
            reset: &[&["rename", "b", "a"]],
            ..LOOP
        },
    ),
    (
        "loop attach",
        Scenario {
            prepare: &[&["new", "disk", "a", "1M"]],
            command: &["attach", "a"],
            reset: &[&["detach", "a"]],
            ..LOOP
        },
    ),
    (
        "loop detach",
        Scenario {
            prepare: &[&["new", "disk", "a", "1M"], &["attach", "a"]],
            command: &["detach", "a"],
            reset: &[&["attach", "a"]],
            ..LOOP
        },
    ),
    (
        "loop mount",
        Scenario {
            prepare: &[&["new", "fs", "a", "16M"]],
            command: &["mount", "a", "AT"],
            reset: &[&["umount", "a", "AT"]],
            ..LOOP
        },
    ),
    (
        "loop umount",
        Scenario {
            prepare: &[&["new", "fs", "a", "16M"], &["mount", "a", "AT"]],
            command: &["umount", "a", "AT"],
            reset: &[&["mount", "a", "AT"]],
            ..LOOP
        },
    ),
    (
        "loop resize disk",
        Scenario {
            prepare: &[&["new", "disk", "a", "1M"], &["attach", "a"]],
            command: &["resize", "a", "2M"],
            reset: &[
                &["detach", "a"],
                &["resize", "a", "1M", "--shrink"],
                &["attach", "a"],
            ],
            ..LOOP
        },
    ),
    (
        "plain new",
        Scenario {
            command: &["new", "fs", "a", "1M"],
            reset: &[&["drop", "a"]],
            ..PLAIN
        },
    ),
    (
        "plain drop",
        Scenario {
            prepare: &[&["new", "fs", "a", "1M"]],
            command: &["drop", "a"],
            reset: &[&["new", "fs", "a", "1M"]],
            ..PLAIN
        },
    ),
    (
        "plain rename",
        Scenario {
            prepare: &[&["new", "fs", "a", "1M"]],
            command: &["rename", "a", "b"],
            reset: &[&["rename", "b", "a"]],
            ..PLAIN
        },
    ),
    (
        "plain mount",
        Scenario {
            prepare: &[&["new", "fs", "a", "1M"]],
            command: &["mount", "a", "AT"],
            reset: &[&["umount", "a", "AT"]],
            ..PLAIN
        },
    ),
    (
        "plain umount",
        Scenario {
            prepare: &[&["new", "fs", "a", "1M"], &["mount", "a", "AT"]],
            command: &["umount", "a", "AT"],
            reset: &[&["mount", "a", "AT"]],
            ..PLAIN
        },
    ),
];
