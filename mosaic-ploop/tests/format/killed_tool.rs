// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ploop` killed before any of its steps: what it leaves is put in order by us.

use std::collections::BTreeMap;
use std::path::Path;

use mosaic_ploop::format::check::Repair;
use mosaic_ploop::format::guid::Guid;
use mosaic_ploop::format::units::{DiskOffset, Sectors};
use mosaic_tests::{requires_program, requires_root, requires_time};
use tempfile::TempDir;

use crate::disk::{CLUSTER, V1, V2, guid};
use crate::real_tool::{SMALL, Tool, create, open, with_header, write};

/// What changes a file, or makes a change durable.
const STEPS: &str = "write,pwrite64,fsync,fdatasync,rename,unlink,ftruncate,fallocate";
/// More steps than any of these commands has.
const MANY: usize = 200;

/// What a disk holds, by its shots, the top too: how many sectors, and what the first of them have.
type Shots = BTreeMap<Guid, (u64, Vec<u8>)>;

fn shots(folder: &Path) -> Shots {
    let disk = open(folder);
    let shots = disk.descriptor().shots().iter();
    let kept = shots.filter(|shot| shot.temporary.is_none());
    let state = |guid| {
        let chain = disk.read(guid).unwrap();
        let mut data = vec![0xee; 500_000];
        chain.read(&mut data, DiskOffset(0)).unwrap();
        (chain.size().0, data)
    };
    kept.map(|shot| (shot.guid, state(shot.guid))).collect()
}

fn copy(from: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
        }
    }
    to
}

/// A disk with two snapshots in a row, and data in each that the next one hides in part.
fn disk_with_snapshots(tool: Tool) -> TempDir {
    let folder = TempDir::new().unwrap();
    let kind = if tool == Tool::V1 { V1 } else { V2 };
    // The table has room for few more clusters than these, so that growth moves some away.
    let clusters = 8_000;
    let mut disk = create(folder.path(), "root.hdd", kind, SMALL, clusters * CLUSTER);
    write(&disk, 0, &[1; 200_000]);
    disk.snapshot(guid(1)).unwrap();
    write(&disk, 100_000, &[2; 200_000]);
    disk.snapshot(guid(2)).unwrap();
    write(&disk, 50_000, &[3; 100_000]);
    write(&disk, 290_000, &[4; 100_000]);
    folder
}

/// Asserts that all that is left is as it was or as it was to be.
fn assert_between(now: &Shots, before: &Shots, after: &Shots, when: &str) {
    for (guid, data) in now {
        let known = [before, after].map(|state| state.get(guid));
        assert!(known.contains(&Some(data)), "{when}: {guid} is another one");
    }
    for guid in before.keys().filter(|guid| after.contains_key(guid)) {
        assert!(now.contains_key(guid), "{when}: {guid} is gone");
    }
}

fn kill_at_every_step(tool: Tool, command: &[&str], is_for_file: bool) {
    let start = disk_with_snapshots(tool);
    let arguments = |folder: &Path| {
        let disk = open(folder);
        let file = disk.descriptor().file(Guid::TOP).unwrap().to_owned();
        let on = if is_for_file {
            file
        } else {
            "DiskDescriptor.xml".to_owned()
        };
        let mut words: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        words.push(on);
        words
    };
    let before = shots(start.path());
    let whole = copy(start.path());
    let words = arguments(whole.path());
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    tool.does(whole.path(), &words);
    let mut disk = open(whole.path());
    disk.settle().unwrap();
    let after = shots(whole.path());
    let mut kills = 0;
    for step in 1..=MANY {
        let folder = copy(start.path());
        let inject = format!("inject={STEPS}:signal=KILL:when={step}");
        let trace = ["-f", "-o", "/dev/null", "-e", &inject];
        if tool
            .run_traced(folder.path(), &trace, &words)
            .status
            .success()
        {
            break;
        }
        kills += 1;
        let when = format!("{command:?}, killed before step {step}");
        let mut disk = open(folder.path());
        if step % 2 == 0 {
            // As whoever shows it does.
            disk.check(Some(Repair::Safe)).unwrap();
        }
        disk.settle()
            .unwrap_or_else(|error| panic!("{when}: {error}"));
        let report = disk.check(None).unwrap();
        assert!(report.is_clean(), "{when}: {report:?}");
        assert_between(&shots(folder.path()), &before, &after, &when);
        // And what is done next.
        let mut disk = open(folder.path());
        disk.delete_temporary().unwrap();
        disk.snapshot(guid(9)).unwrap();
        let mut now = shots(folder.path());
        let frozen = now.remove(&guid(9)).unwrap();
        assert!(now[&Guid::TOP] == frozen, "{when}");
        assert_between(&now, &before, &after, &format!("{when}, then a snapshot"));
        for file in with_header(&open(folder.path())) {
            open(folder.path()).fill_holes(&file, || true).unwrap();
            tool.does(folder.path(), &["check", "-f", "-c", &file]);
        }
    }
    assert!((3..MANY).contains(&kills), "{command:?}: {kills}");
}

fn kill_everything(tool: Tool) {
    if !requires_time() || !requires_program("ploop") || !requires_program("strace") {
        return;
    }
    let [first, second, third] = [1, 2, 3].map(|number| guid(number).to_string());
    let sectors = Sectors(12_000 * CLUSTER / 512).0.to_string();
    kill_at_every_step(tool, &["snapshot", "-u", &third], false);
    kill_at_every_step(tool, &["snapshot-merge"], false);
    kill_at_every_step(tool, &["snapshot-delete", "-u", &first], false);
    kill_at_every_step(tool, &["snapshot-delete", "-u", &second], false);
    kill_at_every_step(tool, &["snapshot-switch", "-u", &first], false);
    kill_at_every_step(tool, &["grow", "-s", &sectors], true);
    if tool == Tool::V2 {
        kill_at_every_step(tool, &["convert", "-v", "1"], false);
    }
}

#[test]
fn what_a_killed_ploop_leaves_is_put_in_order() {
    kill_everything(Tool::V1);
}

#[test]
fn root_what_a_killed_ploop_leaves_of_version_2_is_put_in_order() {
    if requires_root() && requires_program("unshare") {
        kill_everything(Tool::V2);
    }
}
