// SPDX-License-Identifier: MIT OR Apache-2.0
//! The virtual machine's power is cut, and its disk looked at in the next one.

use mosaic_tests::vm::{Disk, Job, Machine, Setup, Template, WriteLog};
use mosaic_tests::{Scratch, is_long, is_quick, left_out, requires_qemu};

/// Nothing is written before it is synced: not by the flusher threads
/// (Documentation/admin-guide/sysctl/vm.rst), and not by a commit of the journal that is due, by default
/// after 5 seconds (Documentation/admin-guide/ext4.rst), which a busy machine may need for a line.
const WRITE: &str = "
    echo 0 >/proc/sys/vm/dirty_writeback_centisecs
    mkfs.ext4 -q /dev/vm/disk
    mount -o commit=86400 /dev/vm/disk /mnt
    echo kept >/mnt/synced
    sync /mnt/synced /mnt
    echo synced
    echo lost >/mnt/not-synced
    echo written
    sleep 1000
";

const READ: &str = "
    mount /dev/vm/disk /mnt
    ls /mnt
    cat /mnt/synced
    umount /mnt
    e2fsck -f -n /dev/vm/disk >&2
";

#[test]
fn what_was_synced_is_there_after_the_cut_and_the_rest_is_not() {
    if !requires_qemu() {
        return;
    }
    let scratch = Scratch::new("power-cut").unwrap();
    let template = Template::ready().unwrap();
    let disk = Disk::create(&scratch.path().join("disk")).unwrap();
    let start = |job: &str| {
        let setup = Setup {
            disk: Some(&disk),
            ..Setup::new(Job::shell(job))
        };
        Machine::start(&template, &setup).unwrap()
    };
    let mut machine = start(WRITE);
    machine.await_line(|line| line == "written").unwrap();
    assert_eq!(machine.cut().unwrap(), [""; 0]);
    let ended = start(READ).wait().unwrap();
    assert_eq!(ended.status, 0, "{ended:?}");
    assert_eq!(ended.stdout, ["lost+found", "synced", "kept"]);
}

const COUNT: &str = "
    mkfs.ext4 -q /dev/vm/disk
    mount /dev/vm/disk /mnt
    sync
    echo 0
    for step in 1 2 3 4 5 6 7 8; do
        echo $step >/mnt/new
        sync /mnt/new
        mv /mnt/new /mnt/step
        sync /mnt
        echo $step
    done
    sleep 1000
";

const COUNTED: &str = "
    mount /dev/vm/disk /mnt
    cat /mnt/step || echo 0
    umount /mnt
    e2fsck -f -n /dev/vm/disk >&2
";

#[test]
fn what_was_flushed_is_there_whatever_else_the_disk_loses() {
    if !requires_qemu() {
        return;
    }
    let scratch = Scratch::new("power-cut-log").unwrap();
    let template = Template::ready().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let start = |job: &str, disk: &Disk| {
        let setup = Setup {
            disk: Some(disk),
            ..Setup::new(Job::shell(job))
        };
        Machine::start(&template, &setup).unwrap()
    };
    let disk = Disk::create(&at("disk"))
        .unwrap()
        .record(&at("log"))
        .unwrap();
    let mut machine = start(COUNT, &disk);
    machine.await_line(|line| line == "0").unwrap();
    let made = WriteLog::open(&at("log")).unwrap().len();
    machine.await_line(|line| line == "8").unwrap();
    machine.cut().unwrap();
    let log = WriteLog::open(&at("log")).unwrap();
    let cuts: Vec<usize> = log.cuts().into_iter().filter(|cut| *cut >= made).collect();
    assert!(cuts.len() > 8, "{cuts:?}");
    let chosen = match (is_quick(), is_long()) {
        (true, _) => 3,
        (_, true) => cuts.len(),
        _ => cuts.len().min(12),
    };
    if chosen < cuts.len() {
        left_out(&format!("{} of {} cuts", cuts.len() - chosen, cuts.len()));
    }
    let mut last = 0;
    for number in 1..=chosen {
        let cut = cuts[number * cuts.len() / chosen - 1];
        let seed = number as u64;
        let image = at("cut");
        let ended = start(COUNTED, &log.cut(cut, seed, &image).unwrap())
            .wait()
            .unwrap();
        assert_eq!(ended.status, 0, "cut {cut}, seed {seed}: {ended:?}");
        let step: u32 = ended.stdout[0].parse().unwrap();
        assert!(step >= last, "cut {cut}, seed {seed}: {step} after {last}");
        last = step;
        std::fs::remove_file(image).unwrap();
    }
    assert_eq!(last, 8);
}

#[test]
fn a_panic_ends_the_machine_and_is_shown() {
    if !requires_qemu() {
        return;
    }
    let setup = Setup::new(Job::shell("echo c >/proc/sysrq-trigger"));
    let machine = Machine::start(&Template::ready().unwrap(), &setup).unwrap();
    let error = machine.wait().unwrap_err().to_string();
    assert!(error.contains("sysrq triggered crash"), "{error}");
}

#[test]
fn a_machine_that_hangs_is_killed() {
    if !requires_qemu() {
        return;
    }
    // On a busy machine the first limits may not be enough for a start.
    for seconds in [4, 20, 120] {
        let setup = Setup {
            limit: std::time::Duration::from_secs(seconds),
            ..Setup::new(Job::shell("echo before; sleep 1000"))
        };
        let mut machine = Machine::start(&Template::ready().unwrap(), &setup).unwrap();
        let line = machine.next_line().unwrap();
        let error = machine.wait().unwrap_err().to_string();
        let killed = format!("killed after {seconds}s");
        assert!(error.contains(&killed), "{error}");
        if line.as_deref() == Some("before") {
            return;
        }
    }
    panic!("it did not start in time");
}

#[test]
fn two_machines_have_different_random_numbers_and_the_right_time() {
    if !requires_qemu() {
        return;
    }
    let look = || {
        let setup = Setup::new(Job::shell(
            "cat /proc/sys/kernel/random/uuid; date +%s; exit 7",
        ));
        let ended = Machine::start(&Template::ready().unwrap(), &setup)
            .unwrap()
            .wait()
            .unwrap();
        assert_eq!(ended.status, 7);
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap()
            .as_secs();
        let inside: u64 = ended.stdout[1].parse().unwrap();
        assert!(now.abs_diff(inside) < 60, "{now} {inside}");
        ended.stdout[0].clone()
    };
    assert_ne!(look(), look());
}
