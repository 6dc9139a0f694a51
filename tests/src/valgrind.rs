// SPDX-License-Identifier: MIT OR Apache-2.0
//! Valgrind: the one that is here, and a newer one that is not installed, only unpacked.
//!
//! Where the distribution's own is too old for what our programs call, that of a later release can do it:
//! its tools are static, and what it puts into a program asks for no newer C library than Debian 12 has.
//! It is kept in `target/valgrind`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, flock};

use crate::{apt_get, shell};

/// The release of Debian that it is of: the first that has one which knows mount_setattr(2). It stays in the
/// archive for longer than those before it, which are the ones that need it.
const RELEASE: &str = "forky";
/// By this apt knows Debian's archive; Debian's package of that name, which apt depends on, brings it.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One that can be run.
#[derive(Debug)]
pub struct Valgrind {
    program: PathBuf,
    /// Where its tools are, if that is not where they were to be installed.
    tools: Option<PathBuf>,
}

impl Valgrind {
    /// The one that `$VALGRIND` names, or else the first in `PATH`, which need not be there.
    pub fn here() -> Self {
        let named = std::env::var_os("VALGRIND").filter(|name| !name.is_empty());
        Self {
            program: named.unwrap_or("valgrind".into()).into(),
            tools: None,
        }
    }

    /// A newer one; the first call downloads it.
    ///
    /// # Errors
    /// This is no Debian, or its archive does not have it.
    pub fn newer() -> Result<Self> {
        let built = crate::target_folder()?;
        let folder = built.parent().context("no target folder")?;
        let folder = folder.join("valgrind");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        // Held until the file is closed.
        let lock = File::create(folder.join("lock"))?;
        rustix::io::retry_on_intr(|| flock(&lock, FlockOperation::LockExclusive))?;
        let kept = folder.join(RELEASE);
        if !kept.exists() {
            let unpacked = folder.join("unpacked");
            // Somebody was killed at it.
            if unpacked.exists() {
                fs::remove_dir_all(&unpacked)?;
            }
            fs::create_dir(&unpacked)?;
            unpack(&unpacked).context("cannot unpack a newer Valgrind")?;
            fs::rename(unpacked, &kept)?;
        }
        Ok(Self {
            program: kept.join("usr/bin/valgrind.bin"),
            tools: Some(kept.join("usr/libexec/valgrind")),
        })
    }

    /// The words that run it, to be followed by its options.
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(tools) = &self.tools {
            words.push("env".to_owned());
            words.push(format!("VALGRIND_LIB={}", tools.display()));
        }
        words.push(self.program.display().to_string());
        words
    }
}

/// Downloads the package by lists of apt's own kind, which are nobody else's, and unpacks it.
fn unpack(to: &Path) -> Result<()> {
    let sources = to.join("sources.list");
    let archive = archive()?;
    let line = format!("deb [signed-by={KEYRING} targets=Packages] {archive} {RELEASE} main\n");
    fs::write(&sources, line)?;
    for folder in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(to.join(folder))?;
    }
    // A person waits for it; a closed stderr is no reason to stop.
    let _ = writeln!(
        std::io::stderr(),
        "downloading valgrind of Debian {RELEASE} (not installed, only unpacked)"
    );
    apt_get_alone(to, &["update"])?;
    apt_get_alone(to, &["download", &format!("valgrind/{RELEASE}")])?;
    for folder in ["lists", "cache"] {
        fs::remove_dir_all(to.join(folder))?;
    }
    let mut entries = fs::read_dir(to)?.flatten().map(|entry| entry.path());
    let package = entries.find(|path| path.extension().is_some_and(|e| e == "deb"));
    let package = package.context("apt-get downloaded no package")?;
    shell::run("dpkg-deb", &[Path::new("--extract"), &package, to])?;
    Ok(fs::remove_file(package)?)
}

/// Runs it with lists and a cache in the folder, and with no others.
fn apt_get_alone(folder: &Path, words: &[&str]) -> Result<()> {
    let places = [
        ("Dir::Etc::SourceList", "sources.list"),
        ("Dir::State::Lists", "lists"),
        ("Dir::Cache", "cache"),
    ];
    let places = places.map(|(option, file)| format!("-o{option}={}", folder.join(file).display()));
    let options = [
        "-oDir::Etc::SourceParts=-",
        "-oAPT::Update::Error-Mode=any",
        "-oAcquire::Languages=none",
        "-oAcquire::Retries=3",
        // Another user could not write there.
        "-oAPT::Sandbox::User=root",
    ];
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    apt_get(folder, &[words, &places, &options].concat())
}

/// Where apt has the packages of this release from.
fn archive() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = |key: &str| release.lines().find_map(|line| line.strip_prefix(key));
    ensure!(value("ID=") == Some("debian"), "this is not Debian");
    let codename = value("VERSION_CODENAME=").context("this release has no name")?;
    let words = [
        "indextargets",
        "--no-release-info",
        "--format",
        "$(RELEASE) $(COMPONENT) $(REPO_URI)",
        "Created-By: Packages",
    ];
    let targets = shell::stdout_of("apt-get", &words)?;
    let archive = archive_among(&targets, codename);
    let archive = archive.with_context(|| format!("apt has no archive of {codename}"))?;
    Ok(archive.to_owned())
}

/// `bookworm main http://archive.example/debian/`
fn archive_among<'a>(targets: &'a str, codename: &str) -> Option<&'a str> {
    let start = format!("{codename} main ");
    targets.lines().find_map(|line| line.strip_prefix(&start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_that_of_the_release_itself() {
        let targets = "bookworm-security main http://archive.example/debian-security/\n\
                       bookworm non-free http://elsewhere.example/\n\
                       bookworm main http://archive.example/debian/\n";
        let found = archive_among(targets, "bookworm");
        assert_eq!(found, Some("http://archive.example/debian/"));
        assert_eq!(archive_among(targets, "trixie"), None);
    }
}
