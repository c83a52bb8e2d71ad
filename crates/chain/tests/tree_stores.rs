//! The stores on redb and fjall keep the contract, and what was answered.

use std::path::Path;
use std::sync::Arc;

use cairn_chain::conformance::{PLENTY, blob};
use cairn_chain::{
    BTreeStore, BTreeStoreConfig, ChunkStore, EngineOpenError, LsmStore, LsmStoreConfig, TreeSeams,
};
use cairn_core::ids::ChunkId;
use cairn_runtime::{Blocking, Clock, Entropy, Spawner};

mod tree_stores {
    mod both;
    mod config;
    mod lsm;
    mod power;
    mod synced;
}

fn chunk(index: u32) -> ChunkId {
    ChunkId::new(blob(1), index)
}

fn seams() -> TreeSeams {
    TreeSeams {
        blocking: Blocking::threads("disk", 2).expect("threads"),
        spawner: Spawner::current(),
        entropy: Entropy::seeded(1),
        clock: Clock::system(),
    }
}

async fn open_btree(folder: &Path) -> Result<Arc<dyn ChunkStore>, EngineOpenError> {
    let config = BTreeStoreConfig {
        capacity: Some(PLENTY),
        ..BTreeStoreConfig::at(folder.join("chunks.redb"))
    };
    Ok(Arc::new(BTreeStore::open(config, seams()).await?))
}

async fn open_lsm_store(folder: &Path) -> Result<LsmStore, EngineOpenError> {
    let config =
        LsmStoreConfig { capacity: Some(PLENTY), ..LsmStoreConfig::at(folder.join("lsm")) };
    LsmStore::open(config, seams()).await
}

async fn open_lsm(folder: &Path) -> Result<Arc<dyn ChunkStore>, EngineOpenError> {
    Ok(Arc::new(open_lsm_store(folder).await?))
}

mod btree_contract {
    use super::{Arc, ChunkStore, open_btree};

    async fn fresh(_capacity: u64) -> (Arc<dyn ChunkStore>, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        (open_btree(folder.path()).await.expect("a store"), folder)
    }

    cairn_chain::chunk_store_conformance!(fresh);
}

mod lsm_contract {
    use super::{Arc, ChunkStore, open_lsm};

    async fn fresh(_capacity: u64) -> (Arc<dyn ChunkStore>, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        (open_lsm(folder.path()).await.expect("a store"), folder)
    }

    cairn_chain::chunk_store_conformance!(fresh);
}
