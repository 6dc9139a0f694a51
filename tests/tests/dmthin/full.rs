// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pools without free blocks: what is said, what is kept, and each way back.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mosaic_tests::{
    Part, Site, ThinPool, assert_filled, eventually, eventually_within, fill, is_in_vm,
    requires_thin_pools, run, word,
};

use crate::{MIB, assert_sound};

/// No command waits for a pool to have space.
const AT_ONCE: Duration = Duration::from_secs(20);

/// A pool of 64 MiB with two mounted volumes, `kept` and `full`; the latter could hold more than all.
struct Small {
    site: Site,
    kept: PathBuf,
    full: PathBuf,
}

impl Small {
    fn new(line: &str) -> Option<Self> {
        requires_thin_pools().then(|| {
            let pool = ThinPool::new(64 * MIB, 4 * MIB).unwrap().with(line);
            let site = Site::on_pool(pool, "dmthin", "").unwrap();
            let mounted = |name: &str, size: &str| {
                let at = site.mountpoint(name);
                site.ok(&["new", "fs", name, size]);
                site.ok(&["mount", name, word(&at)]);
                at
            };
            let (kept, full) = (mounted("kept", "16M"), mounted("full", "128M"));
            fill(&kept.join("file"), 2).unwrap();
            Self { site, kept, full }
        })
    }

    fn pool(&self) -> &ThinPool {
        self.site.pool().unwrap()
    }

    fn mode(&self) -> String {
        self.pool().status().unwrap()[4].clone()
    }

    /// Writes files of 1 MiB into `full` until one cannot be made durable; the others, with MiB.
    fn fill_up(&self) -> Vec<(PathBuf, usize)> {
        let file = |number| (self.full.join(format!("file-{number}")), 1);
        let all = (0..128).map(file);
        let durable: Vec<_> = all
            .take_while(|(path, mib)| fill(path, *mib).is_ok())
            .collect();
        assert!(durable.len() < 64 && self.mode() == "out_of_data_space");
        durable
    }

    /// What needs a block is refused and says why; what needs none is done.
    fn assert_clear(&self) {
        for words in [
            &["new", "disk", "more", "8M"][..],
            &["new", "fs", "more", "8M"],
            &["clone", "kept", "more"],
            &["resize", "kept", "+16M"],
        ] {
            let start = Instant::now();
            let output = self.site.expect(7, words);
            assert!(
                start.elapsed() < AT_ONCE,
                "{words:?}: {:?}",
                start.elapsed()
            );
            for part in [
                self.pool().name(),
                "has 0 of 1024 data blocks free",
                "grow its data device /dev/loop",
                "run check --repair, or drop volumes",
            ] {
                assert!(output.stderr.contains(part), "{}", output.stderr);
            }
            assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
        }
        let start = Instant::now();
        let checked = self.site.expect(10, &["check"]);
        assert!(checked.stdout.contains("0 of 1024"), "{}", checked.stdout);
        let about = self.site.ok(&["info"]);
        assert!(about.contains("out_of_data_space"), "{about}");
        assert_eq!(self.site.names(), ["full", "kept"]);
        self.site.ok(&["rename", "kept", "renamed"]);
        self.site.ok(&["rename", "renamed", "kept"]);
        assert!(start.elapsed() < 5 * AT_ONCE, "{:?}", start.elapsed());
    }

    /// All that was made durable is there, also after the next mount and a check of the file system.
    fn assert_kept(&self, durable: &[(PathBuf, usize)]) {
        self.umount();
        for (name, at) in [("kept", &self.kept), ("full", &self.full)] {
            if !self.site.names().iter().any(|n| n == name) {
                continue;
            }
            let device = self.site.json(&["attach", name])["attachment"]["device"].clone();
            // 1: what the error left was mended.
            let mended = mosaic_tests::run_status("e2fsck", &["-fp", device.as_str().unwrap()]);
            assert!(matches!(mended.unwrap(), Some(0 | 1)), "{name}");
            self.site.ok(&["detach", name]);
            self.site.ok(&["mount", name, word(at)]);
        }
        assert_filled(&self.kept.join("file"), 2);
        for (file, mib) in durable {
            assert_filled(file, *mib);
        }
        self.umount();
    }

    fn umount(&self) {
        for (name, at) in [("kept", &self.kept), ("full", &self.full)] {
            if mosaic_tests::is_mountpoint(at) {
                self.site.ok(&["umount", name, word(at)]);
            }
        }
    }
}

#[test]
fn root_a_pool_full_of_data_is_said_to_be_and_comes_back_by_what_is_given_back() {
    let Some(small) = Small::new("") else { return };
    let durable = small.fill_up();
    small.assert_clear();
    // Blocks that are there are written, also now.
    let kept = File::options().write(true).open(small.kept.join("file"));
    std::os::unix::fs::FileExt::write_all_at(kept.as_ref().unwrap(), &[b'#'; 4096], 0).unwrap();
    kept.unwrap().sync_all().unwrap();
    let (keep, give) = durable.split_at(durable.len() / 2);
    small.assert_kept(&durable);
    small.site.ok(&["mount", "full", word(&small.full)]);
    for (file, _) in give {
        fs::remove_file(file).unwrap();
    }
    // What its journal may still need is not given back.
    run("sync", &[Path::new("-f"), &small.full]).unwrap();
    run("fstrim", &[&small.full]).unwrap();
    assert!(eventually(|| small.mode() == "rw"), "{}", small.mode());
    small.site.ok(&["new", "disk", "more", "8M"]);
    fill(&small.full.join("again"), 4).unwrap();
    small.assert_kept(keep);
    assert_sound(&small.site);
}

#[test]
fn root_a_pool_full_of_data_comes_back_by_a_drop() {
    let Some(small) = Small::new("") else { return };
    small.fill_up();
    let start = Instant::now();
    small.site.ok(&["umount", "full", word(&small.full)]);
    small.site.ok(&["drop", "full"]);
    assert!(start.elapsed() < 2 * AT_ONCE, "{:?}", start.elapsed());
    assert_eq!(small.mode(), "rw");
    small.site.ok(&["clone", "kept", "more"]);
    small.assert_kept(&[]);
    assert_sound(&small.site);
}

/// How long the kernel lets writers wait: a minute, which can be too short in the virtual machine.
/// It is set for all pools that there are, so nowhere else.
struct NoSpaceTimeout(String);

impl NoSpaceTimeout {
    const PATH: &str = "/sys/module/dm_thin_pool/parameters/no_space_timeout";

    fn set(seconds: u32) -> Self {
        let before = fs::read_to_string(Self::PATH).unwrap();
        fs::write(Self::PATH, seconds.to_string()).unwrap();
        Self(before)
    }
}

impl Drop for NoSpaceTimeout {
    fn drop(&mut self) {
        let _ = fs::write(Self::PATH, &self.0);
    }
}

#[test]
fn root_writers_wait_for_a_pool_that_is_to_grow_and_commands_do_not() {
    let Some(small) = Small::new("error_if_no_space: false") else {
        return;
    };
    let _timeout = is_in_vm().then(|| NoSpaceTimeout::set(600));
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let written = fill(&small.full.join("large"), 80);
            ended.store(true, Ordering::SeqCst);
            written
        });
        let waits = thread::Builder::new().spawn_scoped(scope, || {
            let is_full = || small.mode() == "out_of_data_space";
            assert!(eventually_within(Duration::from_secs(60), is_full));
            small.assert_clear();
            assert!(!ended.load(Ordering::SeqCst), "the writer did not wait");
        });
        let waits = waits.unwrap().join();
        // Whatever came of that, the writer is not left to wait.
        small.pool().enlarge(Part::Data, 160 * MIB).unwrap();
        let repaired = small.site.ok(&["check", "--repair"]);
        waits.unwrap();
        assert!(repaired.contains("grow the pool's data"), "{repaired}");
        writer.join().unwrap().unwrap();
    });
    assert_eq!(small.mode(), "rw");
    small.assert_kept(&[(small.full.join("large"), 80)]);
    assert_sound(&small.site);
}

#[test]
fn root_floors_keep_a_pool_from_running_out() {
    if !requires_thin_pools() {
        return;
    }
    let pool = ThinPool::new(64 * MIB, 2 * MIB).unwrap();
    let pool = pool
        .with("min_free_data: 8M")
        .with("min_free_metadata: 1600K");
    let site = Site::on_pool(pool, "dmthin", "").unwrap();
    let refused = |word: &str, from: u32| {
        let mut all = from..from + 500;
        let output = all.find_map(|number| {
            let output = site.run(&["new", "fs", &format!("v{number}"), "8M"]);
            (output.status != 0).then_some(output)
        });
        let output = output.expect("there is an end to it");
        assert_eq!(output.status, 7, "{}", output.stderr);
        assert!(output.stderr.contains(word), "{}", output.stderr);
        assert_eq!(site.pool().unwrap().status().unwrap()[4], "rw");
    };
    refused("are kept free", 0);
    let used = site.json(&["info"])["space"].clone();
    assert!(
        used[0]["free"].as_u64().unwrap() < MIB || used[1]["free"] == 0,
        "{used}"
    );
    for name in site.names() {
        site.ok(&["drop", &name]);
    }
    refused("are kept free", 500);
    for name in site.names() {
        site.ok(&["drop", &name]);
    }
    assert_sound(&site);
}
