// SPDX-License-Identifier: MIT OR Apache-2.0
//! Seconds since 1970, made into a date (RFC 3339).

const DAY: u64 = 24 * 60 * 60;
/// Days of 400 years: the calendar begins again after them.
const ERA: u64 = 146_097;
/// From 1st March of the year 0 to 1st January 1970, days.
const EPOCH: u64 = 719_468;

/// `2026-03-01T12:00:00Z` from seconds since 1970. Years have more digits after 9999, where RFC 3339
/// ends.
pub fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / DAY, seconds % DAY);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let mut text = String::with_capacity(20);
    match year / 10_000 {
        0 => {}
        more => text.push_str(&more.to_string()),
    }
    // Digit by digit: a list has thousands of dates, and `format!` would take a part of its time.
    for (separator, number) in [
        ("", year / 100 % 100),
        ("", year % 100),
        ("-", month),
        ("-", day),
        ("T", hour),
        (":", minute),
        (":", second),
    ] {
        text.push_str(separator);
        text.push(digit(number / 10));
        text.push(digit(number % 10));
    }
    text.push('Z');
    text
}

/// A number below 10.
fn digit(number: u64) -> char {
    char::from(b'0' + (number % 10) as u8)
}

/// Year, month and day of the Gregorian calendar. A year is counted from March on, so that the day
/// which only some have is its last one.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH;
    let (era, day) = (days / ERA, days % ERA);
    // Without the leap days that have been: one each 4 years, none each 100, one each 400.
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March on have 31, 30, 31, 30, 31 days, which repeats: 153.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..10 => (year, month + 3),
        _ => (year + 1, month - 9),
    };
    (era * 400 + year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // As `date -u -d @N +%FT%TZ` has them.
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (253_402_300_800, "10000-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), date);
        }
        // No day is left out or comes twice.
        let mut last = (1969, 12, 31);
        for days in 0..ERA {
            let next = civil(days);
            assert!(next > last && next.2 <= 31, "{next:?}");
            assert!(next.2 == last.2 + 1 || next.2 == 1, "{next:?}");
            last = next;
        }
        assert_eq!(civil(ERA), (2370, 1, 1));
        // What is on a damaged disk.
        rfc3339(u64::MAX);
    }
}
