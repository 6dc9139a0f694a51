// SPDX-License-Identifier: MIT OR Apache-2.0
//! Words for people: kinds, sizes, features.

use mosaic_core::volume::{Attachment, Capability, Kind, Lifetime, capability};
use mosaic_core::{Bytes, Needs};

/// `disk`, `ext4`; `fs` is a tree in the location's own file system, `fs?` a historic volume that
/// does not say what it holds.
pub fn kind(kind: &Kind) -> &str {
    match kind {
        Kind::Disk => "disk",
        Kind::Fs { assumed: true, .. } => "fs?",
        Kind::Fs { fs: Some(fs), .. } => fs,
        Kind::Fs { fs: None, .. } => "fs",
    }
}

/// How to ask for what a call needs.
pub fn needs(needs: Needs) -> &'static str {
    match needs {
        Needs::Shrink => "say --shrink",
        Needs::ShrunkClone => "clone, then resize --shrink",
        Needs::ReadOnlyMount => "mount it with -o ro",
    }
}

/// `10 GiB (10737418240 bytes)`.
pub fn size(size: Bytes) -> String {
    match size.0 {
        0..1024 => format!("{} bytes", size.0),
        _ => format!("{size} ({} bytes)", size.0),
    }
}

/// `/dev/loop3 (read-only, until detach)`.
pub fn attachment(attachment: &Attachment) -> String {
    let access = if attachment.read_only {
        "read-only, "
    } else {
        ""
    };
    let lifetime = match attachment.lifetime {
        _ if attachment.foreign => "set up by another program",
        Lifetime::Explicit => "until detach",
        Lifetime::Mount => "until it is unmounted",
    };
    format!("{} ({access}{lifetime})", attachment.device.display())
}

/// The line that scripts look for, `features: clone bdev volsize ...`, and one line for each thing
/// that cannot be done.
pub fn features(capabilities: &[Capability]) -> Vec<String> {
    let place = |name: &str| capability::ALL.iter().position(|known| *known == name);
    let mut sorted: Vec<&Capability> = capabilities.iter().collect();
    sorted.sort_by_key(|capability| place(&capability.name).unwrap_or(usize::MAX));
    let mut first = "features:".to_owned();
    let mut refused = Vec::new();
    for capability in sorted {
        match &capability.refusal {
            None => {
                first.push(' ');
                first.push_str(&capability.name);
            }
            Some(reason) => refused.push(format!("no {}: {reason}", capability.name)),
        }
    }
    refused.insert(0, first);
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_come_in_one_order_and_refusals_behind_them() {
        let capabilities = [
            Capability::yes("own"),
            Capability::yes(capability::DISK),
            Capability::no(capability::CLONE, "ext4 has no reflink"),
            Capability::yes(capability::BDEV),
        ];
        assert_eq!(
            features(&capabilities),
            ["features: bdev disk own", "no clone: ext4 has no reflink"]
        );
    }

    #[test]
    fn a_historic_volume_is_marked() {
        let historic = Kind::Fs {
            fs: Some("ext4".into()),
            assumed: true,
        };
        assert_eq!(kind(&historic), "fs?");
        assert_eq!(size(Bytes(1536)), "1.5 KiB (1536 bytes)");
        assert_eq!(size(Bytes(512)), "512 bytes");
    }
}
