//! A download: a range of a version becomes a body.
//!
//! ```text
//! Locate, page by page ─► chunks in order ─► fetch (two at a time, out of one budget) ─► body
//! ```
//!
//! The first bytes are read before the answer's head is sent, so that a file that cannot be read is a 503 and not a
//! broken 200. After that a failure breaks the connection: never a clean end of a short body.

mod ahead;
mod error;
mod lease;
mod locate;
mod moved;
mod stream;
mod wait;

use std::time::Duration;

use cairn_core::copies::ChunkLocation;
use cairn_core::object::ObjectInfo;
use cairn_core::strategy::ReadStrategy;

pub use error::DownloadError;
pub use stream::{Downloads, Opened};
pub use wait::{InvalidWait, MAX_WAIT_SECONDS, Wait};

/// A version, and the first page of where it lies.
#[derive(Debug, Clone)]
pub struct Located {
    /// The version.
    pub object: ObjectInfo,
    chunks: Vec<ChunkLocation>,
    next_offset: Option<u64>,
    /// How long the version is safe from a purge without another question.
    lease: Duration,
    /// How the bucket wants copies to be read.
    read: Option<ReadStrategy>,
}
