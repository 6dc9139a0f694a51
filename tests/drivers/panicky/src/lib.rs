// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver that panics in each way that a driver can, and goes on afterwards; or finds faults; or
//! fails behind its commits.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use mosaic_core::finding::{Finding, Remedy, Repair};
use mosaic_core::volume::{Capability, Dropped, Kind, MountSource, NewVolume, Space, Volume};
use mosaic_core::{
    Bytes, Context, Driver, Error, ErrorKind, Host, Key, KeyKind, LockScope, Result, ScratchName,
    Settings, VolumeName,
};

struct Panicky {
    host: Host,
    location: PathBuf,
    panics_in_drop: bool,
    is_ill: bool,
    fails_behind: bool,
    looks: AtomicUsize,
}

mosaic_core::export_driver!(Panicky);

impl Driver for Panicky {
    const TYPE: &'static str = "panicky";
    const ALIASES: &'static [&'static str] = &["dizzy", "giddy"];
    const DESCRIPTION: &'static str = "Panics, to see who survives it";

    fn schema() -> Vec<Key> {
        vec![Key {
            path: "mood".into(),
            kind: KeyKind::choice(&["calm", "wild", "late", "ill", "behind"]),
            default: Some("calm".into()),
            help:
                "wild: panics at once; late: when it is closed; ill: check finds faults; behind: \
                   keeps volumes as files, fails when one is gone or renamed, and warns in a check"
                    .into(),
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
            fails_behind: settings.text("mood") == Some("behind"),
            looks: AtomicUsize::new(0),
        })
    }

    fn lock_scope(&self) -> Result<LockScope> {
        Ok(LockScope::Directory(self.location.clone()))
    }

    fn capabilities(&self, _: Option<&VolumeName>) -> Result<Vec<Capability>> {
        self.host.warn("asked for capabilities");
        self.host.progress(1, 2, "half of it");
        self.host.check_cancelled()?;
        let mut capabilities = vec![
            Capability::yes("disk"),
            Capability::no("clone", "it is too dizzy"),
        ];
        capabilities.extend(self.fails_behind.then(|| Capability::yes("rename")));
        Ok(capabilities)
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
        if !self.fails_behind {
            return Ok(None);
        }
        if self.path("blind").exists() {
            return Err(Error::new(ErrorKind::Io, "there is nothing to be seen"));
        }
        Ok(self.path(name.stored()).exists().then(|| disk(name)))
    }

    fn create(&self, name: &VolumeName, _: &NewVolume) -> Result<()> {
        if name.user() == "boom" {
            index_out_of_bounds();
        }
        match self.fails_behind {
            true => fs::write(self.path(name.stored()), "").context(|| "no file".into()),
            false => Ok(()),
        }
    }

    fn drop_volume(&self, name: &VolumeName, _: &ScratchName) -> Result<Dropped> {
        if self.fails_behind {
            self.refuse_kept(name)?;
            fs::remove_file(self.path(name.stored())).context(|| "no end".into())?;
            self.fail_behind(name)?;
        }
        Ok(Dropped::default())
    }

    fn rename(&self, from: &VolumeName, to: &VolumeName) -> Result<()> {
        if self.fails_behind {
            self.refuse_kept(from)?;
            let paths = [from, to].map(|name| self.path(name.stored()));
            fs::rename(&paths[0], &paths[1]).context(|| "no new name".into())?;
            self.fail_behind(from)?;
        }
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
        if self.fails_behind {
            self.host.warn("looked");
            if self.looks.fetch_add(1, Ordering::Relaxed) > 0 {
                self.host.warn("looked again");
            }
            return Ok(vec![Finding {
                volume: Some("a".into()),
                fault: "a fault".into(),
                repaired: false,
                remedy: None,
            }]);
        }
        let message = "first line\nsecond line";
        Err(Error::config("mood", message).with_source("a cause\tof its own"))
    }
}

impl Panicky {
    fn path(&self, name: &str) -> PathBuf {
        self.location.join(name)
    }

    /// Fails before anything has changed.
    fn refuse_kept(&self, name: &VolumeName) -> Result<()> {
        match name.user() {
            "kept" => Err(Error::new(ErrorKind::Busy, "in use")),
            _ => Ok(()),
        }
    }

    /// Fails when all has changed. Of a volume that is "unseen" nobody knows more until the file
    /// "blind" is gone.
    fn fail_behind(&self, name: &VolumeName) -> Result<()> {
        match name.user() {
            "fine" => return Ok(()),
            "panics" => index_out_of_bounds(),
            "unseen" => fs::write(self.path("blind"), "").context(|| "no file".into())?,
            _ => {}
        }
        Err(Error::new(ErrorKind::Io, "cannot write it to disk"))
    }
}

impl Drop for Panicky {
    fn drop(&mut self) {
        if self.panics_in_drop {
            panic!("closed in a late mood");
        }
    }
}

fn disk(name: &VolumeName) -> Volume {
    let mut volume = Volume::directory(name);
    volume.kind = Kind::Disk;
    volume
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
