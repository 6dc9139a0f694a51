// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a `type` in a config file to a loaded driver.
//!
//! Exactly one file is opened, never all of a folder to see what they are: `dlopen` runs a
//! library's constructors before anything can be checked. So the file's ELF note is read first,
//! and most refusals come from it; only then the file is loaded, by the descriptor that was
//! checked. A driver stays loaded for good: its tables, texts and thread-locals point into it.
//!
//! abi_stable's own check of the two layouts is one-way: the library must have all that the host
//! knows, so a new host would refuse every older driver. Versions are ordered by number, so
//! `check_layouts` asks whether the newer of the two extends the older one, whichever that is. The check
//! goes through all types at some depth: it takes more stack than all else that a call does.

#![allow(unsafe_code, reason = "loads a shared object and reads its header")]

mod described;
mod driver_file;
mod installed;
mod note;
mod search_path;

use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use mosaic_abi::DriverModuleRef;
use mosaic_abi::abi_stable::StableAbi;
use mosaic_abi::abi_stable::abi_stability::abi_checking::check_layout_compatibility;
use mosaic_abi::abi_stable::library::{
    AbiHeaderRef, LibHeader, ROOT_MODULE_LOADER_NAME_WITH_NUL, RootModule,
};
use mosaic_abi::abi_stable::sabi_types::VersionNumber;

pub use self::described::{DescribedDriver, describe};
pub use self::installed::{InstalledDriver, installed};
pub use self::search_path::{Beside, SearchPath};

use self::driver_file::{DriverFile, check_major, folders};
use self::search_path::file_name;
use crate::driver::is_type_name;
use crate::error::{Context, Error, Result};
use crate::foreign;
use crate::import::ImportedModule;

/// A driver that this process has loaded.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it can do without an open location.
    pub module: ImportedModule,
    /// Where it was found.
    pub file: PathBuf,
    /// The ABI version that it was built with.
    pub abi: String,
}

/// Loads the driver of a type, or gives the one that was loaded before.
///
/// # Errors
/// `Config`, with the key `type`, if there is none of that type (the message names the folders and
/// the types that are there) or the text cannot be a type. `Permission` for a file that root must
/// not load. `Unsupported` for a file that is no driver, is one for another type, or has an ABI
/// that does not fit.
pub fn load(search: &SearchPath, type_name: &str) -> Result<Loaded> {
    if !is_type_name(type_name) {
        let rule = "a lower-case letter, then up to 31 of a-z, 0-9, \"-\" and \"_\"";
        let message = format!("{type_name:?} cannot be a type: it must be {rule}");
        return Err(Error::config("type", message));
    }
    let file = find(search, type_name)?;
    file.check_ownership(&search.beside)?;
    let note = file
        .note()
        .map_err(|what| file.refused(format!("it is {what}")))?;
    check_major(&note.abi).map_err(|reason| file.refused(reason))?;
    if !note.answers_to(type_name) {
        return Err(other_type(&file, &note.type_name, type_name));
    }
    let (module, abi) = loaded_once(&file, search)?;
    if module.type_name() != type_name && !module.aliases().contains(&type_name) {
        return Err(other_type(&file, module.type_name(), type_name));
    }
    Ok(Loaded {
        module,
        file: file.path,
        abi,
    })
}

fn other_type(file: &DriverFile, theirs: &str, asked: &str) -> Error {
    file.refused(format!("it is a driver for type {theirs:?}, not {asked:?}"))
}

/// The file of a type: the first of its name, else the first driver that has the type as an alias.
fn find(search: &SearchPath, type_name: &str) -> Result<DriverFile> {
    for folder in search.directories() {
        if let Some(file) = DriverFile::open(folder, file_name(type_name))? {
            return Ok(file);
        }
    }
    let folders = folders(search);
    for (folder, names) in &folders {
        for name in names {
            let file = DriverFile::open(folder, name).ok().flatten();
            let answers = |file: &DriverFile| file.note().is_ok_and(|n| n.answers_to(type_name));
            if let Some(file) = file.filter(answers) {
                return Ok(file);
            }
        }
    }
    Err(unknown_type(search, type_name))
}

/// Says where was looked, and what is there.
fn unknown_type(search: &SearchPath, type_name: &str) -> Error {
    let mut types: Vec<String> = installed(search)
        .into_iter()
        .filter(|driver| driver.refusal.is_none())
        .flat_map(|driver| driver.aliases.into_iter().chain([driver.type_name]))
        .collect();
    types.sort();
    types.dedup();
    let near = types
        .iter()
        .map(|known| (strsim::damerau_levenshtein(known, type_name), known))
        .filter(|(distance, known)| *distance <= 2 && *distance < known.len())
        .min();
    let near = near.map_or(String::new(), |(_, known)| {
        format!(" (did you mean {known}?)")
    });
    let folders: Vec<_> = search.directories().map(|d| format!("{d:?}")).collect();
    let known = match types.is_empty() {
        true => "no driver is there".to_owned(),
        false => format!("known types: {}", types.join(", ")),
    };
    let message = format!(
        "unknown type {type_name:?}{near}: no driver {:?} in {}; {known}",
        file_name(type_name),
        folders.join(", "),
    );
    Error::config("type", message)
}

/// Why a file that could be opened is not a driver for this host.
#[derive(Debug, Clone)]
struct Refusal {
    reason: String,
    /// All differences of the layouts.
    report: Option<String>,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        let report = None;
        Self { reason, report }
    }
}

/// A module and the ABI version that it was built with, or why there is none.
type Outcome = Result<(ImportedModule, String), Refusal>;

/// A library that this process has loaded, driver or not.
struct LoadedFile {
    identity: (u64, u64),
    outcome: Outcome,
    /// Keeps the number of the descriptor taken. The dynamic linker remembers a library by the
    /// path that it was opened by: another file behind the same `/proc/self/fd/N` would be
    /// answered with this one.
    _file: File,
}

static LOADED: Mutex<Vec<LoadedFile>> = Mutex::new(Vec::new());

/// The module of a file, which is loaded when it is asked for the first time.
fn loaded_once(file: &DriverFile, search: &SearchPath) -> Result<(ImportedModule, String)> {
    // No lock is held while the report is given: who gets it may load drivers.
    outcome_of(file)?.map_err(|refusal| {
        if let (Some(report), Some(text)) = (search.layout_report, &refusal.report) {
            report(text);
        }
        file.refused(&refusal.reason)
    })
}

/// What loading the file came to, now or before.
///
/// No lock is held while it is loaded: the dynamic linker has one of its own, and whoever has that, in
/// the constructor of another library, may come here. So two threads may load the same file, which the
/// dynamic linker answers with the same library, and each keeps its descriptor.
fn outcome_of(file: &DriverFile) -> Result<Outcome> {
    let identity = file.identity()?;
    let known = loaded_before().iter().find_map(|known| {
        let is_it = known.identity == identity;
        is_it.then(|| known.outcome.clone())
    });
    if let Some(known) = known {
        return Ok(known);
    }
    let kept = file
        .file
        .try_clone()
        .context(|| format!("cannot keep driver {:?} open", file.path))?;
    let load = || open_library(&kept).map(|library| module_of(&library));
    let loaded =
        foreign::with_stack(load).context(|| format!("cannot load driver {:?}", file.path))?;
    let outcome = loaded.map_err(|reason| file.refused(reason))?;
    loaded_before().push(LoadedFile {
        identity,
        outcome: outcome.clone(),
        _file: kept,
    });
    Ok(outcome)
}

/// What this process has loaded; in use for no longer than looking takes.
fn loaded_before() -> MutexGuard<'static, Vec<LoadedFile>> {
    LOADED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Loads an open file, for good. Its constructors run here.
///
/// All symbols are resolved at once: a missing one is refused now, instead of killing the process
/// in the middle of an operation. They stay local, so that two drivers do not mix.
fn open_library(file: &File) -> Result<ManuallyDrop<Library>, String> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: the constructors of a driver are as trusted as the rest of it; who could have put it
    // there was checked. It is never unloaded.
    unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) }
        .map(ManuallyDrop::new)
        .map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let cause = cause.unwrap_or_else(|| error.to_string());
            let cause = cause.strip_prefix(&path).unwrap_or(&cause);
            cause.trim_start_matches([':', ' ']).replace('\n', " ")
        })
}

/// Checks a library's header, version and layout, and takes the driver's module from it.
fn module_of(library: &Library) -> Result<(ImportedModule, String), Refusal> {
    let header = header(library)?;
    let theirs = VersionNumber::new(header.version_strings())
        .map_err(|_| "its ABI version is no version".to_owned())?;
    check_major(&theirs.to_string())?;
    check_layouts(header, theirs)?;
    // SAFETY: one layout was found to be an extension of the other, and the accessors of either
    // look at the number of fields that is really there.
    let module = unsafe { header.init_root_module_with_unchecked_layout::<DriverModuleRef>() };
    let module = module.map_err(|error| first_line(&error))?;
    Ok((ImportedModule::new(module), theirs.to_string()))
}

/// The library's header of abi_stable, whose first bytes tell whether the rest can be read.
fn header(library: &Library) -> Result<&'static LibHeader, Refusal> {
    let name = ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes();
    // SAFETY: under this name abi_stable exports a static header and nothing else, and the library
    // is never unloaded.
    let header: AbiHeaderRef = *unsafe { library.get::<AbiHeaderRef>(name) }
        .map_err(|_| "it is not a Mosaic driver: it exports no driver module".to_owned())?;
    if !header.is_valid() {
        let (major, minor) = (header.abi_major, header.abi_minor);
        let reason = format!("it was built with another abi_stable (its ABI is {major}.{minor})");
        return Err(reason.into());
    }
    Ok(header.upgrade().map_err(|error| first_line(&error))?)
}

/// Asks whether the newer of the two layouts, the driver's and ours, extends the older one.
fn check_layouts(header: &LibHeader, theirs: VersionNumber) -> Result<(), Refusal> {
    let ours = VersionNumber::new(DriverModuleRef::VERSION_STRINGS)
        .map_err(|_| "this program's ABI version is no version".to_owned())?;
    let Some(driver) = header.layout() else {
        return Err("it was built without a description of its layout"
            .to_owned()
            .into());
    };
    let host = <DriverModuleRef as StableAbi>::LAYOUT;
    let driver_is_newer = (theirs.minor, theirs.patch) >= (ours.minor, ours.patch);
    let (older, newer) = match driver_is_newer {
        true => (host, driver),
        false => (driver, host),
    };
    check_layout_compatibility(older, newer).map_err(|report| Refusal {
        reason: format!(
            "its driver ABI {theirs} is not laid out as this program's {ours}; rebuild the driver"
        ),
        report: Some(report.to_string()),
    })
}

/// abi_stable's errors are reports of many lines.
fn first_line(error: &impl ToString) -> String {
    let text = error.to_string();
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or("its driver module cannot be read")
        .to_owned()
}
