// SPDX-License-Identifier: MIT OR Apache-2.0
//! A C program: how it is compiled, linked and run.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use mosaic_tests::{Moctl, Output, is_in_vm, word};

use crate::common::{folder, installed, pkg_config, repository, use_installed};

/// The exit status of a program that came to its end.
pub const DONE: i32 = 42;

/// The name of the variable by which a program finds its config files.
const CONFIG: &str = "MOSAIC_CONFIG_DIR";

/// The programs that are compiled, or being so.
type Made = HashMap<(String, How), Arc<OnceLock<PathBuf>>>;

/// What a program is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum How {
    /// As C99, with the shared library.
    C,
    /// As C++.
    Cxx,
    /// As C99, with the archive.
    Archive,
    /// As C99, watched by the compiler's thread sanitizer.
    WatchedThreads,
    /// As C99, watched by the compiler's address sanitizer.
    WatchedMemory,
}

impl How {
    /// The ways in which each program has to work.
    pub const ALL: [Self; 3] = [Self::C, Self::Cxx, Self::Archive];

    fn compiler(self) -> &'static str {
        match self {
            Self::Cxx => "g++",
            Self::C | Self::Archive | Self::WatchedThreads | Self::WatchedMemory => "gcc",
        }
    }

    fn language(self) -> &'static [&'static str] {
        match self {
            Self::Cxx => &["-x", "c++", "-std=c++11"],
            Self::WatchedThreads => &["-std=c99", "-fsanitize=thread", "-O1"],
            Self::WatchedMemory => &["-std=c99", "-fsanitize=address,undefined"],
            // Functions of shared objects are looked for when they are called, where the compiler would
            // have had it done before.
            Self::Archive => &["-std=c99", "-Wl,-z,lazy"],
            Self::C => &["-std=c99"],
        }
    }

    /// Where the program is put. With the shared library it can be anywhere; with the archive it finds
    /// its drivers as `moctl` does, by its own place.
    fn folder(self) -> PathBuf {
        match self {
            Self::Archive => {
                let programs = installed().join("programs");
                std::fs::create_dir_all(&programs).expect("the tree is ours");
                programs
            }
            _ => folder(),
        }
    }

    fn libraries(self) -> Vec<String> {
        match self {
            // By its path, or the linker takes the shared one.
            Self::Archive => {
                let archive = installed().join("lib/libmosaic.a");
                let mut words = vec![word(&archive).to_owned()];
                words.extend(pkg_config(&["--variable=static_libs"]));
                words
            }
            _ => pkg_config(&["--libs"]),
        }
    }
}

/// The program that is made of `tests/c/NAME.c`, once.
///
/// # Panics
/// It does not compile without warnings.
pub fn program(name: &str, how: How) -> PathBuf {
    static MADE: LazyLock<Mutex<Made>> = LazyLock::new(Mutex::default);
    let key = (name.to_owned(), how);
    let made = MADE
        .lock()
        .expect("nothing panics with it")
        .entry(key)
        .or_default()
        .clone();
    let source = repository().join(format!("libmosaic/tests/c/{name}.c"));
    made.get_or_init(|| compile(&source, name, how)).clone()
}

/// Compiles and links a source file.
///
/// # Panics
/// It cannot be done, or not without warnings.
pub fn compile(source: &Path, name: &str, how: How) -> PathBuf {
    compile_with(&[], source, name, how)
}

/// Makes a shared object, which uses the library, of `tests/c/NAME.c`.
///
/// # Panics
/// As [`compile`].
pub fn shared_object(name: &str, how: How) -> PathBuf {
    let source = repository().join(format!("libmosaic/tests/c/{name}.c"));
    compile_with(&["-shared", "-fPIC"], &source, name, how)
}

/// Compiles with some more words.
fn compile_with(words: &[&str], source: &Path, name: &str, how: How) -> PathBuf {
    let folder = how.folder();
    let made = folder.join(format!("{name}-{how:?}"));
    let temporary = folder.join(format!(".{name}-{how:?}-{}", std::process::id()));
    let mut command = Command::new(how.compiler());
    use_installed(&mut command)
        .args([
            "-g",
            "-pthread",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
        ])
        .args(how.language())
        .args(words)
        .args(pkg_config(&["--cflags"]))
        .arg(source)
        .arg("-o")
        .arg(&temporary)
        // What is behind the source is a library again.
        .args(["-x", "none"])
        .args(how.libraries());
    let output = command.output().expect("the compiler was asked for");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{name} {how:?}: {said}"
    );
    std::fs::rename(&temporary, &made).expect("the folder is ours");
    made
}

/// The command that runs a program on the config files of a `moctl`, behind the words of another one
/// that watches it.
pub fn command<S: AsRef<OsStr>>(
    moctl: &Moctl,
    watcher: &[&str],
    program: &Path,
    words: &[S],
) -> Command {
    let mut all: Vec<OsString> = watcher.iter().map(OsString::from).collect();
    all.push(program.into());
    all.extend(words.iter().map(|word| word.as_ref().to_owned()));
    let mut command = Command::new(&all[0]);
    command
        .args(&all[1..])
        .current_dir(moctl.folder())
        .env(CONFIG, moctl.folder())
        // Its drivers are beside the library.
        .env_remove("MOSAIC_DRIVER_PATH")
        .stdin(std::process::Stdio::null());
    if !is_in_vm() {
        use_installed(&mut command);
    }
    command
}

/// Runs a program to its end.
///
/// # Panics
/// It ends early, or something was printed.
#[track_caller]
pub fn run<S: AsRef<OsStr>>(moctl: &Moctl, program: &Path, words: &[S]) {
    let output = command(moctl, &[], program, words).output();
    let output: Output = output.expect("it was built and can be started").into();
    assert_eq!(
        (
            output.status,
            output.stdout.as_str(),
            output.stderr.as_str()
        ),
        (DONE, "", ""),
        "{}",
        program.display()
    );
}
