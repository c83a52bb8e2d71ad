//! Chunks in append-only segments, on one disk: few files, few syncs.
//!
//! ```text
//! begin   reserve room
//! append  check block by block ─► small: in memory · more than 512 KiB: into an extent of the large segment
//! finish  claim the chunk ─► queue ─► one job writes and syncs for all who wait ─► index ─► answer
//! delete  claim ─► queue: a tombstone that names the segment ─► index
//! read    index ─► record: description, table, blocks, checked
//! open    lock ─► identity ─► index file, or nothing ─► records that it does not know ─► index
//!
//! small   │ header │ record record record ‥ │ record ‥ │        a batch begins with a page, its records follow closely
//! large   │ header │ record ······ │ (given up) │ record ·· │  an extent for each chunk, written while it arrives
//! ```
//!
//! The records are the truth; the index file (`checkpoint.rs`) saves reading them. What a segment holds is said in
//! `format.rs`, which of several records counts in `replay.rs`, how space comes back in `compact.rs`.
//!
//! What is accepted: a deletion that was not answered may or may not have happened after a crash, and a write that was
//! not answered may be there, whole.

mod checkpoint;
mod commit;
mod compact;
mod delete;
mod files;
mod format;
mod open;
mod reader;
mod recent;
mod replay;
mod scan;
mod sequence;
mod shared;
mod store;
mod survey;
mod table;
mod writer;

pub use store::{SegmentStore, SegmentStoreConfig, SegmentStoreSeams};
pub use survey::SegmentSurvey;
