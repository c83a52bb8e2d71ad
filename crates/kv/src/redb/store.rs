//! The database that is open at the moment, shared by the writer and the view threads.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::{ReadTransaction, ReadableDatabase, WriteTransaction};

use super::open::{Opened, Opener};
use crate::contain::contained;
use crate::error::{ClosedReason, OpenError, StorageFailure};
use crate::job::Failure;

/// An open database and the way to open it again.
pub(super) struct Store {
    opener: Opener,
    state: RwLock<State>,
}

enum State {
    Open(Opened),
    Closed(ClosedReason),
}

impl Store {
    pub(super) fn open(opener: Opener) -> Result<Store, OpenError> {
        let state = RwLock::new(State::Open(opener()?));
        Ok(Store { opener, state })
    }

    /// A snapshot of everything committed. It turns invalid when the store reopens.
    pub(super) fn begin_read(&self) -> Result<ReadTransaction, Failure> {
        match &*self.read() {
            State::Open(opened) => opened
                .database
                .begin_read()
                .map_err(|error| storage("begin a read transaction", error)),
            State::Closed(reason) => Err(Failure::Closed(reason.clone())),
        }
    }

    /// The one write transaction.
    pub(super) fn begin_write(&self) -> Result<WriteTransaction, Failure> {
        match &*self.read() {
            State::Open(opened) => {
                let mut txn = opened
                    .database
                    .begin_write()
                    .map_err(|error| storage("begin a write transaction", error))?;
                txn.set_quick_repair(opened.quick_repair);
                Ok(txn)
            }
            State::Closed(reason) => Err(Failure::Closed(reason.clone())),
        }
    }

    /// Drops the database and opens it again, which rolls back to the last state that is whole. No
    /// write transaction may be open.
    pub(super) fn reopen(&self) -> Result<(), ClosedReason> {
        let mut state = self.write();
        // The old database must let go of the file before a new one can take it.
        *state = State::Closed(ClosedReason::ByOwner);
        let opened = contained(&self.opener).unwrap_or_else(|message| {
            Err(OpenError::Storage(StorageFailure::new("open the database", message)))
        });
        match opened {
            Ok(opened) => {
                *state = State::Open(opened);
                Ok(())
            }
            Err(error) => {
                let reason = ClosedReason::ReopenFailed(Arc::new(error));
                *state = State::Closed(reason.clone());
                Err(reason)
            }
        }
    }

    /// Lets go of the file. Fails if the store had to let go of it before.
    pub(super) fn close(&self) -> Result<(), Failure> {
        let mut state = self.write();
        if let State::Closed(reason) = &*state {
            return Err(Failure::Closed(reason.clone()));
        }
        *state = State::Closed(ClosedReason::ByOwner);
        Ok(())
    }

    // A panic of redb under this lock leaves the state as it was, and the writer reopens after it.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A failure of something that has written nothing.
pub(super) fn storage(
    doing: &'static str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Failure {
    Failure::Storage(StorageFailure::new(doing, error))
}
