// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver that must change the source of a clone has it for itself.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mosaic_core::host_services::Silent;
use mosaic_core::mosaic::{Environment, Mosaic};
use mosaic_core::{ErrorKind, LockScope};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::folder::Folder;
use crate::workspaces;

/// Holds every name of the location, along with others, until it is dropped.
fn share_all_names(location: &Path) -> File {
    let private = location.join(".mosaic");
    std::fs::create_dir(&private).unwrap();
    std::fs::write(private.join("lock"), "").unwrap();
    let lock = File::open(private.join("lock")).unwrap();
    let range = libc::flock {
        l_type: i16::try_from(libc::F_RDLCK).unwrap(),
        l_whence: 0,
        l_start: 1,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&lock, FcntlArg::F_OFD_SETLK(&range)).unwrap();
    lock
}

#[test]
fn a_clone_that_changes_its_source_waits_for_those_who_look_at_it() {
    let folder = Folder::with(workspaces::kept());
    let location = folder.file("location");
    std::fs::create_dir(&location).unwrap();
    folder.write("kept.mos", "type: kept\nlocation: location\n");
    let environment = Environment {
        config_dir: folder.path().to_owned(),
        search: folder.search(),
        lock_timeout: Duration::ZERO,
        services: Arc::new(Silent),
    };
    let mosaic = Mosaic::open(&environment, "kept".as_ref()).unwrap();
    let (driver, _) = crate::folder::open(mosaic.driver(), &mosaic.config().settings);
    assert_eq!(
        driver.lock_scope().unwrap(),
        LockScope::Directory(location.clone())
    );

    let _shared = share_all_names(&location);
    // The lower of two bytes is tried first; of sixteen names not all have a lower one than "one".
    let refused: Vec<String> = (0..16)
        .map(|n| {
            let error = mosaic
                .clone_volume("one", &format!("to{n}"), None, false)
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Busy, "{}", error.chain());
            error.chain()
        })
        .collect();
    assert!(
        refused
            .iter()
            .any(|line| line.contains("volume \"one\" is locked")),
        "{refused:?}"
    );
}
