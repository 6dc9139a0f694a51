// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask install`: a tree of what was built, beneath `/usr/local` or any other folder.
//!
//! All of it finds the rest of it by its own place: `moctl` and `libmosaic.so` their drivers, a driver
//! its server, `mosaic.pc` header and library. So a tree can be made in one folder and moved to another.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use mosaic_core::loader::{Beside, SearchPath, installed};
use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};

use crate::cargo;
use crate::man;

/// What to install, and where.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder to install into, such as /usr/local; it is made where it is not there.
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Folder of libraries and drivers beneath it, such as lib64 or lib/x86_64-linux-gnu.
    #[arg(long, value_name = "FOLDER", default_value = "lib", value_parser = below)]
    libdir: PathBuf,
    /// Installs what is built without optimisation, in less time: slower, and it checks more of itself
    /// while it runs.
    #[arg(long)]
    debug: bool,
    /// Builds nothing: what was built before is installed.
    #[arg(long)]
    no_build: bool,
}

/// What is built for it.
const PACKAGES: [&str; 7] = [
    "moctl",
    "libmosaic",
    "mosaic-btrfs",
    "mosaic-dmthin",
    "mosaic-loop",
    "mosaic-plain",
    "mosaic-ploop",
];

/// The drivers, behind what one of them runs: at no time is a driver there without it, or newer.
const DRIVERS: [(&str, u32); 6] = [
    ("mosaic-ploop-server", PROGRAM),
    ("libmosaic_btrfs.so", FILE),
    ("libmosaic_dmthin.so", FILE),
    ("libmosaic_loop.so", FILE),
    ("libmosaic_plain.so", FILE),
    ("libmosaic_ploop.so", FILE),
];
/// Beneath the libraries; the number is the major version of the drivers' ABI.
const DRIVER_FOLDER: &str = "mosaic/drivers/1";

/// What a shell's completion is called, and where it is looked for beneath `share`.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "bash-completion/completions/moctl"),
    ("zsh", "zsh/site-functions/_moctl"),
    ("fish", "fish/vendor_completions.d/moctl.fish"),
];

/// The C library's file, by the number of its ABI alone: of several with more numbers ldconfig(8) would
/// take the highest one, be it of an older version.
const SONAME: &str = "libmosaic.so.1";

const FILE: u32 = 0o644;
const PROGRAM: u32 = 0o755;

/// Builds, unless it was told not to, and installs. What is there already is replaced, file by file,
/// each when all of the new one is on storage: a kill or a power cut leaves the old or the new one, and
/// perhaps a `.NAME.new`, which the next installation replaces. One installs at a time.
///
/// # Errors
/// The build failed; a file cannot be read or written; root would not load a driver from there.
pub fn run(options: &Options) -> Result<()> {
    if !options.no_build {
        build(options)?;
    }
    let built = cargo::target().join(if options.debug { "debug" } else { "release" });
    make_folders(&options.root)?;
    let root = options.root.canonicalize()?;
    let _lock = lock(&root)?;
    let libdir = options.libdir.clone();
    let tree = Tree {
        built,
        root,
        libdir,
    };
    tree.programs()?;
    tree.drivers()?;
    tree.library()?;
    tree.manual()?;
    tree.completions()?;
    println!("installed in {}", tree.root.display());
    Ok(())
}

/// A path that stays beneath where it begins.
fn below(text: &str) -> Result<PathBuf> {
    let path: PathBuf = Path::new(text).components().collect();
    let plain = |part: Component| matches!(part, Component::Normal(_));
    ensure!(
        !text.is_empty() && path.components().all(plain),
        "it is a folder beneath that of --root: no \"/\" at its beginning, no \"..\""
    );
    Ok(path)
}

fn build(options: &Options) -> Result<()> {
    let mut words = vec!["build"];
    for package in PACKAGES {
        words.extend(["--package", package]);
    }
    if !options.debug {
        words.push("--release");
    }
    // Of a library folder that it is not told of `moctl` would know nothing.
    let libdir = format!("/usr/{}", options.libdir.display());
    let told = options.libdir == Path::new("lib") || std::env::var_os("MOSAIC_LIBDIR").is_some();
    let environment = (!told).then_some(("MOSAIC_LIBDIR", libdir.as_str()));
    cargo::run(&words, environment.as_slice())
}

/// From where to where.
struct Tree {
    built: PathBuf,
    root: PathBuf,
    /// Beneath `root`.
    libdir: PathBuf,
}

impl Tree {
    fn programs(&self) -> Result<()> {
        self.copy("moctl", "bin/moctl", PROGRAM)
    }

    /// The drivers, and a link for each other name under which one can be asked for. Others that are
    /// there already may be somebody's: they stay, and are named.
    fn drivers(&self) -> Result<()> {
        let folder = self.libdir.join(DRIVER_FOLDER);
        for (name, mode) in DRIVERS {
            self.copy(name, folder.join(name), mode)?;
        }
        let here = self.root.join(&folder);
        let search = SearchPath::new(vec![here.clone()], Vec::new(), Beside::Program);
        for driver in installed(&search) {
            let target = driver.file.file_name().context("a file has a name")?;
            if driver.file.parent() != Some(&here) {
                continue;
            }
            if !DRIVERS.iter().any(|(name, _)| target == *name) {
                eprintln!(
                    "not one of these drivers, left alone: {}",
                    driver.file.display()
                );
                continue;
            }
            if let Some(why) = driver.refusal {
                bail!(
                    "{} is installed, but not loaded: {why}",
                    driver.file.display()
                );
            }
            for alias in &driver.aliases {
                let name = format!("libmosaic_{}.so", alias.replace('-', "_"));
                link(Path::new(target), &here.join(name))?;
            }
        }
        self.are_found(&here)
    }

    /// Says so where `moctl`, which was built for another folder, would not find its drivers.
    fn are_found(&self, drivers: &Path) -> Result<()> {
        let listed = self.moctl(&["drivers".as_ref()])?;
        let folder = drivers.as_os_str().as_encoded_bytes();
        if !listed.windows(folder.len()).any(|part| part == folder) {
            eprintln!(
                "moctl does not look for drivers in {}: set MOSAIC_LIBDIR, the folder of libraries \
                 where it will be used, while it is built",
                drivers.display()
            );
        }
        Ok(())
    }

    /// The C library, as shared object and as archive, its header, and how to find them.
    fn library(&self) -> Result<()> {
        let at = |name: &str| self.libdir.join(name);
        self.copy("libmosaic.so", at(SONAME), FILE)?;
        link(Path::new(SONAME), &self.root.join(at("libmosaic.so")))?;
        self.copy("libmosaic.a", at("libmosaic.a"), FILE)?;
        let sources = cargo::workspace().join("libmosaic");
        let header = std::fs::read(sources.join("include/mosaic/mosaic.h"))?;
        self.put(&header, "include/mosaic/mosaic.h")?;
        let pc = std::fs::read_to_string(sources.join("mosaic.pc.in"))?;
        let up = vec![".."; self.libdir.components().count()].join("/");
        let pc = pc.replace("@VERSION@", env!("CARGO_PKG_VERSION"));
        self.put(
            pc.replace("@UP@", &up).as_bytes(),
            at("pkgconfig/mosaic.pc"),
        )
    }

    fn manual(&self) -> Result<()> {
        let pages = tempfile::tempdir()?;
        for page in man::write(&self.root.join("bin/moctl"), pages.path())? {
            let name = page.strip_prefix(pages.path())?;
            let to = self.place(Path::new("share/man").join(name))?;
            write(File::open(&page)?, &to, FILE)?;
        }
        Ok(())
    }

    fn completions(&self) -> Result<()> {
        for (shell, path) in COMPLETIONS {
            let script = self.moctl(&["completions".as_ref(), shell.as_ref()])?;
            self.put(&script, format!("share/{path}"))?;
        }
        Ok(())
    }

    /// What the `moctl` that is installed writes to stdout.
    fn moctl(&self, words: &[&std::ffi::OsStr]) -> Result<Vec<u8>> {
        let output = Command::new(self.root.join("bin/moctl"))
            .args(words)
            .stdin(Stdio::null())
            .output()
            .context("cannot run the installed moctl")?;
        ensure!(
            output.status.success(),
            "moctl {words:?} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(output.stdout)
    }

    fn copy(&self, name: &str, to: impl AsRef<Path>, mode: u32) -> Result<()> {
        let from = self.built.join(name);
        let source = File::open(&from)
            .with_context(|| format!("cannot open {}, which has to be built", from.display()))?;
        write(source, &self.place(to)?, mode)
    }

    fn put(&self, content: &[u8], to: impl AsRef<Path>) -> Result<()> {
        write(content, &self.place(to)?, FILE)
    }

    /// The path of a file to be, in a folder that is there.
    fn place(&self, to: impl AsRef<Path>) -> Result<PathBuf> {
        let path = self.root.join(to);
        make_folders(path.parent().context("a file has a folder")?)?;
        Ok(path)
    }
}

/// Keeps others from installing into the same folder, until it is dropped; waits for one who does.
fn lock(root: &Path) -> Result<File> {
    let folder = File::open(root).with_context(|| format!("cannot open {}", root.display()))?;
    let take = |how| retry_on_intr(|| flock(&folder, how));
    let mut taken = take(FlockOperation::NonBlockingLockExclusive);
    if taken == Err(Errno::WOULDBLOCK) {
        eprintln!("waiting for who else installs into {}", root.display());
        taken = take(FlockOperation::LockExclusive);
    }
    taken.with_context(|| format!("cannot lock {}", root.display()))?;
    Ok(folder)
}

/// Makes a folder and those above it that are not there, which others can enter whatever the umask.
fn make_folders(path: &Path) -> Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        make_folders(above)?;
    }
    match DirBuilder::new().mode(PROGRAM).create(path) {
        // By who installs beside us.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        made => made.with_context(|| format!("cannot make {}", path.display()))?,
    }
    set_mode(path, PROGRAM)?;
    sync_folder_of(path)
}

/// Writes a file under another name first, so that who runs or maps the old one keeps it whole.
fn write(mut from: impl std::io::Read, to: &Path, mode: u32) -> Result<()> {
    replace(to, |temporary| {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        let mut file = options.open(temporary)?;
        std::io::copy(&mut from, &mut file)?;
        set_mode(temporary, mode)?;
        Ok(file.sync_all()?)
    })
}

fn link(target: &Path, at: &Path) -> Result<()> {
    replace(at, |temporary| Ok(symlink(target, temporary)?))
}

/// Makes something under a name of its own, and then gives it its name, under the lock of the tree.
fn replace(to: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let name = to.file_name().context("a file has a name")?;
    let temporary = to.with_file_name(format!(".{}.new", name.to_string_lossy()));
    // Of one that was killed.
    let _ = std::fs::remove_file(&temporary);
    let done = make(&temporary).and_then(|()| Ok(std::fs::rename(&temporary, to)?));
    if done.is_err() {
        // It may not have been made.
        let _ = std::fs::remove_file(&temporary);
    }
    done.and_then(|()| sync_folder_of(to))
        .with_context(|| format!("cannot write {}", to.display()))
}

/// Has the name of a file outlive a power cut.
fn sync_folder_of(path: &Path) -> Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    Ok(File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    Ok(std::fs::set_permissions(
        path,
        Permissions::from_mode(mode),
    )?)
}
