// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver that panics in each way that a driver can, and goes on afterwards; or finds faults.

use mosaic_core::finding::{Finding, Remedy, Repair};
use mosaic_core::volume::{Capability, Dropped, MountSource, NewVolume, Space, Volume};
use mosaic_core::{
    Bytes, Driver, Error, ErrorKind, Host, Key, KeyKind, LockScope, Result, ScratchName, Settings,
    VolumeName,
};

struct Panicky {
    host: Host,
    location: std::path::PathBuf,
    panics_in_drop: bool,
    is_ill: bool,
}

mosaic_core::export_driver!(Panicky);

impl Driver for Panicky {
    const TYPE: &'static str = "panicky";
    const ALIASES: &'static [&'static str] = &["dizzy", "giddy"];
    const DESCRIPTION: &'static str = "Panics, to see who survives it";

    fn schema() -> Vec<Key> {
        vec![Key {
            path: "mood".into(),
            kind: KeyKind::choice(&["calm", "wild", "late", "ill"]),
            default: Some("calm".into()),
            help: "wild: panics at once; late: when it is closed; ill: check finds faults".into(),
        }]
    }

    fn open(host: Host, settings: &Settings) -> Result<Self> {
        if settings.text("mood") == Some("wild") {
            panic!("opened in a wild mood");
        }
        Ok(Self {
            host,
            location: settings.location.clone(),
            panics_in_drop: settings.text("mood") == Some("late"),
            is_ill: settings.text("mood") == Some("ill"),
        })
    }

    fn lock_scope(&self) -> Result<LockScope> {
        Ok(LockScope::Directory(self.location.clone()))
    }

    fn capabilities(&self, _: Option<&VolumeName>) -> Result<Vec<Capability>> {
        self.host.warn("asked for capabilities");
        self.host.progress(1, 2, "half of it");
        self.host.check_cancelled()?;
        Ok(vec![
            Capability::yes("disk"),
            Capability::no("clone", "it is too dizzy"),
        ])
    }

    fn space(&self) -> Result<Vec<Space>> {
        Ok(vec![Space {
            class: "data".into(),
            total: Bytes(10),
            used: Bytes(3),
            free: Bytes(7),
        }])
    }

    fn list(&self) -> Result<Vec<Volume>> {
        Ok(Vec::new())
    }

    fn find(&self, name: &VolumeName) -> Result<Option<Volume>> {
        match name.user() {
            "index" => index_out_of_bounds(),
            "lines" => assert_eq!(1 + 1, 3, "two\nlines"),
            "payload" => std::panic::panic_any(42),
            "display" => return Err(Error::new(ErrorKind::Busy, "in use").with_source(Shy)),
            "thread" => std::thread::scope(|s| s.spawn(index_out_of_bounds).join().unwrap()),
            _ => {}
        }
        Ok(None)
    }

    fn create(&self, name: &VolumeName, _: &NewVolume) -> Result<()> {
        if name.user() == "boom" {
            index_out_of_bounds();
        }
        Ok(())
    }

    fn drop_volume(&self, _: &VolumeName, _: &ScratchName) -> Result<Dropped> {
        Ok(Dropped::default())
    }

    fn rename(&self, _: &VolumeName, _: &VolumeName) -> Result<()> {
        Ok(())
    }

    fn mount_source(&self, _: Option<&VolumeName>, _: bool) -> Result<MountSource> {
        Err(Error::new(ErrorKind::Busy, "too dizzy to mount"))
    }

    fn check(&self, repair: &Repair) -> Result<Vec<Finding>> {
        if self.is_ill {
            let remedies = [
                Remedy::new("fever_2", "rest"),
                Remedy::new("No Word", "ask"),
                Remedy::new("memory", "forget all").by_name(),
            ];
            let finding = |remedy: Remedy| Finding {
                volume: None,
                fault: format!("a fault of {}", remedy.class),
                repaired: repair.covers(&remedy),
                remedy: Some(remedy),
            };
            return Ok(remedies.map(finding).into());
        }
        let message = "first line\nsecond line";
        Err(Error::config("mood", message).with_source("a cause\tof its own"))
    }
}

impl Drop for Panicky {
    fn drop(&mut self) {
        if self.panics_in_drop {
            panic!("closed in a late mood");
        }
    }
}

fn index_out_of_bounds() {
    let empty: Vec<u8> = Vec::new();
    let at = std::hint::black_box(3);
    std::hint::black_box(empty[at]);
}

/// An error that cannot be shown.
#[derive(Debug)]
struct Shy;

impl std::fmt::Display for Shy {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("too shy to be shown")
    }
}

impl std::error::Error for Shy {}
