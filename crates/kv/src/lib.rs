//! Ordered transactional key-value store: one API, one conformance suite, several engines.
//!
//! Domain code hands the store a closure. The closure reads through a [`Txn`], which keeps its
//! writes in an overlay, and says at the end whether they hold:
//!
//! ```text
//!   kv.transact(Synced, |txn| …)                     kv.view(|snapshot| …)
//!           │                                                │
//!   memory: runs at once under a mutex               memory: the same mutex
//!   others: bounded queue                            others: bounded queue
//!           │                                                │
//!      one writer thread                              a few view threads
//!      runs a group of closures, each over            run on a read transaction of
//!      (its overlay → the group's → the table),       everything committed so far,
//!      then commits them all as one                   buffered commits included
//! ```
//! With redb the table is a file of this process. With PostgreSQL it is a database, which several
//! processes may have open; what a closure reads is fetched for it and it runs again.
//!
//! # What holds
//! - **All or nothing, serializable.** A closure sees every transaction before it and none after.
//!   A business error or a panic leaves nothing behind, nor does it disturb its neighbours.
//! - **Order is durability order.** A crash loses a tail of the history, never a piece out of it,
//!   and nothing that was answered as [`Durability::Synced`].
//! - **An answer is never a guess.** [`TransactError`] tells what definitely did not happen from
//!   what may have happened.
//!
//! # What it asks of closures
//! They are pure (no I/O, clock or randomness of their own), bounded, and may run again: an engine
//! that finds a conflict runs the closure once more on newer data.
//!
//! With the feature `testing` there is a third engine, for simulations: memory, with a disk that loses power and faults
//! that a seed decides.
//!
//! # What it accepts as loss
//! - [`Durability::Buffered`] transactions since the last sync, in a crash (of the database's server,
//!   with PostgreSQL) or when a storage error makes the store reopen its file.
//! - After a failed fsync an operating system may drop what it could not write and still show it
//!   from its cache. The store answers "may have happened" and goes on; it cannot see that case.
//!   Copies of the metadata on other machines guard against it.

mod contain;
mod dump;
mod durability;
mod error;
mod front;
mod job;
mod journal;
mod kv;
mod limits;
mod memory;
mod overlay;
mod postgres;
mod queue;
mod range;
mod read;
mod redb;
#[cfg(feature = "testing")]
pub mod simulated;
mod snapshot;
mod source;
mod stats;
mod txn;

pub use dump::Dump;
pub use durability::Durability;
pub use error::{
    AccessError, ClosedReason, InvalidPostgresUrl, OpenError, StorageFailure, TransactError,
    ViewError,
};
pub use journal::{Journal, JournalStart, NotJournaled};
pub use kv::Kv;
pub use limits::{LimitError, MAX_KEY_BYTES, MAX_TXN_BYTES, MAX_TXN_WRITES, MAX_VALUE_BYTES};
pub use postgres::{PostgresConfig, PostgresTls};
pub use range::{Direction, KeyRange};
pub use read::{Entry, Read};
pub use redb::{RedbConfig, adopt_journal};
pub use snapshot::Snapshot;
pub use stats::Stats;
pub use txn::Txn;
