// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be wrong with a descriptor.

use super::{DESCRIPTOR, MAX_BYTES};
use crate::format::guid::{Guid, NoGuid};
use crate::format::xml::XmlFault;

/// What is wrong with a descriptor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptorFault {
    /// It is no XML.
    #[error("{DESCRIPTOR}: {0}")]
    Xml(XmlFault),
    /// Not UTF-8.
    #[error("{DESCRIPTOR} is not in UTF-8")]
    Encoding,
    /// Longer than any disk needs.
    #[error("{DESCRIPTOR} has {0} bytes, {MAX_BYTES} at most are read")]
    TooLong(u64),
    /// An element that has to be there.
    #[error("{DESCRIPTOR} has no {0}")]
    Missing(&'static str),
    /// An element that has to be there once.
    #[error("{DESCRIPTOR} has {1} elements {0}, one is supported")]
    Number(&'static str, usize),
    /// An element whose text makes no sense.
    #[error("{DESCRIPTOR}: {element} cannot be {text:?}")]
    Value {
        /// The element's name.
        element: &'static str,
        /// What is in it.
        text: String,
    },
    /// A text that should be a GUID.
    #[error("{DESCRIPTOR}: {0}")]
    Guid(NoGuid),
    /// Plain and preallocated at once.
    #[error("{DESCRIPTOR}: a plain file cannot be preallocated")]
    PreallocatedRaw,
    /// Two images or two shots of one name.
    #[error("{DESCRIPTOR} has {0} twice")]
    Twice(Guid),
    /// Two images in one file.
    #[error("{DESCRIPTOR} has the file {0:?} twice")]
    FileTwice(String),
    /// An image without a shot, or a shot without an image.
    #[error("{DESCRIPTOR}: {0} has not both an image and a shot")]
    Unpaired(Guid),
    /// A shot upon one that is not there, or upon itself.
    #[error("{DESCRIPTOR}: {0} does not stand upon the base")]
    Unrooted(Guid),
    /// There is no top, or it is to be deleted.
    #[error("{DESCRIPTOR}: {0} cannot be the top")]
    Top(Guid),
}

impl From<XmlFault> for DescriptorFault {
    fn from(fault: XmlFault) -> Self {
        Self::Xml(fault)
    }
}

impl From<NoGuid> for DescriptorFault {
    fn from(fault: NoGuid) -> Self {
        Self::Guid(fault)
    }
}
