// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole files: what is read from them, and what is said about faulty ones.

mod faults;
mod hostile;
mod manual;
mod names;

use super::*;
use crate::settings::{Key, KeyKind};

struct Written {
    dir: tempfile::TempDir,
    file: ConfigFile,
}

fn written(text: &[u8]) -> Written {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.mos");
    std::fs::write(&path, text).unwrap();
    let file = ConfigFile::at(path).unwrap();
    Written { dir, file }
}

fn key(path: &str, kind: KeyKind, default: Option<&str>) -> Key {
    Key {
        path: path.to_owned(),
        kind,
        default: default.map(str::to_owned),
        help: "a key".to_owned(),
    }
}

fn schema() -> Vec<Key> {
    vec![
        key(
            "quota",
            KeyKind::choice(&["auto", "required", "off"]),
            Some("auto"),
        ),
        key("pool.data", KeyKind::Path, None),
        key("pool.reserve", KeyKind::Size, Some("64M")),
        key("sync", KeyKind::Flag, None),
        key("width", KeyKind::Integer, None),
        key("label", KeyKind::Text, None),
    ]
}

fn read(text: &str) -> Result<Config> {
    load(&written(text.as_bytes()).file)?.check(&schema())
}

/// The faults of a text, without the path before them.
fn faults(text: &str) -> Vec<String> {
    let written = written(text.as_bytes());
    let error = load(&written.file)
        .and_then(|draft| draft.check(&schema()))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    let path = format!("{}:", written.file.path.display());
    let lines = error.to_string();
    lines
        .lines()
        .map(|line| line.strip_prefix(&path).unwrap_or(line).to_owned())
        .collect()
}

#[test]
fn all_keys_in_any_order() {
    let written = written(
        b"volumeMap: \\(.*\\)\\(.\\) \\2/\\1\\2\n\
          pool: {reserve: 1G, data: ../disk}\n\
          default_fs: xfs\n\
          layout:\n  fs: ./meta//fs/\n\
          quota: off\n\
          sync: true\n\
          width: 3\n\
          location: store\n\
          type: my-driver\n",
    );
    let draft = load(&written.file).unwrap();
    assert_eq!(draft.driver_type(), "my-driver");
    let config = draft.check(&schema()).unwrap();
    let beside = written.dir.path().with_file_name("disk");
    assert_eq!(config.name, "x");
    assert_eq!(config.settings.location, written.dir.path().join("store"));
    assert_eq!(config.settings.default_fs.as_deref(), Some("xfs"));
    assert_eq!(config.settings.layout_fs, Some(PathBuf::from("meta/fs")));
    assert_eq!((config.settings.depth, config.settings.mapped), (2, true));
    let values: Vec<_> = config.settings.values().collect();
    assert_eq!(
        values,
        [
            ("location", "store"),
            ("pool.data", beside.to_str().unwrap()),
            ("pool.reserve", "1073741824"),
            ("quota", "off"),
            ("sync", "true"),
            ("width", "3"),
        ]
    );
}

#[test]
fn only_type_and_location_are_needed() {
    let config = read("type: loop\nlocation: /srv/images\n").unwrap();
    assert_eq!(config.driver_type, "loop");
    assert_eq!(config.settings.location, PathBuf::from("/srv/images"));
    assert_eq!(config.settings.default_fs, None);
    assert_eq!(config.settings.layout_fs, None);
    assert_eq!((config.settings.depth, config.settings.mapped), (1, false));
    assert_eq!(config.mount_options, None);
    assert!(config.volume_map.is_none());
}

#[test]
fn line_ends_byte_order_marks_and_comments_do_not_matter() {
    for text in [
        "type: loop\r\nlocation: /l\r\nquota: off\r\n",
        "\u{feff}type: loop\nlocation: /l\nquota: off",
        "# a note\n---\ntype: loop # another\nlocation: \"/l\"\nquota: 'off'\n...\n",
        "{type: loop, location: /l, quota: off}",
        "type: loop\nlocation: &here /l\nquota: !!str off\nlabel: *here\n",
    ] {
        let config = read(text).unwrap();
        assert_eq!(config.settings.location, PathBuf::from("/l"), "{text:?}");
        assert_eq!(config.settings.text("quota"), Some("off"), "{text:?}");
    }
}

#[test]
fn a_bare_location_is_there_in_both_readings() {
    let written = written(b"type: dmthin\nlocation: vg-pool\n");
    let config = load(&written.file).unwrap().check(&[]).unwrap();
    assert_eq!(config.settings.location, written.dir.path().join("vg-pool"));
    assert_eq!(config.settings.text("location"), Some("vg-pool"));
}

#[test]
fn a_relative_config_path_still_gives_an_absolute_location() {
    let here = std::env::current_dir().unwrap();
    let dir = tempfile::tempdir_in(&here).unwrap();
    std::fs::write(dir.path().join("x.mos"), "type: a\nlocation: ./store\n").unwrap();
    let relative = dir.path().strip_prefix(&here).unwrap().join("x.mos");
    let file = ConfigFile::at(relative).unwrap();
    let config = load(&file).unwrap().check(&[]).unwrap();
    assert_eq!(config.settings.location, dir.path().join("store"));
}

#[test]
fn a_location_beside_the_folder_is_beside_the_folder_itself_not_beside_a_link_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    std::fs::create_dir_all(dir.join("deep/etc")).unwrap();
    std::os::unix::fs::symlink("deep/etc", dir.join("etc")).unwrap();
    std::fs::write(dir.join("etc/x.mos"), "type: a\nlocation: ../store\n").unwrap();
    let file = ConfigFile::at(dir.join("etc/x.mos")).unwrap();
    let config = load(&file).unwrap().check(&[]).unwrap();
    assert_eq!(config.settings.location, dir.join("deep/store"));
}

#[test]
fn defaults_of_the_driver_are_filled_in_as_if_written() {
    let config = read("type: a\nlocation: /l\n").unwrap();
    assert_eq!(config.settings.text("quota"), Some("auto"));
    let reserve = config.settings.size("pool.reserve").unwrap();
    assert_eq!(reserve, Some(crate::Bytes(64 << 20)));
    assert!(!config.settings.flag("sync"));
    assert_eq!(config.settings.integer("width").unwrap(), None);
}

#[test]
fn a_schema_that_contradicts_itself_is_the_drivers_fault() {
    let written = written(b"type: a\nlocation: /l\n");
    let draft = load(&written.file).unwrap();
    for bad in [
        vec![key("type", KeyKind::Text, None)],
        vec![key("layout", KeyKind::Text, None)],
        vec![key("location.x", KeyKind::Text, None)],
        vec![key("a", KeyKind::Text, None), key("a", KeyKind::Flag, None)],
        vec![
            key("a.b", KeyKind::Text, None),
            key("a", KeyKind::Text, None),
        ],
        vec![key("", KeyKind::Text, None)],
        vec![key("a", KeyKind::Size, Some("a lot"))],
        vec![key("a", KeyKind::choice(&["x", "y"]), Some("z"))],
    ] {
        let error = draft.check(&bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{bad:?}");
    }
    assert!(
        draft
            .check(&[key("layout.more", KeyKind::Text, None)])
            .is_ok()
    );
}
