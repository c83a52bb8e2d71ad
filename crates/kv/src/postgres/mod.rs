//! The engine on the wire protocol of PostgreSQL: one ordered table, one writer thread, a few view
//! threads.
//!
//! ```text
//!   transact ─► queue ─► writer ─► batch: closures over overlays over what was read
//!                                   │ miss ▲            │ complete
//!                                   ▼      │            ▼
//!                              fetch all that is     all writes, the batch's id and COMMIT,
//!                              missing, at once      at once; then the answers
//!   view ─────► queue ─► view threads: the same rounds in a read-only transaction
//! ```
//!
//! # How synchronous closures read over a network
//! A closure reads from what its SQL transaction has fetched so far ([`reads`]). What is not there
//! ends the run and is noted; everything that all closures of the batch missed is fetched in one
//! round trip, and those that came to no result run again. So a batch costs as many round trips as
//! its longest chain of reads that depend on each other (reading on a blocking thread would cost the
//! sum of all reads), and one for the commit. Reads happen inside of the SERIALIZABLE transaction,
//! which therefore vouches for them. A batch that is tried again fetches at the start all that it
//! read before.
//!
//! # What makes it right
//! - The database decides: a batch is one SERIALIZABLE transaction, so handles in other processes may
//!   commit at the same time. 40001 and 40P01 run the batch again (`retry`); whoever was disturbed
//!   takes turns with the others for a while ([`turn`]).
//! - A batch writes its id. When the answer to a COMMIT is lost, the id is looked up in a way that
//!   also decides the outcome (`writer::look_up`); if that cannot be done in time, the answer is "may
//!   have happened".
//! - Sessions commit with `synchronous_commit = off`, which loses a tail of the history in a crash of
//!   the server; a batch with a `Synced` transaction commits with the server's own level, which
//!   covers everything before it.
//! - Nothing waits without a bound: connecting, statements (at the server and here), locks, idling in
//!   a transaction, retries.
//!
//! # What it accepts
//! The SQL is what PostgreSQL, CockroachDB and YugabyteDB all document; it was run on PostgreSQL 15.
//! `synchronous_commit` means nothing to the other two, whose commits are always durable.

mod batch;
mod config;
mod connect;
mod dump;
mod reads;
mod retry;
mod schema;
mod tls;
mod trouble;
mod turn;
mod tx;
mod views;
mod writer;

use std::sync::Arc;
use std::sync::mpsc;

use cairn_runtime::{Clock, Entropy};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::dump::Dumper;
use crate::error::{OpenError, StorageFailure};
use crate::front::{Front, Queues, start};
use crate::stats::Counters;

pub use config::{PostgresConfig, PostgresTls};
use connect::Shared;
use tls::Tls;
use writer::Writer;

/// Opens a store, makes its tables where there are none, and starts its threads.
pub(crate) fn open(
    config: PostgresConfig,
    clock: Clock,
    entropy: Entropy,
) -> Result<Front, OpenError> {
    if let Some(problem) = config.problem() {
        return Err(OpenError::Setting { problem });
    }
    let counters = Arc::<Counters>::default();
    let queues = Queues::new(config.queue_len);
    let tls = Tls::new(&config.tls)?;
    let view_threads = config.view_connections.max(1);
    let shared = Arc::new(Shared { config, tls, clock, entropy, counters: counters.clone() });
    let (ended_sender, ended) = watch::channel(None);
    // From here on an early return drops this front, which stops the threads that run already.
    let dumped = shared.clone();
    let dumper = Dumper::new(move |sink| dump::dump(&dumped, sink));
    let front = Front::new(queues.clone(), counters, ended, dumper);

    let mut threads = Vec::with_capacity(view_threads);
    for number in 0..view_threads {
        let (runtime, queues, shared) = (runtime()?, queues.clone(), shared.clone());
        let serve = move || views::serve(&runtime, &queues, &shared);
        threads.push(start(format!("kv-view-{number}"), serve)?);
    }
    let runtime = runtime()?;
    let (opened_sender, opened) = mpsc::channel();
    start("kv-writer".to_owned(), move || {
        let migrated = runtime.block_on(schema::migrate(&shared));
        let is_open = migrated.is_ok();
        // Whoever opens the store waits for this.
        let _ = opened_sender.send(migrated);
        if is_open {
            let outcome = Writer::new(shared, queues).serve(&runtime, threads);
            ended_sender.send_replace(Some(outcome));
        }
    })?;
    opened.recv().unwrap_or_else(|_| {
        Err(StorageFailure::new("make the tables", "the thread that does it panicked").into())
    })?;
    Ok(front)
}

/// A runtime for the one thread that blocks on it: connections make progress while it waits.
fn runtime() -> Result<Runtime, OpenError> {
    Builder::new_current_thread().enable_all().build().map_err(OpenError::Thread)
}
