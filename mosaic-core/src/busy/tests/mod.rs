// SPDX-License-Identifier: MIT OR Apache-2.0
//! Uses by real processes, mount namespaces, loop devices and locks.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

mod files;
mod lease;
mod mounts;
mod unprivileged;

use super::{Use, Uses};

/// Held for writing while there is a new mount namespace, which for a moment has a copy of every
/// mount, and for reading by tests whose devices must not be held by one.
static NAMESPACES: RwLock<()> = RwLock::new(());

/// Keeps other tests of this program from making mount namespaces.
pub(crate) fn no_new_namespaces() -> RwLockReadGuard<'static, ()> {
    NAMESPACES.read().unwrap_or_else(PoisonError::into_inner)
}

/// To be held by a test while it makes a mount namespace.
pub(crate) fn a_new_namespace() -> RwLockWriteGuard<'static, ()> {
    NAMESPACES.write().unwrap_or_else(PoisonError::into_inner)
}

/// A process that does something and then waits; killed when dropped.
#[derive(Debug)]
pub(crate) struct Running(Child, Option<RwLockWriteGuard<'static, ()>>);

impl Running {
    /// Starts a program and waits until it writes something, by which it says that it is ready.
    pub(crate) fn start(program: &str, args: &[&str]) -> Self {
        Self::spawn(Command::new(program).args(args))
    }

    /// The same with a command.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut running = Self(child.unwrap(), None);
        let stdout = running.0.stdout.as_mut().unwrap();
        stdout
            .read_exact(&mut [0])
            .expect("it says that it is ready");
        running
    }

    /// A shell with a mount namespace of its own that runs a script, and then waits.
    ///
    /// The namespace begins as a copy of ours. What other tests have mounted goes from it, except
    /// beneath `keep`: their devices would stay in use.
    pub(crate) fn in_namespace(keep: &Path, script: &str) -> Self {
        let script = format!(
            r#"set -e
            while read -r id parent device root at rest; do
                case "$at" in
                    "$0"*) ;;
                    */mosaic-test-*) umount --lazy "$at" 2>/dev/null || true ;;
                esac
            done </proc/self/mountinfo
            {script}; echo; read x"#
        );
        let keep = keep.to_str().unwrap();
        let alone = a_new_namespace();
        let mut running = Self::start("unshare", &["--mount", "sh", "-c", &script, keep]);
        running.1 = Some(alone);
        running
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A mount in the namespace of a process whose command is `sh`.
fn mounted_in(process: &Running, at: impl Into<std::path::PathBuf>) -> Use {
    Use::Mount {
        at: at.into(),
        pid: Some(process.pid()),
        command: Some("sh".to_owned()),
    }
}

#[test]
fn a_description_names_a_few_and_counts_the_rest() {
    let open = |pid| Use::OpenFile {
        pid,
        command: "qemu".to_owned(),
        path: "/srv/a b\n".into(),
    };
    let mut uses = Uses {
        uses: vec![open(1)],
        unseen: 0,
    };
    assert_eq!(uses.describe(), "in use: /srv/a b\\n open in pid 1 (qemu)");
    uses.unseen = 1;
    assert!(
        uses.describe()
            .ends_with("; 1 process could not be looked at without privilege")
    );
    uses.uses = (1..=8).map(open).collect();
    uses.unseen = 3;
    assert!(
        uses.describe().ends_with(
            "5 (qemu); and 3 more; 3 processes could not be looked at without privilege"
        )
    );
    let nothing = Uses::default();
    assert!(nothing.is_empty());
    assert_eq!(nothing.clone().and(uses.clone()), uses);
    assert_eq!(uses.clone().and(uses.clone()), uses);
}

#[test]
fn each_use_says_what_it_is() {
    let mount = |pid, command: Option<&str>| Use::Mount {
        at: "/srv/web1".into(),
        pid,
        command: command.map(str::to_owned),
    };
    for (found, text) in [
        (mount(None, None), "mounted at /srv/web1"),
        (
            mount(Some(4121), Some("nginx")),
            "mounted at /srv/web1 in the mount namespace of pid 4121 (nginx)",
        ),
        (
            Use::LoopDevice {
                device: "/dev/loop7".into(),
            },
            "attached to /dev/loop7",
        ),
        (
            Use::Holder {
                name: "dm-3 (vg-root)".into(),
            },
            "held by dm-3 (vg-root)",
        ),
    ] {
        assert_eq!(found.to_string(), text);
    }
}
