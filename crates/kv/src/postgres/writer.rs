//! The writer thread: the only one that commits for this handle.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;

use super::batch::{Batch, Jobs, MAX_TRANSACTIONS, Round};
use super::connect::{Link, Shared};
use super::reads::Reads;
use super::retry::{Backoff, Cause};
use super::trouble::Trouble;
use super::turn::Turn;
use super::tx::{BatchId, Commit, NotCommitted, Tx};
use crate::contain::contained;
use crate::error::{ClosedReason, StorageFailure};
use crate::front::Queues;
use crate::job::Failure;
use crate::overlay::Overlay;
use crate::queue::Popped;

/// How many ids of batches whose outcome is known are kept in the database before they are deleted.
const MAX_SETTLED: usize = 64;

pub(super) struct Writer {
    shared: Arc<Shared>,
    queues: Queues,
    link: Link,
    turn: Turn,
    /// Transactions for which there was no room in the batch before.
    rest: Jobs,
    /// Batches in the database whose outcome is known.
    settled: Vec<BatchId>,
    /// Whether something was committed that did not wait for an fsync.
    unsynced: bool,
}

/// Why an attempt at a batch did not succeed.
enum Setback {
    Trouble(Trouble),
    /// The answer to the COMMIT of this batch was lost.
    Unknown(BatchId, StorageFailure),
}

impl From<Trouble> for Setback {
    fn from(trouble: Trouble) -> Self {
        Setback::Trouble(trouble)
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, queues: Queues) -> Writer {
        Writer {
            link: Link::new(shared.clone()),
            turn: Turn::new(Link::new(shared.clone())),
            rest: Jobs::new(),
            settled: Vec::new(),
            unsynced: false,
            shared,
            queues,
        }
    }

    /// Serves transactions until the queue is closed and empty, then makes them durable.
    pub(super) fn serve(
        mut self,
        runtime: &Runtime,
        view_threads: Vec<JoinHandle<()>>,
    ) -> Result<(), StorageFailure> {
        while let Some(batch) = self.next_batch() {
            self.serve_batch(runtime, batch);
        }
        self.queues.close(&ClosedReason::ByOwner);
        for thread in view_threads {
            if thread.join().is_err() {
                tracing::error!("a view thread of the store panicked");
            }
        }
        // The tasks of connections end with the runtime; the sockets should be closed before.
        let ended = runtime.block_on(self.end());
        drop(self);
        ended
    }

    /// Waits for a transaction, and takes what waits behind it.
    fn next_batch(&mut self) -> Option<Batch> {
        let mut jobs = std::mem::take(&mut self.rest);
        if jobs.is_empty() {
            match self.queues.transactions.pop(None) {
                Popped::Item(first) => jobs.push_back(first),
                Popped::Idle | Popped::Closed => return None,
            }
        }
        while jobs.len() < MAX_TRANSACTIONS
            && let Some(next) = self.queues.transactions.try_pop()
        {
            jobs.push_back(next);
        }
        Some(Batch::new(jobs))
    }

    fn serve_batch(&mut self, runtime: &Runtime, mut batch: Batch) {
        let outcome = contained(|| runtime.block_on(self.commit(&mut batch)));
        let outcome = outcome.unwrap_or_else(|message| {
            self.link.lose();
            Err(Failure::MayHaveHappened(StorageFailure::new("write", message)))
        });
        if let Err(Failure::Storage(failure) | Failure::MayHaveHappened(failure)) = &outcome {
            tracing::error!(%failure, "a batch of transactions failed");
        }
        batch.settle(&outcome.map(|()| None), &self.shared.counters);
    }

    /// Runs the closures of a batch and commits what they write, again until it is done or told why
    /// not.
    async fn commit(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        let mut backoff = Backoff::new(&self.shared);
        loop {
            let shared = self.shared.clone();
            self.turn.take(&shared).await;
            let attempt = self.attempt(batch).await;
            self.turn.give().await;
            let setback = match attempt {
                Ok(()) => return Ok(()),
                Err(setback) => setback,
            };
            let (cause, failure) = match setback {
                Setback::Trouble(Trouble::Conflict(failure)) => {
                    self.shared.counters.conflicted();
                    self.turn.contended(&shared);
                    (Cause::Conflict, failure)
                }
                Setback::Trouble(Trouble::Lost(failure)) => {
                    self.link.lose();
                    (Cause::Lost, failure)
                }
                Setback::Trouble(Trouble::Refused(failure)) => {
                    self.link.lose();
                    return Err(Failure::Storage(failure));
                }
                Setback::Unknown(id, failure) => {
                    self.link.lose();
                    tracing::warn!(%failure, "the answer to a commit was lost: looking it up");
                    if self.happened(id).await.map_err(Failure::MayHaveHappened)? {
                        self.committed(id, batch.wants_sync());
                        return Ok(());
                    }
                    (Cause::Lost, failure)
                }
            };
            if backoff.is_over() {
                return Err(Failure::Storage(failure));
            }
            tracing::debug!(%failure, ?cause, "trying a batch of transactions again");
            backoff.pause(cause).await;
        }
    }

    async fn attempt(&mut self, batch: &mut Batch) -> Result<(), Setback> {
        let mut reads = Reads::default();
        let mut wanted = batch.begin_again();
        let connection = self.link.get().await?;
        let mut tx = Tx::read_write(connection);
        loop {
            if !wanted.is_empty()
                && let Err(trouble) = tx.fetch(&wanted, &mut reads).await
            {
                if matches!(trouble, Trouble::Conflict(_)) {
                    tx.roll_back().await?;
                }
                batch.expect(reads);
                return Err(trouble.into());
            }
            match batch.round(&reads, &mut self.rest) {
                Round::Complete => break,
                Round::Missing(missing) => wanted = missing,
            }
        }
        batch.expect(reads);
        let synced = batch.wants_sync();
        let covers_something = !batch.writes().is_empty() || (synced && self.unsynced);
        if !covers_something {
            return Ok(tx.end().await?);
        }
        let id = draw(&self.shared);
        match tx.commit(batch.writes(), &Commit { id, synced }).await {
            Ok(()) => {
                self.committed(id, synced);
                self.forget().await;
                Ok(())
            }
            Err(NotCommitted::Trouble(trouble)) => Err(trouble.into()),
            Err(NotCommitted::Unknown(failure)) => Err(Setback::Unknown(id, failure)),
        }
    }

    fn committed(&mut self, id: BatchId, synced: bool) {
        self.shared.counters.committed(synced);
        self.unsynced = !synced;
        self.settled.push(id);
    }

    /// Deletes batches whose outcome is known, once there are enough of them. Those that an error
    /// leaves behind go with the old ones of others.
    async fn forget(&mut self) {
        if self.settled.len() < MAX_SETTLED {
            return;
        }
        let settled = std::mem::take(&mut self.settled);
        if let Err(trouble) = forget(&mut self.link, &settled).await {
            tracing::debug!(trouble = %trouble.failure(), "ids of batches stay for now");
            self.link.lose();
        }
    }

    /// Finds out whether a commit happened whose answer was lost. If it cannot be found out in time,
    /// the failure says why.
    async fn happened(&mut self, id: BatchId) -> Result<bool, StorageFailure> {
        let mut backoff = Backoff::new(&self.shared);
        loop {
            match look_up(&mut self.link, id).await {
                Ok(happened) => return Ok(happened),
                Err(trouble) => {
                    self.link.lose();
                    if backoff.is_over() {
                        return Err(trouble.failure());
                    }
                }
            }
            backoff.pause(Cause::Lost).await;
        }
    }

    /// Makes everything durable that was not waited for: a commit that is synced covers all before.
    async fn end(&mut self) -> Result<(), StorageFailure> {
        let mut backoff = Backoff::new(&self.shared);
        while self.unsynced {
            let failure = match self.flush().await {
                Ok(()) => break,
                Err(NotCommitted::Trouble(trouble)) => trouble.failure(),
                Err(NotCommitted::Unknown(failure)) => failure,
            };
            self.link.lose();
            if backoff.is_over() {
                return Err(failure);
            }
            backoff.pause(Cause::Lost).await;
        }
        // Leaves nothing behind if it can.
        let _ = forget(&mut self.link, &self.settled).await;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), NotCommitted> {
        let id = draw(&self.shared);
        let tx = Tx::read_write(self.link.get().await?);
        tx.commit(&Overlay::default(), &Commit { id, synced: true }).await?;
        self.committed(id, true);
        Ok(())
    }
}

fn draw(shared: &Shared) -> BatchId {
    let mut id = BatchId::default();
    shared.entropy.fill(&mut id);
    id
}

/// Decides the fate of a batch, and says what it is.
///
/// The server may still be about to carry out a commit whose connection is gone. So this does not
/// only look for the batch, it takes its place: an insert of the same id waits for a commit that is
/// going on, and makes one that comes later fail.
async fn look_up(link: &mut Link, id: BatchId) -> Result<bool, Trouble> {
    const DOING: &str = "look up a batch";
    let connection = link.get().await?;
    let (client, statements) = (&connection.client, &connection.statements);
    let id: &[u8] = &id;
    let failed = |error| Trouble::of(DOING, &error);
    let params: [&(dyn ToSql + Sync); 1] = [&id];
    let fenced = client.execute(&statements.fence_batch, &params);
    connection.answer(DOING, fenced).await?.map_err(failed)?;
    let found = client.query_one(&statements.was_fenced, &params);
    let row = connection.answer(DOING, found).await?.map_err(failed)?;
    Ok(!row.try_get::<_, bool>(0).map_err(failed)?)
}

/// Deletes these batches, and whatever is so old that no session can still work on it.
pub(super) async fn forget(link: &mut Link, settled: &[BatchId]) -> Result<(), Trouble> {
    const DOING: &str = "forget batches";
    let connection = link.get().await?;
    let ids: Vec<&[u8]> = settled.iter().map(<[u8; 16]>::as_slice).collect();
    let params: [&(dyn ToSql + Sync); 1] = [&ids];
    let deleted = connection.client.execute(&connection.statements.forget_batches, &params);
    let deleted = connection.answer(DOING, deleted).await?;
    deleted.map(drop).map_err(|error| Trouble::of(DOING, &error))
}
