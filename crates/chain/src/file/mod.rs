//! A file per chunk, on one disk.
//!
//! ```text
//! begin   reserve room ─► tmp/7
//! append  check block by block ─► write to tmp/7
//! finish  claim the chunk ─► table, footer ─► durable_publish ─► index ─► answer
//! read    index ─► footer and table ─► frame by frame, checked
//! open    lock ─► identity ─► remove tmp/* ─► walk chunks/ (damaged ones to quarantine/) ─► index
//! ```
//!
//! The index is the ledger, in memory, rebuilt from the folders. Work on the disk is whole jobs on a bounded pool: a caller that goes away leaves no step half done.
//!
//! What is accepted: a deletion that was not answered may or may not have happened after a crash.

mod format;
mod open;
mod paths;
mod reader;
mod shared;
mod store;
mod writer;

pub use store::{FileStore, FileStoreConfig, FileStoreSeams};
