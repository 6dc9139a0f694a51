// SPDX-License-Identifier: MIT OR Apache-2.0
//! The power is cut while a thin pool is changed, and the pool looked at after the next boot.
//!
//! Both devices of the pool are on one disk of the virtual machine. All that was acknowledged is
//! there with what was synced, and of the one command on its way either nothing or all; what was
//! acknowledged as dropped is gone. Before the pool is activated its metadata are clean to
//! thin_check; after the first change nothing is suspended or left, `check` finds no fault, and all
//! file systems are clean.
//!
//! Two kinds of cuts: QEMU is killed, which loses what the kernel had not sent yet, and a recording of
//! all requests is cut before a flush, which also loses or tears what the disk had not made durable.

mod guest;
mod model;
mod workload;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mosaic_tests::vm::{Disk, Ended, Job, Machine, Payload, Setup, Template, WriteLog};
use mosaic_tests::{
    Random, Scratch, built_program, is_long, is_quick, left_out, requires_qemu, requires_time,
    target_folder,
};

use guest::{First, MARK, Script};
use model::{Expected, State, Step};
use workload::Workload;

/// What it takes to start machines with `moctl` and the driver in them.
struct Bench {
    template: Template,
    payload: Payload,
    scratch: Scratch,
}

impl Bench {
    fn new() -> Result<Self> {
        let moctl = built_program("moctl")?;
        let template = Template::ready()?;
        Ok(Self {
            payload: Payload::new(&template, &moctl)?,
            template,
            scratch: Scratch::new("pool-power")?,
        })
    }

    fn start(&self, script: &Script, disk: &Disk) -> Result<Machine> {
        let folder = target_folder()?;
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.display());
        let job = Job::shell(script.text())
            .env("PATH", path)
            .env("MOSAIC_DRIVER_PATH", folder);
        let setup = Setup {
            payload: Some(&self.payload),
            disk: Some(disk),
            limit: Duration::from_secs(600),
            ..Setup::new(job)
        };
        Machine::start(&self.template, &setup)
    }

    fn run(&self, script: &Script, disk: &Disk) -> Result<Ended> {
        let ended = self.start(script, disk)?.wait()?;
        ensure!(ended.status == 0, "{ended:?}");
        Ok(ended)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.scratch.path().join(name)
    }
}

/// One number for a quick run, one for any, one for a long run.
fn by_length(numbers: [usize; 3], what: &str) -> usize {
    let [quick, usual, long] = numbers;
    let number = match (is_quick(), is_long()) {
        (true, _) => quick,
        (_, true) => long,
        _ => usual,
    };
    if number < long {
        left_out(&format!("{} of {long} {what}", long - number));
    }
    number
}

fn sleep_up_to(random: &mut Random, milliseconds: u64) {
    // The moment of the cut is the one thing that is not awaited.
    std::thread::sleep(Duration::from_millis(random.below(milliseconds)));
}

#[test]
fn what_was_acknowledged_survives_when_the_machine_is_killed_again_and_again() {
    if !requires_time() || !requires_qemu() {
        return;
    }
    let kills = by_length([3, 3, 12], "kills amid a step");
    let seed = Random::seed_of_run();
    if let Err(error) = kill_again_and_again(kills, seed) {
        panic!("MOSAIC_SEED={seed}: {error:#}");
    }
}

fn kill_again_and_again(kills: usize, seed: u64) -> Result<()> {
    let bench = Bench::new()?;
    let disk = Disk::create(&bench.path("disk"))?;
    let mut random = Random::new(seed);
    let empty = Expected(vec![State::default()]);
    let mut steps = vec![Step::Init];
    steps.extend(Workload::new(seed, &empty).tour().into_steps());
    let machine = bench.start(&Script::new().steps(&steps).wait(), &disk)?;
    let mut expected = kill(machine, &State::default(), &steps, 1, &mut random)?;
    let mut amid = usize::from(expected.is_amid_a_step());
    for kill_number in 1.. {
        if amid == kills {
            break;
        }
        ensure!(kill_number < 4 * kills, "{amid} kills amid a step");
        let context = || format!("after kill {kill_number}");
        let first = *random.pick(&[First::Read, First::Change]);
        let steps = Workload::new(random.number(), &expected)
            .with(16)
            .into_steps();
        let script = Script::new().first_command(first).look(expected.mounted());
        if random.below(4) == 0 {
            // Killed while it is activated and looked at, it has to be as it was.
            let mut machine = bench.start(&script.clone().wait(), &disk)?;
            machine
                .await_line(|line| line == "booted")
                .with_context(context)?;
            sleep_up_to(&mut random, 2000);
            machine.cut().with_context(context)?;
        }
        let mut machine = bench.start(&script.steps(&steps).wait(), &disk)?;
        let mut lines = Vec::new();
        machine
            .await_line(|line| {
                lines.push(line.to_owned());
                line == "looked"
            })
            .with_context(context)?;
        let found = guest::read(&lines).with_context(context)?;
        let state = expected.settle(&found).with_context(context)?;
        expected = kill(machine, &state, &steps, 0, &mut random).with_context(context)?;
        amid += usize::from(expected.is_amid_a_step());
    }
    let script = Script::new()
        .first_command(First::Read)
        .look(expected.mounted());
    let ended = bench.run(&script.end(), &disk).context("at the end")?;
    expected.settle(&guest::read(&ended.stdout)?)?;
    Ok(())
}

/// Kills a machine at one of its steps, not before so many, and gives what may be left.
fn kill(
    mut machine: Machine,
    state: &State,
    steps: &[Step],
    least: usize,
    random: &mut Random,
) -> Result<Expected> {
    let mut done = least + usize::try_from(random.below((steps.len() - least) as u64))?;
    if done > 0 {
        let last = format!("done {}", done - 1);
        machine.await_line(|line| line == last)?;
    }
    sleep_up_to(random, 600);
    for line in machine.cut()? {
        done += usize::from(line.starts_with("done "));
    }
    Ok(expected_after(state, steps, done))
}

/// What may be there when so many steps were done and perhaps another one was begun.
fn expected_after(state: &State, steps: &[Step], done: usize) -> Expected {
    let state = steps[..done]
        .iter()
        .fold(state.clone(), |state, step| state.after(step));
    match steps.get(done) {
        Some(step) => Expected(state.during(step).to_vec()),
        None => Expected(vec![state]),
    }
}

#[test]
fn what_was_acknowledged_survives_whatever_the_disk_loses() {
    if !requires_qemu() {
        return;
    }
    let cuts = by_length([1, 8, 36], "cuts");
    let seed = Random::seed_of_run();
    if let Err(error) = lose_what_was_not_flushed(cuts, seed) {
        panic!("MOSAIC_SEED={seed}: {error:#}");
    }
}

fn lose_what_was_not_flushed(count: usize, seed: u64) -> Result<()> {
    let bench = Bench::new()?;
    let mut random = Random::new(seed);
    let empty = Expected(vec![State::default()]);
    let mut steps = vec![Step::Init];
    steps.extend(
        Workload::new(seed, &empty)
            .tour()
            .with(count / 2)
            .into_steps(),
    );
    if is_quick() {
        // The cut is then near the end: what came after it would be recorded in vain.
        let kept = 1 + random.below(steps.len() as u64);
        steps.truncate(usize::try_from(kept)?);
    }
    let log = bench.path("log");
    let disk = Disk::create(&bench.path("disk"))?.record(&log)?;
    bench.run(&Script::new().marking().steps(&steps), &disk)?;
    let log = WriteLog::open(&log)?;
    let marks: Vec<usize> = log.written_at(MARK)?.iter().map(|(at, _)| *at).collect();
    ensure!(marks.len() == steps.len(), "{} marks", marks.len());
    // By the step that they are in; some steps have none.
    let mut cuts: Vec<Vec<usize>> = vec![Vec::new(); steps.len() + 1];
    for cut in log.cuts() {
        cuts[marks.partition_point(|mark| *mark < cut)].push(cut);
    }
    let mut cuts: Vec<_> = cuts.into_iter().enumerate().collect();
    cuts.retain(|(_, cuts)| !cuts.is_empty());
    if is_quick() {
        // In the last step, or behind it.
        cuts.drain(..cuts.len().saturating_sub(2));
    }
    for number in 0..count {
        // A step out of each part, and a cut in it.
        let part = cuts.len() * number / count..cuts.len() * (number + 1) / count;
        let whole = 0..cuts.len();
        let part = if part.is_empty() { whole } else { part };
        let (done, cuts) = random.pick(&cuts[part]);
        let (done, at) = (*done, *random.pick(cuts));
        let cut = Cut {
            log: &log,
            at,
            seed: random.number(),
            expected: expected_after(&State::default(), &steps, done),
            first: match done {
                0 => First::Init,
                _ => *random.pick(&[First::Read, First::Change]),
            },
        };
        let again = (number % 5 == 4).then(|| random.number());
        let step = steps.get(done);
        cut.look(&bench, again)
            .with_context(|| format!("cut before request {at}, seed {}, in {step:?}", cut.seed))?;
    }
    Ok(())
}

/// A place in a recording, and what has to be there.
struct Cut<'l> {
    log: &'l WriteLog,
    at: usize,
    seed: u64,
    expected: Expected,
    first: First,
}

impl Cut<'_> {
    fn disk(&self, image: &Path) -> Result<Disk> {
        self.log.cut(self.at, self.seed, image)
    }

    /// Looks at what is left; with another seed once more, after a second cut in that very look.
    fn look(&self, bench: &Bench, again: Option<u64>) -> Result<()> {
        let (image, log) = (bench.path("cut"), bench.path("second-log"));
        let mut disk = self.disk(&image)?;
        if again.is_some() {
            disk = disk.record(&log)?;
        }
        let settled = self.look_at(bench, &disk, self.expected.clone(), self.first)?;
        std::fs::remove_file(&image)?;
        let Some(seed) = again else {
            return Ok(());
        };
        let second = WriteLog::open(&log)?;
        let at = *Random::new(seed).pick(&second.cuts());
        let disk = self.disk(&image)?;
        second.cut_onto(at, seed, &disk)?;
        self.look_at(bench, &disk, Expected(vec![settled]), self.first)
            .with_context(|| format!("second cut before request {at}, seed {seed}"))?;
        std::fs::remove_file(image)?;
        Ok(std::fs::remove_file(log)?)
    }

    fn look_at(
        &self,
        bench: &Bench,
        disk: &Disk,
        expected: Expected,
        first: First,
    ) -> Result<State> {
        let script = Script::new()
            .first_command(first)
            .look(self.expected.mounted());
        let ended = bench.run(&script.end(), disk)?;
        expected.settle(&guest::read(&ended.stdout)?)
    }
}
