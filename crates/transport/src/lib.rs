//! Chunk bytes between services, two ways with one meaning.
//!
//! ```text
//! Replica ──┬─ gRPC   Chunks.Write, Chunks.Read: the contract, for everyone
//!           └─ lane   PUT, GET /chunks/{id}: plain HTTP/1.1 on the same port; bytes are never copied into messages
//! ```
//!
//! The lane carries the same fields in small heads and the bytes behind them. Within a process its bodies are handed
//! over as they are, piece by piece. What a node answers means the same on both; one conformance suite runs on both, over the
//! network and within a process.

mod answer;
mod grpc;
pub mod lane;
mod peer;

pub use peer::{Peer, Transport, UnknownTransport};
