// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mosaic_t`, `volume_t`: what they stand for.

use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mosaic_core::mosaic::{DeviceIdentity, Mosaic};
use mosaic_core::{Error, ErrorKind, Result};

use crate::call::Failed;
use crate::gate::{Gate, Pass, Waiting};
use crate::services::Callbacks;
use crate::table::{Table, was_given};

/// At least so long a call waits for the others on its handle: they are the program's own, and most of
/// them are short.
const LEAST_PATIENCE: Duration = Duration::from_secs(2);

/// A mosaic that a program has opened.
#[derive(Debug)]
pub(crate) struct OpenMosaic {
    /// The core's.
    pub(crate) core: Mosaic,
    /// The program's functions.
    pub(crate) callbacks: Arc<Callbacks>,
    /// How long to wait for somebody else.
    pub(crate) lock_timeout: Duration,
}

impl OpenMosaic {
    /// How a call waits for others on its handle.
    fn waiting(&self) -> Waiting<'_> {
        Waiting {
            patience: self.lock_timeout.max(LEAST_PATIENCE),
            services: self.callbacks.as_ref(),
        }
    }
}

/// A volume that a program has opened: a name in a mosaic, which is open as long as this is.
#[derive(Debug)]
pub(crate) struct OpenVolume {
    /// Its mosaic, also when its own handle has been closed.
    pub(crate) mosaic: Arc<OpenMosaic>,
    name: Mutex<String>,
    /// What has the name is none of the handle's any more. Set and read in the gate.
    is_gone: AtomicBool,
    given_device: Mutex<Option<DeviceIdentity>>,
    /// A call is inside as long as the name is the one that it took.
    gate: Arc<Gate>,
    /// A call is alone in it that goes by what another of its kind has left here.
    turn: Arc<Gate>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl OpenVolume {
    /// The volume of that name.
    pub(crate) fn new(mosaic: Arc<OpenMosaic>, name: &str) -> Self {
        Self {
            mosaic,
            name: Mutex::new(name.to_owned()),
            is_gone: AtomicBool::new(false),
            given_device: Mutex::new(None),
            gate: Arc::default(),
            turn: Arc::default(),
        }
    }

    /// The core's mosaic.
    pub(crate) fn core(&self) -> &Mosaic {
        &self.mosaic.core
    }

    /// The name at this moment.
    pub(crate) fn name(&self) -> String {
        lock(&self.name).clone()
    }

    /// It has another name now. For who is alone.
    pub(crate) fn set_name(&self, name: &str) {
        name.clone_into(&mut lock(&self.name));
    }

    /// Keeps other calls out that need a turn too, until it is dropped. A thread that has it gets none
    /// for what its call has called.
    ///
    /// # Errors
    /// `Busy`, `Interrupted`.
    pub(crate) fn turn(&self) -> Result<Option<Pass>> {
        match self.turn.is_mine() {
            true => Ok(None),
            false => self.turn.alone(&self.mosaic.waiting()).map(Some),
        }
    }

    /// The device that the program was given by this handle.
    pub(crate) fn given_device(&self) -> Option<DeviceIdentity> {
        lock(&self.given_device).clone()
    }

    /// The program has been given that device, or has put it back.
    pub(crate) fn set_given_device(&self, device: Option<DeviceIdentity>) {
        *lock(&self.given_device) = device;
    }
}

/// A call on a volume's handle, which is neither renamed nor dropped as long as this is there, unless
/// by this call.
#[derive(Debug)]
pub(crate) struct Entered {
    volume: Arc<OpenVolume>,
    name: String,
    inside: Pass,
}

impl Entered {
    /// The volume's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Volume, name, and what keeps other calls out.
    pub(crate) fn into_parts(self) -> (Arc<OpenVolume>, String, Pass) {
        (self.volume, self.name, self.inside)
    }
}

impl Deref for Entered {
    type Target = OpenVolume;

    fn deref(&self) -> &OpenVolume {
        &self.volume
    }
}

/// What a handle can stand for.
pub(crate) trait Object: Sized + 'static {
    /// What programs call it.
    const WORD: &'static str;

    /// All that are open.
    fn table() -> &'static Table<Self>;
}

impl Object for OpenMosaic {
    const WORD: &'static str = "mosaic";

    fn table() -> &'static Table<Self> {
        static TABLE: Table<OpenMosaic> = Table::new();
        &TABLE
    }
}

impl Object for OpenVolume {
    const WORD: &'static str = "volume";

    fn table() -> &'static Table<Self> {
        static TABLE: Table<OpenVolume> = Table::new();
        &TABLE
    }
}

/// `mosaic_t` or `volume_t`: a number that looks like a pointer, and never is one.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Handle<T>(*mut T, PhantomData<T>);

impl<T> Failed for Handle<T> {
    const FAILED: Self = Self(ptr::null_mut(), PhantomData);
}

impl<T: Object> Handle<T> {
    /// A new handle.
    pub(crate) fn open(object: T) -> Result<Self> {
        let number = T::table().add(object)?;
        Ok(Self(ptr::without_provenance_mut(number), PhantomData))
    }

    /// What it stands for.
    ///
    /// # Errors
    /// `Invalid` for NULL, for one that has been closed, for any other pointer.
    pub(crate) fn get(&self) -> Result<Arc<T>> {
        T::table().get(self.0.addr()).ok_or_else(|| self.refusal())
    }

    /// The same; NULL is `None`.
    pub(crate) fn get_if_given(&self) -> Result<Option<Arc<T>>> {
        match self.0.is_null() {
            true => Ok(None),
            false => self.get().map(Some),
        }
    }

    /// Closes it; NULL is nothing to close.
    ///
    /// # Errors
    /// `Invalid` if it is not open.
    pub(crate) fn close(&self) -> Result<()> {
        if self.0.is_null() {
            return Ok(());
        }
        let number = self.0.addr();
        let removed = T::table().remove(number);
        match removed.is_some() || T::table().forget_dropped(number) {
            true => Ok(()),
            false => Err(self.refusal()),
        }
    }

    /// Closes it as what it stands for is gone, or may be; a later close is no fault of the program's.
    fn close_dropped(&self) {
        T::table().remove_dropped(self.0.addr());
    }

    fn refusal(&self) -> Error {
        let (word, number) = (T::WORD, self.0.addr());
        let why = if self.0.is_null() {
            format!("the {word} is NULL")
        } else if OpenMosaic::table().get(number).is_some() {
            format!("a mosaic's handle is given for a {word}")
        } else if OpenVolume::table().get(number).is_some() {
            format!("a volume's handle is given for a {word}")
        } else if T::table().is_dropped(number) {
            dropped(word)
        } else if was_given(number) {
            format!("the handle of the {word} has been closed")
        } else {
            format!("{number:#x} is no handle of a {word}")
        };
        Error::new(ErrorKind::Invalid, why)
    }

    #[cfg(test)]
    fn of(number: usize) -> Self {
        Self(ptr::without_provenance_mut(number), PhantomData)
    }
}

fn dropped(word: &str) -> String {
    format!("the {word} has been dropped or lost sight of, and that has closed its handle")
}

impl Handle<OpenVolume> {
    /// Closes it as the volume is gone, or may be: for those calls too that have begun, and wait. For who
    /// is alone.
    pub(crate) fn close_gone(&self, volume: &OpenVolume) {
        volume.is_gone.store(true, Ordering::Release);
        self.close_dropped();
    }

    /// Begins a call on it.
    ///
    /// # Errors
    /// Those of `get()`; `Busy`, `Interrupted` while another thread renames it or drops it.
    pub(crate) fn enter(&self) -> Result<Entered> {
        self.enter_by(Gate::share)
    }

    /// Begins a call on it beside which no other goes on.
    ///
    /// # Errors
    /// Those of `get()`; `Busy`, `Interrupted` while another call goes on; `Invalid` in one.
    pub(crate) fn enter_alone(&self) -> Result<Entered> {
        self.enter_by(Gate::alone)
    }

    fn enter_by(
        &self,
        enter: impl FnOnce(&Arc<Gate>, &Waiting<'_>) -> Result<Pass>,
    ) -> Result<Entered> {
        let volume = self.get()?;
        let inside = enter(&volume.gate, &volume.mosaic.waiting())
            .map_err(|error| error.context(format!("cannot use volume {:?}", volume.name())))?;
        // Meanwhile it may have been dropped: what has the name now is none of this handle's. One that
        // was only closed is open for what had begun.
        if volume.is_gone.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Invalid, dropped(OpenVolume::WORD)));
        }
        let name = volume.name();
        Ok(Entered {
            volume,
            name,
            inside,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Thing;

    impl Object for Thing {
        const WORD: &'static str = "thing";

        fn table() -> &'static Table<Self> {
            static TABLE: Table<Thing> = Table::new();
            &TABLE
        }
    }

    fn refusal(handle: &Handle<Thing>) -> String {
        let error = handle.get().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.to_string()
    }

    #[test]
    fn a_handle_that_is_not_open_is_refused_with_the_reason() {
        let handle = Handle::open(Thing).unwrap();
        assert!(handle.get().is_ok() && handle.close().is_ok());
        assert_eq!(refusal(&handle), "the handle of the thing has been closed");
        assert_eq!(handle.close().unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(refusal(&Handle::of(16)), "0x10 is no handle of a thing");
        assert_eq!(refusal(&Handle::FAILED), "the thing is NULL");
        assert!(Handle::<Thing>::FAILED.close().is_ok());
        assert!(Handle::<Thing>::FAILED.get_if_given().unwrap().is_none());
    }

    #[test]
    fn what_was_dropped_is_closed_and_can_be_closed_once_more() {
        let handle = Handle::open(Thing).unwrap();
        handle.close_dropped();
        let why = "the thing has been dropped or lost sight of, and that has closed its handle";
        assert_eq!(refusal(&handle), why);
        handle.close_dropped();
        assert_eq!(refusal(&handle), why);
        assert!(handle.close().is_ok());
        assert_eq!(handle.close().unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(refusal(&handle), "the handle of the thing has been closed");
        handle.close_dropped();
        assert!(handle.close().is_err(), "what was closed was not dropped");
    }

    #[test]
    fn who_has_it_keeps_what_another_closes() {
        let handle = Handle::open(Thing).unwrap();
        let had = handle.get().unwrap();
        handle.close().unwrap();
        assert_eq!(Arc::strong_count(&had), 1);
    }
}
