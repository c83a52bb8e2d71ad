//! The way into an engine with threads of its own: two bounded queues, and the answers.

use std::sync::Arc;
use std::thread;

use tokio::sync::watch;

use crate::dump::{Dump, Dumper};
use crate::durability::Durability;
use crate::error::{ClosedReason, OpenError, StorageFailure, TransactError, ViewError};
use crate::job::{self, Sequence, TransactJob, ViewJob};
use crate::journal::Journal;
use crate::queue::Queue;
use crate::snapshot::Snapshot;
use crate::stats::{Counters, Stats};
use crate::txn::Txn;

/// How the store ended, once it has.
pub(crate) type Ended = Option<Result<(), StorageFailure>>;

/// What the handles of a store share. Its threads stop when it is dropped.
#[derive(Debug)]
pub(crate) struct Front {
    queues: Queues,
    counters: Arc<Counters>,
    ended: watch::Receiver<Ended>,
    dumper: Dumper,
    journal: Option<Arc<dyn Journal>>,
}

/// The two ways into the store.
#[derive(Clone)]
pub(crate) struct Queues {
    pub(crate) transactions: Arc<Queue<Box<dyn TransactJob>>>,
    pub(crate) views: Arc<Queue<Box<dyn ViewJob>>>,
}

impl Front {
    /// A front for threads that tell `ended` how they ended.
    pub(crate) fn new(
        queues: Queues,
        counters: Arc<Counters>,
        ended: watch::Receiver<Ended>,
        dumper: Dumper,
    ) -> Front {
        Front { queues, counters, ended, dumper, journal: None }
    }

    /// Synced transactions wait for `journal` from now on.
    pub(crate) fn keep_journal(&mut self, journal: Arc<dyn Journal>) {
        self.journal = Some(journal);
    }

    pub(crate) async fn transact<T, E, F>(
        &self,
        durability: Durability,
        f: F,
    ) -> Result<T, TransactError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnMut(&mut Txn<'_>) -> Result<T, E> + Send + 'static,
    {
        let Some(journal) = &self.journal else {
            return self.commit(durability, f).await.0;
        };
        let refused = |error| TransactError::Storage(StorageFailure::new("begin", error));
        journal.admits().map_err(refused)?;
        let (result, sequence) = self.commit(durability, f).await;
        let waits = durability == Durability::Synced;
        let waited = match sequence.filter(|_| waits) {
            Some(sequence) => journal.wait(sequence).await,
            None => Ok(()),
        };
        let missing = |error| StorageFailure::new("make the commit durable elsewhere", error);
        match (waited, result) {
            (Ok(()), result) | (Err(_), result @ Err(TransactError::Panicked { .. })) => result,
            (Err(error), Ok(_)) => Err(TransactError::MayHaveHappened(missing(error))),
            // What it was rejected for may be the work of a neighbour that is not durable.
            (Err(error), Err(_)) => Err(TransactError::Storage(missing(error))),
        }
    }

    /// As [`Self::transact`], without waiting for the journal.
    pub(crate) async fn transact_locally<T, E, F>(
        &self,
        durability: Durability,
        f: F,
    ) -> Result<T, TransactError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnMut(&mut Txn<'_>) -> Result<T, E> + Send + 'static,
    {
        self.commit(durability, f).await.0
    }

    /// The result, and the record of the journal that covers it.
    async fn commit<T, E, F>(
        &self,
        durability: Durability,
        f: F,
    ) -> (Result<T, TransactError<E>>, Sequence)
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnMut(&mut Txn<'_>) -> Result<T, E> + Send + 'static,
    {
        let (job, answer) = job::transact(durability, f);
        if let Err(refused) = self.queues.transactions.push(job) {
            return (Err(refused.into()), None);
        }
        let lost = |_| (Err(TransactError::MayHaveHappened(unanswered())), None);
        answer.await.unwrap_or_else(lost)
    }

    pub(crate) async fn dump(&self) -> Result<Dump, StorageFailure> {
        self.dumper.begin().await
    }

    pub(crate) async fn view<T, E, F>(&self, f: F) -> Result<T, ViewError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnMut(&Snapshot<'_>) -> Result<T, E> + Send + 'static,
    {
        let (job, answer) = job::view(f);
        self.queues.views.push(job)?;
        answer.await.unwrap_or_else(|_| Err(ViewError::Storage(unanswered())))
    }

    pub(crate) async fn close(&self) -> Result<(), StorageFailure> {
        self.queues.close(&ClosedReason::ByOwner);
        match self.ended.clone().wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.clone(),
            Ok(None) | Err(_) => Err(unanswered()),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        self.counters.stats(self.queues.transactions.len())
    }
}

impl Drop for Front {
    /// Lets the threads finish what waits and stop by themselves: the last handle may be dropped
    /// where waiting is not allowed, even on one of those threads.
    fn drop(&mut self) {
        self.queues.close(&ClosedReason::ByOwner);
    }
}

impl Queues {
    pub(crate) fn new(capacity: usize) -> Queues {
        Queues {
            transactions: Arc::new(Queue::new("transaction", capacity)),
            views: Arc::new(Queue::new("view", capacity)),
        }
    }

    pub(crate) fn close(&self, reason: &ClosedReason) {
        self.views.close(reason.clone());
        self.transactions.close(reason.clone());
    }
}

impl std::fmt::Debug for Queues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queues")
            .field("transactions", &self.transactions.len())
            .field("views", &self.views.len())
            .finish()
    }
}

/// Starts a thread of a store.
pub(crate) fn start(
    name: String,
    f: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, OpenError> {
    thread::Builder::new().name(name).spawn(f).map_err(OpenError::Thread)
}

/// The answer when none came. The threads contain panics and always answer, so this is a last
/// resort: a panic inside an engine, or in the `Drop` of a result.
fn unanswered() -> StorageFailure {
    StorageFailure::new("get an answer", "the thread that owed it panicked")
}
