// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which calls of a command are disturbed, and the runs in which they are.

use std::cell::Cell;

use mosaic_tests::{Action, SystemCall, Traced, Tracee, did, is_long, is_quick, left_out};

/// How many system calls of each command a quick run disturbs, of those that may change something and
/// of those that only ask.
const SAMPLE: [usize; 2] = [3, 2];

/// Most calls of a command that are disturbed.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// That may change something, in any run but a long one, which takes all of them.
    pub changes: usize,
    /// That may change something there are so many, at least.
    pub least: usize,
    /// The calls are only some of the command's, or it is not them alone that decide.
    pub is_part: bool,
    /// That only ask, in any run but a long one, and where they fail. A program asks far more than it
    /// changes.
    pub asks: usize,
    /// That leave nothing, in a long run, whether they can matter or not.
    pub others: usize,
}

/// What a disturbed command has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing has changed.
    Before,
    /// Something that the next one of its kind finishes.
    Between,
    /// It is done.
    After,
}

/// How often there was each.
#[derive(Debug, Default)]
struct Verdicts {
    before: Cell<usize>,
    between: Cell<usize>,
    after: Cell<usize>,
}

impl Verdicts {
    fn count(&self, verdict: Verdict) {
        let counter = match verdict {
            Verdict::Before => &self.before,
            Verdict::Between => &self.between,
            Verdict::After => &self.after,
        };
        counter.set(counter.get() + 1);
    }

    /// Says it. Kills at all calls that change something lead to both ends.
    fn tell(&self, action: Action, is_complete: bool) {
        let (before, between, after) = (self.before.get(), self.between.get(), self.after.get());
        let done = match action {
            Action::Fail(_) => "failed calls",
            _ => "kills",
        };
        let number = before + between + after;
        did(&format!(
            "{number} {done}: {before} left the state before, {after} the one after, {between} \
             something between that was finished"
        ));
        let is_kill = !matches!(action, Action::Fail(_));
        assert!(
            !is_kill || !is_complete || (before + between > 0 && after > 0),
            "a kill has to be before the commit, and one after it: {self:?}"
        );
    }
}

/// Runs a command again and again, disturbed at one call after the other of those that it made
/// before, and has each run judged: by how it ended, and in what words it is told of.
pub fn disturb_each(
    action: Action,
    most: Most,
    calls: &[SystemCall],
    tracee: &dyn Fn() -> Tracee,
    judge: &dyn Fn(&Traced, &str) -> Verdict,
) {
    let changes = calls.iter().filter(|call| !call.leaves_nothing()).count();
    let least = most.least;
    assert!(changes >= least, "{changes} calls, {least} expected");
    let verdicts = Verdicts::default();
    let count = |traced: &Traced, place: &str| verdicts.count(judge(traced, place));
    let each = |most: usize, is_point: &dyn Fn(&SystemCall) -> bool| {
        disturb_those(action, most, calls, is_point, tracee, &count);
    };
    if is_long() {
        each(usize::MAX, &|call| !call.leaves_nothing());
        if most.others > 0 {
            each(most.others, &SystemCall::leaves_nothing);
        }
        verdicts.tell(action, !most.is_part);
        return;
    }
    each(most.changes, &|call| !call.leaves_nothing());
    let is_complete = !is_quick() && most.changes >= changes && !most.is_part;
    if let Action::Fail(_) = action {
        each(most.asks, &|call| {
            call.leaves_nothing() && call.can_matter()
        });
    }
    verdicts.tell(action, is_complete);
}

fn disturb_those(
    action: Action,
    most: usize,
    calls: &[SystemCall],
    is_point: &dyn Fn(&SystemCall) -> bool,
    tracee: &dyn Fn() -> Tracee,
    judge: &dyn Fn(&Traced, &str),
) {
    let points = calls.iter().filter(|call| is_point(call)).count();
    let asks = calls
        .iter()
        .any(|call| is_point(call) && call.leaves_nothing());
    let limit = match is_quick() {
        true => SAMPLE[usize::from(asks)].min(most),
        false => most,
    };
    if limit == 0 {
        left_out(&format!("{points} system calls that only ask"));
        return;
    }
    let step = points.div_ceil(limit).max(1);
    let chosen = (0..points).step_by(step);
    let most = chosen.len();
    if step > 1 {
        left_out(&format!("{} of {points} system calls", points - most));
    }
    let mut reached = 0;
    for at in chosen {
        let (traced, disturbed) = disturb(tracee(), action, is_point, at);
        reached += usize::from(disturbed.is_some());
        let place = format!("{action:?} at its {at}th call {disturbed:?}: {traced:?}");
        judge(&traced, &place);
    }
    // From run to run a program makes a few calls more or less.
    // What it asks /proc follows the processes of the machine, whoever starts and ends them.
    let least = match asks {
        true => most / 2,
        false => (most * 9 / 10).max(most.min(1)),
    };
    assert!(
        reached >= least,
        "made only {reached} of the {most} calls that were to be disturbed"
    );
}

/// The call that was disturbed, if the command came so far.
fn disturb(
    tracee: Tracee,
    action: Action,
    is_point: &dyn Fn(&SystemCall) -> bool,
    at: usize,
) -> (Traced, Option<SystemCall>) {
    let mut point = 0;
    let mut disturbed = None;
    let traced = tracee.run(|call| {
        if !is_point(call) {
            return Action::Continue;
        }
        point += 1;
        if point - 1 != at {
            return Action::Continue;
        }
        disturbed = Some(*call);
        action
    });
    (traced.unwrap(), disturbed)
}
