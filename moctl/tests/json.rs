// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `--json` prints, held against `doc/json-schema.json`; and that file against what is printed.

mod common;

use std::collections::BTreeSet;

use common::schema::Schema;
use common::{make, plain, repository_file};
use mosaic_tests::{Moctl, requires_program, requires_root};
use serde_json::Value;

/// Runs with `--json`, checks all that holds for every object, and notes which one it is.
struct Runs {
    schema: Schema,
    seen: BTreeSet<String>,
}

impl Runs {
    fn new() -> Self {
        Self {
            schema: Schema::of_moctl(),
            seen: BTreeSet::new(),
        }
    }

    fn run(&mut self, moctl: &Moctl, status: i32, object: &str, words: &[&str]) -> Value {
        let mut line = words.to_vec();
        line.push("--json");
        let output = moctl.expect(status, &line);
        assert_eq!(output.stderr, "", "{words:?}");
        assert_eq!(
            output.stdout.lines().count(),
            1,
            "{words:?}: {}",
            output.stdout
        );
        let value: Value = serde_json::from_str(&output.stdout).unwrap();
        let found = self
            .schema
            .object_of(&value)
            .unwrap_or_else(|e| panic!("{words:?}: {e}"));
        assert_eq!(found, object, "{words:?}: {value}");
        self.seen.insert(found);
        value
    }
}

#[test]
fn each_object_is_as_the_schema_says_and_each_in_the_schema_is_printed() {
    let mut runs = Runs::new();
    without_root(&mut runs);
    if requires_root() {
        with_root(&mut runs);
        let never: Vec<_> = runs
            .schema
            .objects()
            .difference(&runs.seen)
            .cloned()
            .collect();
        assert!(never.is_empty(), "never printed: {never:?}");
    }
}

fn without_root(runs: &mut Runs) {
    let (moctl, location) = plain();
    moctl.config("bad", "type: plain\nlocaton: /x\n").unwrap();
    let fresh = location.join("fresh");
    moctl.mosaic("fresh", "plain", &fresh, "").unwrap();
    let made = runs.run(&moctl, 0, "init", &["fresh", "init"]);
    assert_eq!(made["changed"], true);
    let new = runs.run(&moctl, 0, "new", &["web", "create", "fs", "a b", "1M"]);
    assert_eq!(
        (&new["changed"], &new["volume"]),
        (&true.into(), &"a b".into())
    );
    assert_eq!(new["warnings"].as_array().unwrap().len(), 1);
    let list = runs.run(&moctl, 0, "list", &["web", "list"]);
    assert_eq!(list["volumes"][0]["name"], "a b");
    let info = runs.run(&moctl, 0, "info_mosaic", &["web", "info"]);
    assert_eq!(info["type"], "plain");
    runs.run(&moctl, 0, "info_volume", &["web", "info", "a b"]);
    runs.run(&moctl, 0, "rename", &["web", "rename", "a b", "c"]);
    let have = runs.run(&moctl, 3, "have", &["web", "have", "a b", "--exit-code"]);
    assert_eq!(have["exists"], false);
    let check = runs.run(&moctl, 0, "check", &["web", "check"]);
    assert_eq!(check["clean"], true);
    let drop = runs.run(&moctl, 0, "drop", &["web", "drop", "c", "--wait"]);
    assert_eq!(
        (&drop["changed"], &drop["pending"]),
        (&true.into(), &Value::Array(Vec::new()))
    );
    let drop = runs.run(&moctl, 0, "drop", &["web", "drop", "c", "--missing-ok"]);
    assert_eq!(drop["changed"], false);
    let mosaics = runs.run(&moctl, 0, "mosaics", &["mosaics"]);
    assert_eq!(mosaics["mosaics"][0]["error"]["kind"], "config");
    assert_eq!(mosaics["mosaics"][2]["error"], Value::Null);
    runs.run(&moctl, 0, "drivers", &["drivers"]);
    runs.run(&moctl, 0, "driver", &["drivers", "loop"]);
    runs.run(&moctl, 0, "help", &["help", "new"]);
    runs.run(&moctl, 0, "man", &["man", "new"]);
    let to = location.join("man");
    runs.run(
        &moctl,
        0,
        "man_files",
        &["man", "--to", to.to_str().unwrap()],
    );
    runs.run(&moctl, 0, "completions", &["completions", "bash"]);
}

fn with_root(runs: &mut Runs) {
    let moctl = Moctl::new().unwrap();
    let location = moctl.make_folder("images").unwrap();
    let mountpoint = moctl.make_folder("mnt").unwrap();
    let mountpoint = mountpoint.to_str().unwrap();
    std::fs::create_dir(location.join("meta")).unwrap();
    moctl
        .mosaic("img", "loop", &location, "layout:\n  fs: meta\n")
        .unwrap();
    runs.run(&moctl, 0, "new", &["img", "new", "fs", "v", "16M"]);
    let mounted = runs.run(&moctl, 0, "mount", &["img", "mount", "v", mountpoint]);
    assert_eq!(mounted["path"], mountpoint);
    let list = runs.run(&moctl, 0, "list", &["img", "list"]);
    let busy = runs.run(&moctl, 5, "failure", &["img", "drop", "v"]);
    runs.run(&moctl, 0, "umount", &["img", "umount", "v", mountpoint]);
    assert_eq!(list["volumes"][0]["mounted"][0], mountpoint);
    assert_eq!(list["volumes"][0]["attachment"]["lifetime"], "mount");
    assert_eq!(busy["error"]["kind"], "busy");
    runs.run(&moctl, 0, "mount", &["img", "mount", "-", mountpoint]);
    let umounted = runs.run(&moctl, 0, "umount", &["img", "umount", "-", mountpoint]);
    assert_eq!(umounted["volume"], Value::Null);
    let attached = runs.run(&moctl, 0, "attach", &["img", "attach", "v", "--ro"]);
    runs.run(&moctl, 0, "detach", &["img", "detach", "v"]);
    assert_eq!(attached["attachment"]["read_only"], true);
    let resized = runs.run(&moctl, 0, "resize", &["img", "resize", "v", "+16M"]);
    assert_eq!(resized["from"], 16 << 20);
    assert_eq!(resized["to"], 32 << 20);
    clone(runs);
}

fn clone(runs: &mut Runs) {
    let fs = mosaic_tests::MountedFs::new("btrfs").unwrap();
    let moctl = Moctl::new().unwrap();
    moctl.mosaic("img", "loop", fs.path(), "").unwrap();
    runs.run(&moctl, 0, "new", &["img", "new", "disk", "v", "16M"]);
    let cloned = runs.run(&moctl, 0, "clone", &["img", "clone", "v", "w"]);
    assert_eq!(
        (&cloned["from"], &cloned["volume"]),
        (&"v".into(), &"w".into())
    );
}

#[test]
fn root_objects_of_subvolumes_are_as_the_schema_says() {
    if !requires_root() || !requires_program("mkfs.btrfs") {
        return;
    }
    for kind in ["btrfs", "btrfs+simple", "btrfs+full"] {
        let fs = mosaic_tests::MountedFs::new(kind).unwrap();
        let moctl = Moctl::new().unwrap();
        moctl.mosaic("m", "btrfs", fs.path(), "").unwrap();
        let mut runs = Runs::new();
        let mut run =
            |object: &str, words: &[&str]| runs.run(&moctl, 0, object, &[&["m"], words].concat());
        let new = run("new", &["new", "fs", "v", "16M"]);
        let has_quotas = kind != "btrfs";
        assert_eq!(new["warnings"].as_array().unwrap().is_empty(), has_quotas);
        run("clone", &["clone", "v", "w"]);
        let list = run("list", &["list"]);
        let volume = &run("info_volume", &["info", "w"])["volume"];
        assert_eq!(volume["facts"], list["volumes"][1]["facts"], "{kind}");
        assert_eq!(
            (&volume["origin"], &volume["fs"]),
            (&"v".into(), &Value::Null)
        );
        assert_eq!(volume["used"].is_u64(), has_quotas, "{volume}");
        assert_eq!(volume["exclusive"].is_u64(), has_quotas, "{volume}");
        let info = run("info_mosaic", &["info"]);
        let classes = info["space"].as_array().unwrap().iter();
        let classes: Vec<_> = classes.map(|space| space["class"].clone()).collect();
        assert_eq!(classes, ["data", "metadata"], "{kind}");
        assert_eq!(run("check", &["check"])["clean"], true, "{kind}");
        run("rename", &["rename", "w", "x"]);
        let pending = run("drop", &["drop", "x"])["pending"].clone();
        assert!(pending.as_array().unwrap().len() <= 1, "{kind}: {pending}");
        assert_eq!(
            run("drop", &["drop", "v", "--wait"])["pending"],
            Value::Array(Vec::new())
        );
        if kind == "btrfs" {
            let made = run("init", &["init", "--quota", "simple"]);
            assert_eq!(made["changed"], true);
        }
        let refused = runs.run(&moctl, 6, "failure", &["m", "new", "disk", "d", "16M"]);
        assert_eq!(refused["error"]["kind"], "unsupported");
    }
}

#[test]
fn errors_are_one_object_too_also_those_of_usage() {
    let mut runs = Runs::new();
    let (moctl, _) = plain();
    make(&moctl, &["a"]);
    moctl
        .config("bad", "type: plain\nlocaton: /x\ncolour: red\n")
        .unwrap();
    for (status, kind, line) in [
        (2, "invalid", vec![]),
        (2, "invalid", vec!["web"]),
        (2, "invalid", vec!["web", "nonsense"]),
        (2, "invalid", vec!["web", "d"]),
        (2, "invalid", vec!["web", "new", "fs"]),
        (2, "invalid", vec!["web", "new", "fs", "b", "0"]),
        (2, "invalid", vec!["help", "nonsense"]),
        (3, "not-found", vec!["nonesuch", "list"]),
        (4, "exists", vec!["web", "new", "fs", "a", "1M"]),
        (2, "invalid", vec!["web", "init", "--quota", "none"]),
        (6, "unsupported", vec!["web", "clone", "a", "b"]),
        (6, "unsupported", vec!["web", "init", "--quota", "simple"]),
        (8, "config", vec!["bad", "list"]),
    ] {
        let value = runs.run(&moctl, status, "failure", &line);
        assert_eq!(value["error"]["kind"], kind, "{line:?}");
        assert!(
            !value["error"]["message"].as_str().unwrap().is_empty(),
            "{line:?}"
        );
    }
    let value = runs.run(&moctl, 8, "failure", &["bad", "list"]);
    assert!(
        value["error"]["message"].as_str().unwrap().lines().count() >= 2,
        "{value}"
    );
    let full = std::fs::File::create("/dev/full").unwrap();
    let status = moctl
        .command(&["--json", "web", "drop", "b"])
        .stdout(full)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(3), "the failure's own");
}

#[test]
fn an_error_behind_two_dashes_is_text() {
    let (moctl, _) = plain();
    let output = moctl.expect(2, &["web", "nonsense", "--", "--json"]);
    assert!(output.stdout.is_empty() && output.stderr.starts_with("moctl: "));
}

#[test]
fn the_examples_in_the_manual_are_of_the_schema_and_show_each_object() {
    let schema = Schema::of_moctl();
    let text = repository_file("doc/json.md");
    let mut shown = BTreeSet::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with("```") {
            inside = line == "```json";
        } else if inside {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
            shown.insert(schema.object_of(&value).unwrap_or_else(|e| panic!("{e}")));
        }
    }
    shown.insert("man".into());
    let missing: Vec<_> = schema.objects().difference(&shown).cloned().collect();
    assert!(missing.is_empty(), "not shown: {missing:?}");
}

#[test]
fn the_schema_itself_notices_faults() {
    let schema = Schema::of_moctl();
    let good = serde_json::json!({"version":1,"ok":true,"action":"have","mosaic":"m","volume":"v","exists":true,"warnings":[]});
    assert_eq!(schema.object_of(&good).unwrap(), "have");
    for (field, value) in [
        ("version", Value::from(2)),
        ("exists", "yes".into()),
        ("warnings", Value::from(vec![1])),
        ("new_field", 1.into()),
        ("action", "haves".into()),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        assert!(schema.object_of(&bad).is_err(), "{bad}");
    }
    let mut bad = good;
    bad.as_object_mut().unwrap().remove("mosaic");
    assert!(schema.object_of(&bad).is_err());
}
