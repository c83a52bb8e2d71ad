//! Bytes rot, files are cut and exchanged: what comes out is right or an error.

use cairn_chain::conformance::{blob, content, get_all, put};
use cairn_chain::disk::memory::{Loss, MemoryDisk};
use cairn_chain::{ChunkStore, Damage, FileStore, ReadError};
use cairn_core::ids::ChunkId;

use crate::open_memory;

const LENGTH: usize = 200_000;
const TABLE: usize = 16;
const FOOTER: usize = 84;

fn chunk(index: u32) -> ChunkId {
    ChunkId::new(blob(1), index)
}

fn path(disk: &MemoryDisk, chunk: ChunkId) -> String {
    let name = format!("/{chunk}");
    let files = disk.files().into_iter();
    let mut files = files.filter(|path| path.starts_with("chunks/") && path.ends_with(&name));
    files.next().expect("the chunk's file")
}

async fn two_chunks() -> (MemoryDisk, std::sync::Arc<FileStore>) {
    let disk = MemoryDisk::new(1 << 24);
    let store = open_memory(&disk).await;
    for index in 0..2 {
        let bytes = content(LENGTH, index as u8);
        put(&*store, chunk(index), &bytes).await.expect("stored");
    }
    (disk, store)
}

fn damage(read: Result<bytes::Bytes, ReadError>) -> Damage {
    match read {
        Err(ReadError::Corrupt { damage, .. }) => damage,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_flipped_bit_in_a_block_names_the_block() {
    for (at, block) in [(0, 0), (65_535, 0), (65_536, 1), (LENGTH - 1, 3)] {
        let (disk, store) = two_chunks().await;
        disk.edit(&path(&disk, chunk(0)), |file| file[at] ^= 0x10);
        let read = damage(get_all(&*store, chunk(0)).await);
        assert_eq!(read, Damage::Block(block), "of byte {at}");
        get_all(&*store, chunk(1)).await.unwrap();
    }
}

#[tokio::test]
async fn a_range_beside_the_damage_is_served() {
    let (disk, store) = two_chunks().await;
    disk.edit(&path(&disk, chunk(0)), |file| file[0] ^= 1);
    let range = cairn_core::range::ByteRange { offset: 70_000, length: u64::MAX };
    let (at, read) = cairn_chain::conformance::get(&*store, chunk(0), range).await.unwrap();
    assert!(read == content(LENGTH, 0)[at as usize..]);
}

#[tokio::test]
async fn a_flipped_bit_behind_the_data_is_never_wrong_bytes() {
    let (disk, store) = two_chunks().await;
    let path = path(&disk, chunk(0));
    for at in LENGTH..LENGTH + TABLE + FOOTER {
        disk.edit(&path, |file| file[at] ^= 0x04);
        let read = damage(get_all(&*store, chunk(0)).await);
        let in_table = at < LENGTH + TABLE;
        assert_eq!(read == Damage::Table, in_table, "byte {at}: {read}");
        disk.edit(&path, |file| file[at] ^= 0x04);
    }
    get_all(&*store, chunk(0)).await.unwrap();
}

#[tokio::test]
async fn a_file_of_any_other_length_is_never_wrong_bytes() {
    let file = LENGTH + TABLE + FOOTER;
    for length in [0, 1, FOOTER, LENGTH - 1, LENGTH, file - FOOTER, file - 1, file + 1] {
        let (disk, store) = two_chunks().await;
        disk.edit(&path(&disk, chunk(0)), |file| file.resize(length, 0));
        damage(get_all(&*store, chunk(0)).await);
        let store = open_memory(&disk.crash(Loss::Nothing)).await;
        let gone = get_all(&*store, chunk(0)).await;
        assert!(matches!(gone, Err(ReadError::NotFound { .. })), "{gone:?}");
    }
}

#[tokio::test]
async fn two_exchanged_files_are_noticed() {
    let (disk, store) = two_chunks().await;
    let (one, two) = (path(&disk, chunk(0)), path(&disk, chunk(1)));
    let mut kept = Vec::new();
    disk.edit(&one, |file| kept = file.clone());
    disk.edit(&two, |file| std::mem::swap(file, &mut kept));
    disk.edit(&one, |file| std::mem::swap(file, &mut kept));
    let read = damage(get_all(&*store, chunk(0)).await);
    assert_eq!(read, Damage::OtherChunk(chunk(1)));
    let read = damage(get_all(&*store, chunk(1)).await);
    assert_eq!(read, Damage::OtherChunk(chunk(0)));
}

#[tokio::test]
async fn what_is_damaged_at_open_is_put_aside_not_served_and_not_fatal() {
    let (disk, _) = two_chunks().await;
    let damaged = path(&disk, chunk(0));
    disk.edit(&damaged, |file| file[LENGTH + TABLE + 3] ^= 1);
    for round in 0..2 {
        let disk = disk.crash(Loss::Nothing);
        let store = open_memory(&disk).await;
        assert_eq!(store.usage().chunks, 1, "in round {round}");
        let aside = format!("quarantine/0-{}", chunk(0));
        assert!(disk.files().contains(&aside), "{:?}", disk.files());
    }
    let disk = disk.crash(Loss::Nothing);
    let store = open_memory(&disk).await;
    put(&*store, chunk(0), &content(LENGTH, 0)).await.unwrap();
    disk.edit(&damaged, |file| file.truncate(7));
    let disk = disk.crash(Loss::Nothing);
    open_memory(&disk).await;
    let aside = format!("quarantine/1-{}", chunk(0));
    assert!(disk.files().contains(&aside), "{:?}", disk.files());
}

#[tokio::test]
async fn a_repeat_of_the_put_heals_a_damaged_copy() {
    for at in [5, LENGTH + 1, LENGTH + TABLE + 1] {
        let (disk, store) = two_chunks().await;
        disk.edit(&path(&disk, chunk(0)), |file| file[at] ^= 1);
        damage(get_all(&*store, chunk(0)).await);
        put(&*store, chunk(0), &content(LENGTH, 0)).await.unwrap();
        assert!(get_all(&*store, chunk(0)).await.unwrap() == content(LENGTH, 0));
        assert_eq!(store.usage().chunks, 2);
    }
}

#[tokio::test]
async fn what_is_found_damaged_is_put_aside_and_can_be_written_again() {
    let (disk, store) = two_chunks().await;
    disk.edit(&path(&disk, chunk(0)), |file| file[70_000] ^= 1);
    assert!(store.quarantine(chunk(0)).await.unwrap());
    assert!(!store.quarantine(chunk(0)).await.unwrap(), "it is not there any more");
    let gone = get_all(&*store, chunk(0)).await;
    assert!(matches!(gone, Err(ReadError::NotFound { .. })), "{gone:?}");
    let aside = format!("quarantine/0-{}", chunk(0));
    assert!(disk.crash(Loss::Everything).files().contains(&aside), "for a look");
    let store = open_memory(&disk.crash(Loss::Nothing)).await;
    assert_eq!(store.usage().chunks, 1);
    put(&*store, chunk(0), &content(LENGTH, 0)).await.unwrap();
    assert!(get_all(&*store, chunk(0)).await.unwrap() == content(LENGTH, 0));
}
