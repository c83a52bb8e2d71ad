//! The transactions that share one SQL transaction.

use std::collections::VecDeque;

use super::reads::{Reads, Wanted};
use crate::contain::contained;
use crate::durability::Durability;
use crate::job::{Failure, Sequence, TransactJob};
use crate::overlay::Overlay;
use crate::source::Layered;
use crate::stats::Counters;

/// How many transactions share one commit at most. It bounds how long the first of them waits.
pub(super) const MAX_TRANSACTIONS: usize = 256;
/// A batch takes no further transaction once it writes this much.
const MAX_WRITTEN_BYTES: usize = 16 << 20;
/// A batch takes no further transaction once it has read this much.
const MAX_READ_BYTES: usize = 64 << 20;

pub(super) type Jobs = VecDeque<Box<dyn TransactJob>>;

/// Transactions in their order, of which the first `done` have come to a result.
pub(super) struct Batch {
    jobs: Jobs,
    done: usize,
    writes: Overlay,
    wants_sync: bool,
    /// What an earlier attempt read: this one will want it again.
    expected: Wanted,
}

/// What a round came to.
pub(super) enum Round {
    /// Every transaction of the batch has come to a result.
    Complete,
    /// This is missing.
    Missing(Wanted),
}

impl Batch {
    /// A batch of `jobs`; there is at least one.
    pub(super) fn new(jobs: Jobs) -> Batch {
        let writes = Overlay::default();
        Batch { jobs, done: 0, writes, wants_sync: false, expected: Wanted::default() }
    }

    /// Forgets what the last attempt came to. What it read, it will want again: taken from here.
    pub(super) fn begin_again(&mut self) -> Wanted {
        self.done = 0;
        self.writes = Overlay::default();
        self.wants_sync = false;
        std::mem::take(&mut self.expected)
    }

    /// Remembers what an attempt read.
    pub(super) fn expect(&mut self, reads: Reads) {
        self.expected = reads.into_fetched();
    }

    /// Runs each transaction on top of those before it. Behind one that misses something, the others
    /// run as well, without its writes: only to see what they will miss. `rest` gets those for which
    /// there is no room.
    pub(super) fn round(&mut self, reads: &Reads, rest: &mut Jobs) -> Round {
        let mut stalled = false;
        for number in self.done..self.jobs.len() {
            if number > 0 && self.is_full(reads) {
                self.cut(rest);
                break;
            }
            let job = &mut self.jobs[number];
            let written = job.run(&Layered { base: reads, overlay: &self.writes });
            stalled |= reads.take_missed();
            if stalled {
                continue;
            }
            self.done += 1;
            if let Some(written) = written {
                self.wants_sync |= job.durability() == Durability::Synced;
                self.writes.absorb(written);
            }
        }
        let missing = reads.take_missing();
        if self.done == self.jobs.len() { Round::Complete } else { Round::Missing(missing) }
    }

    fn is_full(&self, reads: &Reads) -> bool {
        self.writes.bytes() >= MAX_WRITTEN_BYTES || reads.bytes() >= MAX_READ_BYTES
    }

    /// Hands over what is not done, but for the first transaction if there is nothing else.
    fn cut(&mut self, rest: &mut Jobs) {
        let mut cut = self.jobs.split_off(self.done.max(1));
        cut.append(rest);
        *rest = cut;
    }

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
