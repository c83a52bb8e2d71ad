//! What a store has done so far.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::TransactError;

/// Counts since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Transactions answered with success.
    pub transactions: u64,
    /// Transactions whose closure said no.
    pub rejected: u64,
    /// Transactions whose closure panicked.
    pub panicked: u64,
    /// Commits of the engine; one can hold many transactions.
    pub commits: u64,
    /// Commits that waited for an fsync.
    pub synced_commits: u64,
    /// How often a storage error made the store reopen its file, or connect again.
    pub reopens: u64,
    /// Commits that were done again, because another handle of the same store came in between.
    pub conflicts: u64,
    /// Transactions in the queue at this moment.
    pub waiting: usize,
}

/// The running counts behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    transactions: AtomicU64,
    rejected: AtomicU64,
    panicked: AtomicU64,
    commits: AtomicU64,
    synced_commits: AtomicU64,
    reopens: AtomicU64,
    conflicts: AtomicU64,
}

impl Counters {
    pub(crate) fn answered<T, E>(&self, result: &Result<T, TransactError<E>>) {
        match result {
            Ok(_) => add_one(&self.transactions),
            Err(TransactError::Rejected(_)) => add_one(&self.rejected),
            Err(TransactError::Panicked { .. }) => add_one(&self.panicked),
            Err(
                TransactError::Storage(_)
                | TransactError::MayHaveHappened(_)
                | TransactError::Busy { .. }
                | TransactError::Closed(_),
            ) => {}
        }
    }

    pub(crate) fn committed(&self, synced: bool) {
        add_one(&self.commits);
        if synced {
            add_one(&self.synced_commits);
        }
    }

    pub(crate) fn reopened(&self) {
        add_one(&self.reopens);
    }

    pub(crate) fn conflicted(&self) {
        add_one(&self.conflicts);
    }

    pub(crate) fn stats(&self, waiting: usize) -> Stats {
        Stats {
            transactions: self.transactions.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            panicked: self.panicked.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
            synced_commits: self.synced_commits.load(Ordering::Relaxed),
            reopens: self.reopens.load(Ordering::Relaxed),
            conflicts: self.conflicts.load(Ordering::Relaxed),
            waiting,
        }
    }
}

fn add_one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
