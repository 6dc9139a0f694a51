// SPDX-License-Identifier: MIT OR Apache-2.0
//! A btrfs as others see it: btrfs-progs, sysfs, its superblock.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::fs::{Mode, OFlags};

use crate::await_condition::eventually_within;
use crate::ioctl;
use crate::mounted_fs::MountedFs;
use crate::requires::left_out;
use crate::shell;

/// The kinds of quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// Each extent belongs to the subvolume that wrote it (Linux 6.7).
    Simple,
    /// Quota groups count what subvolumes share.
    Full,
}

/// One line of `btrfs subvolume list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subvolume {
    /// Its id.
    pub id: u64,
    /// The transaction that changed it last.
    pub generation: u64,
    /// The id of the subvolume that it stands in.
    pub within: u64,
    /// Its own UUID.
    pub uuid: Option<String>,
    /// That of the subvolume it is a snapshot of.
    pub parent: Option<String>,
    /// That which a received one had where it was sent.
    pub received: Option<String>,
    /// It refuses writes.
    pub read_only: bool,
    /// Its path from the top of the file system.
    pub path: PathBuf,
}

/// One line of `btrfs qgroup show`, bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qgroup {
    /// `0/256`.
    pub id: String,
    /// All that it refers to.
    pub referenced: u64,
    /// What only it refers to.
    pub exclusive: u64,
    /// How much it may refer to.
    pub limit: Option<u64>,
}

/// All subvolumes of the file system that is mounted at `at`, the top itself left out; by id.
///
/// # Errors
/// What `btrfs` said.
pub fn subvolumes(at: &Path) -> Result<Vec<Subvolume>> {
    let list = |more: &str| {
        let words = ["subvolume", "list", more, "--sort=rootid"].map(Path::new);
        shell::stdout_of("btrfs", &[&words[..], &[at]].concat())
    };
    let read_only = list("-r")?;
    let ids: Vec<&str> = read_only
        .lines()
        .filter_map(|l| word_after(l, "ID"))
        .collect();
    let all = list("-guqRp")?;
    let line = |line: &str| {
        let word = |name: &str| {
            let word = word_after(line, name);
            word.with_context(|| format!("no {name} in {line}"))
        };
        let uuid =
            |name: &str| Ok::<_, anyhow::Error>(Some(word(name)?.to_owned()).filter(|w| w != "-"));
        // The path is the last and may hold anything.
        let (_, path) = line.split_once(" path ").context("no path")?;
        Ok(Subvolume {
            id: word("ID")?.parse()?,
            generation: word("gen")?.parse()?,
            within: word("parent")?.parse()?,
            uuid: uuid("uuid")?,
            parent: uuid("parent_uuid")?,
            received: uuid("received_uuid")?,
            read_only: ids.contains(&word("ID")?),
            path: PathBuf::from(path.strip_prefix("<FS_TREE>/").unwrap_or(path)),
        })
    };
    all.lines().map(line).collect()
}

/// Makes subvolumes in a folder.
///
/// # Errors
/// The kernel's.
pub fn make_subvolumes<S: AsRef<str>>(folder: &Path, names: &[S]) -> Result<()> {
    let open = File::open(folder)?;
    for name in names {
        let name = name.as_ref();
        ioctl::make_subvolume(&open, name).with_context(|| format!("cannot make {name}"))?;
    }
    Ok(())
}

fn word_after<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let mut words = line.split_whitespace();
    words.find(|word| *word == name)?;
    words.next()
}

/// All quota groups of the file system that is mounted at `at`; none where quotas are off.
///
/// # Errors
/// What `btrfs` said.
pub fn qgroups(at: &Path) -> Result<Vec<Qgroup>> {
    if quota(at)?.is_none() {
        return Ok(Vec::new());
    }
    let words = ["qgroup", "show", "--raw", "-re"].map(Path::new);
    let text = shell::stdout_of("btrfs", &[&words[..], &[at]].concat())?;
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        ensure!(words.len() >= 5, "what quota group is {line:?}");
        Ok(Qgroup {
            id: words[0].to_owned(),
            referenced: words[1].parse()?,
            exclusive: words[2].parse()?,
            limit: words[3].parse().ok(),
        })
    };
    text.lines().skip(2).map(line).collect()
}

/// The quotas of the file system that is mounted at `at`.
///
/// # Errors
/// `findmnt` does not know it.
pub fn quota(at: &Path) -> Result<Option<Quota>> {
    let words = ["--noheadings", "--output", "UUID", "--target"].map(Path::new);
    let uuid = shell::stdout_of("findmnt", &[&words[..], &[at]].concat())?;
    let mode = Path::new("/sys/fs/btrfs")
        .join(uuid.trim())
        .join("qgroups/mode");
    Ok(
        match std::fs::read_to_string(mode).unwrap_or_default().trim() {
            "squota" => Some(Quota::Simple),
            "qgroup" => Some(Quota::Full),
            _ => None,
        },
    )
}

pub(crate) fn switch_on(at: &Path, quota: Quota) -> Result<()> {
    /// `BTRFS_QUOTA_CTL_ENABLE` and `BTRFS_QUOTA_CTL_ENABLE_SIMPLE_QUOTA` of
    /// include/uapi/linux/btrfs.h.
    const ENABLE: (u64, u64) = (1, 4);
    let folder = File::open(at)?;
    let command = match quota {
        Quota::Simple => ENABLE.1,
        Quota::Full => ENABLE.0,
    };
    ioctl::control_quota(&folder, command)
        .with_context(|| format!("this kernel switches {quota:?} quotas not on"))?;
    Ok(ioctl::await_rescan(&folder)?)
}

/// The superblock in an image. The kernel writes it last in each commit.
pub(crate) fn superblock(image: &Path) -> Result<Vec<u8>> {
    let mut block = vec![0; 4096];
    File::open(image)?.read_exact_at(&mut block, 64 << 10)?;
    Ok(block)
}

impl MountedFs {
    /// Asks a btrfs whether all is well: `btrfs scrub`, then unmounted `btrfs check`.
    ///
    /// # Errors
    /// What is wrong, or keeps it in use.
    pub fn check(&self) -> Result<()> {
        let words = ["scrub", "start", "-B"].map(Path::new);
        shell::run("btrfs", &[&words[..], &[self.path()]].concat())?;
        self.umount_everywhere()?;
        let words = ["check", "--readonly"].map(Path::new);
        // A copy of another test's process has our descriptor of the device until it executes something.
        let mut checked = Ok(());
        eventually_within(Duration::from_secs(10), || {
            checked = shell::run("btrfs", &[&words[..], &[self.device()]].concat());
            let is_busy = |error: &anyhow::Error| error.to_string().contains("resource busy");
            !checked.as_ref().is_err_and(is_busy)
        });
        self.mount()?;
        match checked {
            // btrfs-progs before 6.7.
            Err(error)
                if error
                    .to_string()
                    .contains("unsupported option features (10000)") =>
            {
                left_out("btrfs check: it knows no simple quotas");
                Ok(())
            }
            other => other,
        }
    }

    /// Unmounts it, and waits until no other mount namespace has it: one that another test made before
    /// has copies of all mounts as long as it is there, for the whole of that test, it may be.
    pub(crate) fn umount_everywhere(&self) -> Result<()> {
        self.umount()?;
        let alone = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
        let is_free = eventually_within(Duration::from_secs(60), || {
            rustix::fs::open(self.device(), alone, Mode::empty()).is_ok()
        });
        ensure!(is_free, "{} is in use", self.device().display());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{requires_program, requires_root, run};

    #[test]
    fn root_subvolumes_and_quota_groups_are_read_as_they_are() {
        if !requires_root() || !requires_program("mkfs.btrfs") {
            return;
        }
        for kind in ["btrfs", "btrfs+simple", "btrfs+full"] {
            let fs = MountedFs::new(kind).unwrap();
            let at = |name: &str| fs.path().join(name).to_str().unwrap().to_owned();
            run("btrfs", &["subvolume", "create", &at("a b")]).unwrap();
            run(
                "btrfs",
                &["subvolume", "snapshot", "-r", &at("a b"), &at("s")],
            )
            .unwrap();
            run("btrfs", &["subvolume", "create", &at("a b/within")]).unwrap();
            let found = subvolumes(fs.path()).unwrap();
            let [a, s, within] = &found[..] else {
                panic!("{found:?}");
            };
            assert_eq!((a.path.as_path(), a.read_only), (Path::new("a b"), false));
            assert_eq!((&s.parent, s.read_only), (&a.uuid, true));
            assert_eq!((within.within, &within.parent), (a.id, &None));
            let groups = qgroups(fs.path()).unwrap();
            if kind == "btrfs" {
                assert_eq!(groups, []);
            } else {
                run("btrfs", &["qgroup", "limit", "10M", &at("a b")]).unwrap();
                let groups = qgroups(fs.path()).unwrap();
                let group = groups.iter().find(|g| g.id == format!("0/{}", a.id));
                assert_eq!(group.unwrap().limit, Some(10 << 20), "{groups:?}");
                assert_eq!(groups.len(), 4);
            }
            fs.check().unwrap();
        }
    }

    #[test]
    fn root_a_check_finds_what_is_wrong() {
        if !requires_root() || !requires_program("mkfs.btrfs") {
            return;
        }
        let fs = MountedFs::with_size("btrfs", 256 << 20).unwrap();
        std::fs::write(fs.path().join("file"), vec![b'#'; 64 << 10]).unwrap();
        fs.umount().unwrap();
        let image = std::fs::read(fs.image()).unwrap();
        let mut blocks = image.chunks(4096);
        let block = blocks.position(|block| block.starts_with(b"########"));
        let file = File::options().write(true).open(fs.image()).unwrap();
        file.write_all_at(b"?", block.unwrap() as u64 * 4096)
            .unwrap();
        run("blockdev", &["--flushbufs".as_ref(), fs.device()]).unwrap();
        fs.mount().unwrap();
        assert!(fs.check().is_err());
    }
}
