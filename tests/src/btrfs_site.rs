// SPDX-License-Identifier: MIT OR Apache-2.0
//! A mosaic of subvolumes, held against what btrfs-progs say of the same file system.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::btrfs::{self, Qgroup, Subvolume};
use crate::mounted_fs::MountedFs;
use crate::shell;
use crate::site::Site;

impl Site {
    /// Makes a subvolume in the location with `btrfs`, as another program does.
    ///
    /// # Panics
    /// `btrfs` fails.
    #[track_caller]
    pub fn subvolume(&self, path: &str) -> PathBuf {
        let path = self.location().join(path);
        let words = ["subvolume", "create"].map(Path::new);
        shell::run("btrfs", &[&words[..], &[&path]].concat()).expect("btrfs makes subvolumes");
        path
    }

    /// Makes a read-only snapshot in the location with `btrfs`.
    ///
    /// # Panics
    /// `btrfs` fails.
    #[track_caller]
    pub fn read_only_snapshot(&self, of: &str, path: &str) -> PathBuf {
        let (of, path) = (self.location().join(of), self.location().join(path));
        let words = ["subvolume", "snapshot", "-r"].map(Path::new);
        shell::run("btrfs", &[&words[..], &[&of, &path]].concat()).expect("btrfs makes snapshots");
        path
    }

    /// The subvolumes in the location, `.mosaic` included, with their paths in it.
    ///
    /// # Panics
    /// `btrfs` fails.
    #[track_caller]
    pub fn subvolumes(&self) -> Vec<Subvolume> {
        let (top, location) = (self.own_fs().path(), self.location());
        let within = location.strip_prefix(top).unwrap_or(Path::new(""));
        let mut found = btrfs::subvolumes(top).expect("btrfs lists subvolumes");
        found.retain_mut(|subvolume| match subvolume.path.strip_prefix(within) {
            Ok(path) if path != Path::new("") => {
                subvolume.path = path.to_owned();
                true
            }
            _ => false,
        });
        found
    }

    /// The quota groups that have no subvolume, besides that of the file system's top.
    ///
    /// # Panics
    /// `btrfs` fails.
    #[track_caller]
    pub fn dead_qgroups(&self) -> Vec<Qgroup> {
        let top = self.own_fs().path();
        let alive: Vec<String> = btrfs::subvolumes(top)
            .expect("btrfs lists subvolumes")
            .iter()
            .map(|subvolume| format!("0/{}", subvolume.id))
            .collect();
        let mut groups = btrfs::qgroups(top).expect("btrfs shows quota groups");
        groups.retain(|group| group.id != "0/5" && !alive.contains(&group.id));
        groups
    }

    /// `list` has exactly the subvolumes of the location that are volumes, and says of each what
    /// btrfs-progs say.
    ///
    /// # Panics
    /// They differ.
    #[track_caller]
    pub fn assert_listed_as_btrfs_has_them(&self) {
        // Quota groups are counted by the commit, and shown as they were at the last one.
        shell::run(
            "btrfs",
            &["filesystem".as_ref(), "sync".as_ref(), self.location()],
        )
        .expect("btrfs commits");
        let list = self.json(&["list"]);
        let volumes = list["volumes"].as_array().cloned().unwrap_or_default();
        let depth = volumes.first().and_then(|volume| volume["stored"].as_str());
        let depth = depth.map_or(1, |stored| Path::new(stored).components().count());
        let seen: BTreeMap<String, Value> = volumes.iter().map(seen).collect();
        assert_eq!(seen.len(), volumes.len(), "a volume is listed twice");
        let groups = btrfs::qgroups(self.own_fs().path()).expect("btrfs shows quota groups");
        let groups: HashMap<_, _> = groups.iter().map(|group| (&*group.id, group)).collect();
        let all = self.subvolumes();
        let paths: HashSet<&Path> = all.iter().map(|subvolume| &*subvolume.path).collect();
        let expected: BTreeMap<String, Value> = all
            .iter()
            .filter(|subvolume| is_volume(&subvolume.path, depth, &paths))
            .map(|subvolume| {
                let group = groups.get(&*format!("0/{}", subvolume.id));
                expected(subvolume, group.copied())
            })
            .collect();
        assert_eq!(seen, expected);
    }

    /// The end of a test that was hard on a btrfs: `list` agrees with btrfs-progs, nothing
    /// half-made is left, and the file system is in order. What is mounted is unmounted.
    ///
    /// # Panics
    /// Something is not so.
    #[track_caller]
    pub fn assert_sound(&self) {
        self.assert_listed_as_btrfs_has_them();
        let left = self.leftovers();
        assert!(left.is_empty(), "left {left:?}");
        let checked = self.own_fs().check();
        assert!(checked.is_ok(), "{checked:?}");
    }

    fn own_fs(&self) -> &MountedFs {
        self.fs().expect("the site has a file system of its own")
    }
}

/// Whether `list` has to show the subvolume with this path: it is as deep as volumes are, and neither
/// Mosaic's own nor within a volume.
fn is_volume(path: &Path, depth: usize, all: &HashSet<&Path>) -> bool {
    let is_within = path.ancestors().skip(1).any(|above| all.contains(above));
    let is_apart = path.starts_with(".mosaic") || path.starts_with("meta");
    path.components().count() == depth && !is_apart && !is_within
}

/// The stored name, and what `list` says of the volume as far as others know it too.
fn seen(volume: &Value) -> (String, Value) {
    let fact = |name: &str| volume["facts"].get(name).cloned().unwrap_or(Value::Null);
    let seen = json!({
        "id": fact("id"),
        "generation": fact("generation"),
        "uuid": fact("uuid"),
        "parent uuid": fact("parent uuid"),
        "received uuid": fact("received uuid"),
        "read_only": volume["read_only"],
        "size": volume["size"],
        "used": volume["used"],
        "exclusive": volume["exclusive"],
    });
    let stored = volume["stored"].as_str().unwrap_or_default();
    (stored.to_owned(), seen)
}

fn expected(subvolume: &Subvolume, group: Option<&Qgroup>) -> (String, Value) {
    let expected = json!({
        "id": subvolume.id.to_string(),
        "generation": subvolume.generation.to_string(),
        "uuid": subvolume.uuid,
        "parent uuid": subvolume.parent,
        "received uuid": subvolume.received,
        "read_only": subvolume.read_only,
        "size": group.and_then(|group| group.limit),
        "used": group.map(|group| group.referenced),
        "exclusive": group.map(|group| group.exclusive),
    });
    (subvolume.path.to_string_lossy().into_owned(), expected)
}
