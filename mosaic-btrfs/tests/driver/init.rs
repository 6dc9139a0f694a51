// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locations that are made, and quotas that are switched on when that is asked for.

use std::path::Path;
use std::sync::Arc;

use crate::common::changes::fill;
use crate::common::{MIB, Quotas, Site, site};
use mosaic_btrfs::Btrfs;
use mosaic_btrfs::quota::{self, Mode};
use mosaic_core::volume::InitOptions;
use mosaic_core::{Driver, ErrorKind, Host, Result, Settings};
use mosaic_tests::{MountedFs, Said, requires_program, requires_root};
use rustix::io::Errno;
use std::os::fd::AsFd;

fn init_with(settings: &Settings, quota: Option<&str>) -> Result<Vec<String>> {
    let options = InitOptions {
        quota: quota.map(str::to_owned),
        ..InitOptions::default()
    };
    Btrfs::init(&Host::new(Arc::new(Said::default())), settings, &options)
}

fn init(path: &Path, quota: Option<&str>) -> Result<Vec<String>> {
    init_with(&Settings::new(path), quota)
}

fn mode(site: &Site) -> Mode {
    quota::mode(site.dir().as_fd()).unwrap()
}

fn is_full(site: &Site) -> bool {
    matches!(mode(site), Mode::Full { .. })
}

#[test]
fn root_a_location_is_made_and_quotas_left_alone() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    let path = site.fs.path().join("new");
    let mut settings = Settings::new(&path);
    settings.layout_fs = Some("meta/fs".into());
    let made = init_with(&settings, None).unwrap();
    assert_eq!(made.len(), 3, "{made:?}");
    assert!(path.join("meta/fs").is_dir());
    assert_eq!(mode(&site), Mode::Off);
    let error = init_with(&settings, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    let error = init(&site.fs.path().join("none/new"), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn root_quotas_are_switched_on_when_asked_for() {
    for (word, other) in [("simple", "full"), ("full", "simple")] {
        let Some(site) = site(Quotas::Off) else {
            return;
        };
        // The location is there: this is all there is to do.
        let made = init(&site.path, Some(word)).unwrap();
        assert_eq!(made.len(), 1, "{made:?}");
        assert!(made[0].contains(&format!("switched {word} quotas on")));
        assert_eq!(is_full(&site), word == "full");
        assert!(mode(&site).is_on());
        site.new_volume("a", 8 * MIB).unwrap();
        assert_eq!(fill(&site.at("a/file"), 16 * MIB), Some(Errno::DQUOT));
        // On already.
        let error = init(&site.path, Some(word)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exists, "{}", error.chain());
        assert!(error.chain().contains("quotas of this kind are on"));
        let new = site.fs.path().join("new");
        let made = init(&new, Some(word)).unwrap();
        assert_eq!(made.len(), 1, "{made:?}");
        assert!(made[0].starts_with("made location"));
        // On, but of the other kind: nothing is done.
        let newer = site.fs.path().join("newer");
        for path in [&site.path, &newer] {
            let error = init(path, Some(other)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.chain().contains(&format!("are {word}, and only one")));
        }
        assert!(!newer.exists());
        assert_eq!(is_full(&site), word == "full");
    }
}

#[test]
fn root_what_is_missing_is_made_along_with_quotas() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    let path = site.fs.path().join("new");
    let made = init(&path, Some("simple")).unwrap();
    assert_eq!(made.len(), 2, "{made:?}");
    let mut settings = Settings::new(&path);
    settings.layout_fs = Some("meta".into());
    let made = init_with(&settings, Some("simple")).unwrap();
    assert_eq!(made.len(), 1, "{made:?}");
}

#[test]
fn root_a_thing_in_the_way_is_no_location() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    std::fs::write(site.at("file"), "x").unwrap();
    let error = init(&site.at("file"), Some("simple")).unwrap_err();
    assert!(matches!(
        error.kind(),
        ErrorKind::Exists | ErrorKind::Invalid
    ));
    let mut settings = Settings::new(&site.path);
    settings.layout_fs = Some("file".into());
    let error = init_with(&settings, Some("simple")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    let error = init(&site.path, Some("project")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(mode(&site), Mode::Off);
}

#[test]
fn root_another_file_system_is_refused_before_anything_is_made() {
    if !requires_root() || !requires_program("mkfs.ext4") {
        return;
    }
    let fs = MountedFs::new("ext4").unwrap();
    let path = fs.path().join("new");
    let error = init(&path, Some("simple")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.chain().contains("ext4"), "{}", error.chain());
    assert!(!path.exists());
    let mut settings = Settings::new(&path);
    settings.default_fs = Some("xfs".into());
    let error = init_with(&settings, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}
