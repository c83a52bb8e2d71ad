//! Several copies of a chunk, as one: saved, read and deleted by strategies.
//!
//! ```text
//! save    ChunkBuffer ──┬─► copy 1 ─► receipt        a copy that fails is placed anew and
//!                       ├─► copy 2 ─► receipt        written again from the buffer; a quorum
//!                       └─► copy 3 ─► receipt        is answered before the last one
//!
//! fetch   copy 1 ─► blocks ✓ ─► … fails ┐
//!         copy 2 ──────────────► blocks ✓ ─► …       goes on at the right block; what was found
//!                                                    wrong is reported; a slow one is overtaken;
//!                                                    without a copy it is asked where else one is
//! delete  copy 1 ✓  copy 2 ✗  copy 3 ✓               says what went
//! ```
//!
//! A [`Replica`] is one node's copy of chunks; this crate knows nothing of the wire. An answer "I have no such chunk"
//! and "the bytes are wrong" are findings that call for repair; a node that cannot be reached is not.
//!
//! A strategy is a [`rule`] of numbers. The standard ones are values ([`SaveStrategy`], [`ReadStrategy`], [`DeleteStrategy`]): one that a
//! bucket keeps or a header names must mean the same at every gateway. Others are added by name ([`Named`]) by whoever uses this crate.

pub mod buffer;
pub mod delete;
pub mod fetch;
pub mod memory;
pub mod pace;
pub mod replica;
pub mod rule;
pub mod save;
pub mod targets;

#[cfg(test)]
mod double;

pub use buffer::{BufferReader, ChunkBuffer, ChunkEnd, Piece, Source};
pub use cairn_core::strategy::{
    DeleteStrategy, Enough, ReadStrategy, SaveStrategy, UnknownStrategy,
};
pub use delete::{Deletion, delete};
pub use fetch::{Elsewhere, Fetch, FetchError, Run, fetch};
pub use memory::MemoryReplica;
pub use pace::{Pace, PaceBounds, ReadEvent};
pub use replica::{CopyError, CopyRead, Frame, Replica, Replicas};
pub use rule::{DeleteRule, Named, NotAdded, ReadRule, Rule, SaveRule};
pub use save::{
    Late, NotSaved, NowhereElse, Replace, Save, SaveBounds, SaveError, Saved, save, save_or_undo,
};
pub use targets::{InvalidTargets, Targets, Units};
