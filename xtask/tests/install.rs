// SPDX-License-Identifier: MIT OR Apache-2.0
//! An installed tree is complete, works wherever it stands, and can be replaced while it is used.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mosaic_core::loader::{Beside, SearchPath};
use mosaic_tests::{
    Output, build, eventually, requires, requires_program, requires_root, stdout_of, target_folder,
    word,
};
use rustix::fs::{FlockOperation, flock};

fn temporary() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    (folder, path)
}

/// Installs what the tests were built with.
fn install(root: &Path) {
    let output = try_install(root, &[]);
    assert_eq!((output.status, output.stderr.as_str()), (0, ""));
}

fn try_install(root: &Path, words: &[&str]) -> Output {
    build(&["libmosaic"]).unwrap();
    let target = target_folder().unwrap();
    let mut command = Command::new("sh");
    // Whatever the umask is.
    command
        .args([
            "-c",
            "umask 077; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_xtask"),
        ])
        .args(["install", "--no-build", "--root"])
        .arg(root)
        .args(words)
        .env("CARGO_TARGET_DIR", target.parent().unwrap());
    if !target.ends_with("release") {
        command.arg("--debug");
    }
    command.stdin(Stdio::null()).output().unwrap().into()
}

/// Every file and link beneath, by its path from there.
fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        assert_eq!(mode(&folder), 0o755, "{}", folder.display());
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap();
                found.push(name.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path)
        .unwrap()
        .permissions()
        .mode()
        & 0o7777
}

/// What the installed `moctl` writes, which nothing but its own place tells where the drivers are.
fn moctl(root: &Path, words: &[&str]) -> String {
    let output = Command::new(root.join("bin/moctl"))
        .args(words)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdin(Stdio::null())
        .output();
    let output: Output = output.unwrap().into();
    assert_eq!(
        (output.status, output.stderr.as_str()),
        (0, ""),
        "{words:?}"
    );
    output.stdout
}

const PROGRAMS: [&str; 2] = ["bin/moctl", "lib/mosaic/drivers/1/mosaic-ploop-server"];
const LINKS: [(&str, &str); 3] = [
    ("lib/libmosaic.so", "libmosaic.so.1"),
    (
        "lib/mosaic/drivers/1/libmosaic_fsimg.so",
        "libmosaic_loop.so",
    ),
    (
        "lib/mosaic/drivers/1/libmosaic_thin.so",
        "libmosaic_dmthin.so",
    ),
];
const FILES: [&str; 12] = [
    "include/mosaic/mosaic.h",
    "lib/libmosaic.a",
    "lib/libmosaic.so.1",
    "lib/mosaic/drivers/1/libmosaic_btrfs.so",
    "lib/mosaic/drivers/1/libmosaic_dmthin.so",
    "lib/mosaic/drivers/1/libmosaic_loop.so",
    "lib/mosaic/drivers/1/libmosaic_plain.so",
    "lib/mosaic/drivers/1/libmosaic_ploop.so",
    "lib/pkgconfig/mosaic.pc",
    "share/bash-completion/completions/moctl",
    "share/fish/vendor_completions.d/moctl.fish",
    "share/zsh/site-functions/_moctl",
];

fn assert_complete(root: &Path) {
    assert_complete_in(root, "lib");
}

/// All is there and nothing else, the libraries in a folder of that name.
fn assert_complete_in(root: &Path, libdir: &str) {
    let mut left = files(root);
    for name in &mut left {
        if let Some(name_in_it) = name.strip_prefix(&format!("{libdir}/")) {
            *name = format!("lib/{name_in_it}");
        }
    }
    let mut take = |name: &str| {
        let at = left.iter().position(|found| found == name);
        left.remove(at.unwrap_or_else(|| panic!("no {name} in {}", root.display())));
        match name.strip_prefix("lib/") {
            Some(name_in_it) => root.join(libdir).join(name_in_it),
            None => root.join(name),
        }
    };
    for name in PROGRAMS {
        assert_eq!(mode(&take(name)), 0o755, "{name}");
    }
    for name in FILES {
        let file = take(name);
        assert_eq!(mode(&file), 0o644, "{name}");
        assert!(std::fs::metadata(&file).unwrap().len() > 100, "{name}");
    }
    for (name, target) in LINKS {
        let is = std::fs::read_link(take(name)).unwrap();
        assert_eq!(is, Path::new(target), "{name}");
    }
    for page in ["share/man/man1/moctl.1", "share/man/man3/mosaic_open.3"] {
        take(page);
    }
    let is_page =
        |name: &String| name.starts_with("share/man/man") && mode(&root.join(name)) == 0o644;
    assert!(left.len() > 20 && left.iter().all(is_page), "{left:?}");
}

#[test]
fn a_tree_is_complete_and_works_from_where_it_stands() {
    let (_owner, folder) = temporary();
    let root = folder.join("not/there/yet");
    install(&root);
    assert_complete(&root);
    let moved = folder.join("moved");
    std::fs::rename(&root, &moved).unwrap();
    let drivers = moctl(&moved, &["drivers"]);
    let here = moved.join("lib/mosaic/drivers/1");
    for name in ["btrfs", "dmthin", "loop", "plain", "ploop"] {
        let file = here.join(format!("libmosaic_{name}.so"));
        assert!(
            drivers.contains(file.to_str().unwrap()),
            "{name}: {drivers}"
        );
    }
    let config = folder.join("m.mos");
    for (kind, volume) in [("plain", "new"), ("fsimg", "old")] {
        let location = folder.join(kind);
        std::fs::create_dir(&location).unwrap();
        let text = format!("type: {kind}\nlocation: {}\n", location.display());
        std::fs::write(&config, text).unwrap();
        let new = if kind == "plain" { "fs" } else { "disk" };
        let mosaic = config.to_str().unwrap();
        moctl(&moved, &[mosaic, "new", new, volume, "1M", "-q"]);
        assert!(moctl(&moved, &[mosaic, "list"]).contains(volume));
    }
}

/// Makes a volume in the mosaic that it is given, by the drivers that the library finds.
const PROGRAM_IN_C: &str = r#"
#include <stdio.h>
#include <mosaic/mosaic.h>

int main(int argc, char **argv)
{
	mosaic_t mosaic = argc > 1 ? mosaic_open(argv[1], 0) : NULL;

	if (mosaic == NULL || mosaic_make_vol_fs(mosaic, "vol", 2048, 0) != 0) {
		puts(mosaic_last_error());
		return 1;
	}
	mosaic_close(mosaic);
	return 0;
}
"#;

/// Compiles a program as `mosaic.pc` says, has it make a volume, and has `moctl` show it.
fn assert_usable(root: &Path, libdir: &str) {
    let libraries = root.join(libdir);
    let descriptions = format!("PKG_CONFIG_PATH={}", word(&libraries.join("pkgconfig")));
    let ask = |what: &str| {
        let words = [descriptions.as_str(), "pkg-config", what, "mosaic"];
        stdout_of("env", &words).unwrap()
    };
    for (name, is) in [
        ("prefix", root.to_owned()),
        ("libdir", libraries.clone()),
        ("includedir", root.join("include")),
    ] {
        let said = ask(&format!("--variable={name}"));
        let said = Path::new(said.trim()).canonicalize();
        assert_eq!(said.ok(), Some(is), "{name}");
    }
    let (source, program) = (root.join("program.c"), root.join("program"));
    std::fs::write(&source, PROGRAM_IN_C).unwrap();
    let (cflags, libs) = (ask("--cflags"), ask("--libs"));
    let mut words = vec!["-Wall", "-Werror", word(&source), "-o", word(&program)];
    words.extend(cflags.split_whitespace().chain(libs.split_whitespace()));
    stdout_of("gcc", &words).unwrap();
    let config = root.join("m.mos");
    let location = root.join("location");
    std::fs::create_dir(&location).unwrap();
    let text = format!("type: plain\nlocation: {}\n", location.display());
    std::fs::write(&config, text).unwrap();
    let libraries = format!("LD_LIBRARY_PATH={}", word(&libraries));
    let words = ["-i", &libraries, word(&program), word(&config)];
    stdout_of("env", &words).unwrap();
    let list = moctl(root, &[word(&config), "list"]);
    assert!(list.contains("\nvol "), "{list}");
}

#[test]
fn libraries_can_be_in_another_folder() {
    if !["gcc", "pkg-config"].into_iter().all(requires_program) {
        return;
    }
    // Where this build has them.
    let search = SearchPath::new(Vec::new(), Vec::new(), Beside::Program);
    let built_in = search.directories().nth(1).unwrap();
    let libdir = built_in
        .strip_prefix("/usr")
        .ok()
        .and_then(|path| path.to_str()?.strip_suffix("/mosaic/drivers/1"));
    let Some(libdir) = libdir.filter(|libdir| requires(*libdir != "lib", "it is lib here")) else {
        return;
    };
    let (_owner, folder) = temporary();
    let root = folder.join("usr");
    let output = try_install(&root, &["--libdir", libdir]);
    assert_eq!((output.status, output.stderr.as_str()), (0, ""));
    assert_complete_in(&root, libdir);
    let moved = folder.join("moved");
    std::fs::rename(&root, &moved).unwrap();
    assert_usable(&moved, libdir);
}

#[test]
fn who_builds_for_one_folder_and_installs_into_another_is_told() {
    let (_owner, root) = temporary();
    let output = try_install(&root, &["--libdir", "elsewhere/"]);
    let drivers = root.join("elsewhere/mosaic/drivers/1");
    let said = format!(
        "moctl does not look for drivers in {}: set MOSAIC_LIBDIR, the folder of libraries where it \
         will be used, while it is built\n",
        drivers.display()
    );
    assert_eq!((output.status, output.stderr), (0, said));
    assert_complete_in(&root, "elsewhere");
    for outside in ["/usr/lib64", "../lib", ""] {
        let output = try_install(&root, &["--libdir", outside]);
        assert_eq!(output.status, 2, "{outside}: {}", output.stderr);
        assert!(
            output.stderr.contains("beneath that of --root"),
            "{}",
            output.stderr
        );
    }
}

#[test]
fn a_second_installation_replaces_the_first_one() {
    let (_owner, root) = temporary();
    // Whoever is using a file keeps the one that he has.
    let header = root.join("include/mosaic/mosaic.h");
    std::fs::create_dir_all(header.parent().unwrap()).unwrap();
    for folder in ["", "include", "include/mosaic"] {
        let permissions = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(root.join(folder), permissions).unwrap();
    }
    std::fs::write(&header, "an older one").unwrap();
    let kept = root.with_extension("kept");
    std::fs::hard_link(&header, &kept).unwrap();
    install(&root);
    let older = std::fs::read_to_string(&kept).unwrap();
    std::fs::remove_file(kept).unwrap();
    assert_eq!(older, "an older one");
    assert_complete(&root);
    // One that was killed leaves such a name.
    std::fs::write(root.join("bin/.moctl.new"), "half a mo").unwrap();
    let drivers = root.join("lib/mosaic/drivers/1");
    let theirs = drivers.join("libmosaic_zfs.so");
    std::fs::copy(drivers.join("libmosaic_plain.so"), &theirs).unwrap();
    let output = try_install(&root, &[]);
    let said = format!(
        "not one of these drivers, left alone: {}\n",
        theirs.display()
    );
    assert_eq!((output.status, output.stderr), (0, said));
    std::fs::remove_file(theirs).unwrap();
    assert_complete(&root);
}

#[test]
fn root_a_folder_that_others_can_write_is_said_to_keep_root_from_its_drivers() {
    if !requires_root() {
        return;
    }
    let (_owner, root) = temporary();
    let drivers = root.join("lib/mosaic/drivers/1");
    std::fs::create_dir_all(&drivers).unwrap();
    std::fs::set_permissions(&drivers, std::fs::Permissions::from_mode(0o777)).unwrap();
    let output = try_install(&root, &[]);
    assert_eq!(output.status, 1, "{}", output.stderr);
    let remedy = format!("mend it by: chmod go-w {drivers:?}");
    assert!(output.stderr.contains(&remedy), "{}", output.stderr);
    assert_eq!(mode(&drivers), 0o777, "it is not ours to change");
}

/// Installs from where nothing was built, which fails.
fn install_nothing(root: &Path) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["install", "--no-build", "--root"])
        .arg(root)
        .env("CARGO_TARGET_DIR", root.join("nothing"))
        .output();
    output.unwrap().into()
}

#[test]
fn what_was_not_built_is_named() {
    let (_owner, root) = temporary();
    let output = install_nothing(&root.join("root"));
    assert_eq!(output.status, 1);
    assert!(
        output
            .stderr
            .contains("release/moctl, which has to be built"),
        "{}",
        output.stderr
    );
}

#[test]
fn who_installs_beside_another_waits_for_him() {
    let (_owner, root) = temporary();
    let held = File::open(&root).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    let inode = format!(":{} ", held.metadata().unwrap().ino());
    let at = root.clone();
    let other = std::thread::spawn(move || install_nothing(&at));
    // A line with an arrow is of one who waits: proc_locks(5).
    let is_awaited = |line: &str| line.contains("-> FLOCK") && line.contains(&inode);
    assert!(eventually(|| {
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        locks.lines().any(is_awaited)
    }));
    drop(held);
    let said = other.join().unwrap().stderr;
    assert!(
        said.starts_with("waiting for who else installs into ") && said.contains("release/moctl"),
        "{said}"
    );
}
