//! Where things lie in a store's folder. Names come from ids and numbers only, so no path leaves the folder.
//!
//! ```text
//! store            identity                    identity.rs
//! lock             one process at a time
//! tmp/7            open write number 7
//! chunks/3f/a0/0197….0                         format.rs
//! quarantine/12-0197….0    what was no intact chunk; the log says why
//! ```
//!
//! The two folders above a chunk are the last bytes of its blob's id: random ones, and the same for all chunks of a
//! blob, so that erasing a blob syncs one folder.

use cairn_core::ids::{BlobId, ChunkId};

use crate::ledger::WriteId;

pub(super) const TMP: &str = "tmp";
pub(super) const CHUNKS: &str = "chunks";
pub(super) const QUARANTINE: &str = "quarantine";

/// The bytes that name a blob's two folders.
pub(super) fn fan_out(blob: BlobId) -> [u8; 2] {
    let id = blob.as_bytes();
    [id[14], id[15]]
}

/// The outer of the two folders.
pub(super) fn outer_folder(folder: [u8; 2]) -> String {
    format!("{CHUNKS}/{:02x}", folder[0])
}

/// The folder that holds a blob's chunks.
pub(super) fn inner_folder(folder: [u8; 2]) -> String {
    format!("{CHUNKS}/{:02x}/{:02x}", folder[0], folder[1])
}

/// The file of a chunk.
pub(super) fn chunk_file(chunk: ChunkId) -> String {
    format!("{}/{chunk}", inner_folder(fan_out(chunk.blob)))
}

/// The file of an open write.
pub(super) fn write_aside(write: WriteId) -> String {
    format!("{TMP}/{write}")
}

/// The `number`th file put aside, with the chunk that its name stood for.
pub(super) fn quarantined(number: u64, chunk: Option<ChunkId>) -> String {
    match chunk {
        Some(chunk) => format!("{QUARANTINE}/{number}-{chunk}"),
        None => format!("{QUARANTINE}/{number}"),
    }
}
