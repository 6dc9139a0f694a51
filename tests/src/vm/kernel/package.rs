// SPDX-License-Identifier: MIT OR Apache-2.0
//! The distribution's newest kernel, from its package archive.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::vm::say;
use crate::{apt_get, shell};

/// Packages that depend on the newest kernel: Debian's, Ubuntu's.
const PACKAGES: [&str; 2] = ["linux-image-amd64", "linux-image-generic"];

/// Downloads the distribution's newest kernel and unpacks it.
pub(super) fn download(to: &Path) -> Result<()> {
    let packages = match newest_packages() {
        Some(packages) => packages,
        None => {
            // A fresh container knows of no packages.
            update().context("no kernel is installed, and none can be downloaded")?;
            newest_packages().context("no kernel is installed, and apt-cache knows of none")?
        }
    };
    if let Err(error) = unpack(&packages, to) {
        // The newest one may be gone already.
        update().with_context(|| format!("{error:#}"))?;
        unpack(&newest_packages().unwrap_or(packages), to)?;
    }
    Ok(())
}

/// Downloads packages and unpacks them, and asks what there is if that fails at first.
pub(in crate::vm) fn unpack_newest(packages: &[String], to: &Path) -> Result<()> {
    if let Err(error) = unpack(packages, to) {
        update().with_context(|| format!("{error:#}"))?;
        unpack(packages, to)?;
    }
    Ok(())
}

fn update() -> Result<()> {
    apt_get(Path::new("."), &["update"])
}

/// Downloads packages and unpacks them.
fn unpack(packages: &[String], to: &Path) -> Result<()> {
    say(&format!(
        "downloading {} (not installed, only unpacked)",
        packages.join(" ")
    ));
    let mut words = vec!["download"];
    words.extend(packages.iter().map(String::as_str));
    apt_get(to, &words)?;
    for file in fs::read_dir(to)?.flatten().map(|entry| entry.path()) {
        if file.extension().is_some_and(|extension| extension == "deb") {
            shell::run("dpkg-deb", &[Path::new("--extract"), &file, to])?;
            fs::remove_file(file)?;
        }
    }
    Ok(())
}

/// The packages of image and modules that one of [`PACKAGES`] stands for.
fn newest_packages() -> Option<Vec<String>> {
    let show = |package: &str| shell::stdout_of("apt-cache", &["show", package]);
    for package in PACKAGES {
        let Ok(text) = show(package) else {
            continue;
        };
        let mut found = kernel_dependencies(&text);
        // Ubuntu's image package brings its modules.
        for at in 0..found.len() {
            let text = show(&found[at]).unwrap_or_default();
            found.extend(kernel_dependencies(&text));
        }
        found.sort();
        found.dedup();
        if !found.is_empty() {
            return Some(found);
        }
    }
    None
}

/// Images and modules in the first record's `Depends: a (= 1) | b, c`.
fn kernel_dependencies(record: &str) -> Vec<String> {
    let row = record
        .lines()
        .find_map(|line| line.strip_prefix("Depends: "));
    let names = row.unwrap_or_default().split(", ");
    names
        .filter_map(|choice| choice.split([' ', '|']).next())
        .filter(|name| name.starts_with("linux-image-") || name.starts_with("linux-modules-"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_both_distributions_are_read() {
        let debian = "Package: linux-image-amd64\nDepends: linux-image-6.1.0-56-amd64 (= 6.1.192-2)\n\n\
                      Package: linux-image-amd64\nDepends: linux-image-6.1.0-50-amd64 (= 6.1.176-1)\n";
        assert_eq!(kernel_dependencies(debian), ["linux-image-6.1.0-56-amd64"]);
        let ubuntu = "Depends: linux-image-6.8.0-31-generic | linux-image-unsigned-6.8.0-31-generic, \
                      linux-modules-extra-6.8.0-31-generic, linux-firmware, intel-microcode\n";
        assert_eq!(
            kernel_dependencies(ubuntu),
            [
                "linux-image-6.8.0-31-generic",
                "linux-modules-extra-6.8.0-31-generic"
            ]
        );
    }
}
