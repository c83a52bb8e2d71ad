//! The redb engine: one file, one writer thread, a few view threads.
//!
//! redb has one write transaction at a time and an fsync in each durable commit. So the writer
//! collects whatever waits and commits it as one group:
//!
//! ```text
//!   transact ──► queue ──► writer ──► group: closures over overlays ──► one redb commit ──► answers
//!   view ──────► queue ──► view threads ──► redb read transactions ──► answers
//! ```
//!
//! A storage error poisons redb until the file is opened again. The writer does that before it
//! answers the group, so that whoever looks next sees the state that survived.

mod group;
mod open;
mod store;
mod table;
mod views;
mod writer;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use redb::StorageBackend;
use tokio::sync::watch;

use crate::durability::Durability;
use crate::error::{ClosedReason, OpenError, StorageFailure, TransactError, ViewError};
use crate::job::{self, TransactJob, ViewJob};
use crate::queue::Queue;
use crate::snapshot::Snapshot;
use crate::stats::{Counters, Stats};
use crate::txn::Txn;

pub(crate) use open::open_file;
use store::Store;
use writer::Writer;

/// How many views run at the same time.
const VIEW_THREADS: usize = 2;

/// Settings of a redb store.
///
/// While the file is small, a commit costs one fsync, and opening after a crash reads the whole
/// file. A store that was opened with 1 GiB or more saves its allocator state with each synced
/// commit: two fsyncs and some 64 KiB per GiB more, and opening after a crash is quick at any size.
#[derive(Clone, Copy, Debug)]
pub struct RedbConfig {
    /// Memory for cached pages. More saves reads of cold keys; up to half of it holds buffered
    /// commits that wait for a sync.
    pub cache_bytes: usize,
    /// How many transactions may wait, and as many views. One more is answered with `Busy`.
    pub queue_len: usize,
    /// How long buffered transactions wait for company before an idle store syncs them. Longer
    /// saves fsyncs, shorter loses less in a crash.
    pub flush_after: Duration,
}

impl Default for RedbConfig {
    /// 64 MiB of cache, 1024 waiting, synced after 50 ms of idleness.
    fn default() -> Self {
        RedbConfig {
            cache_bytes: 64 << 20,
            queue_len: 1024,
            flush_after: Duration::from_millis(50),
        }
    }
}

/// How the store ended, once it has.
type Ended = Option<Result<(), StorageFailure>>;

#[derive(Debug)]
pub(crate) struct Redb {
    queues: Queues,
    counters: Arc<Counters>,
    ended: watch::Receiver<Ended>,
}

/// The two ways into the store.
#[derive(Clone)]
struct Queues {
    transactions: Arc<Queue<Box<dyn TransactJob>>>,
    views: Arc<Queue<Box<dyn ViewJob>>>,
}

impl Redb {
    pub(crate) fn open<B: StorageBackend>(
        storage: impl Fn() -> io::Result<B> + Send + Sync + 'static,
        config: RedbConfig,
    ) -> Result<Redb, OpenError> {
        let store = Arc::new(Store::open(open::opener(storage, config.cache_bytes))?);
        let queues = Queues::new(config.queue_len);
        let counters = Arc::<Counters>::default();
        let (ended_sender, ended) = watch::channel(None);
        // From here on an early return drops this engine, which stops the threads that run already.
        let engine = Redb { queues: queues.clone(), counters: counters.clone(), ended };

        let mut view_threads = Vec::with_capacity(VIEW_THREADS);
        for number in 0..VIEW_THREADS {
            let (queues, store) = (queues.clone(), store.clone());
            let serve = move || views::serve(&queues, &store);
            view_threads.push(start(format!("kv-view-{number}"), serve)?);
        }
        let writer = Writer::new(queues, store, counters, config.flush_after);
        start("kv-writer".to_owned(), move || {
            let outcome = writer.serve(view_threads);
            ended_sender.send_replace(Some(outcome));
        })?;
        Ok(engine)
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
        let (job, answer) = job::transact(durability, f);
        self.queues.transactions.push(job)?;
        answer.await.unwrap_or_else(|_| Err(TransactError::MayHaveHappened(unanswered())))
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

impl Drop for Redb {
    /// Lets the threads finish what waits and stop by themselves: the last handle may be dropped
    /// where waiting is not allowed, even on one of those threads.
    fn drop(&mut self) {
        self.queues.close(&ClosedReason::ByOwner);
    }
}

impl Queues {
    fn new(capacity: usize) -> Queues {
        Queues {
            transactions: Arc::new(Queue::new("transaction", capacity)),
            views: Arc::new(Queue::new("view", capacity)),
        }
    }

    fn close(&self, reason: &ClosedReason) {
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

fn start(
    name: String,
    f: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, OpenError> {
    thread::Builder::new().name(name).spawn(f).map_err(OpenError::Thread)
}

/// The answer when none came. The threads contain panics and always answer, so this is a last
/// resort: a panic inside redb, or in the `Drop` of a result.
fn unanswered() -> StorageFailure {
    StorageFailure::new("get an answer", "the thread that owed it panicked")
}
