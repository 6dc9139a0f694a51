// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which drivers are there, from their ELF notes alone: nothing of theirs runs.

use std::path::{Path, PathBuf};

use super::driver_file::{DriverFile, check_major, folders};
use super::note::DriverNote;
use super::search_path::{Beside, SearchPath, file_name, type_of_file};

/// A driver's file on the search path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledDriver {
    /// Its type; of a file that is no driver, the type that it is named after.
    pub type_name: String,
    /// Other types under which it may be asked for.
    pub aliases: Vec<String>,
    /// The driver package's version; empty if unknown.
    pub version: String,
    /// The ABI version that it was built with; empty if unknown.
    pub abi: String,
    /// One line; empty if unknown.
    pub description: String,
    /// The file.
    pub file: PathBuf,
    /// Why it would not be loaded; `None`: nothing is known against it.
    pub refusal: Option<String>,
}

/// All drivers on the search path, in its order, those that would not be loaded among them.
///
/// A link that only gives a driver one of its other names is not listed.
pub fn installed(search: &SearchPath) -> Vec<InstalledDriver> {
    let mut found: Vec<InstalledDriver> = Vec::new();
    for (folder, names) in folders(search) {
        for name in names {
            let Some(mut driver) = look(&folder, &name, &search.beside) else {
                continue;
            };
            let first = found
                .iter()
                .find(|d| d.file.file_name() == driver.file.file_name());
            if let (Some(first), None) = (first, &driver.refusal) {
                driver.refusal = Some(format!("{:?} comes first", first.file));
            }
            found.push(driver);
        }
    }
    found
}

/// One file; `None` if it is gone or only gives a driver one of its other names.
fn look(folder: &Path, name: &str, beside: &Beside) -> Option<InstalledDriver> {
    let mut driver = InstalledDriver {
        type_name: type_of_file(name)?.to_owned(),
        aliases: Vec::new(),
        version: String::new(),
        abi: String::new(),
        description: String::new(),
        file: folder.join(name),
        refusal: None,
    };
    match DriverFile::open(folder, name) {
        Ok(None) => return None,
        Err(error) => driver.refusal = Some(error.chain()),
        Ok(Some(file)) => match file.note() {
            Err(what) => driver.refusal = Some(format!("it is {what}")),
            Ok(note) if is_other_name(&note, name) => return None,
            Ok(note) => {
                driver.refusal = refusal(&file, &note, name, beside);
                driver.take(note);
            }
        },
    }
    Some(driver)
}

/// Whether the file's name is that of an alias: a link made by the package.
fn is_other_name(note: &DriverNote, name: &str) -> bool {
    note.aliases.iter().any(|alias| file_name(alias) == name)
}

/// Why the loader would refuse the file, as far as it shows without running it.
fn refusal(file: &DriverFile, note: &DriverNote, name: &str, beside: &Beside) -> Option<String> {
    if let Err(reason) = check_major(&note.abi) {
        return Some(reason);
    }
    if file_name(&note.type_name) != name {
        return Some(format!(
            "it is a driver for type {}, so its name must be {}",
            note.type_name,
            file_name(&note.type_name)
        ));
    }
    file.check_ownership(beside)
        .err()
        .map(|error| error.chain())
}

impl InstalledDriver {
    fn take(&mut self, note: DriverNote) {
        self.type_name = note.type_name;
        self.aliases = note.aliases;
        self.version = note.version;
        self.abi = note.abi;
        self.description = note.description;
    }
}
