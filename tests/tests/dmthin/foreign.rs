// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pools of other programs: no verb touches them.

use mosaic_tests::{Moctl, ThinPool, requires_thin_pools, run, stdout_of};

use crate::MIB;

/// Every verb, with words for it.
const VERBS: [&[&str]; 17] = [
    &["info"],
    &["info", "a"],
    &["list"],
    &["have", "a"],
    &["new", "fs", "a", "16M"],
    &["new", "disk", "a", "16M"],
    &["clone", "a", "b"],
    &["rename", "a", "b"],
    &["resize", "a", "32M"],
    &["attach", "a"],
    &["detach", "a"],
    &["mount", "a", "at"],
    &["mount", "-", "at"],
    &["umount", "a", "at"],
    &["drop", "a"],
    &["check"],
    &["check", "--repair"],
];

/// Init in every way.
const INITS: [&[&str]; 3] = [&["init"], &["init", "--adopt"], &["init", "--force"]];

struct Foreign<'p> {
    pool: &'p ThinPool,
    name: String,
}

impl<'p> Foreign<'p> {
    fn new(pool: &'p ThinPool, name: &str, uuid: Option<&str>) -> Self {
        let sectors = 64 * MIB / 512;
        let table = format!(
            "0 {sectors} thin-pool {} {} 128 0",
            pool.metadata().device().display(),
            pool.data().device().display()
        );
        let mut words = vec!["create", name, "--table", &table];
        words.extend(uuid.iter().flat_map(|uuid| ["-u", uuid]));
        run("dmsetup", &words).unwrap();
        let name = name.to_owned();
        Self { pool, name }
    }

    /// What would change if anybody did anything.
    fn state(&self) -> [String; 2] {
        let status = stdout_of("dmsetup", &["status", &self.name]).unwrap();
        [status, stdout_of("dmsetup", &["ls"]).unwrap()]
    }
}

impl Drop for Foreign<'_> {
    fn drop(&mut self) {
        let _ = run("dmsetup", &["remove", "--retry", &self.name]);
        // The next one is as fresh.
        let _ = std::fs::write(self.pool.metadata().device(), vec![0; 1 << 20]);
    }
}

#[test]
fn root_other_peoples_pools_are_refused_by_every_verb() {
    if !requires_thin_pools() {
        return;
    }
    let pool = ThinPool::new(64 * MIB, 4 * MIB).unwrap();
    let moctl = Moctl::new().unwrap();
    moctl.make_folder("at").unwrap();
    for (name, uuid, owner) in [
        ("vg-pool-tpool", Some("LVM-abcdef-tpool"), "LVM"),
        (
            "stratis-1-0123-thinpool-pool",
            Some("stratis-1-0123-thinpool-pool"),
            "stratis",
        ),
        ("docker-7:0-4711-pool", None, "docker"),
    ] {
        let foreign = Foreign::new(&pool, name, uuid);
        let devices = pool.config();
        for (config, more) in [("active", ""), ("ours", &*devices)] {
            let text = format!("type: dmthin\nlocation: \"{name}\"\n{more}");
            moctl.config(config, &text).unwrap();
            let before = foreign.state();
            for words in VERBS.iter().chain(&INITS) {
                let said = moctl.expect(6, &[&[config], *words].concat()).stderr;
                assert!(
                    said.contains(owner) && said.contains(name),
                    "{words:?}: {said}"
                );
                assert_eq!(said.lines().count(), 1, "{words:?}: {said}");
            }
            assert_eq!(foreign.state(), before, "{owner}");
        }
        // Its devices are in use, whatever the pool is called.
        let text = format!("type: dmthin\nlocation: mosaic-test-other\n{devices}");
        moctl.config("other", &text).unwrap();
        let before = foreign.state();
        for words in INITS {
            let said = moctl.expect(5, &[&["other"], words].concat()).stderr;
            assert!(said.contains(name), "{said}");
        }
        assert_eq!(foreign.state(), before, "{owner}");
    }
}
