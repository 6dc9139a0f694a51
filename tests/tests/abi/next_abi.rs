// SPDX-License-Identifier: MIT OR Apache-2.0
//! A rehearsal of the next minor version of the ABI: what it takes to append a field to the
//! module, a method to the driver and one to the host, done to a copy of today's sources.

use crate::workspaces::Workspace;

/// Makes a workspace's copy of `mosaic-core` one of the next minor version.
pub fn append(workspace: &mut Workspace) {
    let manifest = "mosaic-core/abi/Cargo.toml";
    let today = format!("version = \"{}\"", mosaic_core::export::mosaic_abi::VERSION);
    workspace.edit(manifest, &today, &format!("version = \"{}\"", version()));
    for (path, line, addition) in ADDITIONS {
        workspace.append_to_line(path, line, addition);
    }
}

/// Its number.
pub fn version() -> String {
    let today = mosaic_core::export::mosaic_abi::VERSION;
    let mut numbers = today.split('.').map(|n| n.parse::<u32>().unwrap());
    let (major, minor) = (numbers.next().unwrap(), numbers.next().unwrap());
    format!("{major}.{}.0", minor + 1)
}

/// File, start of the line after which to add, what to add.
const ADDITIONS: [(&str, &str, &str); 11] = [
    // The types that cross: always after the last one.
    (
        "mosaic-core/abi/src/driver.rs",
        "pub open: extern",
        "    /// Appended.\n    pub motto: RStr<'static>,",
    ),
    (
        "mosaic-core/abi/src/driver.rs",
        "fn check(",
        "    /// Appended.
    fn tidy(&self, name: AbiName) -> AbiResult<u64> {
        let _ = name;
        abi_stable::std_types::RErr(AbiError {
            kind: 6,
            errno: 95,
            message: \"this driver is too old for tidy\".into(),
            causes: RVec::new(),
            extra: Extra::new(),
        })
    }",
    ),
    (
        "mosaic-core/abi/src/host.rs",
        "fn cancelled(",
        "    /// Appended.
    fn hint(&self, text: RStr<'_>) -> bool {
        let _ = text;
        false
    }",
    ),
    // The driver's side.
    (
        "mosaic-core/src/driver.rs",
        "const DESCRIPTION:",
        "    /// Appended.\n    const MOTTO: &'static str = \"\";",
    ),
    (
        "mosaic-core/src/driver.rs",
        "fn drop_volume(",
        "    /// Appended.
    fn tidy(&self, name: &VolumeName) -> Result<u64> {
        let _ = name;
        Err(Self::unsupported(\"tidy\"))
    }",
    ),
    (
        "mosaic-core/src/export.rs",
        "open: open::<D>,",
        "        motto: D::MOTTO.into(),",
    ),
    (
        "mosaic-core/src/export.rs",
        "impl<D: Driver> AbiDriver for Exported<D> {",
        "    fn tidy(&self, name: AbiName) -> AbiResult<u64> {
        guard(|| self.0.tidy(&border::name_in(&name)?))
    }",
    ),
    (
        "mosaic-core/src/host_services.rs",
        "impl Host {",
        "    /// Appended.
    pub fn hint(&self, text: &str) -> bool {
        self.0.hint(text.into())
    }",
    ),
    // The host's side.
    (
        "mosaic-core/src/host_services.rs",
        "impl AbiHost for Lent {",
        "    fn hint(&self, _: RStr<'_>) -> bool {
        true
    }",
    ),
    (
        "mosaic-core/src/import.rs",
        "impl ImportedModule {",
        "    /// Appended.
    pub fn motto(&self) -> Option<&'static str> {
        self.0.motto().map(|motto| motto.as_str())
    }",
    ),
    (
        "mosaic-core/src/import.rs",
        "impl ImportedDriver {",
        "    pub fn tidy(&self, name: &VolumeName) -> Result<u64> {
        received(self.0.tidy(name_out(name)))
    }",
    ),
];
