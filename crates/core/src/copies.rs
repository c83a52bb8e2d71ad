//! What passes between gateway, master and node about the copies of a chunk.

use bytes::Bytes;
use uuid::Uuid;

use crate::digest::ChunkHash;
use crate::ids::{ChunkId, ChunkIndex, DiskIncarnation, NodeId};

/// A node that is to hold, or holds, a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The node.
    pub node: NodeId,
    /// Where it is reached.
    pub address: String,
    /// Capability for one chunk on this node; empty in open mode.
    pub grant: Bytes,
}

/// Where the copies of a chunk go, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkPlacement {
    /// The chunk's position in the upload's blob.
    pub index: ChunkIndex,
    /// The nodes, all different.
    pub places: Vec<Place>,
}

/// A chunk that needs places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkWant {
    /// The chunk's position in the upload's blob.
    pub index: ChunkIndex,
    /// Its length, or the most it can have.
    pub length: u64,
    /// How many places.
    pub copies: usize,
    /// Nodes that hold a copy already.
    pub holders: Vec<NodeId>,
    /// Nodes that just failed, not to be given again.
    pub failed: Vec<NodeId>,
}

/// A node's word that a copy is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyReceipt {
    /// The node.
    pub node: NodeId,
    /// The life of the disk that holds the copy.
    pub disk: DiskIncarnation,
}

/// A moment in the life of a node, as the node counts it: what it began to write later has a higher number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeMoment {
    /// The start of the node, drawn anew for each.
    pub start: Uuid,
    /// Writes that it had begun since.
    pub writes: u64,
}

/// Durable copies of one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkReceipt {
    /// The chunk's position in the upload's blob.
    pub index: ChunkIndex,
    /// Its length in bytes.
    pub length: u64,
    /// Its hash.
    pub hash: ChunkHash,
    /// Its copies, on different nodes.
    pub copies: Vec<CopyReceipt>,
}

/// Where a chunk of an object lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkLocation {
    /// The chunk.
    pub chunk: ChunkId,
    /// Where it begins in the object.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Its hash.
    pub hash: ChunkHash,
    /// Its copies, best first.
    pub places: Vec<Place>,
}

/// What a reader found of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CopyFinding {
    /// The node answered that it has no such chunk.
    Missing,
    /// The bytes do not match.
    Corrupt,
}

/// A finding about one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyReport {
    /// The chunk.
    pub chunk: ChunkId,
    /// The node.
    pub node: NodeId,
    /// What was found.
    pub finding: CopyFinding,
}
