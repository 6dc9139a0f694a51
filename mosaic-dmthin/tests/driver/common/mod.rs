// SPDX-License-Identifier: MIT OR Apache-2.0
//! A pool under test with its volumes, and how pools are made.

#![allow(dead_code, reason = "each test program uses its part")]

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use mosaic_core::finding::{Finding, Repair};
use mosaic_core::volume::InitOptions;
use mosaic_core::{Driver, Error, ErrorKind, Host, Level, Result, Services, Settings};
use mosaic_dmthin::DmThin;
use mosaic_tests::{MountedVolume, Said, Scratch, ThinPool, Unhosted, run, stdout_of};

pub const MIB: u64 = 1 << 20;
/// The same of bytes in memory.
pub const LEN: usize = 1 << 20;

/// The driver on a pool of its own.
pub struct Thins {
    pub unhosted: Unhosted<DmThin>,
    pub settings: Settings,
    pub scratch: Scratch,
    // Dropped last: it takes the devices away.
    pub pool: ThinPool,
}

impl Thins {
    /// A pool of half a GiB, made by `init`.
    pub fn new() -> Self {
        Self::with(512 * MIB, 4 * MIB, &[])
    }

    pub fn with(data: u64, metadata: u64, more: &[(&str, &str)]) -> Self {
        Self::on(ThinPool::new(data, metadata).unwrap(), more)
    }

    pub fn on(pool: ThinPool, more: &[(&str, &str)]) -> Self {
        let mut settings = settings(&pool);
        for (key, value) in more {
            settings.set(*key, *value);
        }
        init(&settings, &PLAIN).unwrap();
        Self {
            unhosted: Unhosted::open(&settings).unwrap(),
            settings,
            scratch: Scratch::new("thin").unwrap(),
            pool,
        }
    }

    /// The driver anew, as another command would have it.
    pub fn again(&self) -> DmThin {
        DmThin::open(self.host(), &self.settings).unwrap()
    }

    /// The same with another user.
    pub fn with_user(&self, user: Arc<dyn Services>) -> DmThin {
        DmThin::open(Host::new(user), &self.settings).unwrap()
    }

    /// What `check` finds after a recovery, and mends with `repair` without being asked for it.
    pub fn check(&self, repair: bool) -> Vec<Finding> {
        let repair = match repair {
            true => Repair::Usual,
            false => Repair::Nothing,
        };
        self.driver.recover().unwrap();
        self.driver.check(&repair).unwrap()
    }

    /// Mounts a volume at a folder of that name.
    pub fn mount(&self, name: &str, options: &str) -> Result<MountedVolume> {
        let at = self.scratch.path().join(format!("mnt-{name}"));
        self.unhosted.mount(name, &at, options)
    }
}

impl Deref for Thins {
    type Target = Unhosted<DmThin>;

    fn deref(&self) -> &Self::Target {
        &self.unhosted
    }
}

/// The settings of a config with the pool's devices.
pub fn settings(pool: &ThinPool) -> Settings {
    let mut settings = Settings::new(format!("/etc/mosaic/{}", pool.name()));
    settings.set("location", pool.name());
    settings.set("pool.data", pool.data().device().to_str().unwrap());
    settings.set("pool.metadata", pool.metadata_device().to_str().unwrap());
    settings.set("metadata_size", (64 * MIB).to_string());
    settings
}

/// `init` with nothing but the config.
pub const PLAIN: InitOptions = InitOptions {
    quota: None,
    adopt: false,
    force: false,
};

pub const ADOPT: InitOptions = InitOptions {
    adopt: true,
    ..PLAIN
};

pub const FORCE: InitOptions = InitOptions {
    force: true,
    ..PLAIN
};

/// A host to whose user nobody listens.
pub fn host() -> Host {
    Host::new(Arc::new(Said::default()))
}

pub fn init(settings: &Settings, how: &InitOptions) -> Result<Vec<String>> {
    DmThin::init(&host(), settings, how)
}

/// A user who does something, once, when a line with all of these words is logged.
pub struct Reaction {
    words: Vec<String>,
    act: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Reaction {
    pub fn new(words: &[&str], act: impl FnOnce() + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            act: Mutex::new(Some(Box::new(act))),
        })
    }

    pub fn was_called_for(&self) -> bool {
        self.act.lock().unwrap().is_none()
    }
}

impl Services for Reaction {
    fn log(&self, _: Level, message: &str) {
        if self.words.iter().all(|word| message.contains(word)) {
            // What it does may log as well.
            let act = self.act.lock().unwrap().take();
            act.into_iter().for_each(|act| act());
        }
    }

    fn progress(&self, _: u64, _: u64, _: &str) {}

    fn cancelled(&self) -> bool {
        false
    }
}

/// The device of the catalog.
pub fn catalog_of(pool: &ThinPool) -> String {
    let name = format!("{}-mosaic-catalog", pool.name());
    let args = ["info", "-c", "--noheadings", "-o", "minor", &name];
    format!("/dev/dm-{}", stdout_of("dmsetup", &args).unwrap().trim())
}

/// Sends the pool a message past the driver.
pub fn message(pool: &ThinPool, text: &str) {
    run("dmsetup", &["message", pool.name(), "0", text]).unwrap();
}

/// The error is of this kind, and says all of the words.
#[track_caller]
pub fn refused(error: Error, kind: ErrorKind, words: &[&str]) {
    let text = error.chain();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}
