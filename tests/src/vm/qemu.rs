// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one command line of QEMU, with the reason for each of its options.
//!
//! A template and its copies must have the very same devices; only what is behind them differs.

use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::disk::{self, Disk, Disks};
use super::qmp::Control;

pub(super) const PROGRAM: &str = "qemu-system-x86_64";

/// Enough for the base, which lies in it, and tests. Pages that are never written to cost nothing.
const MEMORY: &str = "1024M";

/// What every machine has.
const COMMON: &[&str] = &[
    // microvm finds no clock without KVM and does not boot; pc is slower.
    "-M",
    "q35",
    // KVM is not there in containers and on most CI. The cache of translated code is larger than
    // by default, so that nothing is translated twice.
    "-accel",
    "tcg,tb-size=256",
    // Everything that can be emulated but three: without la57 a level less of page tables; without
    // erms large copies take a tenth of the time, since "rep movsb" is emulated byte by byte; cx16
    // is emulated wrongly by QEMU 7.2: Linux 6.12 dies in kmem_cache_alloc at random.
    "-cpu",
    "max,la57=off,erms=off,cx16=off",
    // As fast as two, since tests mostly wait for one thing after the other, and kinder.
    "-smp",
    "1",
    "-m",
    MEMORY,
    "-machine",
    "memory-backend=memory",
    // No default devices, no files of /etc/qemu, no window.
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
    // With the kernel's panic=-1: a panic ends QEMU.
    "-no-reboot",
    // Ends QEMU by a write to this port, at once.
    "-device",
    "isa-debug-exit,iobase=0x501",
    "-serial",
    "chardev:console",
    // A copy has another generation id: its kernel sees that and takes new random numbers.
    "-device",
    "vmgenid,guid=auto",
    // Without ioeventfd a write is carried out before the guest goes on: none is lost at the end.
    "-device",
    "virtio-serial-pci,ioeventfd=off",
    "-device",
    "virtserialport,chardev=stdout,name=stdout",
    "-device",
    "virtserialport,chardev=stderr,name=stderr",
    "-device",
    "virtserialport,chardev=status,name=status",
    // Its standard input is our end of the control protocol: nobody else can come between, and
    // there is no path that could be too long for a socket.
    "-chardev",
    "socket,id=control,fd=0",
    "-mon",
    "chardev=control,mode=control",
];

/// The kernel's command line, for a boot that shows warnings and errors only and loses no time:
/// without self-tests, without randomized addresses, which would not differ from copy to copy,
/// without work against flaws that an emulated processor does not have, and with short waits for
/// grace periods. Programs are loaded at the same addresses each time: their code is then translated
/// only once, and a short run of `moctl` takes a sixth of the time. What would go on after an oops
/// is not worth testing.
///
/// The clock is the HPET. The time stamp counter is the host's; how fast it goes the kernel measures
/// wrong on a busy host, and a second is then over after a fifth of one.
const KERNEL_LINE: &str = "console=ttyS0 quiet loglevel=5 panic=-1 oops=panic nokaslr norandmaps \
    mitigations=off clocksource=hpet tsc=unstable no_timer_check rcupdate.rcu_expedited=1 \
    cryptomgr.notests random.trust_cpu=on audit=0 selinux=0 apparmor=0";

/// What a template depends on, as text.
pub(super) fn signature() -> String {
    let sizes = [
        disk::JOB_SIZE,
        disk::PAYLOAD_SIZE,
        disk::SCRATCH_SIZE,
        Disk::SIZE,
    ];
    format!("{COMMON:?}\n{KERNEL_LINE}\n{sizes:?}")
}

/// A command line in the making.
#[derive(Debug)]
pub(super) struct Qemu {
    arguments: Vec<OsString>,
    memory: Value,
}

impl Qemu {
    /// A machine on these files. What its job writes to stdout and stderr goes to QEMU's own, as
    /// soon as it is written; its exit status to `status`.
    pub(super) fn new(memory: &Path, disks: &Disks, status: &Path) -> Self {
        let mut qemu = Self {
            arguments: COMMON.iter().map(OsString::from).collect(),
            // A private mapping of the file: copies share what none of them has changed.
            memory: json!({
                "qom-type": "memory-backend-file", "id": "memory", "size": 1_u64 << 30,
                "mem-path": memory.to_string_lossy(), "share": false,
            }),
        };
        qemu.stream("stdout", Path::new("/dev/stdout"));
        qemu.stream("stderr", Path::new("/dev/stderr"));
        qemu.stream("status", status);
        qemu.drive("job", &disks.job, true);
        qemu.drive("payload", &disks.payload, true);
        qemu.drive("scratch", &disks.scratch, false);
        qemu.disk(&disks.disk);
        qemu
    }

    /// For the template: what is in memory gets into the file.
    pub(super) fn share_memory(&mut self) {
        self.memory["share"] = true.into();
    }

    /// The kernel's log goes to a file.
    pub(super) fn console_to(&mut self, file: &Path) {
        self.stream("console", file);
    }

    /// The console is this process's terminal.
    pub(super) fn console_on_terminal(&mut self) {
        self.option("-chardev", "serial,id=console,path=/dev/tty");
    }

    /// Boots a kernel: the uncompressed one, by its PVH entry point.
    pub(super) fn boot(&mut self, kernel: &Path, initramfs: &Path) {
        self.option("-kernel", kernel);
        self.option("-initrd", initramfs);
        self.option("-append", KERNEL_LINE);
    }

    /// Waits for a device state instead; see [`Control::restore`].
    pub(super) fn await_state(&mut self) {
        self.option("-incoming", "defer");
    }

    /// Starts it. It is killed when the thread that does this ends.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(mut self) -> Result<(Child, Control)> {
        let memory = self.memory.to_string();
        self.option("-object", &memory);
        let (ours, theirs) = UnixStream::pair()?;
        let ours_still = "[ \"$PPID\" = \"$0\" ] && exec \"$@\"";
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sh", "-c", ours_still])
            // We may have died before it could be told.
            .arg(std::process::id().to_string())
            .arg(PROGRAM)
            .args(&self.arguments)
            .stdin(std::os::fd::OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {PROGRAM}"))?;
        match Control::new(ours) {
            Ok(control) => Ok((child, control)),
            Err(error) => {
                // It may have ended by itself.
                let _ = child.kill();
                let output = child.wait_with_output()?;
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(error.context(said))
            }
        }
    }

    fn option(&mut self, name: &str, value: impl Into<OsString>) {
        self.arguments.push(name.into());
        self.arguments.push(value.into());
    }

    fn stream(&mut self, id: &str, path: &Path) {
        // In this syntax a comma ends a value, two are one.
        let path = path.to_string_lossy().replace(',', ",,");
        self.option("-chardev", format!("file,id={id},path={path}"));
    }

    fn drive(&mut self, name: &str, file: &Path, read_only: bool) {
        self.attach(name, &node(name, file, read_only), read_only);
    }

    fn disk(&mut self, disk: &Disk) {
        let node = match disk.log() {
            None => node("disk", disk.image(), false),
            Some(log) => json!({
                "driver": "blklogwrites", "node-name": "disk",
                "file": node("disk-image", disk.image(), false),
                "log": node("disk-log", log, false),
                "log-sector-size": 512,
                // The header counts the entries: none is lost when QEMU is killed.
                "log-super-update-interval": 1,
            }),
        };
        self.attach("disk", &node, false);
    }

    /// The name is the serial number, too, by which `init` finds the disk.
    fn attach(&mut self, name: &str, node: &Value, read_only: bool) {
        self.option("-blockdev", node.to_string());
        // The guest sees a disk with a volatile cache and sends its flushes.
        let cache = if read_only { "" } else { ",write-cache=on" };
        let device = format!("virtio-blk-pci,drive={name},serial={name}{cache}");
        self.option("-device", device);
    }
}

/// A file as a raw disk. What QEMU has been sent is kept when it is killed, so it need not wait for
/// this machine's disk. What the guest discards becomes a hole.
fn node(name: &str, file: &Path, read_only: bool) -> Value {
    let cache = json!({"no-flush": true});
    json!({
        "driver": "raw", "node-name": name, "read-only": read_only, "discard": "unmap",
        "cache": cache,
        "file": {
            "driver": "file", "filename": file.to_string_lossy(), "read-only": read_only,
            "discard": "unmap", "cache": cache,
        },
    })
}
