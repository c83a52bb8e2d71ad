//! The writer thread: the only place where a redb store changes.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use redb::{CommitError, WriteTransaction};

use super::group::Group;
use super::open::ENTRIES;
use super::outbox::Recorder;
use super::store::{Store, storage};
use super::table::{TableSource, WriteTable};
use crate::contain::contained;
use crate::error::{ClosedReason, StorageFailure};
use crate::front::Queues;
use crate::job::{Failure, Sequence, TransactJob};
use crate::overlay::{Change, Overlay};
use crate::queue::Popped;
use crate::stats::Counters;

/// How many commits may go without an fsync. It bounds what a crash of a busy store loses, and how
/// far the file grows: redb reuses no page before the commit that freed it is durable.
const MAX_UNSYNCED_COMMITS: u32 = 64;

pub(super) struct Writer {
    queues: Queues,
    store: Arc<Store>,
    counters: Arc<Counters>,
    flush_after: Duration,
    /// Commits since the last fsync.
    unsynced: u32,
    recorder: Option<Recorder>,
}

impl Writer {
    pub(super) fn new(
        queues: Queues,
        store: Arc<Store>,
        counters: Arc<Counters>,
        flush_after: Duration,
        recorder: Option<Recorder>,
    ) -> Writer {
        Writer { queues, store, counters, flush_after, unsynced: 0, recorder }
    }

    /// Serves transactions until the queue is closed and empty, then leaves a clean file behind.
    pub(super) fn serve(mut self, view_threads: Vec<JoinHandle<()>>) -> Result<(), StorageFailure> {
        loop {
            let patience = (self.unsynced > 0).then_some(self.flush_after);
            match self.queues.transactions.pop(patience) {
                Popped::Item(first) => self.serve_group(first),
                Popped::Idle => {
                    let outcome = self.guarded(Writer::flush);
                    self.recover_from(&outcome);
                }
                Popped::Closed => return self.end(view_threads),
            }
        }
    }

    fn serve_group(&mut self, first: Box<dyn TransactJob>) {
        let mut group = Group::new(first);
        let outcome = self.guarded(|writer| writer.commit_group(&mut group));
        self.recover_from(&outcome);
        let sequence = self.sequence();
        group.settle(&outcome.map(|()| sequence), &self.counters);
    }

    /// Runs the closures of a group and commits what they write.
    fn commit_group(&mut self, group: &mut Group) -> Result<(), Failure> {
        let txn = self.store.begin_write()?;
        {
            let mut table = txn
                .open_table(ENTRIES)
                .map_err(|error| storage("open the table of entries", error))?;
            group
                .run(&TableSource::new(&table), &self.queues.transactions)
                .map_err(Failure::Storage)?;
            apply(group.writes(), &mut table)?;
        }
        let writes = group.writes();
        let covers_something = !writes.is_empty() || self.unsynced > 0;
        let is_full = |recorder: &Recorder| recorder.is_full(writes);
        if group.wants_sync() && covers_something {
            self.commit_synced(txn, writes)
        } else if writes.is_empty() {
            txn.abort().map_err(|error| storage("end a transaction without writes", error))
        } else if self.unsynced + 1 >= MAX_UNSYNCED_COMMITS
            || self.recorder.as_ref().is_some_and(is_full)
        {
            self.commit_synced(txn, writes)
        } else {
            self.commit(txn, redb::Durability::None)?;
            if let Some(recorder) = &mut self.recorder {
                recorder.keep(writes);
            }
            Ok(())
        }
    }

    /// Commits `writes`, which are in `txn`, and everything before them, with an fsync.
    fn commit_synced(&mut self, txn: WriteTransaction, writes: &Overlay) -> Result<(), Failure> {
        if let Some(recorder) = &mut self.recorder {
            recorder.record(&txn, writes)?;
        }
        self.commit(txn, redb::Durability::Immediate)?;
        if let Some(recorder) = &mut self.recorder {
            recorder.committed();
        }
        Ok(())
    }

    /// What of the journal covers all that is synced.
    fn sequence(&self) -> Sequence {
        self.recorder.as_ref().map(Recorder::sequence)
    }

    /// Makes the commits that were not synced yet durable.
    fn flush(&mut self) -> Result<(), Failure> {
        if self.unsynced == 0 {
            return Ok(());
        }
        let txn = self.store.begin_write()?;
        self.commit_synced(txn, &Overlay::default())
    }

    fn commit(
        &mut self,
        mut txn: WriteTransaction,
        durability: redb::Durability,
    ) -> Result<(), Failure> {
        let synced = matches!(durability, redb::Durability::Immediate);
        txn.set_durability(durability)
            .map_err(|error| storage("choose the durability of a commit", error))?;
        txn.commit().map_err(|error| match error {
            CommitError::TransactionPoisoned => storage("commit", error),
            _ => Failure::MayHaveHappened(StorageFailure::new("commit", error)),
        })?;
        self.unsynced = if synced { 0 } else { self.unsynced + 1 };
        self.counters.committed(synced);
        Ok(())
    }

    /// Treats a panic of redb like an error of which it is not known how far it got.
    fn guarded(
        &mut self,
        f: impl FnOnce(&mut Writer) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        contained(|| f(self)).unwrap_or_else(|message| {
            Err(Failure::MayHaveHappened(StorageFailure::new("write", message)))
        })
    }

    /// Reopens the database after a storage error, or closes the store for good.
    fn recover_from(&mut self, outcome: &Result<(), Failure>) {
        let (Err(Failure::Storage(failure)) | Err(Failure::MayHaveHappened(failure))) = outcome
        else {
            return;
        };
        tracing::error!(%failure, unsynced = self.unsynced, "storage failed: reopening the store");
        self.unsynced = 0;
        self.counters.reopened();
        if let Err(reason) = self.store.reopen() {
            tracing::error!(%reason, "the store is closed");
            self.queues.close(&reason);
            return;
        }
        let Some(recorder) = &mut self.recorder else { return };
        if let Err(failure) = recorder.reopened(&self.store) {
            // Going on would leave a gap in the journal.
            tracing::error!(?failure, "the store is closed: its outbox cannot be read");
            self.queues.close(&ClosedReason::ByOwner);
        }
    }

    fn end(mut self, view_threads: Vec<JoinHandle<()>>) -> Result<(), StorageFailure> {
        self.queues.close(&ClosedReason::ByOwner);
        for thread in view_threads {
            if thread.join().is_err() {
                tracing::error!("a view thread of the store panicked");
            }
        }
        let flushed = self.guarded(Writer::flush);
        let closed = self.store.close();
        match flushed.and(closed) {
            Ok(()) => Ok(()),
            Err(Failure::Storage(failure) | Failure::MayHaveHappened(failure)) => Err(failure),
            Err(Failure::Closed(reason)) => Err(StorageFailure::new("close in order", reason)),
        }
    }
}

fn apply(writes: &Overlay, table: &mut WriteTable<'_>) -> Result<(), Failure> {
    for (key, change) in writes.iter() {
        let applied = match change {
            Change::Put(value) => table.insert(key.as_ref(), value.as_ref()),
            Change::Delete => table.remove(key.as_ref()),
        };
        applied.map_err(|error| storage("write the table", error))?;
    }
    Ok(())
}
