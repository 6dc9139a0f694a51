// SPDX-License-Identifier: MIT OR Apache-2.0
//! One changing command from a known state, to be disturbed at each of its system calls.
//!
//! Whatever the disturbance, afterwards there is the state before or the state after; nothing is
//! left in the kernel; the next changing command leaves nothing half-made in `.mosaic`.

mod content;
mod ploop_verbs;
mod points;
mod pool_repair;
mod pool_start;
mod pool_verbs;
mod pools;
mod verbs;

use std::cell::Cell;
use std::path::PathBuf;
use std::process::Command;

use mosaic_tests::{
    Action, Outcome, Output, Site, SystemCall, Traced, Tracee, block_servers_beneath, eventually,
    is_long, qgroups, requires_program, requires_root, requires_thin_pools, requires_time, run,
    run_status,
};
use serde_json::{Value, json};

use points::{Most, Verdict};
pub use pool_start::{Beginning, Start};
use pools::Disturbed;

/// A scenario and what it is called.
pub type Named = (&'static str, Scenario);

/// All scenarios.
pub fn all() -> impl Iterator<Item = &'static Named> {
    verbs::SCENARIOS
        .iter()
        .chain(pool_verbs::SCENARIOS)
        .chain(ploop_verbs::SCENARIOS)
}

/// The location is a thin pool instead.
pub const POOL: &str = "pool";

/// After how many of them any run but a long one cuts the power.
const CUTS: usize = 6;

/// A command, what it needs, and how to get back to before it. Commands are `moctl`'s, or begin with
/// `btrfs` and are that program's, run in the location; `AT` is a mountpoint. `fill` writes to a disk.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Type of the mosaic.
    pub driver: &'static str,
    /// File system of the location.
    pub fs: &'static str,
    /// Further lines of the config.
    pub config: &'static str,
    /// Commands that lead to the state before.
    pub prepare: &'static [&'static [&'static str]],
    /// The command.
    pub command: &'static [&'static str],
    /// Commands that lead from the state after, or before, to the one before; they may fail.
    pub reset: &'static [&'static [&'static str]],
    /// How many of its calls that only ask any run but a long one makes fail.
    pub asks: usize,
    /// How many of its calls that may change something any run but a long one makes fail.
    pub fails: usize,
    /// So many of its calls may change something, at least.
    pub least: usize,
    /// In the state after, something may be left to do that the same command does.
    pub again: bool,
    /// After each disturbance the power is cut as well.
    pub cuts_power: bool,
    /// A quick run has it too.
    pub in_quick: bool,
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
    /// How often it was disturbed.
    turn: Cell<usize>,
}

/// The scenarios of that name: one, or in a long run one for each kind of quota that the verb can
/// live with. None where there is not all that they need; that was said.
pub fn scenarios(name: &str) -> Vec<Scenario> {
    chosen(name, requires_time)
}

/// The scenarios of that name, if it is one of a quick run or there is time for it.
pub fn chosen(name: &str, has_time: impl FnOnce() -> bool) -> Vec<Scenario> {
    let has = |fs: &str| requires_program(&format!("mkfs.{fs}"));
    if !requires_root() || !["ext4", "xfs", "btrfs"].into_iter().all(has) {
        return Vec::new();
    }
    let (_, scenario) = all().find(|(n, _)| *n == name).unwrap();
    if !scenario.in_quick && !has_time() {
        return Vec::new();
    }
    if scenario.fs == POOL && !requires_thin_pools() {
        return Vec::new();
    }
    if scenario.driver != "btrfs" || !is_long() {
        return vec![*scenario];
    }
    let kinds = ["btrfs+simple", "btrfs+full", "btrfs"];
    let number = if name == "btrfs resize" { 2 } else { 3 };
    kinds[..number]
        .iter()
        .map(|fs| Scenario { fs, ..*scenario })
        .collect()
}

impl Stage {
    /// Runs the command undisturbed, to know both states and its calls.
    pub fn new(scenario: Scenario) -> Self {
        let site = site(&scenario);
        let at = site.mountpoint("at").to_str().unwrap().to_owned();
        let mut stage = Self {
            scenario,
            site,
            at,
            before: Value::Null,
            after: Value::Null,
            calls: Vec::new(),
            turn: Cell::new(0),
        };
        for words in stage.scenario.prepare {
            stage.outcome_of(words).unwrap();
        }
        stage.before = stage.state();
        // The first changing command in a location makes `.mosaic` on its way.
        for _ in 0..2 {
            stage.calls = stage.tracee().record().unwrap();
            stage.after = stage.state();
            assert_ne!(stage.before, stage.after, "the command changes nothing");
            stage.reset();
        }
        stage
    }

    /// Disturbs the command at each of its calls that may change something, and where calls fail at a
    /// sample of those that ask.
    pub fn disturb_each(&self, action: Action) {
        let Scenario {
            command,
            asks,
            fails,
            least,
            cuts_power,
            ..
        } = self.scenario;
        let (changes, others) = match (cuts_power, action) {
            (true, _) => (CUTS, 0),
            (false, Action::Fail(_)) => (fails, usize::MAX),
            (false, _) => (usize::MAX, usize::MAX),
        };
        let most = Most {
            changes,
            least,
            is_part: cuts_power,
            asks,
            others,
        };
        points::disturb_each(
            action,
            most,
            &self.calls,
            &|| self.tracee(),
            &|traced, place| {
                if cuts_power {
                    self.site.fs().unwrap().cut_power().unwrap();
                }
                self.verify(traced, &format!("{command:?} with {place}"))
            },
        );
        if self.is_btrfs() {
            for at in self.site.mounts() {
                run("umount", &[at]).unwrap();
            }
            self.site.assert_sound();
        }
        if let Some(pool) = self.site.pool() {
            pools::verify_inactive(&self.site, pool);
        }
    }

    fn verify(&self, traced: &Traced, place: &str) -> Verdict {
        let site = &self.site;
        let mut state = Value::Null;
        let whole = eventually(|| {
            state = self.state();
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
        let verdict = match state == self.after {
            true => Verdict::After,
            false => Verdict::Before,
        };
        if self.scenario.again && verdict == Verdict::After {
            // What it found to do is done, so that it finds nothing the next time.
            for expected in ["", "unchanged"] {
                let said = site.ok(&self.words(self.scenario.command));
                assert!(said.contains(expected), "{place}\n{said}");
            }
        }
        let in_use = volumes(&state).filter(|v| v["state"] != "idle").count();
        let is_loop = self.scenario.driver == "loop";
        let expected = if is_loop { in_use } else { 0 };
        assert!(
            eventually(|| site.loop_devices().len() == expected),
            "{place}\nloop devices {:?}, {expected} expected",
            site.loop_devices()
        );
        assert!(
            eventually(|| self.is_served(&state)),
            "{place}\nblock servers {:?}",
            block_servers_beneath(site.location())
        );
        match site.pool() {
            Some(pool) => {
                let disturbed = Disturbed {
                    turn: self.turn.replace(self.turn.get() + 1),
                    killed: traced.outcome == Outcome::Killed,
                    place,
                    state: &state["volumes"],
                    after: &self.after["volumes"],
                };
                pools::verify(site, pool, &disturbed, &|| self.state()["volumes"].take());
            }
            None => self.verify_next(&state, place),
        }
        // What is not in use is in a pool as it was, whatever the next command did.
        if site.pool().is_none() || in_use > 0 || state != self.before {
            self.reset_from(&state);
        }
        verdict
    }

    /// The next command leaves nothing half-made, and file systems are clean.
    fn verify_next(&self, state: &Value, place: &str) {
        let site = &self.site;
        let is_image = matches!(self.scenario.driver, "loop" | "ploop");
        let kind = if is_image { "disk" } else { "fs" };
        site.ok(&["new", kind, "next", "1M"]);
        site.ok(&["drop", "next"]);
        assert!(
            site.leftovers().is_empty(),
            "{place}\nleft {:?}",
            site.leftovers()
        );
        let is_ploop = self.scenario.driver == "ploop";
        let now = site.state();
        // A server goes on with what it was told to do by a command that was killed since.
        let is_late = is_ploop && now == self.after["volumes"];
        assert!(now == state["volumes"] || is_late, "{place}\n{now}");
        for volume in volumes(state).filter(|v| v["fs"] == "ext4" && v["state"] == "idle") {
            let name = volume["name"].as_str().unwrap();
            let image = match is_ploop {
                true => self.device_of(name),
                false => site.location().join(name),
            };
            let checked = run_status("e2fsck", &["-fn".as_ref(), image.as_path()]).unwrap();
            assert_eq!(checked, Some(0), "{place}\n{volume} is not clean");
            if is_ploop {
                site.ok(&["detach", name]);
            }
        }
        if self.is_filled() {
            for volume in volumes(state) {
                let looked = content::look(site, volume["name"].as_str().unwrap());
                looked.unwrap_or_else(|why| panic!("{place}\n{why}"));
            }
        }
        if is_ploop {
            // What the next change of the same disk would put in order, and then nothing more.
            site.expect(0, &["check", "--repair=leftovers,images,sizes"]);
            site.ok(&["check"]);
        }
    }

    /// Attaches a volume.
    fn device_of(&self, name: &str) -> PathBuf {
        let said = self.site.json(&["attach", name]);
        PathBuf::from(said["attachment"]["device"].as_str().unwrap())
    }

    fn reset(&self) {
        self.reset_from(&Value::Null);
    }

    fn reset_from(&self, from: &Value) {
        // It may be the state before already.
        let reset = || -> Vec<String> {
            let resets = self.scenario.reset.iter();
            resets
                .filter_map(|words| self.outcome_of(words).err())
                .collect()
        };
        let mut refused = reset();
        // Where processors are emulated another look takes as long as all that.
        if self.site.pool().is_some() && refused.is_empty() && *from == self.after {
            return;
        }
        let mut state = Value::Null;
        let mut is_back = || {
            eventually(|| {
                state = self.state();
                state == self.before
            })
        };
        let mut back = is_back();
        if !back {
            // Somebody else may have looked into what was to be unmounted.
            refused.extend(reset());
            back = is_back();
        }
        assert!(
            back,
            "cannot get back: {state}, before {}; {refused:?}",
            self.before
        );
        // One that still closes its disk is waited for by the next command, in calls of its own.
        assert!(eventually(|| self.is_served(&state)));
    }

    /// Whether there are a keeper and a worker for each ploop disk that is shown, and none else.
    fn is_served(&self, state: &Value) -> bool {
        let shown = volumes(state).filter(|volume| volume["state"] != "idle");
        let expected = match self.scenario.driver {
            "ploop" => 2 * shown.count(),
            _ => 0,
        };
        block_servers_beneath(self.site.location()).len() == expected
    }

    /// What a user can tell apart, and on btrfs the subvolumes that are not Mosaic's own.
    fn state(&self) -> Value {
        if !self.is_btrfs() {
            let mut volumes = self.site.state();
            if let Some(volumes) = volumes.as_array_mut() {
                volumes.retain(|volume| volume["name"] != pools::NEXT);
                if self.scenario.command.contains(&pools::METADATA) {
                    volumes.push(pools::metadata(&self.site));
                }
            }
            return json!({ "volumes": volumes });
        }
        let volumes = self.site.state();
        // The limit that a subvolume is made with btrfs-progs show from the commit on.
        run(
            "btrfs",
            &["filesystem".as_ref(), "sync".as_ref(), self.site.location()],
        )
        .unwrap();
        let groups = qgroups(self.site.location()).unwrap();
        let subvolumes: Vec<Value> = self
            .site
            .subvolumes()
            .iter()
            .filter(|subvolume| !subvolume.path.starts_with(".mosaic"))
            .map(|subvolume| {
                let id = format!("0/{}", subvolume.id);
                let limit = groups.iter().find(|group| group.id == id).map(|g| g.limit);
                json!([subvolume.path, subvolume.read_only, limit])
            })
            .collect();
        json!({ "volumes": volumes, "subvolumes": subvolumes })
    }

    /// Whether its disks have something in them, which stays.
    fn is_filled(&self) -> bool {
        let prepare = self.scenario.prepare;
        prepare.iter().any(|words| words[0] == "fill")
    }

    fn is_btrfs(&self) -> bool {
        self.scenario.driver == "btrfs"
    }

    /// Runs a command of the scenario.
    fn outcome_of(&self, words: &[&str]) -> Result<(), String> {
        let words = self.words(words);
        let mut command = match words.split_first() {
            Some((&"fill", name)) => return content::fill(&self.site, name[0]),
            Some((&"btrfs", rest)) => {
                let mut btrfs = Command::new("btrfs");
                btrfs.args(rest).current_dir(self.site.location());
                btrfs
            }
            _ => self.site.command(&words),
        };
        let output = Output::from(command.output().unwrap());
        match output.status {
            0 => Ok(()),
            _ => Err(format!("{words:?}: {output:?}")),
        }
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

fn site(scenario: &Scenario) -> Site {
    match scenario.fs {
        POOL => pools::site(scenario),
        fs => Site::on(fs, scenario.driver, scenario.config).unwrap(),
    }
}

fn volumes(state: &Value) -> impl Iterator<Item = &Value> {
    state["volumes"].as_array().into_iter().flatten()
}
