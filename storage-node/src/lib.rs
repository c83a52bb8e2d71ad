//! The storage node: keeps chunks and proves them intact. It owns no facts about files and asks nobody where chunks
//! belong.
//!
//! ```text
//! gateway ── Write, Read ──────────────┐
//! master ─── List, Delete, Stat, Copy ─┼─► rpc/…, lane ─► ChunkStore (cairn-chain) ─► disk
//! node ───── Read (for its Copy) ──────┘
//!
//! master ── BeginTerm, AppendRecords, PutBackup ─► meta/ ─► disk
//! registration ── RegisterNode, Heartbeat ──► master
//! ```
//!
//! Each call has a file in `rpc/`: first the wire becomes domain types, then the store is asked. `lane.rs` is a second
//! wire to writing and reading.

mod config;
mod error;
mod fence;
mod identity;
mod lane;
mod meta;
mod metered_disk;
mod metrics;
mod node;
mod registration;
mod reporter;
mod rpc;
mod scrub;
mod tier_metrics;

pub use config::{Config, Seams};
pub use identity::{IdentityError, NodeIdentity};
pub use meta::{MetaError, MetaKeeper, MetaService};
pub use metered_disk::{DiskMetrics, MeteredDisk};
pub use node::StorageNode;
pub use reporter::Reporter;
pub use rpc::ChunksService;
pub use scrub::{Scrub, ScrubConfig, ScrubMetrics};
pub use tier_metrics::TierMetrics;
