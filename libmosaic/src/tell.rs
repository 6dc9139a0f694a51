// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lists and lines: the program's function is called for one after the other, until it says something
//! other than 0.

use std::ffi::{c_char, c_int};
use std::ops::ControlFlow;

use crate::c::{Arena, Data, Each, owned};

/// Tells the program of each thing, by what `show` makes of it; what the function said last.
pub(crate) fn tell<I, T>(
    things: &[I],
    show: impl Fn(&mut Arena, &I) -> T,
    function: &Each<T>,
    data: Data,
) -> c_int {
    until_other_than_0(things, |thing| {
        let mut arena = Arena::default();
        function.call(&show(&mut arena, thing), data)
    })
}

/// Tells the program each line of what has been done, until it has heard enough.
pub(crate) fn tell_lines(lines: &[String], function: &Each<c_char>, data: Data) {
    until_other_than_0(lines, |line| function.line(&owned(line.as_bytes()), data));
}

fn until_other_than_0<T>(things: &[T], tell: impl Fn(&T) -> c_int) -> c_int {
    let told = things.iter().try_for_each(|thing| match tell(thing) {
        0 => ControlFlow::Continue(()),
        said => ControlFlow::Break(said),
    });
    told.break_value().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_function_says_ends_the_list() {
        let numbers = [1, 2, 3];
        let heard = std::cell::Cell::new(0);
        let tell = |stop: c_int| {
            until_other_than_0(&numbers, |number| {
                heard.set(heard.get() + number);
                if *number == stop { -stop } else { 0 }
            })
        };
        assert_eq!((tell(2), heard.replace(0)), (-2, 3));
        assert_eq!((tell(4), heard.get()), (0, 6));
    }
}
