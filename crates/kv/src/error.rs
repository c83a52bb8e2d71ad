//! What can go wrong, by what the caller can do next.

use std::error::Error;
use std::io;
use std::sync::Arc;

use crate::limits::LimitError;

/// A storage operation that failed. One failure can answer many transactions, so it is shared.
#[derive(Clone, Debug, thiserror::Error)]
#[error("could not {doing}: {cause}")]
pub struct StorageFailure {
    doing: &'static str,
    cause: Arc<dyn Error + Send + Sync>,
}

impl StorageFailure {
    /// `doing` is a short verb phrase: "commit the group".
    pub(crate) fn new(
        doing: &'static str,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> StorageFailure {
        StorageFailure { doing, cause: Arc::from(cause.into()) }
    }
}

/// Why a read or a write inside a closure failed.
///
/// Let it pass with `?`: give the business error of the closure a variant with
/// `#[from] AccessError`. A failed read ends the transaction as [`TransactError::Storage`], whatever
/// the closure makes of it; a limit reaches the caller inside [`TransactError::Rejected`].
#[derive(Clone, Debug, thiserror::Error)]
pub enum AccessError {
    /// The storage could not be read.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
    /// The write is over a limit and was not taken.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

/// Why a transaction has no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransactError<E> {
    /// The closure said no. Nothing was written.
    #[error("{0}")]
    Rejected(E),
    /// The closure panicked. Nothing was written.
    #[error("the transaction panicked: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// The storage failed before the commit. Nothing was written.
    #[error("the transaction did not happen: {0}")]
    Storage(StorageFailure),
    /// The storage failed in the commit: all of the transaction was written, or nothing. Look
    /// before doing it again.
    #[error("the transaction may have happened: {0}")]
    MayHaveHappened(StorageFailure),
    /// Too many transactions wait already. Nothing was written.
    #[error("the {queue} queue is full")]
    Busy {
        /// Which queue is full.
        queue: &'static str,
    },
    /// The store is closed. Nothing was written.
    #[error("the store is closed: {0}")]
    Closed(ClosedReason),
}

/// Why a view has no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ViewError<E> {
    /// The closure said no.
    #[error("{0}")]
    Rejected(E),
    /// The closure panicked.
    #[error("the view panicked: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// The storage could not be read.
    #[error("the view failed: {0}")]
    Storage(StorageFailure),
    /// Too many views wait already.
    #[error("the {queue} queue is full")]
    Busy {
        /// Which queue is full.
        queue: &'static str,
    },
    /// The store is closed.
    #[error("the store is closed: {0}")]
    Closed(ClosedReason),
}

impl<E> TransactError<E> {
    /// Whether the same transaction may be tried again, after a pause, without looking first.
    pub fn is_retryable(&self) -> bool {
        match self {
            TransactError::Storage(_) | TransactError::Busy { .. } => true,
            TransactError::Rejected(_)
            | TransactError::Panicked { .. }
            | TransactError::MayHaveHappened(_)
            | TransactError::Closed(_) => false,
        }
    }
}

impl<E> ViewError<E> {
    /// Whether the same view may be tried again after a pause.
    pub fn is_retryable(&self) -> bool {
        match self {
            ViewError::Storage(_) | ViewError::Busy { .. } => true,
            ViewError::Rejected(_) | ViewError::Panicked { .. } | ViewError::Closed(_) => false,
        }
    }
}

/// Why a store takes nothing more.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClosedReason {
    /// It was closed, or its last handle was dropped.
    #[error("by its owner")]
    ByOwner,
    /// A storage error made it reopen its file, and that failed too.
    #[error("it failed and could not be reopened: {0}")]
    ReopenFailed(Arc<OpenError>),
}

/// Why a text does not say where a PostgreSQL server is.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPostgresUrl {
    /// It is no such URL.
    #[error("no URL of a PostgreSQL server (postgres://user:password@host:port/database): {0}")]
    Unreadable(tokio_postgres::Error),
    /// The server is elsewhere, and nothing says how to know it.
    #[error(
        "the server is on another machine: give the file of the authority that signed its \
         certificate, or say sslmode=disable if the network between is trusted"
    )]
    InClear,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another handle of this one, has it open.
    #[error("the store is open elsewhere")]
    InUse,
    /// It was written by a version of this program that stores data differently.
    #[error(
        "the store has format version {found}, this program knows only version {known}: \
         run the program version that wrote it, or restore a backup"
    )]
    UnknownFormat {
        /// The version that the store states.
        found: u64,
        /// The version that this program reads and writes.
        known: u64,
    },
    /// It is a database, but of something else.
    #[error("the file is a redb database, but not a store of this program")]
    Foreign,
    /// A setting is out of its range.
    #[error("{problem}")]
    Setting {
        /// Which one, and what it may be.
        problem: String,
    },
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
    /// A thread could not be started.
    #[error("could not start a thread of the store: {0}")]
    Thread(io::Error),
}
