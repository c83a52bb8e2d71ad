//! The seam to a journal that other machines keep of what the store commits.
//!
//! ```text
//! group ─► one redb commit: entries, outbox ─► committed ─► nodes ─► durable ─► answers
//!                                    ▲                                  │
//!                                    └─── leaves with a later commit ◄──┘
//! ```
//!
//! Each synced commit gets a record of all that was written since the one before, and puts it into the outbox in the same
//! commit. So the journal has no gaps, is never ahead of the store, and what a crash keeps from being sent is sent at the
//! next start.

use std::fmt;

use cairn_core::journal::{JournalRecord, Position};
use futures_util::future::BoxFuture;

/// What an open store tells its journal first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalStart {
    /// The last record that is committed.
    pub position: Position,
    /// Goes up with each opening, over all copies of the store that were made by restoring it.
    pub term: u64,
    /// Records that are committed and may not be durable elsewhere, in order.
    pub unsent: Vec<JournalRecord>,
}

/// A transaction is not, or not known to be, in the journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the journal of the metadata is not durable on enough nodes: {0}")]
pub struct NotJournaled(pub String);

/// Keeps records on other machines.
pub trait Journal: Send + Sync + fmt::Debug {
    /// The store is open. Called once, before anything else.
    fn opened(&self, start: JournalStart);

    /// A record is committed here. Called in the order of sequences, on the thread that commits: must not wait.
    fn committed(&self, record: JournalRecord);

    /// Records up to this sequence are durable on enough machines.
    fn durable(&self) -> u64;

    /// Whether further transactions may be begun.
    ///
    /// # Errors
    /// [`NotJournaled`] when too many records wait already.
    fn admits(&self) -> Result<(), NotJournaled>;

    /// Waits, not for ever, until records up to `sequence` are durable on enough machines.
    ///
    /// # Errors
    /// [`NotJournaled`] when the time is over; they may become durable later.
    fn wait(&self, sequence: u64) -> BoxFuture<'static, Result<(), NotJournaled>>;
}
