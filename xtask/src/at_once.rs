// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several things at once, as many as there are processors.

use std::sync::Mutex;
use std::sync::mpsc::channel;

/// How many.
pub fn number() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(4))
}

/// Does all that `next` gives, several at once; hands over what comes of each as soon as it is done.
pub fn each<T: Send, D: Send>(
    next: impl FnMut() -> Option<T> + Send,
    run: impl Fn(T) -> D + Sync,
    take: impl FnMut(D),
) {
    let next = Mutex::new(next);
    let (results, received) = channel();
    std::thread::scope(|scope| {
        for _ in 0..number() {
            let results = results.clone();
            let (next, run) = (&next, &run);
            scope.spawn(move || {
                while let Some(task) = next.lock().ok().and_then(|mut next| next()) {
                    // Nobody but us receives them.
                    let _ = results.send(run(task));
                }
            });
        }
        drop(results);
        received.into_iter().for_each(take);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_done_once() {
        let mut tasks = 0..100;
        let mut done = Vec::new();
        each(|| tasks.next(), |task| task * 2, |result| done.push(result));
        done.sort_unstable();
        assert!(done.into_iter().eq((0..100).map(|task| task * 2)));
    }
}
