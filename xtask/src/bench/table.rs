// SPDX-License-Identifier: MIT OR Apache-2.0
//! Times of a bench, and what is shown of them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Case;

/// All times by case and side.
#[derive(Debug, Default)]
pub struct Table(BTreeMap<(usize, usize), Vec<Duration>>);

impl Table {
    /// Adds the time that a side took for a case.
    pub fn add(&mut self, case: usize, side: usize, time: Duration) {
        self.0.entry((case, side)).or_default().push(time);
    }

    /// Prints a line for each case.
    pub fn print(&mut self, title: &str, cases: &[Case]) {
        println!("\n{title}: medians of whole processes, ms; moctl's ratio to each");
        println!(
            "{:<14} {:>8} {:>8} {:>7} {:>8} {:>7}",
            "verb", "moctl", "floor", "ratio", "tool", "ratio"
        );
        for (at, case) in cases.iter().enumerate() {
            let [moctl, floor, tool] = [0, 1, 2].map(|side| median(self.0.get_mut(&(at, side))));
            let [moctl, floor, to_floor, tool, to_tool] =
                [moctl, floor, moctl / floor, tool, moctl / tool].map(shown);
            println!(
                "{:<14} {moctl:>8} {floor:>8} {to_floor:>7} {tool:>8} {to_tool:>7}  {}",
                case.verb, case.lines[2],
            );
        }
    }
}

/// With two digits; a dash for what was not measured.
fn shown(number: f64) -> String {
    match number.is_nan() {
        true => "-".to_owned(),
        false => format!("{number:.2}"),
    }
}

/// Milliseconds.
fn median(times: Option<&mut Vec<Duration>>) -> f64 {
    let Some(times) = times else {
        return f64::NAN;
    };
    times.sort_unstable();
    times
        .get(times.len() / 2)
        .map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        let mut times = [9, 1, 2].map(Duration::from_millis).to_vec();
        assert!((median(Some(&mut times)) - 2.0).abs() < 1e-9);
        assert!(median(None).is_nan());
        assert_eq!([1.25, median(None)].map(shown), ["1.25", "-"]);
    }
}
