// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a driver's file says of itself in its ELF note, read without running a line of it.
//!
//! `dlopen` runs a library's constructors before anything can be checked, so this comes first: for
//! `moctl drivers`, and before each load. The file may be anything, so nothing of it is believed:
//! each length is bounded before it is read, and whatever is wrong is a reason, never a panic.

use std::fs::File;

use object::elf;
use object::endian::Endianness;
use object::read::ReadCache;
use object::read::elf::{FileHeader as _, ProgramHeader as _};

use crate::driver::is_type_name;
use crate::export::{NOTE_KIND, NOTE_NAME};

#[cfg(target_pointer_width = "64")]
type FileHeader = elf::FileHeader64<Endianness>;
#[cfg(target_pointer_width = "32")]
type FileHeader = elf::FileHeader32<Endianness>;

/// Bytes of a segment of notes that are worth reading; ours takes some hundred.
const SEGMENT_MAX: u64 = 64 << 10;
/// Segments of notes that are looked at; linkers make one or two.
const SEGMENTS_MAX: usize = 16;

/// The note that [`export_driver!`](crate::export_driver) leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DriverNote {
    pub abi: String,
    pub type_name: String,
    pub aliases: Vec<String>,
    pub version: String,
    pub description: String,
}

impl DriverNote {
    /// Whether the driver may be asked for under this type.
    pub fn answers_to(&self, type_name: &str) -> bool {
        self.type_name == type_name || self.aliases.iter().any(|alias| alias == type_name)
    }
}

/// Reads the note of an open file.
///
/// # Errors
/// Why the file is no driver for this host, in words that follow `it is` or `it has`.
pub(super) fn read(file: &File) -> Result<DriverNote, String> {
    let data = ReadCache::new(file);
    let data = &data;
    let header = header(data)?;
    let endian = header.endian().map_err(|_| "not an ELF file".to_owned())?;
    if header.e_phnum(endian) == elf::PN_XNUM {
        return Err("an ELF file with too many segments".into());
    }
    let segments = header
        .program_headers(endian, data)
        .map_err(|_| "a damaged ELF file: its table of segments cannot be read".to_owned())?;
    let notes = segments
        .iter()
        .filter(|s| s.p_type(endian) == elf::PT_NOTE && s.p_filesz(endian) <= SEGMENT_MAX)
        .take(SEGMENTS_MAX);
    for segment in notes {
        let Ok(Some(mut notes)) = segment.notes(endian, data) else {
            return Err("a damaged ELF file: its notes cannot be read".into());
        };
        while let Ok(Some(note)) = notes.next() {
            if note.name_bytes() == NOTE_NAME && note.n_type(endian).0 == NOTE_KIND {
                return parse(note.desc());
            }
        }
    }
    Err("not a Mosaic driver: the note that export_driver! leaves is not in it".into())
}

/// The header of a shared object for the processor of this process.
fn header<'a>(data: &'a ReadCache<&File>) -> Result<&'a FileHeader, String> {
    use object::read::ReadRef;
    let ident: &[u8] = data.read_bytes_at(0, 16).unwrap_or_default();
    if !ident.starts_with(&elf::ELFMAG) {
        return Err("not an ELF file".into());
    }
    let foreign = || "built for another kind of processor".to_owned();
    let header = FileHeader::parse(data).map_err(|_| foreign())?;
    let endian = header.endian().map_err(|_| foreign())?;
    if header.is_big_endian() != cfg!(target_endian = "big")
        || own_machine().is_some_and(|own| own != header.e_machine(endian))
    {
        return Err(foreign());
    }
    if header.e_type(endian) != elf::ET_DYN {
        return Err("an ELF file, but not a shared object".into());
    }
    Ok(header)
}

/// The processor that this program was built for.
fn own_machine() -> Option<elf::Machine> {
    let program = File::open("/proc/self/exe").ok()?;
    let data = ReadCache::new(program);
    let header = FileHeader::parse(&data).ok()?;
    Some(header.e_machine(header.endian().ok()?))
}

/// The note's text: strings `key=value`, each ended by a NUL byte. Unknown keys are later ones.
fn parse(text: &[u8]) -> Result<DriverNote, String> {
    let text =
        std::str::from_utf8(text).map_err(|_| "a driver whose note is damaged".to_owned())?;
    let value = |key: &str| {
        text.split('\0')
            .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
            .map(|value| {
                value
                    .chars()
                    .filter(|c| !c.is_control())
                    .collect::<String>()
            })
    };
    let (Some(abi), Some(type_name)) = (value("abi"), value("type")) else {
        return Err("a driver whose note is damaged".into());
    };
    let aliases = value("aliases").unwrap_or_default();
    let aliases: Vec<String> = aliases.split_terminator(',').map(Into::into).collect();
    if !aliases
        .iter()
        .chain([&type_name])
        .all(|name| is_type_name(name))
    {
        return Err("a driver whose note gives a type that cannot be one".into());
    }
    Ok(DriverNote {
        abi,
        type_name,
        aliases,
        version: value("version").unwrap_or_default(),
        description: value("description").unwrap_or_default(),
    })
}
