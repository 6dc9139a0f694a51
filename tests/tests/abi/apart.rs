// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver that stores its volumes under other names than the host would guess.

use mosaic_tests::{Moctl, requires_root};

use crate::folder::Folder;
use crate::workspaces;

#[test]
fn root_a_mounted_volume_is_listed_so_wherever_its_driver_keeps_it() {
    if !requires_root() {
        return;
    }
    let folder = Folder::with(workspaces::third_party().join("libmosaic_apart.so"));
    let moctl = Moctl::new().unwrap();
    let store = moctl.make_folder("store").unwrap();
    // `abc` is kept in `data/cba`, and in its place stands something else.
    for path in ["data/cba", "data/fed", "abc"] {
        std::fs::create_dir_all(store.join(path)).unwrap();
    }
    moctl.mosaic("m", "apart", &store, "").unwrap();
    let at = moctl.make_folder("mnt").unwrap();
    let at = at.to_str().unwrap();
    let drivers = folder.path().to_str().unwrap();

    moctl.ok(&["--driver-dir", drivers, "m", "mount", "abc", at]);
    let list = moctl.json(&["--driver-dir", drivers, "m", "list"]);
    moctl.ok(&["--driver-dir", drivers, "m", "umount", "abc", at]);
    let mounted = |n: usize| (&list["volumes"][n]["name"], &list["volumes"][n]["mounted"]);
    assert_eq!(mounted(0), (&"abc".into(), &serde_json::json!([at])));
    assert_eq!(mounted(1), (&"def".into(), &serde_json::json!([])));
}
