// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random writes by fio, each block with a checksum that is looked at afterwards.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use mosaic_tests::{eventually, requires_program};

/// Whether there is fio.
pub fn requires_fio() -> bool {
    requires_program("fio")
}

/// A run of fio that goes on.
pub struct Fio(Child);

impl Fio {
    /// Begins random writes of 4 to 64 KiB, 16 at a time, over `mib` of the device, `percent` of it,
    /// and reads them back at the end.
    pub fn start(device: &Path, mib: u64, percent: u64, seed: u64) -> Self {
        let child = Command::new("fio")
            .args(["--name=verify", "--rw=randwrite", "--bsrange=4k-64k"])
            .args(["--ioengine=libaio", "--direct=1", "--iodepth=16"])
            .args(["--verify=crc32c", "--verify_fatal=1", "--do_verify=1"])
            .args(["--verify_backlog=512", "--verify_state_save=0"])
            .arg(format!("--filename={}", device.display()))
            .arg(format!("--size={mib}m"))
            .arg(format!("--io_size={}m", mib * percent / 100))
            .arg(format!("--randseed={seed}"))
            .current_dir("/")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Waits until it has written more to that loop device, and will go on.
    pub fn await_writes(&mut self, number: u32) {
        let before = writes(number);
        assert!(eventually(|| writes(number) > before || !self.is_running()));
        self.assert_running();
    }

    /// It has not come to its end yet.
    pub fn assert_running(&mut self) {
        assert!(self.is_running(), "there is nothing under way");
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Waits for its end: every block that it read was what it had written.
    pub fn assert_well(self) {
        let output = self.0.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{failed}");
        assert!(said.contains("err= 0"), "{said}\n{failed}");
    }
}

/// How many writes a loop device has done (Documentation/block/stat.rst, Linux 6.18).
fn writes(number: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/sys/block/loop{number}/stat"));
    stat.unwrap()
        .split_whitespace()
        .nth(4)
        .unwrap()
        .parse()
        .unwrap()
}
