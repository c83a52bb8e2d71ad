//! Chunks in a bucket of an object store: S3 and what speaks it, Google Cloud Storage, Azure Blob Storage.
//!
//! ```text
//! <prefix>/store              facts.rs: format, disk, form of the keys, node
//! <prefix>/chunks/<key>       a chunk: the bytes of a chunk's file (data, table, footer)
//! <prefix>/quarantine/<key>   what was no intact chunk
//! ```
//!
//! A key is a chunk's id, or the SHA-256 of that text in hex where a store is told to use hashed keys: all keys then have
//! one length and one alphabet. Its footer says whose an object is; so hashed keys are read back at each open, one small
//! request for each object, where plain ones need the list alone.
//!
//! A chunk is one object, put whole or by parts that become visible when the upload is completed. A reader asks once for
//! table and footer, and once for all the blocks that it wants. What an answer acknowledges is as durable as the object
//! store says. Footers are not read when a store with plain keys is opened: damage shows when a chunk is read.
//!
//! A prefix belongs to the node that opened it first: its identity is put only where there is none, and names the node. Of two
//! that open a new prefix at once, one is refused.
//!
//! What is accepted: an object store has no locks. Two processes of one node are kept apart by the lock of its folder. Where a
//! bucket does not know conditions, of two nodes that open a new prefix at once the one that lost may find out only when it is
//! opened again. Parts of an upload that a dead process left stay until a lifecycle rule of the bucket removes them.

mod config;
mod connect;
mod engine;
mod keys;
mod open;

use std::sync::Arc;

use cairn_core::ids::NodeId;
use cairn_runtime::{Clock, Entropy, Spawner};
use object_store::ObjectStore;
use object_store::multipart::MultipartStore;

use crate::engine::{EngineOpenError, EngineStore};

pub use config::{
    AzureConfig, AzureCredentials, CannedAcl, GcsConfig, GcsCredentials, KeyForm, ObjectTierConfig,
    Provider, S3Config, S3Credentials, Secret,
};
pub use engine::ObjectEngine;

/// What an [`ObjectTier`] needs of its surroundings.
#[derive(Debug, Clone)]
pub struct ObjectTierSeams {
    /// Whose the store is.
    pub node: NodeId,
    /// Where changes run.
    pub spawner: Spawner,
    /// Draws the disk's incarnation when the prefix is new.
    pub entropy: Entropy,
    /// Dates the disk's incarnation.
    pub clock: Clock,
}

/// Chunks in a bucket; see [the module](crate::object_tier).
pub type ObjectTier = EngineStore<ObjectEngine>;

impl ObjectTier {
    /// Opens the store. Takes a request for each thousand chunks held, and with hashed keys one for each chunk.
    ///
    /// # Errors
    /// [`EngineOpenError`].
    pub async fn open(
        config: &ObjectTierConfig,
        seams: ObjectTierSeams,
    ) -> Result<Self, EngineOpenError> {
        let clients = connect::connect(config)?;
        open::open(config, clients, seams).await
    }

    /// Opens the store in a bucket that is at hand, whatever the provider of `config` is.
    ///
    /// # Errors
    /// As for [`Self::open`].
    #[cfg(feature = "testing")]
    pub async fn open_on(
        bucket: Arc<dyn Objects>,
        config: &ObjectTierConfig,
        seams: ObjectTierSeams,
    ) -> Result<Self, EngineOpenError> {
        let clients = Clients { create: Arc::clone(&bucket), plain: bucket };
        open::open(config, clients, seams).await
    }
}

/// A bucket.
pub trait Objects: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> Objects for T {}

/// The ways to a bucket.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    /// Sends with a request what belongs to a new object, as who may read it.
    create: Arc<dyn Objects>,
    /// Everything else.
    plain: Arc<dyn Objects>,
}
