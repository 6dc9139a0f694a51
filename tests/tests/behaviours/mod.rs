// SPDX-License-Identifier: MIT OR Apache-2.0
//! The behaviours that every driver shares. Each takes a fresh mosaic.

mod access;
mod life;

use mosaic_tests::{
    Output, Site, ThinPool, requires_program, requires_project_quota, requires_root,
    requires_thin_pools,
};

pub use access::*;
pub use life::*;

/// A size that every file system type here can be made at, and written to in no time.
pub const SIZE: &str = "32M";

/// A fresh mosaic of one driver.
pub struct Subject {
    pub driver: &'static str,
    pub fs: &'static str,
    pub config: &'static str,
    pub site: Site,
}

impl Subject {
    /// None where it cannot be made here; that was said.
    pub fn new(driver: &'static str, fs: &'static str, config: &'static str) -> Option<Self> {
        if fs == "pool" {
            return Self::on_pool(driver, config);
        }
        let (kind, quota) = fs.split_once('+').unwrap_or((fs, ""));
        if !requires_root()
            || !requires_program("mkfs.ext4")
            || !requires_program(&format!("mkfs.{kind}"))
            || (quota == "prjquota" && !requires_project_quota(kind))
        {
            return None;
        }
        let site = Site::on(fs, driver, &format!("layout:\n  fs: meta\n{config}")).unwrap();
        std::fs::create_dir(site.location().join("meta")).unwrap();
        Some(Self {
            driver,
            fs,
            config,
            site,
        })
    }

    fn on_pool(driver: &'static str, config: &'static str) -> Option<Self> {
        if !requires_thin_pools() || !requires_program("mkfs.ext4") {
            return None;
        }
        let pool = ThinPool::new(512 << 20, 4 << 20).unwrap();
        Some(Self {
            driver,
            fs: "pool",
            config,
            site: Site::on_pool(pool, driver, config).unwrap(),
        })
    }

    /// Why something cannot be done with a volume, or in the location; `None`: it can.
    pub fn refusal(&self, volume: Option<&str>, capability: &str) -> Option<String> {
        let words: Vec<&str> = ["info"].into_iter().chain(volume).collect();
        let info = self.site.json(&words);
        let list = info["features"].as_array().unwrap();
        let row = list.iter().find(|row| row["name"] == capability);
        let row = row.unwrap_or_else(|| panic!("no word on {capability}: {info}"));
        match row["can"].as_bool().unwrap() {
            true => None,
            false => Some(row["reason"].as_str().unwrap().to_owned()),
        }
    }

    /// The size that `info` shows of a volume that was given this one, bytes: none where sizes do not
    /// bind.
    pub fn as_bound(&self, size: u64) -> Option<u64> {
        self.refusal(None, "volsize").is_none().then_some(size)
    }

    /// Runs a command whose capability was asked: it works, or it is refused as unsupported with
    /// that very reason.
    #[track_caller]
    pub fn as_capable(&self, refusal: Option<&str>, words: &[&str]) -> Output {
        let Some(reason) = refusal else {
            return self.site.expect(0, words);
        };
        let output = self.site.expect(6, words);
        assert!(
            output.stderr.contains(reason),
            "{words:?}: {:?} does not give the reason {reason:?}",
            output.stderr
        );
        output
    }

    /// Makes a volume with a file system.
    pub fn new_fs(&self, name: &str) {
        self.site.ok(&["new", "fs", name, SIZE]);
    }
}
