// SPDX-License-Identifier: MIT OR Apache-2.0
//! A mosaic on a location of its own, and an outsider's look at what is left there.

use std::ffi::OsStr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Result;
use serde_json::{Value, json};

use crate::await_condition::eventually;
use crate::loop_file::loop_devices_beneath;
use crate::moctl::{Moctl, Output};
use crate::mount_table::mountpoints_beneath;
use crate::mounted_fs::MountedFs;
use crate::thin_pool::ThinPool;

/// The mosaic's name in its config folder.
const NAME: &str = "m";

/// One mosaic, its location and a folder for mountpoints.
#[derive(Debug)]
pub struct Site {
    // Fields are dropped from the top: the mountpoints, in its folder, go before what they hold.
    moctl: Moctl,
    fs: Option<MountedFs>,
    pool: Option<ThinPool>,
    location: PathBuf,
}

impl Site {
    /// A mosaic of type `driver` on a file system of its own ([`MountedFs::new`]); `more` are
    /// further lines of its config. Needs root.
    ///
    /// # Errors
    /// What kept it from being made.
    pub fn on(fs: &str, driver: &str, more: &str) -> Result<Self> {
        Self::with_fs(MountedFs::new(fs)?, Moctl::new()?, driver, more)
    }

    fn with_fs(fs: MountedFs, moctl: Moctl, driver: &str, more: &str) -> Result<Self> {
        fs.let_others_in()?;
        let location = fs.path().join("location");
        std::fs::create_dir(&location)?;
        moctl.mosaic(NAME, driver, &location, more)?;
        Ok(Self {
            fs: Some(fs),
            pool: None,
            moctl,
            location,
        })
    }

    /// A mosaic on a thin pool of its own, which `init` has made; `more` are further lines of its
    /// config. Needs root and device mapper.
    ///
    /// # Errors
    /// What kept it from being made.
    pub fn on_pool(pool: ThinPool, driver: &str, more: &str) -> Result<Self> {
        let moctl = Moctl::new()?;
        let location = PathBuf::from(pool.name());
        let size = match more.contains("metadata_size") {
            true => "",
            false => "metadata_size: 32M\n",
        };
        let more = format!("{}{size}{more}", pool.config());
        moctl.mosaic(NAME, driver, &location, &more)?;
        moctl.ok(&[NAME, "init"]);
        Ok(Self {
            fs: None,
            pool: Some(pool),
            moctl,
            location,
        })
    }

    /// A mosaic in a temporary folder, on whatever file system that is.
    ///
    /// # Errors
    /// What kept it from being made.
    pub fn in_folder(driver: &str, more: &str) -> Result<Self> {
        Self::with_moctl(Moctl::new()?, driver, more)
    }

    /// A mosaic in a temporary folder for another user, who owns the location. Needs root.
    ///
    /// # Errors
    /// What kept it from being made.
    pub fn of_user(user: u32, driver: &str, more: &str) -> Result<Self> {
        Self::with_moctl(Moctl::as_user(user)?, driver, more)
    }

    /// The same on a file system of its own ([`MountedFs::new`]).
    ///
    /// # Errors
    /// What kept it from being made.
    pub fn of_user_on(user: u32, fs: &str, driver: &str, more: &str) -> Result<Self> {
        let moctl = Moctl::as_user(user)?;
        let site = Self::with_fs(MountedFs::new(fs)?, moctl, driver, more)?;
        chown(site.location(), Some(user), Some(user))?;
        Ok(site)
    }

    fn with_moctl(moctl: Moctl, driver: &str, more: &str) -> Result<Self> {
        let location = moctl.make_folder("location")?;
        moctl.mosaic(NAME, driver, &location, more)?;
        Ok(Self {
            fs: None,
            pool: None,
            moctl,
            location,
        })
    }

    /// The location.
    pub fn location(&self) -> &Path {
        &self.location
    }

    /// The file system that it is on, where it has one of its own.
    pub fn fs(&self) -> Option<&MountedFs> {
        self.fs.as_ref()
    }

    /// The thin pool that it is on, where it is on one.
    pub fn pool(&self) -> Option<&ThinPool> {
        self.pool.as_ref()
    }

    /// A `moctl` of another user with the same config.
    ///
    /// # Errors
    /// What kept it from being copied.
    pub fn moctl_of(&self, user: u32) -> Result<Moctl> {
        let moctl = Moctl::as_user(user)?;
        let config = self.moctl.folder().join(format!("{NAME}.mos"));
        moctl.config(NAME, &std::fs::read_to_string(config)?)?;
        Ok(moctl)
    }

    /// Its `moctl`.
    pub fn moctl(&self) -> &Moctl {
        &self.moctl
    }

    /// Makes an empty folder to mount something at, outside of the location.
    ///
    /// # Panics
    /// It cannot be made.
    pub fn mountpoint(&self, name: &str) -> PathBuf {
        self.moctl.make_folder(name).expect("the name is new")
    }

    /// The command `moctl m ARGS...`.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        self.moctl.command(&words(args))
    }

    /// Runs `moctl m ARGS...`.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Output {
        self.moctl.run(&words(args))
    }

    /// Starts all of the commands, and then waits for all.
    ///
    /// # Panics
    /// One cannot be started.
    pub fn run_at_once<S: AsRef<OsStr>>(&self, commands: &[Vec<S>]) -> Vec<Output> {
        let start = |args: &Vec<S>| {
            let mut command = self.command(args);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("moctl can be started")
        };
        let running: Vec<Child> = commands.iter().map(start).collect();
        let end = |child: Child| child.wait_with_output().expect("it is our child").into();
        running.into_iter().map(end).collect()
    }

    /// Runs `moctl m ARGS...` and gives its stdout.
    ///
    /// # Panics
    /// Its exit status is not 0.
    #[track_caller]
    pub fn ok<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        self.moctl.ok(&words(args))
    }

    /// Runs `moctl m ARGS...`.
    ///
    /// # Panics
    /// Its exit status is another one.
    #[track_caller]
    pub fn expect<S: AsRef<OsStr>>(&self, status: i32, args: &[S]) -> Output {
        self.moctl.expect(status, &words(args))
    }

    /// Runs `moctl --json m ARGS...` and gives the object.
    ///
    /// # Panics
    /// It fails, or prints no such object.
    #[track_caller]
    pub fn json<S: AsRef<OsStr>>(&self, args: &[S]) -> Value {
        self.moctl.json(&words(args))
    }

    /// The volumes' names as `list` shows them.
    ///
    /// # Panics
    /// `list` fails.
    #[track_caller]
    pub fn names(&self) -> Vec<String> {
        let list = self.json(&["list"]);
        let volumes = list["volumes"].as_array().cloned().unwrap_or_default();
        let name = |volume: &Value| volume["name"].as_str().map(str::to_owned);
        volumes.iter().filter_map(name).collect()
    }

    /// What a user can tell apart: names, kinds, sizes, states, numbers of mounts. Not what
    /// differs from run to run: devices, space in use.
    ///
    /// # Panics
    /// `list` fails.
    #[track_caller]
    pub fn state(&self) -> Value {
        let list = self.json(&["list"]);
        let volumes = list["volumes"].as_array().cloned().unwrap_or_default();
        let seen = |volume: &Value| {
            json!({
                "name": volume["name"],
                "kind": volume["kind"],
                "fs": volume["fs"],
                "size": volume["size"],
                "state": volume["state"],
                "mounts": volume["mounted"].as_array().map_or(0, Vec::len),
            })
        };
        volumes.iter().map(seen).collect()
    }

    /// Half-made and half-dropped things: what is in the folders of `.mosaic`.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for folder in ["tmp", "trash", "snapshots"] {
            let entries = std::fs::read_dir(self.location.join(".mosaic").join(folder));
            found.extend(entries.into_iter().flatten().flatten().map(|e| e.path()));
        }
        found
    }

    /// What is in the location besides `.mosaic`: stored names one level deep; of a pool the thin ids,
    /// that of the metadata as `meta`, without the catalog's.
    pub fn entries(&self) -> Vec<String> {
        if let Some(pool) = &self.pool {
            return pool.entries();
        }
        let entries = std::fs::read_dir(&self.location).into_iter().flatten();
        let mut names: Vec<String> = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name != ".mosaic")
            .collect();
        names.sort();
        names
    }

    /// Loop devices on files of the location.
    pub fn loop_devices(&self) -> Vec<PathBuf> {
        loop_devices_beneath(&self.location)
    }

    /// Devices made of the pool, by name, without the catalog's, which stays.
    pub fn thin_devices(&self) -> Vec<String> {
        let devices = self.pool.as_ref().map(ThinPool::devices);
        let mut devices = devices.and_then(Result::ok).unwrap_or_default();
        devices.retain(|name| !name.ends_with("-mosaic-catalog"));
        devices
    }

    /// Mounts at mountpoints of ours.
    pub fn mounts(&self) -> Vec<PathBuf> {
        mountpoints_beneath(self.moctl.folder())
    }

    /// Nothing of a volume is left in the kernel: no loop or thin device, no mount. The kernel takes some
    /// away a moment after the process.
    ///
    /// # Panics
    /// Something is.
    #[track_caller]
    pub fn assert_idle(&self) {
        assert!(
            eventually(|| {
                self.loop_devices().is_empty()
                    && self.mounts().is_empty()
                    && self.thin_devices().is_empty()
            }),
            "left: {:?} {:?} {:?}",
            self.loop_devices(),
            self.mounts(),
            self.thin_devices()
        );
    }
}

fn words<S: AsRef<OsStr>>(args: &[S]) -> Vec<&OsStr> {
    let mut words = vec![OsStr::new(NAME)];
    words.extend(args.iter().map(AsRef::as_ref));
    words
}
