//! A chunk store over an engine: the contract is kept here once, and an engine says only where bytes lie.
//!
//! ```text
//! begin   reserve room ─► a place of the engine's
//! append  check block by block ─► gather slices of whole blocks ─► one slice is written while the next one comes
//! finish  claim the chunk ─► same content? ─► publish: description and slices, durable ─► ledger ─► answer
//! read    ledger ─► description (footer, table) ─► slice by slice, checked
//! ```
//!
//! A change is a task of its own: a caller that goes away leaves no step half done, and closing waits for it. In memory
//! are, for each open write, the slice that is gathered and the one on its way.

mod description;
mod error;
mod open_error;
mod reader;
mod shared;
mod store;
mod writer;

use std::fmt;
use std::future::Future;

use bytes::Bytes;
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;

pub(crate) use description::Description;
pub(crate) use error::EngineError;
pub use open_error::EngineOpenError;
pub(crate) use shared::Kept;
pub use store::EngineStore;

/// Where the bytes of chunks lie. The caller has proven what it gives, proves what it gets, and lets nobody else at a
/// chunk that it publishes, removes or puts aside.
pub trait Engine: Send + Sync + fmt::Debug + Sized + 'static {
    /// Where an open write's slices are.
    type Place: Send + fmt::Debug + 'static;
    /// A chunk that is being read.
    type Held: Send + 'static;

    /// Bytes of a slice, but for a chunk's last: whole blocks, at most a frame.
    const SLICE_BYTES: usize;

    /// Bytes that a chunk of `length` bytes takes up.
    fn room(length: u64) -> u64;

    /// Begins a write. Costs nothing.
    fn place(&self, chunk: ChunkId) -> Self::Place;

    /// Takes the next slice. It need not be durable.
    fn write(
        &self,
        place: &mut Self::Place,
        slice: Bytes,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Makes a chunk durable and readable, at once, in the place of what the engine has of it. `replaces` says that it
    /// was readable before.
    fn publish(
        &self,
        place: &mut Self::Place,
        description: &Description,
        replaces: bool,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Forgets a write that was not published.
    fn discard(&self, place: Self::Place) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// The description of a chunk of `length` bytes; `None` when the engine has no such chunk.
    fn describe(
        &self,
        chunk: ChunkId,
        length: u64,
    ) -> impl Future<Output = Result<Option<(Description, Self::Held)>, EngineError>> + Send;

    /// Reads blocks that lie in one slice. A reader goes on where it ended, and wants `ahead` bytes after these.
    fn read(
        &self,
        held: &mut Self::Held,
        blocks: ByteRange,
        ahead: u64,
    ) -> impl Future<Output = Result<Bytes, EngineError>> + Send;

    /// Removes chunks with what was put aside of them, durably. Absent ones are fine.
    fn remove(&self, chunks: Vec<ChunkId>) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Takes a chunk out of what can be read, durably. Gives the room that it takes up now when it is kept for a look.
    fn put_aside(
        &self,
        chunk: ChunkId,
        length: u64,
    ) -> impl Future<Output = Result<Option<u64>, EngineError>> + Send;

    /// Lets go of what the engine has open. Nothing is written after this.
    fn close(&self) -> impl Future<Output = ()> + Send;
}
