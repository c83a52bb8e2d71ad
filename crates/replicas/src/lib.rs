//! Several copies of a chunk, as one: saved in parallel, read in order.
//!
//! ```text
//! save    ChunkBuffer ──┬─► copy 1 ─► receipt        a copy that fails is placed anew and
//!                       ├─► copy 2 ─► receipt        written again from the buffer
//!                       └─► copy 3 ─► receipt
//!
//! fetch   copy 1 ─► blocks ✓ ─► … fails ┐
//!         copy 2 ──────────────► blocks ✓ ─► …       goes on at the right block; what was found
//!                                                    wrong is reported
//! ```
//!
//! A [`Replica`] is one node's copy of chunks; this crate knows nothing of the wire. An answer "I have no such chunk"
//! and "the bytes are wrong" are findings that call for repair; a node that cannot be reached is not.

pub mod buffer;
pub mod fetch;
pub mod replica;
pub mod save;

#[cfg(test)]
mod double;

pub use buffer::{BufferReader, ChunkBuffer, ChunkEnd, Piece, Source};
pub use fetch::{Fetch, FetchError, Run, fetch};
pub use replica::{CopyError, CopyRead, Frame, Replica, Replicas};
pub use save::{Replace, SaveBounds, SaveChunk, SaveError, Saved, save};
