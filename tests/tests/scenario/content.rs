// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is in a disk while it is disturbed: it stays, whatever becomes of the command.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use mosaic_tests::Site;
use serde_json::Value;

/// Bytes that are filled: all of the smallest disk.
const FILLED: u64 = 1 << 20;
const BLOCK: usize = 4096;

/// Fills a volume that is attached, or is for that.
pub fn fill(site: &Site, name: &str) -> Result<(), String> {
    with_device(site, name, |device| {
        let file = File::options().write(true).open(device);
        let written = file.and_then(|file| {
            file.write_all_at(&content(), 0)?;
            file.sync_all()
        });
        written.map_err(|error| format!("{device:?}: {error}"))
    })
}

/// Fails if a volume does not hold what it was filled with, and behind that zeros.
pub fn look(site: &Site, name: &str) -> Result<(), String> {
    with_device(site, name, |device| {
        let failed = |error: io::Error| format!("{device:?}: {error}");
        let mut file = File::open(device).map_err(failed)?;
        let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
        // The end of a large disk, too.
        for at in [0, FILLED, size.saturating_sub(FILLED).max(FILLED)] {
            let expected = match at {
                0 => content(),
                _ => vec![0; size.saturating_sub(at).min(FILLED) as usize],
            };
            let mut now = vec![0; expected.len()];
            file.read_exact_at(&mut now, at).map_err(failed)?;
            if let Some(block) = differs(&now, &expected) {
                return Err(format!("{name} of {size}: not the same at {at} + {block}"));
            }
        }
        Ok(())
    })
}

fn differs(now: &[u8], expected: &[u8]) -> Option<usize> {
    let blocks = now.chunks(BLOCK).zip(expected.chunks(BLOCK));
    let at = blocks.into_iter().position(|(now, then)| now != then)?;
    Some(at * BLOCK)
}

/// Each block has its own number in it, so that none is taken for another.
fn content() -> Vec<u8> {
    let words = (0..FILLED / 8).map(|word| 1 + word * 8 / BLOCK as u64);
    words.flat_map(u64::to_le_bytes).collect()
}

/// Does something with a volume's device. One that is attached stays so.
fn with_device(
    site: &Site,
    name: &str,
    act: impl Fn(&Path) -> Result<(), String>,
) -> Result<(), String> {
    let shown = device_in(&site.json(&["info", name])["volume"]["attachment"]);
    if let Some(device) = shown {
        return act(&device);
    }
    let said = site.json(&["attach", name]);
    let device = device_in(&said["attachment"]).ok_or("it has no device")?;
    let done = act(&device);
    site.ok(&["detach", name]);
    done
}

fn device_in(attachment: &Value) -> Option<PathBuf> {
    attachment["device"].as_str().map(PathBuf::from)
}
