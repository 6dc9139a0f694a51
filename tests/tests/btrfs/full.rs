// SPDX-License-Identifier: MIT OR Apache-2.0
//! A btrfs without room: which kind of space is full is said, and volumes can still go.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use mosaic_tests::{Moctl, MountedFs, fill, run, word};
use nix::libc::ENOSPC;
use rustix::fs::XattrFlags;

use crate::{MIB, ready};

/// A mosaic `m` on a small btrfs with the volumes `a` and `b`; `more` are further lines of its
/// config.
fn small(more: &str) -> Option<(MountedFs, Moctl)> {
    if !ready() {
        return None;
    }
    let fs = MountedFs::with_size("btrfs", 256 * MIB).unwrap();
    let moctl = Moctl::new().unwrap();
    moctl.mosaic("m", "btrfs", fs.path(), more).unwrap();
    for volume in ["a", "b"] {
        moctl.ok(&["m", "new", "fs", volume, "1G"]);
    }
    Some((fs, moctl))
}

fn free(moctl: &Moctl, class: &str) -> u64 {
    let info = moctl.json(&["m", "info"]);
    let all = info["space"].as_array().unwrap();
    let space = all.iter().find(|space| space["class"] == class);
    space.unwrap()["free"].as_u64().unwrap()
}

/// Makes files of 1 MiB until nothing more fits; their number.
fn fill_data(folder: &Path) -> usize {
    let large = |number: usize| fill(&folder.join(format!("large-{number}")), 1);
    let (number, full) = (0..)
        .map(|number| (number, large(number)))
        .find(|(_, written)| written.is_err())
        .expect("the file system is small");
    let full = full.unwrap_err();
    assert_eq!(full.raw_os_error(), Some(ENOSPC), "{full}");
    number
}

/// Makes files with a large attribute, which is metadata, until nothing more fits.
fn fill_metadata(folder: &Path) {
    let full = (0..).try_for_each(|number| {
        let file = File::create(folder.join(format!("attribute-{number}")))?;
        let value = [b'#'; 15_000];
        rustix::fs::fsetxattr(&file, "user.large", &value, XattrFlags::CREATE)?;
        match number % 256 {
            0 => file.sync_all(),
            _ => Ok::<_, io::Error>(()),
        }
    });
    assert_eq!(full.unwrap_err().raw_os_error(), Some(ENOSPC));
}

#[test]
fn root_full_metadata_is_said_to_be_that_and_drop_still_works() {
    let Some((fs, moctl)) = small("") else {
        return;
    };
    // All that is given to neither kind of space yet goes to data. Then half of it is free, a bit in
    // each part, so that the kernel gives none back.
    let folder = fs.path().join("a");
    for number in (0..=fill_data(&folder)).step_by(2) {
        fs::remove_file(folder.join(format!("large-{number}"))).unwrap();
    }
    run("btrfs", &["filesystem", "sync", word(fs.path())]).unwrap();
    fill_metadata(&fs.path().join("b"));
    assert!(free(&moctl, "data") > 16 * MIB);
    assert!(
        free(&moctl, "metadata") < 4 * MIB,
        "{}",
        free(&moctl, "metadata")
    );
    let mut refused = Vec::new();
    // The kernel keeps something back; some calls still get it.
    for number in 0..200 {
        let name = format!("c{number}");
        for words in [
            &["m", "new", "fs", &name, "1G"][..],
            &["m", "clone", "a", &format!("d{number}")],
        ] {
            let output = moctl.run(words);
            if output.status != 0 {
                refused.push(output);
            }
        }
        if refused.len() > 2 {
            break;
        }
    }
    assert!(
        !refused.is_empty(),
        "no end of the metadata: {} bytes",
        free(&moctl, "metadata")
    );
    for output in &refused {
        assert_eq!(output.status, 7, "{}", output.stderr);
        // That sizes are not enforced is said before.
        assert!(output.stderr.contains("metadata"), "{}", output.stderr);
        assert!(output.stderr.contains("balance"), "{}", output.stderr);
    }
    moctl.ok(&["m", "drop", "--wait", "b"]);
    moctl.ok(&["m", "new", "fs", "b", "1G"]);
    fs.check().unwrap();
}

#[test]
fn root_full_data_leaves_room_for_volumes_and_is_shown() {
    let Some((fs, moctl)) = small("") else {
        return;
    };
    fill_data(&fs.path().join("a"));
    assert!(free(&moctl, "data") < 4 * MIB, "{}", free(&moctl, "data"));
    moctl.ok(&["m", "new", "fs", "c", "1G"]);
    moctl.ok(&["m", "clone", "a", "d"]);
    moctl.ok(&["m", "rename", "d", "e"]);
    // Both share the data: only the last of them gives it back.
    moctl.ok(&["m", "drop", "--wait", "a"]);
    assert!(free(&moctl, "data") < 4 * MIB, "{}", free(&moctl, "data"));
    moctl.ok(&["m", "drop", "--wait", "e"]);
    assert!(free(&moctl, "data") > 64 * MIB, "{}", free(&moctl, "data"));
    assert!(!fs::exists(fs.path().join("e")).unwrap());
    fs.check().unwrap();
}
