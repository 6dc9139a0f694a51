// SPDX-License-Identifier: MIT OR Apache-2.0
//! "Did you mean": the known word nearest to a misspelt one.

/// Words longer than this are nobody's misspelling of a key or a mosaic's name.
const LONGEST: usize = 64;

/// The word among `known` that `word` most likely stands for; `None` if none is near.
///
/// Case, `-` and `_` do not count; else one slip (a letter too many, too few, wrong, or two
/// swapped) in three letters may be.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let plain = fold(word);
    let allowed = (plain.chars().count() / 3).max(1);
    known
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (strsim::osa_distance(&plain, &fold(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn fold(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 5] = ["type", "location", "default_fs", "layout", "volumeMap"];

    #[test]
    fn finds_the_word_that_was_meant() {
        for (word, meant) in [
            ("locaton", "location"),
            ("tpye", "type"),
            ("default-fs", "default_fs"),
            ("volumemap", "volumeMap"),
            ("LAYOUT", "layout"),
        ] {
            assert_eq!(nearest(word, KEYS), Some(meant), "{word}");
        }
    }

    #[test]
    fn says_nothing_about_words_that_are_far() {
        for word in ["quota", "", "x", "\u{0}", &"location".repeat(1000)] {
            assert_eq!(nearest(word, KEYS), None, "{word}");
        }
    }
}
