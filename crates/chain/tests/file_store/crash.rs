//! Power goes, syncs fail, disks fill: a chunk is whole or absent, and what was answered holds.

use std::io::ErrorKind;

use cairn_chain::conformance::{blob, content, get_all, put, put_in_pieces};
use cairn_chain::disk::memory::{DiskOp, Loss, MemoryDisk};
use cairn_chain::{ChunkStore, DeleteError, ReadError, WriteError};
use cairn_core::ids::ChunkId;

use crate::open_memory;

const LOSSES: [Loss; 7] = [
    Loss::Everything,
    Loss::Content,
    Loss::Nothing,
    Loss::Coin(1),
    Loss::Coin(2),
    Loss::Coin(3),
    Loss::Coin(4),
];

fn chunk(index: u32) -> ChunkId {
    ChunkId::new(blob(1), index)
}

/// Runs `put` with the power going after each number of changes, until it goes through.
#[tokio::test]
async fn after_a_crash_at_any_step_of_a_put_the_chunk_is_whole_or_absent() {
    let bytes = content(200_000, 4);
    let older = content(70_000, 5);
    for loss in LOSSES {
        for step in 0.. {
            let disk = MemoryDisk::new(1 << 24);
            let store = open_memory(&disk).await;
            put(&*store, chunk(0), &older).await.unwrap();
            disk.stop_after(step);
            let stored = put_in_pieces(&*store, chunk(1), &bytes, 60_000).await;
            let disk = disk.crash(loss);
            let store = open_memory(&disk).await;
            match get_all(&*store, chunk(1)).await {
                Ok(read) => assert!(read == bytes, "{loss:?} after {step} changes: other bytes"),
                Err(ReadError::NotFound { .. }) => {
                    assert!(stored.is_err(), "{loss:?} after {step} changes: lost");
                }
                Err(error) => panic!("{loss:?} after {step} changes: {error}"),
            }
            let read = get_all(&*store, chunk(0)).await.unwrap();
            assert!(read == older, "{loss:?} after {step} changes: the older chunk");
            let left = disk.files();
            let left = left.iter().filter(|path| path.starts_with("tmp/"));
            assert_eq!(left.count(), 0, "leftovers are removed");
            // What a crash left must not stand in the way.
            put(&*store, chunk(1), &bytes).await.unwrap();
            if stored.is_ok() {
                assert!(step > 5, "the crashes came before anything happened");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_crash_at_any_step_of_the_first_open_leaves_a_folder_that_opens() {
    for loss in LOSSES {
        for step in 0..40 {
            let disk = MemoryDisk::new(1 << 24);
            disk.stop_after(step);
            let seen = crate::open(
                std::sync::Arc::new(disk.clone()),
                cairn_runtime::Blocking::inline(),
                None,
            )
            .await;
            let known = seen.as_ref().map(|store| store.disks()[0].disk).ok();
            let store = open_memory(&disk.crash(loss)).await;
            if let Some(known) = known {
                assert_eq!(store.disks()[0].disk, known, "{loss:?} after {step} changes");
            }
        }
    }
}

#[tokio::test]
async fn a_deletion_that_was_answered_survives_a_crash() {
    for loss in LOSSES {
        let disk = MemoryDisk::new(1 << 24);
        let store = open_memory(&disk).await;
        for index in 0..4 {
            put(&*store, chunk(index), &content(10, 1)).await.unwrap();
        }
        store.delete(vec![chunk(0)]).await.unwrap();
        store.erase_blob(blob(1), 2).await.unwrap();
        let store = open_memory(&disk.crash(loss)).await;
        assert_eq!(store.usage().chunks, 1, "{loss:?}");
        get_all(&*store, chunk(3)).await.unwrap();
    }
}

#[tokio::test]
async fn a_failed_sync_is_not_acknowledged_and_ends_writing_but_not_reading() {
    for op in [DiskOp::Sync, DiskOp::SyncFolder] {
        let disk = MemoryDisk::new(1 << 24);
        let store = open_memory(&disk).await;
        put(&*store, chunk(0), &content(10, 1)).await.unwrap();
        disk.fail(op, 0, ErrorKind::Other);
        let stored = put(&*store, chunk(1), &content(10, 1)).await;
        assert!(matches!(stored, Err(WriteError::Disk { .. })), "{stored:?}");
        let usage = store.usage();
        assert_eq!(usage.capacity, usage.used, "nothing more is placed here");
        for _ in 0..2 {
            let stored = put(&*store, chunk(1), &content(10, 1)).await;
            assert!(matches!(stored, Err(WriteError::DiskFailed)), "{stored:?}");
        }
        let deleted = store.delete(vec![chunk(0)]).await;
        assert!(matches!(deleted, Err(DeleteError::DiskFailed)), "{deleted:?}");
        get_all(&*store, chunk(0)).await.unwrap();
        let absent = get_all(&*store, chunk(1)).await;
        assert!(matches!(absent, Err(ReadError::NotFound { .. })), "{absent:?}");
        let store = open_memory(&disk.crash(Loss::Everything)).await;
        get_all(&*store, chunk(0)).await.unwrap();
        put(&*store, chunk(1), &content(10, 1)).await.unwrap();
    }
}

#[tokio::test]
async fn a_step_that_fails_leaves_nothing_and_the_store_goes_on() {
    let ops = [DiskOp::Create, DiskOp::Write, DiskOp::Rename];
    for (op, kind) in ops
        .into_iter()
        .flat_map(|op| [ErrorKind::Other, ErrorKind::StorageFull].map(|kind| (op, kind)))
    {
        let disk = MemoryDisk::new(1 << 24);
        let store = open_memory(&disk).await;
        disk.fail(op, 0, kind);
        let stored = put(&*store, chunk(0), &content(100_000, 1)).await;
        match (kind, stored) {
            (ErrorKind::StorageFull, Err(WriteError::NoRoom { .. })) => {}
            (ErrorKind::Other, Err(WriteError::Disk { .. })) => {}
            (_, other) => panic!("{op:?} {kind:?}: {other:?}"),
        }
        assert_eq!(store.usage().reserved, 0);
        put(&*store, chunk(0), &content(100_000, 1)).await.unwrap();
        store.close().await;
        let files = disk.files();
        assert!(files.iter().all(|path| !path.starts_with("tmp/")), "{files:?}");
    }
}

#[tokio::test]
async fn a_disk_that_is_fuller_than_thought_is_no_room() {
    let disk = MemoryDisk::new(100_000);
    let store = crate::open(
        std::sync::Arc::new(disk.clone()),
        cairn_runtime::Blocking::inline(),
        Some(1 << 30),
    )
    .await
    .unwrap();
    let stored = put(&*store, chunk(0), &content(200_000, 1)).await;
    assert!(matches!(stored, Err(WriteError::NoRoom { .. })), "{stored:?}");
    store.close().await;
    let store = open_memory(&disk).await;
    put(&*store, chunk(0), &content(50_000, 1)).await.unwrap();
}

#[tokio::test]
async fn a_repeat_of_an_answered_put_never_loses_it() {
    let bytes = content(200_000, 4);
    for loss in LOSSES {
        for step in 0..20 {
            let disk = MemoryDisk::new(1 << 24);
            let store = open_memory(&disk).await;
            put(&*store, chunk(0), &bytes).await.unwrap();
            disk.stop_after(step);
            drop(put(&*store, chunk(0), &bytes).await);
            let store = open_memory(&disk.crash(loss)).await;
            let read = get_all(&*store, chunk(0)).await;
            assert!(read.unwrap() == bytes, "{loss:?} after {step} changes");
        }
    }
}
