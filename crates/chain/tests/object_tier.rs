//! The store in a bucket keeps the contract: on a bucket in memory, and on a real server that speaks S3.

use std::sync::Arc;

use cairn_chain::conformance::{PLENTY, blob};
use cairn_chain::object_tier::{KeyForm, Provider, S3Config};
use cairn_chain::{EngineOpenError, ObjectTier, ObjectTierConfig, ObjectTierSeams};
use cairn_core::ids::{ChunkId, NodeId};
use cairn_runtime::{Clock, Entropy, Spawner};
use object_store::memory::InMemory;

mod object_tier {
    mod bucket;
    mod config;
    mod gcs;
    mod moto;
    mod roles;
}

fn chunk(index: u32) -> ChunkId {
    ChunkId::new(blob(1), index)
}

/// A seed stands for a process: all are one node's.
fn seams(seed: u64) -> ObjectTierSeams {
    ObjectTierSeams {
        node: NodeId::from_slice(&[1; 16]).expect("16 bytes"),
        spawner: Spawner::current(),
        entropy: Entropy::seeded(seed),
        clock: Clock::system(),
    }
}

/// Settings of a store in a bucket in memory.
fn config(keys: KeyForm) -> ObjectTierConfig {
    let prefix = "some/where".to_owned();
    let bucket = Provider::S3(S3Config::default());
    ObjectTierConfig { prefix, keys, ..ObjectTierConfig::at(PLENTY, bucket) }
}

async fn open(bucket: &Arc<InMemory>, keys: KeyForm) -> Result<ObjectTier, EngineOpenError> {
    ObjectTier::open_on(bucket.clone(), &config(keys), seams(1)).await
}

mod in_memory {
    use super::{Arc, InMemory, KeyForm, open};
    use cairn_chain::ChunkStore;

    async fn fresh(_capacity: u64) -> (Arc<dyn ChunkStore>, ()) {
        let store = open(&Arc::new(InMemory::new()), KeyForm::Plain).await;
        (Arc::new(store.expect("a store")), ())
    }

    cairn_chain::chunk_store_conformance!(fresh);
}

mod in_memory_with_hashed_keys {
    use super::{Arc, InMemory, KeyForm, open};
    use cairn_chain::ChunkStore;

    async fn fresh(_capacity: u64) -> (Arc<dyn ChunkStore>, ()) {
        let store = open(&Arc::new(InMemory::new()), KeyForm::Hashed).await;
        (Arc::new(store.expect("a store")), ())
    }

    cairn_chain::chunk_store_conformance!(fresh);
}
