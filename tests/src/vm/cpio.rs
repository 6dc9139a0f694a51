// SPDX-License-Identifier: MIT OR Apache-2.0
//! The archive that a kernel unpacks as its first root: cpio in its "newc" format
//! (Documentation/driver-api/early-userspace/buffer-format.rst), all of it root's.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// What a path is.
#[derive(Debug)]
pub(super) enum Entry {
    /// A folder, mode 0755.
    Folder,
    /// A link to this target.
    Link(PathBuf),
    /// What this file here holds; programs are executable.
    Copy(PathBuf),
    /// This text, executable.
    Text(String),
}

/// By path; a folder comes before what is in it.
pub(super) type Entries = BTreeMap<PathBuf, Entry>;

/// Adds an entry and the folders above it. What is there already stays.
pub(super) fn add(entries: &mut Entries, path: &Path, entry: Entry) {
    for above in path.ancestors().skip(1) {
        if above.parent().is_some() {
            let folder = entries.entry(above.to_owned());
            folder.or_insert(Entry::Folder);
        }
    }
    entries.entry(path.to_owned()).or_insert(entry);
}

/// Writes the archive. Paths are absolute.
///
/// # Errors
/// A file to be copied cannot be read, or the archive not written.
pub(super) fn write(archive: &Path, entries: &Entries) -> Result<()> {
    let file =
        File::create(archive).with_context(|| format!("cannot create {}", archive.display()))?;
    let mut out = BufWriter::new(file);
    for (inode, (path, entry)) in (1..).zip(entries) {
        let name = path.strip_prefix("/").unwrap_or(path);
        member(&mut out, inode, name, entry)
            .with_context(|| format!("cannot archive {}", path.display()))?;
    }
    header(&mut out, 0, 0, 0, Path::new("TRAILER!!!"))?;
    Ok(out.flush()?)
}

fn member(out: &mut impl Write, inode: u32, name: &Path, entry: &Entry) -> Result<()> {
    match entry {
        Entry::Folder => header(out, inode, 0o040_755, 0, name),
        Entry::Link(target) => {
            let target = target.as_os_str().as_bytes();
            header(out, inode, 0o120_777, target.len() as u64, name)?;
            data(out, target)
        }
        Entry::Text(text) => {
            header(out, inode, 0o100_755, text.len() as u64, name)?;
            data(out, text.as_bytes())
        }
        Entry::Copy(path) => {
            let mut file = File::open(path)?;
            let size = file.metadata()?.len();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            ensure!(bytes.len() as u64 == size, "it changes while it is read");
            header(out, inode, 0o100_755, size, name)?;
            data(out, &bytes)
        }
    }
}

fn header(out: &mut impl Write, inode: u32, mode: u32, size: u64, name: &Path) -> Result<()> {
    let name = name.as_os_str().as_bytes();
    let size = u32::try_from(size).context("4 GiB or more")?;
    let name_size = u32::try_from(name.len())? + 1;
    // inode, mode, uid, gid, links, mtime, size, device (2), special device (2), name, checksum
    let fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
    write!(out, "070701")?;
    for field in fields {
        write!(out, "{field:08x}")?;
    }
    out.write_all(name)?;
    out.write_all(&[0])?;
    // 110 bytes of header, then the name, together a multiple of four.
    pad(out, 110 + name.len() + 1)
}

fn data(out: &mut impl Write, bytes: &[u8]) -> Result<()> {
    out.write_all(bytes)?;
    pad(out, bytes.len())
}

fn pad(out: &mut impl Write, written: usize) -> Result<()> {
    let zeros = written.next_multiple_of(4) - written;
    Ok(out.write_all(&[0; 4][..zeros])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Scratch, requires_program, stdout_of};

    #[test]
    fn the_usual_tool_reads_the_archive() {
        if !requires_program("busybox") {
            return;
        }
        let scratch = Scratch::new("cpio").unwrap();
        let source = scratch.path().join("source");
        std::fs::write(&source, "12345").unwrap();
        let mut entries = Entries::new();
        let at = |path: &str| Path::new("/").join(path);
        add(&mut entries, &at("a/b/copy"), Entry::Copy(source));
        add(&mut entries, &at("a/link"), Entry::Link("b/copy".into()));
        add(&mut entries, &at("text"), Entry::Text("x".into()));
        let archive = scratch.path().join("archive");
        write(&archive, &entries).unwrap();
        let script = "cd \"$1\" && busybox cpio -i -F archive && cat a/link text && ls -F a";
        let path = scratch.path().to_str().unwrap();
        let shown = stdout_of("sh", &["-c", script, "sh", path]).unwrap();
        assert_eq!(shown, "12345xb/\nlink@\n");
    }
}
