//! An upload: a body becomes a version.
//!
//! ```text
//! body ─► gather (unknown length: up to one chunk) ─► BeginUpload: quota reserved, first places
//!           │
//!           ▼
//!         cut into chunks ─► hash pipe (BLAKE3 per chunk, SHA-256 of the file)
//!           │
//!           ▼  a window of chunks in flight, out of one budget
//!         save copies ─► receipts ─► ConfirmChunks, in batches
//!           │
//!           ▼
//!         CommitUpload, detached from the client
//! ```
//!
//! Whatever goes wrong before the commit, the guard gives reservation and copies back: once, detached, whoever has left.

mod body;
mod chunks;
mod commit;
mod error;
mod gather;
mod guard;
mod hash;
mod late;
mod session;
mod shared;
mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use cairn_core::chunking::Chunking;
use cairn_core::digest::Sha256;
use cairn_core::ids::NodeId;
use cairn_core::names::{BucketName, ObjectKey};
use cairn_core::object::{AskedDurability, Durability, ObjectInfo, ObjectMeta, WriteCondition};
use cairn_core::strategy::SaveStrategy;
use futures_util::stream::BoxStream;

pub use error::{BodyError, UploadError};
pub use store::Uploads;

/// What is to be stored, apart from its bytes.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: ObjectKey,
    /// Bytes of the body, when announced.
    pub length: Option<u64>,
    /// How it is to be cut. Equal parts need the length.
    pub chunking: Chunking,
    /// SHA-256 that the body must have, when announced.
    pub sha256: Option<Sha256>,
    /// Kept with the version.
    pub meta: ObjectMeta,
    /// Conditions on the name.
    pub condition: WriteCondition,
    /// How copies are written; nothing for what the bucket says.
    pub write: Option<SaveStrategy>,
    /// What the acknowledgement is to mean at least.
    pub durability: AskedDurability,
}

/// A body as it arrives.
pub type Body = BoxStream<'static, Result<Bytes, BodyError>>;

/// A version that stands.
#[derive(Debug, Clone)]
pub struct StoredFile {
    /// The version.
    pub object: ObjectInfo,
    /// Whether the name existed before.
    pub replaced: bool,
    /// What the acknowledgement means.
    pub durability: Durability,
    /// The longest time that a node took from the last byte of a chunk to its receipt; of at most [`MAX_TIMED`] nodes.
    pub nodes: BTreeMap<NodeId, Duration>,
}

/// Nodes whose time is told with a stored file.
pub const MAX_TIMED: usize = 16;
