//! What stays in the system's memory after chunks were read.

use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_chain::ChunkStore;
use cairn_chain::conformance::{blob, content, get_all, put};
use cairn_core::ids::ChunkId;

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
        let required = std::env::var("CAIRN_REQUIRE").unwrap_or_default();
        assert!(!required.contains("fincore"), "fincore is required (util-linux)");
        return println!("SKIPPED: no fincore (apt-get install util-linux)");
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
