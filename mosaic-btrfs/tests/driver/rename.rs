// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes with another name.

use std::fs;

use crate::common::changes::{fill_to_the_brim, mapped};
use crate::common::{ALL_QUOTAS, MIB, Quotas, Site, site, site_with, volume};
use mosaic_core::{Bytes, Driver, ErrorKind, Result, label};
use mosaic_tests::run;

#[test]
fn root_a_volume_moves_with_all_that_it_has() {
    for quotas in ALL_QUOTAS {
        let Some(site) = site(quotas) else { return };
        site.new_volume("1/2/a", 16 * MIB).unwrap();
        fs::write(site.at("1/2/a/file"), "x").unwrap();
        site.subvolume("1/2/a/nested");
        let (id, size) = (site.id("1/2/a"), site.found("1/2/a").size);
        site.rename("1/2/a", "1/3/b").unwrap();
        assert_eq!(fs::read(site.at("1/3/b/file")).unwrap(), b"x");
        assert_eq!((site.id("1/3/b"), site.found("1/3/b").size), (id, size));
        assert!(site.at("1/3/b/nested").is_dir());
        // The folder goes with its last volume.
        assert!(!site.at("1/2").exists());
        site.rename("1/3/b", "c").unwrap();
        assert_eq!(site.entries(), ["c"]);
    }
}

#[test]
fn root_a_rename_costs_one_commit() {
    let Some(site) = site(Quotas::Simple) else {
        return;
    };
    site.new_volume("a", MIB).unwrap();
    assert_eq!(site.commits(|| site.rename("a", "1/b").unwrap()), 1);
    assert_eq!(site.commits(|| site.rename("1/b", "2/c").unwrap()), 1);
    let label = || {
        let to = mapped("user", "3/d");
        site.driver.rename(&volume("2/c"), &to).unwrap();
    };
    assert_eq!(site.commits(label), 1);
}

#[test]
fn root_a_name_that_is_taken_is_left_alone_and_the_label_put_back() {
    let Some(site) = site_with(Quotas::Off, |settings| settings.mapped = true) else {
        return;
    };
    let a = mapped("user", "1/a");
    site.new_named(&a, MIB).unwrap();
    site.new_volume("plain", MIB).unwrap();
    site.new_volume("b", MIB).unwrap();
    fs::write(site.at("file"), "x").unwrap();
    for from in [&a, &volume("plain")] {
        let before = site.found(from.stored());
        for to in ["b", "file", "file/c"] {
            for to in [volume(to), mapped("other", to)] {
                let error = site.driver.rename(from, &to).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Exists, "{}", error.chain());
                assert_eq!(site.found(from.stored()).user, before.user);
                let opened = site.driver.volume(from).unwrap();
                assert_eq!(label::name(opened.dir()).unwrap(), before.user);
            }
        }
    }
    assert_eq!(site.entries(), ["1", "b", "file", "plain"]);
    site.driver.rename(&a, &mapped("other", "2/c")).unwrap();
    assert_eq!(site.found("2/c").user.as_deref(), Some("other"));
    site.driver
        .rename(&mapped("other", "2/c"), &volume("d"))
        .unwrap();
    let opened = site.driver.volume(&volume("d")).unwrap();
    assert_eq!(label::name(opened.dir()).unwrap(), None);
}

#[test]
fn root_a_mounted_volume_keeps_its_name() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.new_volume("a", MIB).unwrap();
    let at = site.fs.folder_beside("at").unwrap();
    let (from, to) = (site.at("a"), at.to_str().unwrap());
    run("mount", &["--bind", from.to_str().unwrap(), to]).unwrap();
    let error = site.rename("a", "1/b").unwrap_err();
    run("umount", &[to]).unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.chain().contains(to), "{}", error.chain());
    let device = site.fs.device().to_str().unwrap();
    run("mount", &["-o", "subvol=ct/a", device, to]).unwrap();
    let error = site.rename("a", "1/b").unwrap_err();
    run("umount", &[to]).unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert_eq!(site.entries(), ["a"]);
    site.rename("a", "1/b").unwrap();
}

fn assert_read_only(site: &Site, renamed: Result<()>) {
    let error = renamed.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
    let said = error.chain();
    assert!(said.contains("it is read-only, and"), "{said}");
    assert!(said.contains("clone it to the new name"), "{said}");
    assert_eq!(site.entries(), ["1"]);
    assert!(site.found("1/ro").read_only);
}

#[test]
fn root_a_read_only_volume_is_renamed_within_its_folder_alone() {
    let Some(site) = site_with(Quotas::Off, |settings| settings.mapped = true) else {
        return;
    };
    site.new_volume("1/a", MIB).unwrap();
    site.snapshot("1/a", "1/ro", true);
    assert_read_only(&site, site.rename("1/ro", "2/ro"));
    assert_read_only(&site, site.rename("1/ro", "ro"));
    let labelled = site.driver.rename(&volume("1/ro"), &mapped("user", "1/b"));
    assert_read_only(&site, labelled);
    site.rename("1/ro", "1/b").unwrap();
    assert!(site.found("1/b").read_only);
    // One that has a label and is to lose it, and one that is to have the same.
    let labelled = mapped("user", "1/c");
    site.new_named(&labelled, MIB).unwrap();
    set_read_only(&site, "1/c");
    let error = site.driver.rename(&labelled, &volume("1/d")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
    site.driver
        .rename(&labelled, &mapped("user", "1/d"))
        .unwrap();
    assert_eq!(site.found("1/d").user.as_deref(), Some("user"));
}

fn set_read_only(site: &Site, name: &str) {
    let opened = site.driver.volume(&volume(name)).unwrap();
    mosaic_btrfs::ioctl::set_read_only(opened.dir(), true).unwrap();
}

#[test]
fn root_a_volume_without_room_for_a_label_says_so() {
    for quotas in [Quotas::Simple, Quotas::Full] {
        let Some(site) = site(quotas) else { return };
        site.new_volume("a", 8 * MIB).unwrap();
        fill_to_the_brim(&site.at("a"));
        let error = site.driver.rename(&volume("a"), &mapped("user", "1/b"));
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert!(
            error.chain().contains("resize it first"),
            "{}",
            error.chain()
        );
        assert_eq!(site.entries(), ["a"]);
        site.rename("a", "1/b").unwrap();
        assert_eq!(site.found("1/b").size, Some(Bytes(8 * MIB)));
    }
}

#[test]
fn root_what_is_not_there_is_not_found() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    fs::create_dir(site.at("folder")).unwrap();
    let error = site.rename("a", "1/b").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = site.rename("folder", "1/b").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    assert_eq!(site.entries(), ["folder"]);
}
