// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mosaic_t`, `volume_t`: what they stand for.

use std::marker::PhantomData;
use std::ops::Deref;
use std::path::PathBuf;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mosaic_core::mosaic::Mosaic;
use mosaic_core::{Error, ErrorKind, Result};

use crate::call::Failed;
use crate::gate::{Gate, Pass};
use crate::services::Callbacks;
use crate::table::{Table, was_given};

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

/// A volume that a program has opened: a name in a mosaic. Nothing of the storage is held.
#[derive(Debug)]
pub(crate) struct OpenVolume {
    /// Its mosaic, also when its own handle has been closed.
    pub(crate) mosaic: Arc<OpenMosaic>,
    name: Mutex<String>,
    given_device: Mutex<Option<PathBuf>>,
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

    /// Keeps other calls out that need a turn too, until it is dropped. A thread that has it gets none
    /// for what its call has called.
    ///
    /// # Errors
    /// `Busy` after the time that a lock is waited for.
    pub(crate) fn turn(&self) -> Result<Option<Pass>> {
        match self.turn.is_mine() {
            true => Ok(None),
            false => self.turn.alone(self.mosaic.lock_timeout).map(Some),
        }
    }

    /// Has `rename` give the volume another name, while no other call of the handle goes on.
    ///
    /// # Errors
    /// Those of `rename`; `Busy` if other calls have not ended in time, `Invalid` in one of them.
    pub(crate) fn rename(
        &self,
        to: &str,
        rename: impl FnOnce(&Mosaic, &str) -> Result<()>,
    ) -> Result<()> {
        let alone = self.gate.alone(self.mosaic.lock_timeout);
        let _alone = alone
            .map_err(|error| error.context(format!("cannot rename volume {:?}", self.name())))?;
        rename(self.core(), &self.name())?;
        to.clone_into(&mut lock(&self.name));
        Ok(())
    }

    /// The device that the program was given by this handle.
    pub(crate) fn given_device(&self) -> Option<PathBuf> {
        lock(&self.given_device).clone()
    }

    /// The program has been given that device, or has put it back.
    pub(crate) fn set_given_device(&self, device: Option<PathBuf>) {
        *lock(&self.given_device) = device;
    }
}

/// A call on a volume's handle, which is not renamed as long as this is there.
#[derive(Debug)]
pub(crate) struct Entered {
    volume: Arc<OpenVolume>,
    name: String,
    _inside: Pass,
}

impl Entered {
    /// The volume's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
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

    /// Closes it as what it stands for is gone; a later close is no fault of the program's.
    pub(crate) fn close_dropped(&self) {
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
            format!("the {word} has been dropped, and that has closed its handle")
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

impl Handle<OpenVolume> {
    /// Begins a call on it.
    ///
    /// # Errors
    /// Those of `get()`; `Busy` in a function that a call has called, if another thread renames it.
    pub(crate) fn enter(&self) -> Result<Entered> {
        let volume = self.get()?;
        let inside = volume.gate.share(volume.mosaic.lock_timeout)?;
        let name = volume.name();
        Ok(Entered {
            volume,
            name,
            _inside: inside,
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
        let why = "the thing has been dropped, and that has closed its handle";
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
