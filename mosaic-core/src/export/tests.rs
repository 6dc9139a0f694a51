// SPDX-License-Identifier: MIT OR Apache-2.0
//! The symbol that is exported, and what a driver does not let pass.

use std::sync::Arc;

use mosaic_abi::abi_stable::std_types::{RSome, Tuple2};
use mosaic_abi::{AbiError, AbiName, Extra, KIND_DISK};

use super::*;
use crate::driver::LockScope;
use crate::error::{Context, ErrorKind, Result};
use crate::finding::{Finding, Repair};
use crate::host_services::Silent;
use crate::name::VolumeName;
use crate::settings::Settings;
use crate::volume::{
    Capability, CloneOptions, Dropped, InitOptions, MountSource, NewVolume, Space, Volume,
};

#[test]
fn the_exported_name_is_the_one_that_the_loader_looks_for() {
    let name = mosaic_abi::abi_stable::library::ROOT_MODULE_LOADER_NAME;
    let literal = format!("#[unsafe(export_name = \"{name}\")]");
    let source = include_str!("../export.rs");
    let found = source.lines().filter(|line| line.trim() == literal);
    assert_eq!(found.count(), 1, "{literal}");
}

/// Does whatever it is asked to.
struct Willing;

impl Driver for Willing {
    const TYPE: &'static str = "willing";
    const DESCRIPTION: &'static str = "";

    fn init(_: &Host, _: &Settings, _: &InitOptions) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    fn open(_: Host, _: &Settings) -> Result<Self> {
        Ok(Self)
    }
    fn lock_scope(&self) -> Result<LockScope> {
        Ok(LockScope::Directory("/".into()))
    }
    fn capabilities(&self, _: Option<&VolumeName>) -> Result<Vec<Capability>> {
        Ok(Vec::new())
    }
    fn space(&self) -> Result<Vec<Space>> {
        Ok(Vec::new())
    }
    fn list(&self) -> Result<Vec<Volume>> {
        Ok(Vec::new())
    }
    fn find(&self, _: &VolumeName) -> Result<Option<Volume>> {
        Ok(None)
    }
    fn create(&self, _: &VolumeName, _: &NewVolume) -> Result<()> {
        Ok(())
    }
    fn clone_volume(&self, _: &VolumeName, _: &VolumeName, _: &CloneOptions) -> Result<()> {
        Ok(())
    }
    fn drop_volume(&self, _: &VolumeName, _: &ScratchName) -> Result<Dropped> {
        Ok(Dropped::default())
    }
    fn rename(&self, _: &VolumeName, _: &VolumeName) -> Result<()> {
        Ok(())
    }
    fn resize(&self, _: &VolumeName, _: Bytes) -> Result<()> {
        Ok(())
    }
    fn detach(&self, _: &VolumeName) -> Result<()> {
        Ok(())
    }
    fn mount_source(&self, _: Option<&VolumeName>, _: bool) -> Result<MountSource> {
        let root = std::fs::File::open("/").context(String::new)?;
        Ok(MountSource::Directory(root.into()))
    }
    fn check(&self, _: &Repair) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }
}

/// All that can be asked for besides the arguments: in the volume's name, in the options.
fn calls(named: &Extra, asked: &Extra) -> Vec<(&'static str, Result<(), AbiError>)> {
    const SCRATCH: &str = "0000000000000001";
    let name = || AbiName {
        user: "v".into(),
        stored: "v".into(),
        extra: named.clone(),
    };
    let new = AbiNewVolume {
        kind: KIND_DISK,
        fs: "".into(),
        size: 512,
        scratch: SCRATCH.into(),
        extra: asked.clone(),
    };
    let how = AbiClone {
        size: ROption::RNone,
        scratch: SCRATCH.into(),
        extra: asked.clone(),
    };
    let driver = Exported(ManuallyDrop::new(Willing));
    let asked = || asked.clone();
    vec![
        ("create", driver.create(name(), new).into()),
        ("clone", driver.clone_volume(name(), name(), how).into()),
        (
            "drop",
            driver
                .drop_volume(name(), SCRATCH.into(), asked())
                .map(drop)
                .into(),
        ),
        ("rename", driver.rename(name(), name(), asked()).into()),
        ("resize", driver.resize(name(), 512, asked()).into()),
        ("detach", driver.detach(name(), asked()).into()),
        (
            "mount",
            driver
                .mount_source(RSome(name()), true, asked())
                .map(|source| drop(border::mount_source_in(source)))
                .into(),
        ),
        ("find", driver.find(name()).map(drop).into()),
        (
            "capabilities",
            driver.capabilities(RSome(name())).map(drop).into(),
        ),
    ]
}

#[test]
fn what_a_newer_host_asks_for_is_refused_and_not_passed_over() {
    let none = Extra::new();
    let one: Extra = vec![Tuple2("snapshot".into(), "monday".into())].into();
    for (verb, outcome) in calls(&none, &none) {
        assert!(outcome.is_ok(), "{verb}");
    }
    let refused = |error: AbiError| {
        let error = border::error_in(error);
        error.kind() == ErrorKind::Unsupported && error.chain().contains("\"snapshot\"")
    };
    for (verb, outcome) in calls(&one, &none) {
        assert!(outcome.is_err_and(refused), "{verb} of a part of a volume");
    }
    for (verb, outcome) in calls(&none, &one) {
        if !matches!(verb, "find" | "capabilities") {
            assert!(outcome.is_err_and(refused), "{verb} with an option");
        }
    }
    let driver = Exported(ManuallyDrop::new(Willing));
    assert!(refused(
        driver.check(true, one.clone()).into_result().unwrap_err()
    ));
    let settings = border::settings_out(&Settings::new("/")).unwrap();
    let init = |options: &Extra| {
        let host = Host::object(Arc::new(Silent));
        init::<Willing>(host, settings.clone(), options.clone()).into_result()
    };
    assert!(refused(init(&one).unwrap_err()));
    let quota: Extra = vec![Tuple2("quota".into(), "simple".into())].into();
    let refusal = border::error_in(init(&quota).unwrap_err());
    assert_eq!(refusal.kind(), ErrorKind::Unsupported);
    assert_eq!(
        refusal.to_string(),
        "init --quota is not supported by driver \"willing\""
    );
    assert!(init(&none).is_ok());
    let dropped = |extra: &Extra| AbiDropped {
        pending: vec!["rest".into()].into(),
        extra: extra.clone(),
    };
    let wait = |dropped, options: &Extra| driver.await_space(dropped, options.clone());
    assert!(wait(dropped(&none), &none).is_ok());
    for asked in [wait(dropped(&one), &none), wait(dropped(&none), &one)] {
        assert!(refused(asked.into_result().unwrap_err()));
    }
}
