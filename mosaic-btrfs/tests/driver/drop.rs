// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drop: in one commit, with all that is within, whatever a tenant has made of it.

use std::os::fd::AsFd;
use std::sync::Arc;

use crate::common::drops::{helpers_driver, scratch};
use crate::common::{ALL_QUOTAS, MIB, Quotas, Site, open, site, site_with, volume};
use mosaic_btrfs::{Btrfs, ioctl};
use mosaic_core::{Driver, ErrorKind, Host, Place, Settings};
use mosaic_tests::{Said, run};

#[test]
fn root_a_volume_goes_in_one_commit() {
    for quotas in ALL_QUOTAS {
        let Some(site) = site(quotas) else { return };
        let id = site.subvolume("v");
        site.write("v/file", MIB);
        std::fs::create_dir(site.at("v/folder")).unwrap();
        // As long as this is open nothing is cleaned, so all commits are the command's.
        let open = open(&site.at("v/folder"));
        let commits = site.commits(|| {
            let dropped = site.drop_volume("v").unwrap();
            assert_eq!(dropped.pending, [format!("subvolume {id}")]);
        });
        assert_eq!(commits, 1, "{quotas:?}");
        std::mem::drop(open);
        let error = site.drop_volume("v").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        site.ends_clear();
    }
}

#[test]
fn root_folders_above_go_with_the_last_volume() {
    let Some(site) = site_with(Quotas::Off, |settings| settings.depth = 3) else {
        return;
    };
    std::fs::create_dir_all(site.at("1/12")).unwrap();
    for name in ["1/12/123", "1/12/124"] {
        site.subvolume(name);
    }
    site.drop_volume("1/12/123").unwrap();
    assert!(site.at("1/12/124").is_dir());
    // With others within it too, it goes by the trash.
    site.subvolume("1/12/124/nested");
    site.drop_volume("1/12/124").unwrap();
    assert!(!site.at("1").exists());
    site.ends_clear();
}

#[test]
fn root_what_is_no_volume_stays() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    std::fs::create_dir(site.at("plain")).unwrap();
    site.subvolume("real");
    std::os::unix::fs::symlink("real", site.at("link")).unwrap();
    std::fs::write(site.at("file"), "x").unwrap();
    for name in ["plain", "link", "file"] {
        let error = site.drop_volume(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exists, "{}", error.chain());
        assert!(site.at(name).symlink_metadata().is_ok());
    }
    assert_eq!(site.subvolumes(), ["ct/real"]);
}

#[test]
fn root_nothing_goes_from_a_read_only_file_system() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.subvolume("v");
    site.subvolume("v2");
    site.subvolume("v2/nested");
    let remount = |how: &str| run("mount", &["-o", how, site.fs.path().to_str().unwrap()]);
    remount("remount,ro").unwrap();
    for name in ["v", "v2"] {
        let error = site.take_away(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permission);
        assert!(
            error.chain().contains("mounted read-only"),
            "{}",
            error.chain()
        );
    }
    remount("remount,rw").unwrap();
    assert_eq!(site.subvolumes(), ["ct/v", "ct/v2", "ct/v2/nested"]);
}

#[test]
fn root_read_only_and_received_volumes_go_like_others() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.subvolume("origin");
    site.write("origin/file", MIB);
    site.snapshot("origin", "frozen", true);
    let script = r#"mkdir "$0/in" && btrfs send "$0/frozen" | btrfs receive "$0/in" &&
        mv "$0/in/frozen" "$0/frozen2" 2>/dev/null || mv "$0/in" "$0/came""#;
    run(
        "sh",
        &["-c".as_ref(), script.as_ref(), site.path.as_os_str()],
    )
    .unwrap();
    let deep = site.driver_at(&site.path, |settings| settings.depth = 2);
    assert!(
        deep.find(&volume("came/frozen"))
            .unwrap()
            .unwrap()
            .read_only
    );
    deep.drop_volume(&volume("came/frozen"), &scratch())
        .unwrap();
    drop(deep);
    site.drop_volume("frozen").unwrap();
    // One that is read-only with others in it, and so are they.
    for name in ["origin/a", "origin/a/b", "origin/c"] {
        site.subvolume(name);
    }
    for name in ["origin/a/b", "origin/a", "origin"] {
        site.set_read_only(name, true);
    }
    site.drop_volume("origin").unwrap();
    site.ends_clear();
}

#[test]
fn root_a_dropped_volume_stays_away_after_a_power_cut() {
    for nested in [false, true] {
        let Some(site) = site(Quotas::Off) else {
            return;
        };
        site.subvolume("v");
        site.subvolume("kept");
        if nested {
            site.subvolume("v/nested");
        }
        site.commit();
        site.take_away("v").unwrap();
        let Site {
            driver, path, fs, ..
        } = site;
        drop(driver);
        fs.cut_power().unwrap();
        assert!(!path.join("v").exists());
        assert!(path.join("kept").is_dir());
        // The next command sweeps what is left.
        let said = Arc::new(Said::default());
        let driver = Btrfs::open(Host::new(said.clone()), &Settings::new(&path)).unwrap();
        let site = Site {
            driver,
            said,
            path,
            fs,
        };
        assert_eq!(site.in_trash().is_dir(), nested);
        site.empty_trash().unwrap();
        site.drop_volume("kept").unwrap();
        site.ends_clear();
    }
}

/// Not a test: what the tests below run as another user. Drops a volume with a file, a folder and
/// what else is given in it, and prints how that went.
#[test]
#[ignore = "a helper of other tests"]
#[expect(
    clippy::print_stdout,
    reason = "its answers are read by the tests below"
)]
fn helper_drops_volumes_of_its_own() {
    let Some((driver, path, said)) = helpers_driver() else {
        return;
    };
    let parts = [&[][..], &["inner"], &["inner", "inner/frozen"]];
    for (number, parts) in parts.into_iter().enumerate() {
        let name = format!("v{number}");
        let at = path.join(&name);
        ioctl::create(open(&path).as_fd(), &name, None).unwrap();
        std::fs::create_dir(at.join("folder")).unwrap();
        std::fs::write(at.join("folder/file"), "x").unwrap();
        for part in parts {
            ioctl::create(open(&at).as_fd(), "new", None).unwrap();
            std::fs::write(at.join("new/file"), "x").unwrap();
            std::fs::rename(at.join("new"), at.join(part)).unwrap();
            ioctl::set_read_only(open(&at.join(part)), part.ends_with("frozen")).unwrap();
        }
        let dropped = driver.drop_volume(&volume(&name), &scratch());
        let dropped = dropped.and_then(|_| driver.remove_leftover(Place::Trash, &scratch()));
        let dropped = dropped.map_or_else(|error| error.chain(), |()| "dropped".to_owned());
        println!("answer: {dropped} {:?}", said.take());
    }
    let error = driver.drop_volume(&volume("roots"), &scratch());
    let error = error.unwrap_err();
    println!("roots: {} {}", error.kind().name(), error.chain());
}

#[test]
fn root_an_owner_without_privilege_drops_volumes() {
    for allowed in [true, false] {
        let Some(site) = site(Quotas::Off) else {
            return;
        };
        if allowed {
            let at = site.fs.path().to_str().unwrap();
            run("mount", &["-o", "remount,user_subvol_rm_allowed", at]).unwrap();
        }
        site.subvolume("roots");
        site.write("roots/file", 1);
        let said = site.as_user("drop::helper_drops_volumes_of_its_own");
        let answers: Vec<_> = said.lines().filter(|l| l.contains("answer: ")).collect();
        assert_eq!(answers.len(), 3, "{said}");
        for answer in answers {
            assert!(answer.ends_with("answer: dropped []"), "{allowed}: {said}");
        }
        // It is not theirs.
        assert!(said.contains("roots: permission"), "{said}");
        assert!(said.contains("user_subvol_rm_allowed"), "{said}");
        assert_eq!(site.subvolumes(), ["ct/roots"]);
        assert!(site.at("roots/file").exists());
        site.drop_volume("roots").unwrap();
        site.ends_clear();
    }
}
