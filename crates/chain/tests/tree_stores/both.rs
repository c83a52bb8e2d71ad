//! What holds for both: life over a restart, one opening at a time, damage, leftovers.

use std::path::Path;
use std::sync::Arc;

use cairn_chain::conformance::{blob, content, get, get_all, put, send};
use cairn_chain::{
    ChunkStore, Damage, EngineOpenError, FRAME_BYTES, ListChunks, ReadError, WriteError,
};
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;
use cairn_runtime::{Entropy, Spawner};
use fjall::{Database, KeyspaceCreateOptions, KvSeparationOptions};
use futures_util::StreamExt;
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use crate::{chunk, open_btree, open_lsm};

const ALL: ListChunks = ListChunks { after: None, blob: None, limit: 100 };

/// Changes an entry behind the store's back: the first of `table` whose key begins so.
fn edit_btree(folder: &Path, table: &str, begins: &[u8], edit: impl FnOnce(&mut Vec<u8>)) {
    let database = redb::Database::open(folder.join("chunks.redb")).expect("the file");
    let name = format!("chunks.{table}");
    let table: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(&name);
    let transaction = database.begin_write().expect("a transaction");
    {
        let mut table = transaction.open_table(table).expect("the table");
        let entry = table.range(begins..).expect("a range").next().expect("an entry");
        let (key, mut value) = {
            let (key, value) = entry.expect("read");
            (key.value().to_vec(), value.value().to_vec())
        };
        edit(&mut value);
        table.insert(&key[..], &value[..]).expect("put");
    }
    transaction.commit().expect("committed");
}

fn edit_lsm(folder: &Path, table: &str, begins: &[u8], edit: impl FnOnce(&mut Vec<u8>)) {
    let database = Database::builder(folder.join("lsm")).open().expect("the folder");
    let options = match table {
        "slices" => KeyspaceCreateOptions::default()
            .with_kv_separation(Some(KvSeparationOptions::default())),
        _ => KeyspaceCreateOptions::default(),
    };
    let table = database.keyspace(table, || options).expect("the table");
    let entry = table.range(begins..).next().expect("an entry");
    let (key, value) = entry.into_inner().expect("read");
    let mut value = value.to_vec();
    edit(&mut value);
    table.insert(key, value).expect("put");
    database.persist(fjall::PersistMode::SyncAll).expect("synced");
}

/// How many slices there are.
fn slices_btree(folder: &Path) -> usize {
    let database = redb::Database::open(folder.join("chunks.redb")).expect("the file");
    let table: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("chunks.slices");
    let table = database.begin_read().expect("a transaction").open_table(table);
    table.expect("the table").iter().expect("entries").count()
}

fn slices_lsm(folder: &Path) -> usize {
    let database = Database::builder(folder.join("lsm")).open().expect("the folder");
    let options =
        KeyspaceCreateOptions::default().with_kv_separation(Some(KvSeparationOptions::default()));
    database.keyspace("slices", || options).expect("the table").iter().count()
}

macro_rules! both {
    ($module:ident, $open:path, $edit:path, $slices:path) => {
        mod $module {
            use super::*;

            #[tokio::test]
            async fn chunks_and_identity_outlive_the_process() {
                let folder = tempfile::tempdir().unwrap();
                let store = $open(folder.path()).await.unwrap();
                let disk = store.disks()[0].disk;
                let bytes = content(FRAME_BYTES * 2 + 100_000, 1);
                put(&*store, chunk(0), &bytes).await.unwrap();
                put(&*store, chunk(1), &bytes).await.unwrap();
                store.delete(vec![chunk(1)]).await.unwrap();
                let used = store.usage();
                store.close().await;
                let store = $open(folder.path()).await.unwrap();
                assert_eq!(store.disks()[0].disk, disk);
                assert_eq!(store.usage(), used);
                assert!(get_all(&*store, chunk(0)).await.unwrap() == bytes);
                assert_eq!(store.list(ALL).await.unwrap().chunks.len(), 1);
            }

            #[tokio::test]
            async fn a_second_opening_is_refused_without_harm_until_the_first_lets_go() {
                let folder = tempfile::tempdir().unwrap();
                let store = $open(folder.path()).await.unwrap();
                let bytes = content(1000, 1);
                put(&*store, chunk(0), &bytes).await.unwrap();
                for _ in 0..2 {
                    let second = $open(folder.path()).await;
                    let refused = matches!(second, Err(EngineOpenError::InUse { .. }));
                    assert!(refused, "{:?}", second.err());
                }
                put(&*store, chunk(1), &bytes).await.unwrap();
                store.close().await;
                let store = $open(folder.path()).await.unwrap();
                for index in 0..2 {
                    assert!(get_all(&*store, chunk(index)).await.unwrap() == bytes);
                }
            }

            #[tokio::test]
            async fn another_format_is_refused_by_its_name() {
                let folder = tempfile::tempdir().unwrap();
                $open(folder.path()).await.unwrap().close().await;
                $edit(folder.path(), "meta", b"store", |record| {
                    let text = String::from_utf8(record.clone()).unwrap();
                    *record = text.replace("format 1", "format 7").into_bytes();
                });
                let error = $open(folder.path()).await.err().expect("refused");
                let named =
                    matches!(&error, EngineOpenError::UnknownFormat { format, .. } if format == "7");
                assert!(named, "{error}");
                assert!(error.to_string().contains("format 7"), "{error}");
            }

            #[tokio::test]
            async fn a_damaged_identity_is_not_replaced_by_a_new_one() {
                let folder = tempfile::tempdir().unwrap();
                $open(folder.path()).await.unwrap().close().await;
                $edit(folder.path(), "meta", b"store", |record| record[40] ^= 1);
                let error = $open(folder.path()).await.err().expect("refused");
                assert!(matches!(error, EngineOpenError::IdentityDamaged { .. }), "{error}");
            }

            #[tokio::test]
            async fn a_flipped_bit_names_its_block_and_is_put_aside_for_good() {
                let folder = tempfile::tempdir().unwrap();
                let store = $open(folder.path()).await.unwrap();
                let bytes = content(FRAME_BYTES + 200_000, 1);
                put(&*store, chunk(0), &bytes).await.unwrap();
                store.close().await;
                $edit(folder.path(), "slices", &[], |slice| slice[65_536 + 5] ^= 1);
                let store = $open(folder.path()).await.unwrap();
                let read = get_all(&*store, chunk(0)).await;
                let named =
                    matches!(read, Err(ReadError::Corrupt { damage: Damage::Block(1), .. }));
                assert!(named, "{read:?}");
                let beside = ByteRange { offset: 131_072, length: u64::MAX };
                let (at, read) = get(&*store, chunk(0), beside).await.unwrap();
                assert!(read == bytes[at as usize..], "a range beside the damage is served");
                assert!(store.quarantine(chunk(0)).await.unwrap());
                absent(&*store).await;
                store.close().await;
                let store = $open(folder.path()).await.unwrap();
                absent(&*store).await;
                put(&*store, chunk(0), &bytes).await.unwrap();
                assert!(get_all(&*store, chunk(0)).await.unwrap() == bytes);
                assert_eq!((store.usage().chunks, store.usage().damaged), (1, 0));
                store.delete(vec![chunk(0)]).await.unwrap();
                store.close().await;
                assert_eq!($slices(folder.path()), 0, "also those that were put aside are gone");
            }

            #[tokio::test]
            async fn a_damaged_record_is_put_aside_when_the_store_opens() {
                let folder = tempfile::tempdir().unwrap();
                let store = $open(folder.path()).await.unwrap();
                for index in 0..2 {
                    put(&*store, chunk(index), &content(1000, 1)).await.unwrap();
                }
                store.close().await;
                $edit(folder.path(), "records", &[], |record| record[40] ^= 1);
                let store = $open(folder.path()).await.unwrap();
                assert_eq!((store.usage().chunks, store.usage().damaged), (1, 1));
                let read = get_all(&*store, chunk(0)).await;
                assert!(matches!(read, Err(ReadError::NotFound { .. })), "{read:?}");
                get_all(&*store, chunk(1)).await.unwrap();
                assert_eq!(store.delete(vec![chunk(0)]).await.unwrap(), 0);
                assert_eq!(store.usage().damaged, 0);
            }

            #[tokio::test]
            async fn what_a_dead_process_left_is_removed() {
                let folder = tempfile::tempdir().unwrap();
                let store = $open(folder.path()).await.unwrap();
                let bytes = content(FRAME_BYTES * 3, 1);
                let mut writer = store.begin(chunk(0), bytes.len() as u64).await.unwrap();
                send(&mut *writer, chunk(0), &bytes, FRAME_BYTES).await.unwrap();
                put(&*store, chunk(1), &content(10, 1)).await.unwrap();
                // The writer is still open, as in a process that dies: closing leaves what it has written.
                store.close().await;
                drop(writer);
                assert!($slices(folder.path()) > 1);
                let store = $open(folder.path()).await.unwrap();
                store.close().await;
                assert_eq!($slices(folder.path()), 1);
            }

            #[tokio::test]
            async fn a_dropped_writer_leaves_nothing() {
                let folder = tempfile::tempdir().unwrap();
                let store = $open(folder.path()).await.unwrap();
                let bytes = content(FRAME_BYTES * 3, 1);
                let mut writer = store.begin(chunk(0), bytes.len() as u64).await.unwrap();
                send(&mut *writer, chunk(0), &bytes, FRAME_BYTES).await.unwrap();
                drop(writer);
                // Closing waits for the removal.
                store.close().await;
                assert_eq!($slices(folder.path()), 0);
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn whatever_happens_at_once_the_books_and_the_store_agree() {
                let folder = tempfile::tempdir().unwrap();
                let store = $open(folder.path()).await.unwrap();
                let spawner = Spawner::current();
                let tasks: Vec<_> =
                    (0..8).map(|seed| spawner.spawn(churn(store.clone(), seed))).collect();
                for task in tasks {
                    task.await.unwrap();
                }
                let usage = store.usage();
                assert_eq!((usage.open_writes, usage.reserved), (0, 0));
                let listed = store.list(ALL).await.unwrap();
                store.close().await;
                assert_eq!($slices(folder.path()), listed.chunks.len(), "one each, and no more");
                let store = $open(folder.path()).await.unwrap();
                assert_eq!(store.usage(), usage);
                assert_eq!(store.list(ALL).await.unwrap(), listed);
            }

            #[tokio::test]
            async fn a_reader_goes_on_while_its_chunk_is_written_again_and_ends_when_it_is_deleted() {
                let folder = tempfile::tempdir().unwrap();
                let store = $open(folder.path()).await.unwrap();
                let bytes = content(FRAME_BYTES * 3, 1);
                put(&*store, chunk(0), &bytes).await.unwrap();
                let whole = ByteRange::whole(bytes.len() as u64);
                let mut reader = store.read(chunk(0), whole).await.unwrap();
                put(&*store, chunk(0), &bytes).await.unwrap();
                let first = reader.frames.next().await.unwrap().expect("read at its new place");
                assert!(first.bytes == bytes[..first.bytes.len()]);
                store.delete(vec![chunk(0)]).await.unwrap();
                let next = reader.frames.next().await.unwrap();
                assert!(matches!(next, Err(ReadError::NotFound { .. })), "{next:?}");
                assert!(reader.frames.next().await.is_none());
            }

            #[tokio::test]
            async fn a_caller_that_goes_away_while_it_finishes_leaves_a_whole_store() {
                let folder = tempfile::tempdir().unwrap();
                let store = $open(folder.path()).await.unwrap();
                let bytes = content(100_000, 1);
                for index in 0..20 {
                    let mut writer = store.begin(chunk(index), 100_000).await.unwrap();
                    let end = send(&mut *writer, chunk(index), &bytes, 50_000).await.unwrap();
                    let mut finish = writer.finish(end);
                    for _ in 0..index {
                        // Looks at it some times, then goes away.
                        let looked = std::future::poll_fn(|context| {
                            std::task::Poll::Ready(finish.as_mut().poll(context).is_ready())
                        });
                        if looked.await {
                            break;
                        }
                        tokio::task::yield_now().await;
                    }
                }
                store.close().await;
                let usage = store.usage();
                assert_eq!((usage.open_writes, usage.reserved), (0, 0));
                let store = $open(folder.path()).await.unwrap();
                assert_eq!(store.usage().chunks, usage.chunks);
                for kept in store.list(ALL).await.unwrap().chunks {
                    assert!(get_all(&*store, kept.chunk).await.unwrap() == bytes);
                }
            }

            #[tokio::test]
            async fn a_file_in_the_folders_place_is_refused() {
                let folder = tempfile::tempdir().unwrap();
                let file = folder.path().join("file");
                std::fs::write(&file, "").unwrap();
                let opened = $open(&file).await;
                let refused = matches!(opened, Err(EngineOpenError::Refused { .. }));
                assert!(refused, "{:?}", opened.err());
            }

            #[tokio::test]
            async fn the_folder_is_for_the_owner_alone() {
                use std::os::unix::fs::PermissionsExt;
                let folder = tempfile::tempdir().unwrap();
                let parent = folder.path().join("data/store");
                $open(&parent).await.unwrap();
                let mode = std::fs::metadata(&parent).unwrap().permissions().mode();
                assert_eq!(mode & 0o077, 0, "{mode:o}");
            }
        }
    };
}

/// Writes, repeats, deletes and drops writers of a few chunks, in an order that `seed` draws.
async fn churn(store: Arc<dyn ChunkStore>, seed: u64) {
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
            8 => assert!(!store.quarantine(chunk).await.expect("looked at"), "it is intact"),
            _ => match get_all(&*store, chunk).await {
                Ok(read) => assert!(read == bytes),
                Err(ReadError::NotFound { .. }) => {}
                Err(error) => panic!("{error}"),
            },
        }
    }
}

async fn absent(store: &dyn ChunkStore) {
    let read = get_all(store, chunk(0)).await;
    assert!(matches!(read, Err(ReadError::NotFound { .. })), "{read:?}");
    assert!(store.list(ALL).await.expect("a list").chunks.is_empty());
    assert_eq!((store.usage().chunks, store.usage().damaged), (0, 1));
    assert!(!store.quarantine(chunk(0)).await.expect("it is aside already"));
}

both!(btree, open_btree, edit_btree, slices_btree);
both!(lsm, open_lsm, edit_lsm, slices_lsm);
