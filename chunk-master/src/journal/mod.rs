//! The journal of the metadata on storage nodes.
//!
//! ```text
//! kv, redb ─ committed ─► feed: the last records ─┬─► keeper on node a ─► AppendRecords, fsync ┐
//!    ▲                                            ├─► keeper on node b                         ├─► durable
//!    └──────────── answers wait ◄─────────────────┴─► one more than needed                     ┘
//! ```
//!
//! A record is durable when as many nodes as wanted have it. One node more keeps the journal than are needed, so that one
//! that is slow or gone holds nobody up. A node that cannot be led on from what it has gets a backup first; one whose
//! records have grown beyond its backup gets a new one.

mod feed;
mod keep;

pub use feed::MetaJournal;
pub(crate) use keep::run;
