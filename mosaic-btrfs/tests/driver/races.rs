// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes that come, move and go at the same time, in folders that come and go with them. The host
//! locks names, not folders.

use crate::common::{MIB, Quotas, open, site, volume};
use mosaic_btrfs::ioctl;
use mosaic_core::volume::{NewKind, NewVolume};
use mosaic_core::{Bytes, Driver, Result, ScratchName, VolumeName};

const THREADS: u64 = 4;
const TURNS: u64 = 10;

#[test]
fn root_folders_come_and_go_with_the_volumes_of_all() {
    for quotas in [Quotas::Off, Quotas::Simple] {
        let Some(site) = site(quotas) else { return };
        let site = &site;
        let life = |who: u64, turn: u64| -> Result<()> {
            let scratch = ScratchName::from_random(who * TURNS + turn);
            let new = NewVolume {
                kind: NewKind::Fs(None),
                size: Bytes(16 * MIB),
                scratch: scratch.clone(),
            };
            let first = volume(&format!("x/y/{who}"));
            // By way of `.mosaic/tmp`.
            let second = VolumeName::with_stored("user", &format!("z/{who}")).unwrap();
            site.driver.create(&first, &new)?;
            site.driver.rename(&first, &second)?;
            let how = mosaic_core::volume::CloneOptions {
                size: None,
                scratch: scratch.clone(),
            };
            site.driver.clone_volume(&second, &first, &how)?;
            site.driver.drop_volume(&second, &scratch)?;
            site.driver.drop_volume(&first, &scratch)?;
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..THREADS)
                .map(|who| scope.spawn(move || (0..TURNS).try_for_each(|turn| life(who, turn))))
                .collect();
            for worker in workers {
                worker.join().unwrap().map_err(|e| e.chain()).unwrap();
            }
        });
        assert_eq!(site.entries(), [""; 0]);
        assert_eq!(site.leftovers(), [""; 0]);
    }
}

#[test]
fn root_a_folder_that_is_a_subvolume_stays() {
    let Some(site) = site(Quotas::Off) else {
        return;
    };
    site.subvolume("folder");
    site.new_volume("folder/a", MIB).unwrap();
    site.clone_volume("folder/a", "folder/b", None).unwrap();
    site.rename("folder/a", "folder/c/d").unwrap();
    site.rename("folder/c/d", "e").unwrap();
    site.rename("folder/b", "f").unwrap();
    assert_eq!(site.entries(), ["e", "f", "folder"]);
    assert!(ioctl::subvolume_id(open(&site.at("folder"))).unwrap() > 255);
}
