// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program in the place of the `ploop` tool.

use std::fs;
use std::io::ErrorKind as Io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mosaic_tests::{run, stdout_of};

/// Where the driver looks for it first.
const TOOL: &str = "/usr/local/sbin/ploop";

/// What libploop does to device-mapper (lib/dm.c, `dm_create`): a device of the name that was asked
/// for, whose number is in the name, without a uuid, over an image that is marked as in use. The image
/// has to be preallocated: then the disk's bytes follow each other in it. `snapshot` puts one in
/// place that the test has made with another uuid, and goes on writing to what is beneath it.
const STAND_IN: &str = r#"#!/bin/sh
set -e
export DM_DISABLE_UDEV=1 LC_ALL=C
echo "$*" >> /tmp/ploop-stand-in.log
verb=$1; shift
[ ! -e /tmp/ploop-stand-in.$verb ] || { echo "told to fail" >&2; exit 3; }
ro=; device=; uuid=
while getopts rd:u: option; do case $option in
    r) ro=--readonly;; d) device=${OPTARG#/dev/mapper/};; u) uuid=$OPTARG;; *) exit 2;;
esac; done
shift $((OPTIND - 1))
case "$# $1" in "1 /"*/DiskDescriptor.xml) ;; *) exit 2;; esac
image=${1%/*}/root.hds
mark() { printf "$1" | dd of="${2:-$image}" bs=1 seek=44 conv=notrunc status=none; }
number() { od -An -tu$2 -j$1 -N$2 "$image" | tr -d ' '; }
shows() { for d in /sys/block/dm-*/slaves/loop*; do
    [ "$(cat $d/loop/backing_file 2>/dev/null)" != "$image" ] || cat ${d%/slaves*}/dm/name; done; }
case $verb in
mount)
    [ -n "$device" ] && [ -z "$(shows)" ]
    [ -n "$ro" ] || mark Ynot
    loop=$(losetup -f --show "$image")
    p=$(($(number 48 4) * 512))
    dmsetup create $device $ro --major $(sed -n 's/ device-mapper//p' /proc/devices) \
        --minor ${device#ploop} --table "0 $(number 36 8) linear $loop $(number 48 4)"
    if [ "$(dd if="$image" bs=1 skip=$((p + 512)) count=8 status=none | tr -d '\0')" = "EFI PART" ]; then
        first=$(number $((p + 1056)) 8); last=$(number $((p + 1064)) 8)
        [ ! -e /tmp/ploop-stand-in.noparts ] || exit 0
        dmsetup create ${device}p1 $ro --table "0 $((last - first + 1)) linear /dev/mapper/$device $first"
    fi;;
umount)
    device=$(shows); [ -n "$device" ]
    loop=/dev/$(ls /sys/dev/block/$(dmsetup info -c --noheadings -o major,minor --separator : $device)/slaves)
    [ ! -e /dev/mapper/${device}p1 ] || dmsetup remove --retry ${device}p1
    dmsetup remove --retry $device
    losetup -d $loop
    [ -e /tmp/ploop-stand-in.unclosed ] || for i in "$image"*; do mark '\0\0\0\0' $i; done;;
snapshot)
    echo "$uuid" > /tmp/ploop-stand-in.uuid
    made=/tmp/ploop-stand-in.frozen
    [ -d $made ] || exit 0
    cp -n $made/root.hds.* "${1%/*}"
    mark Ynot "${1%/*}"/root.hds.*
    [ -e /tmp/ploop-stand-in.unclosed ] || mark '\0\0\0\0'
    sed "s/{1111[-0-9a-f]*}/$uuid/" $made/DiskDescriptor.xml > "$1.tmp"
    mv "$1.tmp" "$1";;
*) exit 2;;
esac
"#;

/// The stand-in, installed for one test.
pub struct StandIn;

impl StandIn {
    pub fn install() -> Self {
        fs::create_dir_all(Path::new(TOOL).parent().unwrap()).unwrap();
        assert!(!Path::new(TOOL).exists(), "another test installs it");
        let tool = Self;
        tool.forget();
        fs::write(TOOL, STAND_IN).unwrap();
        fs::set_permissions(TOOL, fs::Permissions::from_mode(0o755)).unwrap();
        tool
    }

    pub fn file(what: &str) -> PathBuf {
        PathBuf::from(format!("/tmp/ploop-stand-in.{what}"))
    }

    pub fn set(what: &str) {
        fs::write(Self::file(what), "").unwrap();
    }

    pub fn unset(what: &str) {
        fs::remove_file(Self::file(what)).unwrap();
    }

    /// What it was called with, each time.
    pub fn calls() -> Vec<String> {
        match fs::read_to_string(Self::file("log")) {
            Err(error) if error.kind() == Io::NotFound => Vec::new(),
            other => other.unwrap().lines().map(str::to_owned).collect(),
        }
    }

    pub fn forget(&self) {
        for file in fs::read_dir("/tmp").unwrap().flatten() {
            if file
                .file_name()
                .to_string_lossy()
                .starts_with("ploop-stand-in.")
            {
                let path = file.path();
                let removed = match path.is_dir() {
                    true => fs::remove_dir_all(path),
                    false => fs::remove_file(path),
                };
                removed.unwrap();
            }
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = fs::remove_file(TOOL);
        let names = stdout_of("dmsetup", &["ls"]).unwrap_or_default();
        let names = names.lines().filter_map(|line| line.split('\t').next());
        for name in names.filter(|name| name.starts_with("ploop")) {
            // What a test that failed left.
            let _ = run("dmsetup", &["remove", "--noudevsync", "--retry", name]);
        }
        self.forget();
    }
}
