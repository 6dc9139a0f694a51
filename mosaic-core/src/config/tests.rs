// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole files: what is read from them, and what is said about faulty ones.

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
    let folder = written.dir.path().to_str().unwrap();
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
            ("pool.data", format!("{folder}/../disk").as_str()),
            ("pool.reserve", "1073741824"),
            ("quota", "off"),
            ("sync", "true"),
            ("width", "3"),
        ]
    );
}

#[test]
fn all_faults_come_at_once_each_with_its_line() {
    let text = "locaton: /srv\n\
                type: loop\n\
                layout:\n  fs: ../out\n\
                width: -1\n\
                type: again\n\
                quota: of\n\
                volumeMap: \\(.\\) \\2\n\
                nonsense: 1\n";
    assert_eq!(
        faults(text),
        [
            "1: unknown key \"locaton\" (did you mean location?)",
            "4: \"layout.fs\" \"../out\" leaves the location: it has a \"..\"",
            "5: \"width\" must be a whole number, zero or more, not the number -1",
            "6: \"type\" is repeated; the first one is in line 2",
            "7: \"quota\" must be one of auto, required, off, not \"of\" (did you mean off?)",
            "8: \"volumeMap\" uses \\2 in the replacement, but the regular expression has one group",
            "9: unknown key \"nonsense\" (known keys: default_fs, label, layout, location, \
             mount_options, pool, quota, sync, type, volumeMap, width)",
        ]
    );
}

#[test]
fn faults_of_the_driver_get_their_line() {
    let config = read("type: a\nlocation: /l\npool:\n  data: d\n").unwrap();
    let place = |line| format!("{}:{line}: ", config.path.display());
    let error = config.at_line(Error::config("pool.data", "no such device"));
    assert_eq!(error.chain(), place(4) + "\"pool.data\": no such device");
    assert_eq!(error.kind(), ErrorKind::Config);
    let error = config.at_line(Error::config("pool.reserve", "pool.reserve is too small"));
    assert_eq!(error.chain(), place(3) + "pool.reserve is too small");
    let error = config.at_line(Error::config("quota", "quota is off"));
    assert_eq!(error.chain(), place(1) + "quota is off");
    let other = config.at_line(Error::new(ErrorKind::Busy, "in use"));
    assert_eq!(other.chain(), "in use");
}
