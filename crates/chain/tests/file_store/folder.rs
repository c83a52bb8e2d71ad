//! The store's folder: whose it is, who may use it, what it looks like.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use cairn_chain::conformance::{blob, content, get_all, put, send};
use cairn_chain::disk::memory::{Loss, MemoryDisk};
use cairn_chain::{ChunkStore, FileStore, ListChunks, OpenError, ReadError, RealDisk, WriteError};
use cairn_core::ids::ChunkId;
use cairn_runtime::{Blocking, Entropy, Spawner};

use crate::{open, open_folder, open_memory};

fn chunk(index: u32) -> ChunkId {
    ChunkId::new(blob(1), index)
}

async fn refused(disk: &MemoryDisk) -> OpenError {
    let store = open(Arc::new(disk.clone()), Blocking::inline(), None).await;
    store.expect_err("the folder is refused")
}

#[tokio::test]
async fn chunks_and_identity_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_folder(folder.path()).await.unwrap();
    let disk = store.disks()[0].disk;
    let bytes = content(100_000, 1);
    put(&*store, chunk(0), &bytes).await.unwrap();
    let used = store.usage();
    store.close().await;
    let store = open_folder(folder.path()).await.unwrap();
    assert_eq!(store.disks()[0].disk, disk);
    assert_eq!(store.usage(), used);
    assert!(get_all(&*store, chunk(0)).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_second_process_is_refused_until_the_first_lets_go() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_folder(folder.path()).await.unwrap();
    let second = open_folder(folder.path()).await;
    assert!(matches!(second, Err(OpenError::Locked)), "{second:?}");
    store.close().await;
    open_folder(folder.path()).await.unwrap();
}

#[tokio::test]
async fn folders_and_files_are_for_the_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data/store");
    let store = open_folder(&root).await.unwrap();
    put(&*store, chunk(0), &content(10, 1)).await.unwrap();
    let [outer, inner] = ["01", "5b"];
    let file = root.join(format!("chunks/{outer}/{inner}/{}", chunk(0)));
    for path in file.ancestors().take(4) {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    }
}

#[tokio::test]
async fn a_file_in_the_folders_place_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(RealDisk::open(&file).is_err());
}

#[tokio::test]
async fn another_format_is_refused_by_its_name() {
    let disk = MemoryDisk::new(1 << 20);
    open_memory(&disk).await.close().await;
    disk.edit("store", |file| *file = b"cairn chunk store\nformat 7\n".to_vec());
    let error = refused(&disk).await;
    assert!(matches!(&error, OpenError::UnknownFormat { format } if format == "7"), "{error}");
    assert!(error.to_string().contains("format 7"), "{error}");
}

#[tokio::test]
async fn a_damaged_or_lost_identity_is_not_replaced_by_a_new_one() {
    let disk = MemoryDisk::new(1 << 20);
    let store = open_memory(&disk).await;
    put(&*store, chunk(0), &content(10, 1)).await.unwrap();
    store.close().await;
    disk.edit("store", |file| file[40] ^= 1);
    let error = refused(&disk).await;
    assert!(matches!(error, OpenError::IdentityDamaged), "{error}");
    cairn_chain::Disk::remove(&disk, "store").unwrap();
    let error = refused(&disk).await;
    assert!(matches!(error, OpenError::IdentityMissing), "{error}");
}

#[tokio::test]
async fn what_a_dead_process_left_is_removed() {
    let disk = MemoryDisk::new(1 << 20);
    let store = open_memory(&disk).await;
    let mut writer = store.begin(chunk(0), 100_000).await.unwrap();
    send(&mut *writer, chunk(0), &content(100_000, 1), 100_000).await.unwrap();
    let disk = disk.crash(Loss::Nothing);
    assert!(disk.files().contains(&"tmp/0".to_owned()), "{:?}", disk.files());
    let store = open_memory(&disk).await;
    assert!(!disk.files().contains(&"tmp/0".to_owned()), "{:?}", disk.files());
    assert_eq!(store.usage().used, 0);
}

async fn files_aside(folder: &std::path::Path) -> usize {
    fs::read_dir(folder.join("tmp")).expect("the folder of open writes").count()
}

#[tokio::test]
async fn the_file_of_a_dropped_writer_goes_away() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<FileStore> = open_folder(folder.path()).await.unwrap();
    let mut writer = store.begin(chunk(0), 100_000).await.unwrap();
    send(&mut *writer, chunk(0), &content(100_000, 1), 10_000).await.unwrap();
    assert_eq!(files_aside(folder.path()).await, 1);
    drop(writer);
    let clock = cairn_runtime::Clock::system();
    let gone = async {
        while files_aside(folder.path()).await > 0 {
            clock.sleep(Duration::from_millis(1)).await;
        }
    };
    clock.timeout(Duration::from_secs(10), gone).await.expect("the file goes away");
}

#[tokio::test]
async fn capacity_is_what_is_free_and_what_is_held() {
    let disk = MemoryDisk::new(1 << 20);
    let store = open_memory(&disk).await;
    assert_eq!(store.usage().capacity, (1 << 20) - store_file_bytes(&disk));
    put(&*store, chunk(0), &content(300_000, 1)).await.unwrap();
    store.close().await;
    let again = open_memory(&disk).await.usage();
    // What is held counts in whole pages.
    let apart = again.capacity.abs_diff(store.usage().capacity);
    assert!(apart < 4096, "{again:?}");
}

fn store_file_bytes(disk: &MemoryDisk) -> u64 {
    let mut bytes = 0;
    disk.edit("store", |file| bytes = file.len() as u64);
    bytes
}

/// Writes, repeats, deletes, erases and drops writers of a few chunks, in an order that `seed` draws.
async fn churn(store: Arc<FileStore>, seed: u64) {
    let entropy = Entropy::seeded(seed);
    for _ in 0..60 {
        let n = entropy.below(4) as u8;
        let chunk = ChunkId::new(blob(n), entropy.below(3) as u32);
        // Content is a matter of the chunk, as ids are never used again.
        let bytes = content(70_000 + chunk.index as usize, n);
        match entropy.below(10) {
            0..5 => match put(&*store, chunk, &bytes).await {
                Ok(()) | Err(WriteError::Erased { .. }) => {}
                Err(error) => panic!("{error}"),
            },
            5 => drop(store.begin(chunk, 100_000).await),
            6 => drop(store.delete(vec![chunk]).await.expect("deleted")),
            7 if n == 3 => drop(store.erase_blob(blob(n), 2).await.expect("erased")),
            _ => match get_all(&*store, chunk).await {
                Ok(read) => assert!(read == bytes),
                Err(ReadError::NotFound { .. }) => {}
                Err(error) => panic!("{error}"),
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_happens_at_once_the_books_and_the_folder_agree() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_folder(folder.path()).await.unwrap();
    let spawner = Spawner::current();
    let tasks: Vec<_> = (0..8).map(|seed| spawner.spawn(churn(store.clone(), seed))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    let usage = store.usage();
    assert_eq!((usage.open_writes, usage.reserved), (0, 0));
    let all = ListChunks { after: None, blob: None, limit: 100 };
    let listed = store.list(all).await.unwrap();
    store.close().await;
    assert_eq!(files_aside(folder.path()).await, 0);
    let store = open_folder(folder.path()).await.unwrap();
    assert_eq!(store.usage(), usage);
    assert_eq!(store.list(all).await.unwrap(), listed);
}
