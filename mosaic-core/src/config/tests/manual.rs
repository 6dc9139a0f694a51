// SPDX-License-Identifier: MIT OR Apache-2.0
//! The manual says what the code does: its table of keys, its examples, its errors.

use super::*;

const MANUAL: &str = include_str!("../../../../doc/config.md");

/// The fenced blocks of a kind, such as `yaml`.
fn blocks(kind: &str) -> Vec<&'static str> {
    let fence = format!("```{kind}\n");
    MANUAL
        .split(fence.as_str())
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect()
}

#[test]
fn the_table_of_keys_is_the_codes() {
    let mut table = "| key | value | default | what it is |\n|---|---|---|---|\n".to_owned();
    for key in MOSAIC_KEYS {
        let default = key.default.unwrap_or("**required**");
        table += &format!(
            "| `{}` | {} | {default} | {} |\n",
            key.path, key.value, key.help
        );
    }
    assert!(
        MANUAL.contains(&table),
        "doc/config.md should have:\n{table}"
    );
}

#[test]
fn the_examples_of_the_keys_are_good() {
    let text_of = |key: &MosaicKey| match key.path.split_once('.') {
        None => format!("{}: {}\n", key.path, key.example),
        Some((outer, inner)) => format!("{outer}: {{{inner}: {}}}\n", key.example),
    };
    let text: String = MOSAIC_KEYS.iter().map(text_of).collect();
    read(&text).unwrap();
}

#[test]
fn every_example_file_is_read_without_a_fault() {
    let examples = blocks("yaml");
    assert!(examples.len() >= 3, "{}", examples.len());
    for example in examples {
        let written = written(example.as_bytes());
        let draft = load(&written.file).unwrap_or_else(|e| panic!("{e}\nin\n{example}"));
        draft
            .check(&[])
            .unwrap_or_else(|e| panic!("{e}\nin\n{example}"));
    }
}

#[test]
fn the_faulty_example_gives_the_errors_that_are_shown() {
    let faulty = blocks("yaml faulty");
    let shown = blocks("text errors");
    assert_eq!((faulty.len(), shown.len()), (1, 1));
    let written = written(faulty[0].as_bytes());
    let error = load(&written.file).unwrap().check(&[]).unwrap_err();
    let path = written.file.path.display().to_string();
    let said = error.to_string().replace(&path, "/etc/mosaic/prod.mos");
    assert_eq!(said.trim(), shown[0].trim());
}

#[test]
fn the_table_of_mapped_names_is_what_the_maps_do() {
    let rows: Vec<Vec<&str>> = MANUAL
        .lines()
        .skip_while(|line| !line.starts_with("| `volumeMap` | name"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            line.split(" | ")
                .map(|cell| cell.trim_matches(['|', ' ', '`']))
                .collect()
        })
        .collect();
    assert!(rows.len() >= 4, "{rows:?}");
    for row in rows {
        let text = format!("type: a\nlocation: /l\nvolumeMap: {}\n", row[0]);
        match super::read(&text).unwrap().volume_name(row[1]) {
            Ok(name) => assert_eq!(name.stored(), row[2], "{row:?}"),
            Err(_) => assert_eq!(row[2], "refused", "{row:?}"),
        }
    }
}
