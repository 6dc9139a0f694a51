// SPDX-License-Identifier: MIT OR Apache-2.0
//! A folder of drivers that a test has for itself, and a host that remembers what it was told.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use mosaic_core::host_services::{Level, Services};
use mosaic_core::import::ImportedDriver;
use mosaic_core::loader::{Beside, Loaded, SearchPath, load};
use mosaic_core::{Error, Settings};
use mosaic_tests::Scratch;

/// Drivers under names of the test's choice.
pub struct Folder {
    scratch: Scratch,
}

impl Folder {
    pub fn new() -> Self {
        let scratch = Scratch::new("abi").unwrap();
        Self { scratch }
    }

    /// One with a copy of a driver under its own name.
    pub fn with(driver: impl AsRef<Path>) -> Self {
        let this = Self::new();
        let driver = driver.as_ref();
        this.put(driver.file_name().unwrap().to_str().unwrap(), driver);
        this
    }

    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Copies a file to it, with the mode of an installed one whatever the umask of the build was.
    pub fn put(&self, name: &str, from: impl AsRef<Path>) {
        std::fs::copy(from, self.file(name)).unwrap();
        std::fs::set_permissions(self.file(name), Permissions::from_mode(0o755)).unwrap();
    }

    /// Writes a file in it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.file(name), content).unwrap();
    }

    /// This folder before all others.
    pub fn search(&self) -> SearchPath {
        SearchPath::new(vec![self.path().to_owned()], Vec::new(), Beside::Program)
    }

    pub fn load(&self, type_name: &str) -> Result<Loaded, Error> {
        load(&self.search(), type_name)
    }

    /// The error of a driver that must not load, and the promise that it is one line.
    pub fn refusal(&self, type_name: &str) -> Error {
        let error = self.load(type_name).expect_err("it was loaded");
        let line = error.chain();
        assert!(!line.contains('\n') && line.len() < 2000, "{line}");
        assert!(!line.contains("/proc/self/fd"), "{line}");
        error
    }
}

/// A host that writes down what a driver says.
#[derive(Default)]
pub struct Listener(pub Mutex<Vec<String>>);

impl Services for Listener {
    fn log(&self, level: Level, message: &str) {
        self.0.lock().unwrap().push(format!("{level:?}: {message}"));
    }

    fn progress(&self, done: u64, total: u64, what: &str) {
        self.0
            .lock()
            .unwrap()
            .push(format!("{done}/{total} {what}"));
    }

    fn cancelled(&self) -> bool {
        self.0
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.ends_with("stop"))
    }
}

/// Opens a driver's location with a listening host.
pub fn open(loaded: &Loaded, settings: &Settings) -> (ImportedDriver, Arc<Listener>) {
    let listener = Arc::new(Listener::default());
    let driver = loaded.module.open(listener.clone(), settings).unwrap();
    (driver, listener)
}
