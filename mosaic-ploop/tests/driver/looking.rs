// SPDX-License-Identifier: MIT OR Apache-2.0
//! What only looks, beside those who work: nobody waits for it without end, and it takes nothing away.

use std::fs::File;
use std::sync::mpsc::channel;
use std::time::Duration;

use mosaic_core::finding::Repair;
use mosaic_ploop::attachment::VolumeId;
use mosaic_ploop::server::control::Socket;

use super::common::{Disks, MIB, disks};

/// The socket of the server of a volume, as a server makes it.
fn socket(disks: &Disks, name: &str) -> (Socket, std::path::PathBuf) {
    let id = VolumeId::of(File::open(disks.file(name)).unwrap()).unwrap();
    let private = disks.file(".mosaic");
    std::fs::create_dir_all(&private).unwrap();
    let socket = Socket::bind(File::open(&private).unwrap().into(), &id.socket());
    (socket.unwrap(), private.join(id.socket()))
}

/// As while another command is just about to attach the disk: it can stay so for hours.
#[test]
fn a_check_does_not_wait_for_a_server_that_goes_on() {
    let (_scratch, disks) = disks("check-server", &[]);
    disks.create_disk("a", 4 * MIB).unwrap();
    let (server, file) = socket(&disks, "a");
    let (said, hear) = channel();
    let found = std::thread::scope(|scope| {
        scope.spawn(|| said.send(disks.check(&Repair::Nothing)));
        let found = hear.recv_timeout(Duration::from_secs(60));
        // It hears of no end from a server that goes on.
        drop(server);
        found
    });
    assert_eq!(found.expect("it waits for the server"), []);
    let said = disks.said.take();
    assert!(
        said.iter().any(|line| line.contains("not checked")),
        "{said:?}"
    );
    // Nobody listens any more, and whoever only looks leaves it to others to say that.
    assert_eq!(disks.check(&Repair::Nothing), []);
    assert!(file.exists());
    disks.drop("a").unwrap();
    assert!(!file.exists());
}
