//! The transactions that share one commit.

use super::table::{TableSource, WriteTable};
use crate::contain::contained;
use crate::durability::Durability;
use crate::error::StorageFailure;
use crate::job::{Failure, Sequence, TransactJob};
use crate::overlay::Overlay;
use crate::queue::Queue;
use crate::source::Layered;
use crate::stats::Counters;

/// How many transactions share one commit at most. It bounds how long the first of them waits.
const MAX_TRANSACTIONS: usize = 256;
/// A group takes no further transaction once it writes this much: its memory is bounded by this
/// and one transaction more.
const MAX_BYTES: usize = 4 << 20;

/// Transactions that have run, and what they want to write together.
#[derive(Default)]
pub(super) struct Group {
    jobs: Vec<Box<dyn TransactJob>>,
    writes: Overlay,
    wants_sync: bool,
}

impl Group {
    /// A group with its first transaction, which has not run yet.
    pub(super) fn new(first: Box<dyn TransactJob>) -> Group {
        Group { jobs: vec![first], ..Group::default() }
    }

    /// Runs the first transaction, and whatever waits behind it, each on top of those before it.
    pub(super) fn run(
        &mut self,
        table: &TableSource<'_, WriteTable<'_>>,
        queue: &Queue<Box<dyn TransactJob>>,
    ) -> Result<(), StorageFailure> {
        loop {
            self.run_last(table);
            if let Some(failure) = table.broken() {
                return Err(failure.clone());
            }
            if self.is_full() {
                return Ok(());
            }
            match queue.try_pop() {
                Some(next) => self.jobs.push(next),
                None => return Ok(()),
            }
        }
    }

    fn run_last(&mut self, table: &TableSource<'_, WriteTable<'_>>) {
        let job = self.jobs.last_mut().expect("a group starts with its first transaction");
        let so_far = Layered { base: table, overlay: &self.writes };
        if let Some(writes) = job.run(&so_far) {
            self.wants_sync |= job.durability() == Durability::Synced;
            self.writes.absorb(writes);
        }
    }

    fn is_full(&self) -> bool {
        self.jobs.len() >= MAX_TRANSACTIONS || self.writes.bytes() >= MAX_BYTES
    }

    /// What all transactions that came to a result write.
    pub(super) fn writes(&self) -> &Overlay {
        &self.writes
    }

    /// Whether one of them waits for an fsync.
    pub(super) fn wants_sync(&self) -> bool {
        self.wants_sync
    }

    /// Answers everyone.
    pub(super) fn settle(self, outcome: &Result<Sequence, Failure>, counters: &Counters) {
        for job in self.jobs {
            // An answer that no one waits for is dropped here, and its own code may panic.
            if let Err(message) = contained(|| job.settle(outcome, counters)) {
                tracing::error!(message, "the result of a transaction panicked");
            }
        }
    }
}
