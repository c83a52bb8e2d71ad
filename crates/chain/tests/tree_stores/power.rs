//! redb on a disk that loses power: a chunk is whole or absent, and what was answered holds.

use cairn_chain::conformance::{PLENTY, content, get_all, put, put_in_pieces};
use cairn_chain::{BTreeStore, BTreeStoreConfig, ChunkStore, ReadError, WriteError};
use cairn_runtime::{Blocking, Entropy};

use self::disk::{Disk, Operation};
use crate::{chunk, seams};

#[path = "../../../kv/tests/redb/disk.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "the disk of the metadata's tests, which need more of it"
)]
mod disk;

async fn open(disk: &Disk) -> BTreeStore {
    let config = BTreeStoreConfig { capacity: Some(PLENTY), ..BTreeStoreConfig::at("in memory") };
    let seams = cairn_chain::TreeSeams { blocking: Blocking::inline(), ..seams() };
    let store = BTreeStore::open_on(disk.open().expect("a disk"), config, seams).await;
    store.expect("a store")
}

/// Power goes at every sync and write of a put, one run for each.
#[tokio::test]
async fn after_a_power_loss_at_any_step_of_a_put_the_chunk_is_whole_or_absent() {
    let bytes = content(1_200_000, 4);
    let older = content(70_000, 5);
    for operation in [Operation::Write, Operation::Sync] {
        for step in 0.. {
            let disk = Disk::default();
            let store = open(&disk).await;
            put(&store, chunk(0), &older).await.unwrap();
            disk.fail(operation, step);
            let stored = put_in_pieces(&store, chunk(1), &bytes, 60_000).await;
            let struck = !disk.heal();
            for seed in 0..4 {
                let chance = Entropy::seeded(seed);
                let survives = || match seed {
                    0 => false,
                    1 => true,
                    _ => chance.below(2) == 0,
                };
                let found = disk.after_power_loss(survives);
                let store = open(&found).await;
                let why = format!("{operation:?} {step} of seed {seed}");
                match get_all(&store, chunk(1)).await {
                    Ok(read) => assert!(read == bytes, "{why}: other bytes"),
                    Err(ReadError::NotFound { .. }) => assert!(stored.is_err(), "{why}: lost"),
                    Err(error) => panic!("{why}: {error}"),
                }
                let read = get_all(&store, chunk(0)).await.unwrap();
                assert!(read == older, "{why}: the older chunk");
                // What a crash left must not stand in the way.
                put(&store, chunk(1), &bytes).await.unwrap();
            }
            if !struck {
                assert!(step > 0, "no {operation:?} at all");
                stored.expect("nothing failed");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_deletion_that_was_answered_outlives_a_power_loss() {
    let disk = Disk::default();
    let store = open(&disk).await;
    for index in 0..3 {
        put(&store, chunk(index), &content(70_000, 5)).await.unwrap();
    }
    store.delete(vec![chunk(1)]).await.unwrap();
    let store = open(&disk.after_power_loss(|| false)).await;
    get_all(&store, chunk(1)).await.expect_err("deleted");
    assert_eq!(store.usage().chunks, 2);
}

#[tokio::test]
async fn after_a_failed_sync_the_store_takes_nothing_more() {
    let disk = Disk::default();
    let store = open(&disk).await;
    put(&store, chunk(0), &content(70_000, 5)).await.unwrap();
    disk.fail(Operation::Sync, 0);
    let stored = put(&store, chunk(1), &content(70_000, 5)).await;
    assert!(matches!(stored, Err(WriteError::Disk { .. })), "{stored:?}");
    let later = put(&store, chunk(2), &content(10, 1)).await;
    assert!(matches!(later, Err(WriteError::DiskFailed)), "{later:?}");
    assert!(store.disks()[0].failed);
    let store = open(&disk.after_power_loss(|| true)).await;
    assert!(get_all(&store, chunk(0)).await.unwrap() == content(70_000, 5));
    put(&store, chunk(2), &content(10, 1)).await.unwrap();
}

/// The books count values, not pages: what the file takes up beyond them has a bound.
#[tokio::test]
async fn the_file_is_not_much_larger_than_what_it_holds() {
    let disk = Disk::default();
    let store = open(&disk).await;
    let bytes = content(8 << 20, 1);
    for index in 0..8 {
        put(&store, chunk(index), &bytes).await.unwrap();
    }
    let held = store.usage().used;
    store.close().await;
    let file = redb::StorageBackend::len(&disk.open().unwrap()).unwrap();
    assert!(file < held * 3 / 2, "{file} bytes hold {held}");
}
