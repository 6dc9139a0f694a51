// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names and sizes that are refused make nothing; strange but legal ones are just names.
//!
//! Plain folders and images of disks need no privilege, subvolumes do.

use mosaic_tests::{Site, is_quick, left_out, requires_program, requires_root};

const DRIVERS: [&str; 4] = ["plain", "loop", "ploop", "btrfs"];

/// `disk` where there are any: nothing here runs a program.
fn kind(driver: &str) -> &'static str {
    match driver {
        "loop" | "ploop" => "disk",
        _ => "fs",
    }
}

/// A fresh mosaic; None where there is no btrfs to be had: that was said.
fn site(driver: &str) -> Option<Site> {
    if driver != "btrfs" {
        return Some(Site::in_folder(driver, "").unwrap());
    }
    let ready = requires_root() && requires_program("mkfs.btrfs");
    ready.then(|| Site::on("btrfs+simple", driver, "").unwrap())
}

#[test]
fn bad_names_are_refused_and_nothing_is_made() {
    let long = "x".repeat(256);
    let names = [
        "../x",
        "/abs",
        "a/../b",
        ".",
        "..",
        "",
        "a//b",
        "a/",
        "a/.",
        "./a",
        "-n",
        "a\nb",
        "a\tb",
        "\u{7f}",
        "a\u{1b}[31m",
        ".mosaic",
        ".mosaic/tmp/x",
        "a@b",
        &long,
    ];
    for driver in DRIVERS {
        let Some(site) = site(driver) else {
            continue;
        };
        for name in names {
            // `--` so that moctl and not the parser of its arguments judges `-n`.
            let output = site.expect(2, &["new", "--", kind(driver), name, "1M"]);
            assert!(
                output.stderr.starts_with("moctl: "),
                "{name:?}: {}",
                output.stderr
            );
            assert_eq!(
                output.stderr.lines().count(),
                1,
                "{name:?}: {}",
                output.stderr
            );
            assert_eq!(output.stdout, "", "{name:?}");
        }
        site.expect(2, &["new", kind(driver), "-n", "1M"]);
        assert_eq!(site.entries(), [""; 0], "{driver}");
        assert_eq!(site.names(), [""; 0], "{driver}");
        let above = site.location().parent().unwrap();
        assert!(!above.join("x").exists() && !std::path::Path::new("/abs").exists());
    }
}

#[test]
fn a_bad_name_is_refused_by_every_verb() {
    let site = Site::in_folder("loop", "").unwrap();
    site.ok(&["new", "disk", "a", "1M"]);
    let at = site.mountpoint("at");
    let at = at.to_str().unwrap();
    for words in [
        &["info", "../a"][..],
        &["have", "../a"],
        &["clone", "../a", "b"],
        &["clone", "a", "../b"],
        &["drop", "../a"],
        &["rename", "../a", "b"],
        &["rename", "a", "../b"],
        &["attach", "../a"],
        &["detach", "../a"],
        &["resize", "../a", "2M"],
        &["mount", "../a", at],
        &["umount", "../a", at],
    ] {
        site.expect(2, words);
    }
    assert_eq!(site.names(), ["a"]);
}

#[test]
fn bad_sizes_are_refused_and_nothing_is_made() {
    let sizes = [
        "0",
        "0G",
        "-5G",
        "+5G",
        "12X",
        "abc",
        "",
        "1e3",
        "0x10",
        "5 G",
        " 5G",
        "5G ",
        "1.5G",
        "8192P",
        "9223372036854775808",
        "99999999999999999999999",
        "1000",
    ];
    for driver in DRIVERS {
        let Some(site) = site(driver) else {
            continue;
        };
        for size in sizes {
            let output = site.expect(2, &["new", "--", kind(driver), "a", size]);
            assert_eq!(
                output.stderr.lines().count(),
                1,
                "{size:?}: {}",
                output.stderr
            );
        }
        assert_eq!(site.entries(), [""; 0], "{driver}");
    }
    let site = Site::in_folder("loop", "").unwrap();
    site.ok(&["new", "disk", "a", "1M"]);
    for size in [
        "0",
        "12X",
        "",
        "8192P",
        "-1M",
        "-2M",
        "+9223372036854775807",
    ] {
        site.expect(2, &["resize", "--shrink", "--", "a", size]);
        site.expect(2, &["clone", "a", "b", "--size", size]);
    }
    assert_eq!(site.json(&["info", "a"])["volume"]["size"], 1 << 20);
    assert_eq!(site.names(), ["a"]);
}

#[test]
fn a_size_that_no_file_can_have_is_refused_by_its_own_kind() {
    let site = Site::in_folder("loop", "").unwrap();
    let output = site.run(&["new", "disk", "a", "8191P"]);
    assert!(
        [2, 7].contains(&output.status),
        "{} {}",
        output.status,
        output.stderr
    );
    assert_eq!(site.entries(), [""; 0]);
    assert_eq!(site.leftovers(), [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn strange_names_are_just_names() {
    let longest = "y".repeat(255);
    let names = [
        " ",
        "a b",
        "'",
        "\"",
        "a'b\"c",
        "$HOME",
        "$(reboot)",
        "`id`",
        ";",
        "a;b",
        "*",
        "?",
        "[a]",
        "a\\b",
        "%s%n",
        "#",
        "~",
        "&&",
        "|",
        "ä",
        "名前",
        "\u{1f4be}",
        "...",
        "a-",
        "new",
        "list",
        "info",
        &longest,
    ];
    let each = if is_quick() { DRIVERS.len() } else { 1 };
    if is_quick() {
        left_out("each name but with one driver");
    }
    for (number, driver) in DRIVERS.into_iter().enumerate() {
        let Some(site) = site(driver) else {
            continue;
        };
        let names: Vec<&str> = names[number % each..]
            .iter()
            .copied()
            .step_by(each)
            .collect();
        for name in &names {
            site.ok(&["new", kind(driver), name, "1M"]);
            site.expect(4, &["new", kind(driver), name, "1M"]);
            assert_eq!(site.json(&["info", name])["volume"]["name"], *name);
        }
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(site.names(), sorted, "{driver}");
        for name in names {
            site.ok(&["drop", name]);
        }
        assert_eq!(site.entries(), [""; 0], "{driver}");
    }
}

#[test]
fn two_t_are_two_tebibytes() {
    let site = Site::in_folder("loop", "").unwrap();
    site.ok(&["new", "disk", "big", "2T"]);
    assert_eq!(site.json(&["info", "big"])["volume"]["size"], 2_u64 << 40);
}

#[test]
fn names_beneath_or_above_a_volume_and_the_metadata_are_refused() {
    let map = "layout:\n  fs: meta\nvolumeMap: ^\\(.*\\)$ \\1\n";
    let site = Site::in_folder("loop", map).unwrap();
    std::fs::create_dir(site.location().join("meta")).unwrap();
    site.ok(&["new", "disk", "d/a", "1M"]);
    for name in ["d/a/b", "d", "meta", "meta/x"] {
        let output = site.run(&["new", "disk", name, "1M"]);
        assert!([2, 4].contains(&output.status), "{name}: {}", output.stderr);
    }
    for name in ["meta", "meta/x"] {
        assert_ne!(site.run(&["drop", name]).status, 0, "{name}");
    }
    assert!(site.location().join("meta").is_dir());
    assert_eq!(site.names(), ["d/a"]);
}
