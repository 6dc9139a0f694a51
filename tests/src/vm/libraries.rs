// SPDX-License-Identifier: MIT OR Apache-2.0
//! The shared libraries that programs need, as this machine's own loader finds them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// The libraries of all these files, the loader among them. Scripts and static programs have none.
///
/// # Errors
/// `ldd` cannot be run.
pub(super) fn of(files: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let output = Command::new("ldd")
        .args(files)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .context("cannot run ldd")?;
    // It fails when one of them is a script.
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Two kinds of lines name a file: `libc.so.6 => /lib/libc.so.6 (0x...)` and `/lib/ld.so (0x...)`.
fn parse(text: &str) -> BTreeSet<PathBuf> {
    let lines = text.lines().filter(|line| line.starts_with('\t'));
    let words = lines.flat_map(str::split_whitespace);
    words
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

/// The path with the links of its folders followed, as far as these are here, but not its own: the
/// name under which it is looked for.
pub(super) fn with_real_folder(path: &Path) -> PathBuf {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return path.to_owned();
    };
    match folder.canonicalize() {
        Ok(real) => real.join(name),
        Err(_) => with_real_folder(folder).join(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_a_file_are_left_out() {
        let text = "/bin/a:\n\tlinux-vdso.so.1 (0x7ffd)\n\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n\
                    \t/lib64/ld.so (0x7e)\n\tlibx.so => not found\n/bin/b:\n\tnot a dynamic executable\n";
        let found = parse(text);
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [Path::new("/lib/libc.so.6"), Path::new("/lib64/ld.so")]
        );
    }

    #[test]
    fn a_test_needs_the_c_library() {
        let found = of(&[std::env::current_exe().unwrap()]).unwrap();
        assert!(
            found.iter().any(|path| path.ends_with("libc.so.6")),
            "{found:?}"
        );
    }
}
