// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compressed kernels and modules, by the programs that know each format.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// The ELF kernel within a bzImage (Documentation/x86/boot.rst: setup_sects at 0x1f1,
/// payload_offset and payload_length at 0x248).
pub(super) fn kernel(image: &[u8]) -> Result<Vec<u8>> {
    let word = |at: usize| -> Option<usize> {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    ensure!(image.get(0x202..0x206) == Some(b"HdrS"), "no bzImage");
    let sectors = match image[0x1f1] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let (Some(offset), Some(length)) = (word(0x248), word(0x24c)) else {
        bail!("the bzImage is too short");
    };
    let start = (sectors + 1) * 512 + offset;
    let payload = image
        .get(start..start + length)
        .context("the bzImage is too short")?;
    let kernel = decompressed(payload)?.context("the kernel is compressed in an unknown way")?;
    ensure!(
        kernel.starts_with(b"\x7fELF"),
        "there is no ELF file in the bzImage"
    );
    Ok(kernel)
}

/// What the data are compressed from; `None` if they are not, or in an unknown way.
pub(super) fn decompressed(data: &[u8]) -> Result<Option<Vec<u8>>> {
    let program = match data {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => ["xz", "--single-stream"],
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ["zstd", "--quiet"],
        [0x1f, 0x8b, ..] => ["gzip", "--quiet"],
        [0x02, 0x21, 0x4c, 0x18, ..] => ["lz4", "--quiet"],
        _ => return Ok(None),
    };
    let [name, option] = program;
    let mut input = tempfile::tempfile()?;
    std::io::Write::write_all(&mut input, data)?;
    std::io::Seek::rewind(&mut input)?;
    let output = Command::new(name)
        .args([option, "--decompress", "--stdout"])
        .stdin(input)
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    // A kernel has its uncompressed size after the compressed data, which some complain about.
    ensure!(
        !output.stdout.is_empty(),
        "{name} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(Some(output.stdout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_kernel_is_refused() {
        assert!(kernel(b"").is_err());
        let mut image = vec![0; 0x300];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x24c] = 0xff;
        assert!(kernel(&image).is_err());
    }
}
