//! The ends of chunks' files.

use std::sync::Arc;

use bytes::Bytes;
use cairn_chain::conformance::{blob, content, put};
use cairn_chain::disk::memory::MemoryDisk;
use cairn_chain::{ChunkStore, FileStore, FileStoreConfig, FileStoreSeams, OpenError, WriteError};
use cairn_core::ids::ChunkId;
use cairn_runtime::{Blocking, Clock, Entropy, Spawner};

use super::mutate::{below, mutate, scramble, seal, served};
use super::watch::{Asking, Watch};
use crate::cases;

const FOOTER_BYTES: usize = 84;
const CRC_AT: usize = 68;
const LENGTHS: [usize; 3] = [200, 70_000, 1];

fn chunk(index: usize) -> ChunkId {
    ChunkId::new(blob(1), index as u32)
}

fn bytes(index: usize) -> Bytes {
    content(LENGTHS[index], index as u8)
}

async fn open(disk: &MemoryDisk) -> Result<FileStore, OpenError> {
    let config = FileStoreConfig { capacity: None, keep_free: 0 };
    let seams = FileStoreSeams {
        disk: Arc::new(Asking(disk.clone())),
        blocking: Blocking::inline(),
        spawner: Spawner::current(),
        entropy: Entropy::seeded(1),
        clock: Clock::system(),
    };
    FileStore::open(config, seams).await
}

async fn filled() -> MemoryDisk {
    let disk = MemoryDisk::new(1 << 26);
    let store = open(&disk).await.expect("a store");
    for index in 0..LENGTHS.len() {
        put(&store, chunk(index), &bytes(index)).await.expect("stored");
    }
    store.close().await;
    disk
}

/// Changes what a footer says, and the table, with the checksums that belong to them.
fn forge(file: &mut [u8], entropy: &Entropy) {
    let end = file.len();
    let (data, footer) = file.split_at_mut(end - FOOTER_BYTES);
    match entropy.below(3) {
        0 => {
            let table = data.len() - 4 * data.len().div_ceil(65_540).min(data.len() / 4);
            scramble(&mut data[table..], entropy);
            let covered = data[table..].to_vec();
            seal(footer, 64, &covered);
        }
        _ => scramble(&mut footer[..CRC_AT], entropy),
    }
    let mut covered = footer[..CRC_AT].to_vec();
    covered.extend_from_slice(&footer[CRC_AT + 4..]);
    seal(footer, CRC_AT, &covered);
}

async fn use_all(disk: &MemoryDisk, forged: bool, when: &str) {
    let Ok(store) = open(disk).await else {
        return;
    };
    for index in 0..LENGTHS.len() {
        if let Some(served) = served(&store, chunk(index)).await {
            assert!(served == bytes(index), "{when}: chunk {index} has other bytes");
        }
        drop(store.stat(chunk(index)).await);
        // What is damaged is healed by a repeat; a forged hash makes it other content.
        let again = put(&store, chunk(index), &bytes(index)).await;
        match again {
            Err(WriteError::Conflict { .. }) if forged => continue,
            again => again.expect("stored"),
        }
        let served = served(&store, chunk(index)).await;
        assert!(served.as_deref() == Some(&*bytes(index)), "{when}: chunk {index} is not there");
    }
    store.close().await;
}

#[tokio::test]
async fn files_of_chunks_that_are_damaged_or_forged_are_harmless() {
    let filled = filled().await;
    let paths = filled.files();
    let paths: Vec<_> = paths.iter().filter(|path| path.starts_with("chunks/")).collect();
    assert_eq!(paths.len(), LENGTHS.len());
    for (entropy, when) in cases(15) {
        let disk = filled.copy();
        let watch = Watch::begin();
        // Before the store is opened, or while it is.
        let is_open = entropy.below(2) == 0;
        let store = if is_open { open(&disk).await.ok() } else { None };
        let forged = entropy.below(3) > 0;
        disk.edit(paths[below(&entropy, paths.len())], |file| match forged {
            true => forge(file, &entropy),
            false => mutate(file, &entropy),
        });
        if let Some(store) = store {
            for index in 0..LENGTHS.len() {
                if let Some(served) = served(&store, chunk(index)).await {
                    assert!(served == bytes(index), "{when}: chunk {index} has other bytes");
                }
            }
            store.close().await;
        }
        use_all(&disk, forged, &when).await;
        watch.end(&when);
    }
}
