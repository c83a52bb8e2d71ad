//! How an engine fails, and what the contract calls that.

use std::io;

use cairn_core::ids::ChunkId;
use cairn_runtime::BlockingError;

use crate::store::{Damage, DeleteError, ReadError, WriteError};

/// An engine did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// What it has of the chunk is not what was stored.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The chunk was deleted while it was read.
    #[error("the chunk is gone")]
    Gone,
    /// There is no room left.
    #[error("no room is left")]
    Full,
    /// It refused; what is stored is what it was.
    #[error("{doing}: {source}")]
    Refused {
        /// What was tried.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It failed to make data durable: what is stored is not known until it is opened again.
    #[error("{doing}: {source}")]
    Failed {
        /// What was tried.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The work gave no result.
    #[error(transparent)]
    Interrupted(#[from] BlockingError),
}

impl EngineError {
    pub(crate) fn refused(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Refused { doing, source }
    }

    pub(super) fn of_read(self, chunk: ChunkId) -> ReadError {
        match self {
            Self::Damaged(damage) => ReadError::Corrupt { chunk, damage },
            Self::Gone => ReadError::NotFound { chunk },
            other => match other.cause() {
                Ok((doing, source)) => ReadError::Disk { doing, source },
                Err(error) => error.into(),
            },
        }
    }

    pub(super) fn of_write(self, wanted: u64, free: u64) -> WriteError {
        match self {
            Self::Full => WriteError::NoRoom { wanted, free },
            other => match other.cause() {
                Ok((doing, source)) => WriteError::Disk { doing, source },
                Err(error) => error.into(),
            },
        }
    }

    pub(super) fn of_delete(self) -> DeleteError {
        match self.cause() {
            Ok((doing, source)) => DeleteError::Disk { doing, source },
            Err(error) => error.into(),
        }
    }

    /// What was tried and why it failed.
    fn cause(self) -> Result<(&'static str, io::Error), BlockingError> {
        match self {
            Self::Damaged(damage) => {
                Ok(("look at a chunk", io::Error::new(io::ErrorKind::InvalidData, damage)))
            }
            Self::Gone => Ok(("look at a chunk", io::ErrorKind::NotFound.into())),
            Self::Full => Ok(("find room", io::ErrorKind::StorageFull.into())),
            Self::Refused { doing, source } | Self::Failed { doing, source } => Ok((doing, source)),
            Self::Interrupted(error) => Err(error),
        }
    }
}
