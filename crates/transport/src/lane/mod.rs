//! The lane: `PUT` and `GET /chunks/{id}` on a node's port, plain HTTP/1.1.
//!
//! ```text
//! frame   ┌──────────────────────┬─────────────────┬───────────────────────────┐
//!         │ head length, u32 be  │ head (LaneHead) │ bytes, behind a data head │
//!         └──────────────────────┴─────────────────┴───────────────────────────┘
//! ```
//!
//! The heads and the order of the frames are described in `chunks.proto`. A head is small and is decoded; the bytes
//! behind it pass by as the network gives them, never gathered.

mod blocks;
mod frames;
mod replica;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

pub use frames::{Event, Frames, FramesError, data, finish, read_header, receipt, refusal};
pub(crate) use replica::LaneReplica;

/// Path of a chunk, before its id.
pub const CHUNKS: &str = "/chunks/";
/// Header with the capability for the chunk.
pub const GRANT: &str = "cairn-grant";
/// Media type of the bodies.
pub const MEDIA_TYPE: &str = "application/x-cairn-frames";

/// A grant as a header's value.
pub fn encode_grant(grant: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(grant)
}

/// Reads what [`encode_grant`] gave; nothing when it is something else.
pub fn decode_grant(text: &str) -> Option<Bytes> {
    URL_SAFE_NO_PAD.decode(text).ok().map(Bytes::from)
}
