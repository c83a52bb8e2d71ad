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
mod outbox;
mod store;
mod table;
mod views;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cairn_core::journal::Position;
use redb::{ReadableTable, StorageBackend, StorageError};
use tokio::sync::watch;

use crate::dump::{Dumper, Sink, Unread};
use crate::error::{OpenError, StorageFailure};
use crate::front::{Front, Queues, start};
use crate::job::Failure;
use crate::journal::Journal;
use crate::stats::Counters;

pub(crate) use open::open_file;
use outbox::Recorder;
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

/// Opens a store and starts its threads.
pub(crate) fn open<B: StorageBackend>(
    storage: impl Fn() -> io::Result<B> + Send + Sync + 'static,
    config: RedbConfig,
    journal: Option<Arc<dyn Journal>>,
) -> Result<Front, OpenError> {
    let store = Arc::new(Store::open(open::opener(storage, config.cache_bytes))?);
    let queues = Queues::new(config.queue_len);
    let counters = Arc::<Counters>::default();
    let (ended_sender, ended) = watch::channel(None);
    // From here on an early return drops this front, which stops the threads that run already.
    let dumped = store.clone();
    let dumper = Dumper::new(move |sink| dump(&dumped, sink));
    let mut front = Front::new(queues.clone(), counters.clone(), ended, dumper);
    let recorder = match journal {
        Some(journal) => {
            let recorder = Recorder::open(&store, journal.clone()).map_err(not_opened)?;
            front.keep_journal(journal);
            Some(recorder)
        }
        None => {
            outbox::without_journal(&store).map_err(not_opened)?;
            None
        }
    };

    let mut view_threads = Vec::with_capacity(VIEW_THREADS);
    for number in 0..VIEW_THREADS {
        let (queues, store) = (queues.clone(), store.clone());
        let serve = move || views::serve(&queues, &store);
        view_threads.push(start(format!("kv-view-{number}"), serve)?);
    }
    let writer = Writer::new(queues, store, counters, config.flush_after, recorder);
    start("kv-writer".to_owned(), move || {
        let outcome = writer.serve(view_threads);
        ended_sender.send_replace(Some(outcome));
    })?;
    Ok(front)
}

fn not_opened(failure: Failure) -> OpenError {
    OpenError::Storage(failed(failure))
}

fn failed(failure: Failure) -> StorageFailure {
    match failure {
        Failure::Storage(failure) | Failure::MayHaveHappened(failure) => failure,
        Failure::Closed(reason) => StorageFailure::new("use the store", reason),
    }
}

/// Shows `sink` everything as one read transaction sees it.
fn dump(store: &Store, mut sink: Sink) -> Result<(), StorageFailure> {
    const DOING: &str = "read all entries";
    let broken = |error: StorageError| StorageFailure::new(DOING, error);
    let txn = store.begin_read().map_err(failed)?;
    let position = outbox::position(&txn)?;
    let table = txn.open_table(open::ENTRIES).map_err(|error| StorageFailure::new(DOING, error))?;
    let shown = (|| -> Result<Result<(), StorageFailure>, Unread> {
        sink.begin(position)?;
        let rows = match table.iter() {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(broken(error))),
        };
        for row in rows {
            let (key, value) = match row {
                Ok(row) => row,
                Err(error) => return Ok(Err(broken(error))),
            };
            let copy = bytes::Bytes::copy_from_slice;
            sink.entry((copy(key.value()), copy(value.value())))?;
        }
        sink.end()?;
        Ok(Ok(()))
    })();
    // Whoever does not read on has no use for an error either.
    shown.unwrap_or(Ok(()))
}

/// Tells a store that was just filled from a journal how far that was; the next opening begins a branch of its own, in a
/// term behind `term`. Nobody may have the file open.
///
/// # Errors
/// [`OpenError`].
pub fn adopt_journal(path: &Path, last: Position, term: u64) -> Result<(), OpenError> {
    let path = path.to_owned();
    let opener = open::opener(move || open_file(&path), RedbConfig::default().cache_bytes);
    outbox::adopt(&Store::open(opener)?, last, term).map_err(not_opened)
}
