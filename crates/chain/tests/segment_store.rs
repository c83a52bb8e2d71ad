//! The segment store keeps the contract, on a real folder and on the disk in memory.

use std::sync::Arc;

use cairn_chain::disk::memory::MemoryDisk;
use cairn_chain::{
    ChunkStore, Disk, OpenError, RealDisk, SegmentStore, SegmentStoreConfig, SegmentStoreSeams,
};
use cairn_runtime::{Blocking, Clock, Entropy, Spawner};

mod segment_store {
    mod basics;
    mod cache;
    mod crash;
    mod damage;
}

fn config(capacity: Option<u64>) -> SegmentStoreConfig {
    SegmentStoreConfig {
        capacity,
        keep_free: 0,
        segment_bytes: Some(1 << 20),
        compact_rate: u64::MAX,
        ..SegmentStoreConfig::default()
    }
}

async fn open(
    disk: Arc<dyn Disk>,
    blocking: Blocking,
    config: SegmentStoreConfig,
) -> Result<Arc<SegmentStore>, OpenError> {
    let seams = SegmentStoreSeams {
        disk,
        blocking,
        spawner: Spawner::current(),
        entropy: Entropy::seeded(1),
        clock: Clock::system(),
    };
    Ok(Arc::new(SegmentStore::open(config, seams).await?))
}

async fn open_memory(disk: &MemoryDisk) -> Arc<SegmentStore> {
    let store = open(Arc::new(disk.clone()), Blocking::inline(), config(None)).await;
    store.expect("a store on the disk in memory")
}

async fn open_folder(folder: &std::path::Path) -> Result<Arc<SegmentStore>, OpenError> {
    let disk = Arc::new(RealDisk::open(folder).expect("a folder"));
    let blocking = Blocking::threads("disk", 2).expect("threads");
    open(disk, blocking, config(Some(cairn_chain::conformance::PLENTY))).await
}

mod on_a_folder {
    use super::{Arc, ChunkStore, open_folder};

    async fn fresh(_capacity: u64) -> (Arc<dyn ChunkStore>, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open_folder(folder.path()).await.expect("a store");
        (store, folder)
    }

    cairn_chain::chunk_store_conformance!(fresh);
}

mod in_memory {
    use super::{Arc, ChunkStore, MemoryDisk, open_memory};

    async fn fresh(capacity: u64) -> (Arc<dyn ChunkStore>, ()) {
        (open_memory(&MemoryDisk::new(capacity)).await, ())
    }

    cairn_chain::chunk_store_conformance!(fresh);
}
