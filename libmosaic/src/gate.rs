// SPDX-License-Identifier: MIT OR Apache-2.0
//! A gate that the calls of one handle go through: many at once, or one alone.
//!
//! A call can call the program (the log, progress, cancel), and that the library again. So a thread
//! that is inside passes its own gate as often as it likes. Nobody waits for ever: what the program
//! holds, such as a lock of its own, may be what the one inside waits for.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mosaic_core::{Error, ErrorKind, Result, Services};

/// How often somebody who waits is asked whether to stop.
const STEP: Duration = Duration::from_millis(100);

/// How to wait.
pub(crate) struct Waiting<'a> {
    /// No longer than that.
    pub(crate) patience: Duration,
    /// Who is asked whether to stop.
    pub(crate) services: &'a dyn Services,
}

/// The gate.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    inside: Mutex<Inside>,
    changed: Condvar,
}

/// Who is inside.
#[derive(Debug, Default)]
struct Inside {
    shared: usize,
    is_alone: bool,
    /// So many wait to be alone.
    wanted: usize,
}

thread_local! {
    /// The addresses of the gates that this thread is inside of. Nothing is left to be dropped when
    /// it is inside of none, so that it is there until the very end of a thread.
    static MINE: RefCell<ManuallyDrop<Vec<usize>>> =
        const { RefCell::new(ManuallyDrop::new(Vec::new())) };
    /// How many gates this thread waits for, to be alone in them. It is asked meanwhile whether to
    /// stop, and what it calls then may go through gates.
    static WISHES: Cell<usize> = const { Cell::new(0) };
}

impl Gate {
    /// Whether this thread is inside.
    pub(crate) fn is_mine(&self) -> bool {
        MINE.with_borrow(|mine| mine.contains(&self.address()))
    }

    /// Goes inside with others. This waits for one who is alone, and lets those go first who want to
    /// be, unless one of them may be waiting for this thread, or is this thread.
    ///
    /// # Errors
    /// `Busy`, `Interrupted`.
    pub(crate) fn share(self: &Arc<Self>, waiting: &Waiting<'_>) -> Result<Pass> {
        let mut inside = self.lock();
        if !self.is_mine() {
            let is_first = is_inside_of_any() || WISHES.get() > 0;
            let is_shut = |inside: &Inside| inside.is_alone || inside.wanted > 0 && !is_first;
            inside = self.wait(inside, waiting, is_shut)?;
        }
        inside.shared += 1;
        drop(inside);
        Ok(self.pass(false))
    }

    /// Goes inside when nobody else is.
    ///
    /// # Errors
    /// `Busy`, `Interrupted`; `Invalid` if this thread is inside already.
    pub(crate) fn alone(self: &Arc<Self>, waiting: &Waiting<'_>) -> Result<Pass> {
        if self.is_mine() {
            return Err(Error::new(
                ErrorKind::Invalid,
                "a call on this handle has called the function that asks for it",
            ));
        }
        let wish = Wish::new(self);
        let is_taken = |inside: &Inside| inside.is_alone || inside.shared > 0;
        let waited = self.wait(self.lock(), waiting, is_taken);
        let outcome = waited.map(|mut inside| inside.is_alone = true);
        drop(wish);
        outcome.map(|()| self.pass(true))
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &'a self,
        mut inside: MutexGuard<'a, Inside>,
        waiting: &Waiting<'_>,
        is_shut: impl Fn(&Inside) -> bool,
    ) -> Result<MutexGuard<'a, Inside>> {
        let started = Instant::now();
        loop {
            let left = waiting.patience.saturating_sub(started.elapsed());
            let waited = self
                .changed
                .wait_timeout_while(inside, left.min(STEP), |inside| is_shut(inside));
            (inside, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if !is_shut(&inside) {
                return Ok(inside);
            }
            drop(inside);
            let (kind, why) = if waiting.services.cancelled() {
                (ErrorKind::Interrupted, "interrupted while it waited for")
            } else if started.elapsed() >= waiting.patience {
                (ErrorKind::Busy, "no end has come to")
            } else {
                inside = self.lock();
                continue;
            };
            let why = format!("{why} another call on this handle");
            return Err(Error::new(kind, why));
        }
    }

    fn pass(self: &Arc<Self>, is_alone: bool) -> Pass {
        MINE.with_borrow_mut(|mine| mine.push(self.address()));
        Pass {
            gate: Arc::clone(self),
            is_alone,
            of_this_thread: PhantomData,
        }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

fn is_inside_of_any() -> bool {
    MINE.with_borrow(|mine| !mine.is_empty())
}

/// Waiting to be alone, until it is dropped.
struct Wish<'a>(&'a Gate);

impl<'a> Wish<'a> {
    fn new(gate: &'a Gate) -> Self {
        gate.lock().wanted += 1;
        WISHES.set(WISHES.get() + 1);
        Self(gate)
    }
}

impl Drop for Wish<'_> {
    fn drop(&mut self) {
        WISHES.set(WISHES.get() - 1);
        self.0.lock().wanted -= 1;
        self.0.changed.notify_all();
    }
}

/// Being inside, until it is dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    is_alone: bool,
    of_this_thread: PhantomData<*const ()>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        MINE.with_borrow_mut(|mine| {
            if let Some(at) = mine.iter().rposition(|gate| *gate == self.gate.address()) {
                mine.remove(at);
            }
            if mine.is_empty() {
                **mine = Vec::new();
            }
        });
        let mut inside = self.gate.lock();
        match self.is_alone {
            true => inside.is_alone = false,
            false => inside.shared -= 1,
        }
        drop(inside);
        self.gate.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use mosaic_core::Level;

    use super::*;

    /// A program, and whether it wants to stop.
    struct Program(bool);

    impl Services for Program {
        fn log(&self, _: Level, _: &str) {}
        fn progress(&self, _: u64, _: u64, _: &str) {}
        fn cancelled(&self) -> bool {
            self.0
        }
    }

    const LONG: Waiting<'_> = patient(60_000);

    const fn patient(milliseconds: u64) -> Waiting<'static> {
        Waiting {
            patience: Duration::from_millis(milliseconds),
            services: &Program(false),
        }
    }

    fn kind(outcome: Result<Pass>) -> Option<ErrorKind> {
        outcome.err().map(|error| error.kind())
    }

    /// What a thread that is inside of nothing gets.
    fn elsewhere(ask: impl FnOnce() -> Result<Pass> + Send) -> Option<ErrorKind> {
        thread::scope(|scope| scope.spawn(|| kind(ask())).join().unwrap())
    }

    /// Waits until so many want to be alone.
    fn await_wanted(gate: &Gate, wanted: usize) {
        while gate.lock().wanted != wanted {
            thread::yield_now();
        }
    }

    #[test]
    fn many_are_inside_or_one_alone() {
        let gate = Arc::new(Gate::default());
        let shared = gate.share(&LONG).unwrap();
        assert_eq!(elsewhere(|| gate.share(&patient(0))), None);
        let busy = elsewhere(|| gate.alone(&patient(0)));
        assert_eq!(busy, Some(ErrorKind::Busy));
        drop(shared);
        let alone = gate.alone(&LONG).unwrap();
        let busy = elsewhere(|| gate.alone(&patient(1)));
        assert_eq!(busy, Some(ErrorKind::Busy));
        drop(alone);
        assert_eq!(elsewhere(|| gate.alone(&patient(0))), None);
        let inside = gate.lock();
        assert!(inside.shared == 0 && inside.wanted == 0 && !inside.is_alone);
        assert!(!gate.is_mine() && !is_inside_of_any());
    }

    #[test]
    fn who_is_inside_passes_again_but_never_alone() {
        let gate = Arc::new(Gate::default());
        for first in [Gate::share, Gate::alone] {
            let outer = first(&gate, &LONG).unwrap();
            let inner = gate.share(&patient(0)).unwrap();
            assert_eq!(kind(gate.alone(&LONG)), Some(ErrorKind::Invalid));
            drop(inner);
            assert!(gate.is_mine());
            assert_eq!(kind(gate.alone(&LONG)), Some(ErrorKind::Invalid));
            drop(outer);
            assert!(!gate.is_mine());
        }
    }

    #[test]
    fn nobody_waits_for_ever() {
        let (one, other) = (Arc::new(Gate::default()), Arc::new(Gate::default()));
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let other = &other;
            scope.spawn(move || {
                let _alone = other.alone(&LONG).unwrap();
                tell.send(()).unwrap();
                ended.recv().unwrap_err();
            });
            told.recv().unwrap();
            let busy = kind(other.share(&patient(1)));
            assert_eq!(busy, Some(ErrorKind::Busy));
            let pass = one.share(&LONG).unwrap();
            let busy = kind(other.share(&patient(1)));
            assert_eq!(busy, Some(ErrorKind::Busy));
            drop((pass, end));
        });
    }

    #[test]
    fn who_waits_is_asked_whether_to_stop() {
        let gate = Arc::new(Gate::default());
        let pass = gate.alone(&LONG).unwrap();
        let waiting = Waiting {
            services: &Program(true),
            ..LONG
        };
        for ask in [Gate::share, Gate::alone] {
            let stopped = elsewhere(|| ask(&gate, &waiting));
            assert_eq!(stopped, Some(ErrorKind::Interrupted));
        }
        drop(pass);
        assert_eq!(elsewhere(|| gate.share(&waiting)), None);
    }

    /// A program that goes through a gate when it is asked whether to stop.
    struct Nested(Arc<Gate>);

    impl Services for Nested {
        fn log(&self, _: Level, _: &str) {}
        fn progress(&self, _: u64, _: u64, _: &str) {}
        fn cancelled(&self) -> bool {
            assert_eq!(kind(self.0.share(&patient(0))), None);
            true
        }
    }

    #[test]
    fn who_wants_to_be_alone_never_waits_for_such_a_wish() {
        let [wanted, other] = [(); 2].map(|()| Arc::new(Gate::default()));
        let _pass = wanted.share(&LONG).unwrap();
        let theirs = other.share(&LONG).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| other.alone(&LONG).map(drop).unwrap());
            await_wanted(&other, 1);
            for asked in [&wanted, &other] {
                let services = &Nested(Arc::clone(asked));
                let waiting = Waiting { services, ..LONG };
                let stopped = elsewhere(|| wanted.alone(&waiting));
                assert_eq!(stopped, Some(ErrorKind::Interrupted));
            }
            drop(theirs);
        });
        assert!(wanted.lock().wanted == 0 && WISHES.get() == 0);
    }

    #[test]
    fn who_wants_to_be_alone_goes_before_others_but_not_before_who_is_inside() {
        let gate = Arc::new(Gate::default());
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            let pass = gate.share(&LONG).unwrap();
            let (gate, first) = (&gate, tell.clone());
            scope.spawn(move || {
                let _alone = gate.alone(&LONG).unwrap();
                first.send("alone").unwrap();
            });
            await_wanted(gate, 1);
            // It would wait for ever, if it waited for the one who waits for it.
            drop(gate.share(&patient(0)).unwrap());
            scope.spawn(move || {
                let _shared = gate.share(&LONG).unwrap();
                tell.send("shared").unwrap();
            });
            drop(pass);
        });
        assert_eq!(told.iter().collect::<Vec<_>>(), ["alone", "shared"]);
    }
}
