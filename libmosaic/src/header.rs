// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header and these files say the same: a compiler for C is asked what it makes of the header.

use std::fmt::Write;
use std::fs;
use std::mem::offset_of;
use std::path::Path;
use std::process::Command;

use mosaic_tests::{Scratch, requires_program};

use crate::c::{InitOptions, MosaicOptions};
use crate::check::FindingC;
use crate::drivers::{DriverC, KeyC};
use crate::flags;
use crate::info::{CapabilityC, FactC, InfoC, SpaceC};
use crate::listing::EntryC;
use crate::volume_info::{AttachmentC, UNKNOWN, VolumeInfoC};

/// A structure of the header: its name, its size, its members with their offsets.
struct Layout {
    name: &'static str,
    size: usize,
    members: Vec<(&'static str, usize)>,
}

macro_rules! layouts {
    ($($here:ident is $name:ident: $($member:ident)*;)*) => {
        vec![$(Layout {
            name: stringify!($name),
            size: size_of::<$here>(),
            members: vec![$((stringify!($member), offset_of!($here, $member))),*],
        }),*]
    };
}

fn layouts() -> Vec<Layout> {
    layouts! {
        MosaicOptions is mosaic_options: size config_dir driver_path lock_timeout_ms;
        InitOptions is mosaic_init_options: size quota adopt force;
        FactC is mosaic_fact: size name value;
        CapabilityC is mosaic_capability: size name refusal;
        SpaceC is mosaic_space: size name total_bytes used_bytes free_bytes;
        InfoC is mosaic_info: size name config driver driver_version driver_abi driver_file location
            default_fs metadata metadata_mounted spaces capabilities notes facts;
        EntryC is mosaic_entry: size name config driver location error error_kind
            reserved;
        DriverC is mosaic_driver: size r#type aliases version abi description file refusal;
        KeyC is mosaic_key: size key r#type choices default_value help;
        AttachmentC is mosaic_attachment: size device lifetime read_only foreign
            reserved;
        VolumeInfoC is mosaic_vol_info: size name stored origin kind access fs fs_assumed read_only
            size_bytes used_bytes exclusive_bytes state attachment mounted notes facts capabilities;
        FindingC is mosaic_finding: size volume fault repair_class remedy by_name repaired;
    }
}

/// Numbers of the header that stand here again.
fn numbers() -> Vec<(&'static str, u64)> {
    let flags = [
        ("MOSAIC_EXIST_OK", flags::EXIST_OK),
        ("MOSAIC_MISSING_OK", flags::MISSING_OK),
        ("MOSAIC_WAIT", flags::WAIT),
        ("MOSAIC_SHRINK", flags::SHRINK),
        ("MOSAIC_RDONLY", flags::RDONLY),
    ];
    let flags = flags.map(|(name, flag)| (name, u64::from(flag.unsigned_abs())));
    let others = [
        ("MOSAIC_UNKNOWN", UNKNOWN),
        ("MOSAIC_LOG_ERR", 1),
        ("MOSAIC_LOG_DBG", 4),
        ("MOSAIC_VOL_DISK", 1),
        ("MOSAIC_VOL_FS", 2),
        ("MOSAIC_VOL_DIRECTORY", 1),
        ("MOSAIC_VOL_DEVICE", 2),
        ("MOSAIC_LIFETIME_EXPLICIT", 1),
        ("MOSAIC_LIFETIME_MOUNT", 2),
    ];
    flags.into_iter().chain(others).collect()
}

/// What a program prints that asks the compiler for those, and what it should print.
fn program_and_answer() -> (String, String) {
    let (mut lines, mut answer) = (String::new(), String::new());
    let mut ask = |what: String, number: u64| {
        writeln!(
            lines,
            "printf(\"%s %llu\\n\", \"{what}\", (unsigned long long)({what}));"
        )
        .unwrap();
        writeln!(answer, "{what} {number}").unwrap();
    };
    for Layout {
        name,
        size,
        members,
    } in layouts()
    {
        ask(format!("sizeof(struct {name})"), size as u64);
        for (member, offset) in members {
            let member = member.trim_start_matches("r#");
            ask(format!("offsetof(struct {name}, {member})"), offset as u64);
        }
    }
    for (name, number) in numbers() {
        ask(name.to_owned(), number);
    }
    let program = format!(
        "#include <mosaic/mosaic.h>\n#include <stdio.h>\nint main(void)\n{{\n{lines}return 0;\n}}\n"
    );
    (program, answer)
}

#[test]
fn structures_and_numbers_are_those_of_the_header() {
    if !requires_program("cc") {
        return;
    }
    let scratch = Scratch::new("header").unwrap();
    let (source, built) = (scratch.path().join("ask.c"), scratch.path().join("ask"));
    let (program, answer) = program_and_answer();
    fs::write(&source, program).unwrap();
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let mut compiler = Command::new("cc");
    compiler.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-I"]);
    compiler.arg(include).arg(&source).arg("-o").arg(&built);
    assert!(compiler.status().unwrap().success());
    let said = Command::new(&built).output().unwrap();
    assert!(said.status.success());
    assert_eq!(String::from_utf8(said.stdout).unwrap(), answer);
}
