//! What stays in the system's memory after chunks were read.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use cairn_chain::conformance::{blob, content, get_all, put};
use cairn_chain::{ChunkStore, SegmentStore};
use cairn_core::ids::ChunkId;
use futures_util::StreamExt;

use crate::open_folder;

const LARGE: usize = 8 << 20;

/// Bytes of a file that are in memory, as fincore tells; nothing when it is not there.
fn cached(file: &Path) -> Option<u64> {
    let fincore =
        Command::new("fincore").args(["-b", "-n", "-o", "RES"]).arg(file).output().ok()?;
    let told = String::from_utf8(fincore.stdout).expect("text");
    Some(told.trim().parse().expect("a number of bytes"))
}

/// The files of segments, the longest last.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("segments")).expect("the folder of segments");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort_by_key(|file| file.metadata().expect("its length").len());
    files
}

#[tokio::test]
async fn a_large_chunk_that_is_read_once_does_not_stay_in_memory_and_what_is_read_again_does() {
    // Not in /tmp: what is in a tmpfs is always in memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let store = open_folder(folder.path()).await.expect("a store");
    let (small, large) = (ChunkId::new(blob(1), 0), ChunkId::new(blob(1), 1));
    put(&*store, small, &content(4096, 1)).await.expect("stored");
    put(&*store, large, &content(LARGE, 2)).await.expect("stored");
    let files = segments(folder.path());
    let [small_file, large_file] = &files[..] else { panic!("two segments: {files:?}") };
    let Some(written) = cached(large_file) else {
        return skipped();
    };
    assert!(written >= LARGE as u64, "what was written is in memory: {written}");
    get_all(&*store, small).await.expect("read");
    get_all(&*store, large).await.expect("read");
    let once = cached(large_file).expect("told");
    // The record's page, and what the system reads ahead.
    assert!(once < LARGE as u64 / 8, "read once, {once} bytes stay");
    assert!(cached(small_file).expect("told") >= 4096, "a small chunk stays");
    for _ in 0..2 {
        get_all(&*store, large).await.expect("read");
        let again = cached(large_file).expect("told");
        assert!(again >= LARGE as u64, "read again, {again} bytes stay");
    }
    store.close().await;
}

#[expect(clippy::print_stdout, reason = "a skipped test must be seen")]
fn skipped() {
    let required = std::env::var("CAIRN_REQUIRE").unwrap_or_default();
    assert!(!required.contains("fincore"), "fincore is required (util-linux)");
    println!("SKIPPED: no fincore (apt-get install util-linux)");
}

/// Small chunks enough for several segments, of which each is a region or less.
const SMALL: u32 = 1500;
/// Bytes of each, so that its record nearly fills a page.
const BYTES: usize = 3900;

fn small(index: u32) -> ChunkId {
    ChunkId::new(blob(1), index)
}

/// A store with small chunks, of which nothing is in memory, and its segments in the order of the chunks.
async fn cold_small_chunks(folder: &Path) -> (Arc<SegmentStore>, Vec<PathBuf>) {
    let store = open_folder(folder).await.expect("a store");
    for index in 0..SMALL {
        put(&*store, small(index), &content(BYTES, 1)).await.expect("stored");
    }
    let mut files = segments(folder);
    files.sort();
    for file in &files {
        let file = std::fs::File::open(file).expect("the segment");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("forgotten");
    }
    (store, files)
}

fn all_cached(files: &[PathBuf]) -> Option<u64> {
    files.iter().map(|file| cached(file)).sum()
}

async fn scrub(store: &SegmentStore) {
    for index in 0..SMALL {
        let mut reader = store.scrub(small(index)).await.expect("opened");
        while let Some(frame) = reader.frames.next().await {
            frame.expect("intact");
        }
    }
}

#[tokio::test]
async fn a_scrub_of_small_chunks_leaves_nothing_behind_in_memory() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let (store, files) = cold_small_chunks(folder.path()).await;
    assert!(files.len() > 4, "{files:?}");
    let Some(before) = all_cached(&files) else { return skipped() };
    assert_eq!(before, 0, "nothing is in memory");
    scrub(&store).await;
    let (_last, left) = files.split_last().expect("segments");
    assert_eq!(all_cached(left), Some(0), "of what the scrub is through with");
    store.close().await;
}

#[tokio::test]
async fn a_scrub_takes_nothing_out_of_memory_that_clients_read_lately() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let (store, files) = cold_small_chunks(folder.path()).await;
    if all_cached(&files).is_none() {
        return skipped();
    }
    for index in 0..SMALL / 2 {
        get_all(&*store, small(index)).await.expect("read");
    }
    let (read, _) = files.split_at(files.len() / 2 - 1);
    let before = all_cached(read).expect("told");
    assert!(before > 1 << 20, "what clients read is in memory: {before}");
    scrub(&store).await;
    assert!(all_cached(read).expect("told") >= before, "the scrub has taken something out");
    let left = &files[files.len() / 2 + 1..files.len() - 1];
    assert_eq!(all_cached(left), Some(0), "where no client read");
    store.close().await;
}
