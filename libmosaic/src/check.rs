// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks of a mosaic, and of the file system on a volume.

use std::ffi::{c_char, c_int};

use mosaic_core::Result;
use mosaic_core::finding::{Finding, Repair, is_changed, is_clean};
use mosaic_core::mosaic::Changed;

use crate::c::{Arena, Data, Each, Text, ends_with};
use crate::call::change;
use crate::flags::Flags;
use crate::handle::{Handle, OpenMosaic, OpenVolume};
use crate::tell::tell;

/// `struct mosaic_finding`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct FindingC {
    pub(crate) size: usize,
    pub(crate) volume: *const c_char,
    pub(crate) fault: *const c_char,
    pub(crate) repair_class: *const c_char,
    pub(crate) remedy: *const c_char,
    pub(crate) by_name: c_int,
    pub(crate) repaired: c_int,
}

ends_with!(FindingC, repaired);

fn of_finding(arena: &mut Arena, finding: &Finding) -> FindingC {
    let remedy = finding.remedy.as_ref();
    FindingC {
        size: size_of::<FindingC>(),
        volume: arena.text_if_any(finding.volume.as_deref()),
        fault: arena.text(&finding.fault),
        repair_class: arena.text_if_any(finding.class()),
        remedy: arena.text_if_any(remedy.map(|remedy| &remedy.action)),
        by_name: c_int::from(remedy.is_some_and(|remedy| remedy.is_by_name)),
        repaired: c_int::from(finding.repaired),
    }
}

/// The classes of faults to mend.
fn wanted(repair: &Text) -> Result<Repair> {
    match repair.utf8_if_given("repair")? {
        None => Ok(Repair::Nothing),
        Some(classes) => Repair::parse(classes),
    }
}

fn answer(findings: &[Finding], function: &Each<FindingC>, data: Data) -> (c_int, Changed) {
    let said = tell(findings, of_finding, function, data);
    let changed = match is_changed(findings) {
        true => Changed::Yes,
        false => Changed::Unchanged,
    };
    match said {
        0 => (c_int::from(!is_clean(findings)), changed),
        said => (said, changed),
    }
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_check(
    mosaic: Handle<OpenMosaic>,
    repair: Text,
    function: Each<FindingC>,
    data: Data,
    flags: Flags,
) -> c_int {
    change(|| {
        flags.none()?;
        let findings = mosaic.get()?.core.check(&wanted(&repair)?)?;
        Ok(answer(&findings, &function, data))
    })
}

#[unsafe(no_mangle)]
extern "C" fn mosaic_check_vol(
    volume: Handle<OpenVolume>,
    repair: Text,
    function: Each<FindingC>,
    data: Data,
    flags: Flags,
) -> c_int {
    change(|| {
        flags.none()?;
        let volume = volume.enter()?;
        let findings = volume
            .core()
            .check_volume(volume.name(), &wanted(&repair)?)?;
        drop(volume);
        Ok(answer(&findings, &function, data))
    })
}

#[cfg(test)]
mod tests {
    use mosaic_core::ErrorKind;

    use super::*;

    #[test]
    fn what_is_to_be_mended_is_said_in_words() {
        assert_eq!(wanted(&Text::of(None)).unwrap(), Repair::Nothing);
        assert_eq!(wanted(&Text::of(Some(c""))).unwrap(), Repair::Usual);
        let named = wanted(&Text::of(Some(c"growth,state"))).unwrap();
        assert_eq!(
            named,
            Repair::Classes(vec!["growth".into(), "state".into()])
        );
        let error = wanted(&Text::of(Some(c"Growth"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
