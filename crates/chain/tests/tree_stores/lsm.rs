//! What fjall does by itself: journals that outlive a power cut, compaction.

use std::fs;
use std::path::Path;

use cairn_chain::ChunkStore;
use cairn_chain::conformance::{content, get_all, put, send};

use crate::{chunk, open_lsm, open_lsm_store};

/// Copies a folder as it is, open or not.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder to copy");
    for entry in fs::read_dir(from).expect("a folder to copy") {
        let entry = entry.expect("a folder to copy");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a folder to copy").is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).expect("a folder to copy");
        }
    }
}

#[tokio::test]
async fn what_was_answered_is_found_by_whoever_opens_what_the_disk_has() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_lsm(folder.path()).await.unwrap();
    let disk = store.disks()[0].disk;
    let bytes = content(3_000_000, 1);
    for index in 0..5 {
        put(&*store, chunk(index), &bytes).await.unwrap();
    }
    store.delete(vec![chunk(3)]).await.unwrap();
    let mut open = store.begin(chunk(9), 3_000_000).await.unwrap();
    send(&mut *open, chunk(9), &bytes, 1 << 20).await.unwrap();
    // The store is open and in the middle of a write: this is what a power cut would leave, or more.
    let found = tempfile::tempdir().unwrap();
    copy(folder.path(), found.path());
    let store = open_lsm(found.path()).await.unwrap();
    assert_eq!(store.disks()[0].disk, disk);
    assert_eq!(store.usage().chunks, 4);
    for index in [0, 1, 2, 4] {
        assert!(get_all(&*store, chunk(index)).await.unwrap() == bytes, "chunk {index}");
    }
    for index in [3, 9] {
        get_all(&*store, chunk(index)).await.expect_err("deleted, or never finished");
    }
}

/// Cuts the last bytes off the journal: those that were written and not synced.
#[tokio::test]
async fn a_journal_that_ends_in_the_middle_of_a_write_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_lsm(folder.path()).await.unwrap();
    let bytes = content(100_000, 1);
    put(&*store, chunk(0), &bytes).await.unwrap();
    let synced = tempfile::tempdir().unwrap();
    copy(folder.path(), synced.path());
    let mut open = store.begin(chunk(1), 3 << 20).await.unwrap();
    send(&mut *open, chunk(1), &content(3 << 20, 2), 1 << 20).await.unwrap();
    store.close().await;
    let torn = journal(&folder.path().join("lsm"));
    let before = fs::read(journal(&synced.path().join("lsm"))).unwrap();
    let after = fs::read(&torn).unwrap();
    // Zeros follow what was written: journals are made long in advance.
    let written = after.iter().rposition(|byte| *byte != 0).unwrap();
    assert!(after[..] != before[..], "the open write has reached the journal");
    let mut cut = after.clone();
    cut[written - 500_000..].fill(0);
    fs::write(&torn, cut).unwrap();
    let store = open_lsm(folder.path()).await.unwrap();
    assert!(get_all(&*store, chunk(0)).await.unwrap() == bytes);
    get_all(&*store, chunk(1)).await.expect_err("it was never finished");
}

fn journal(folder: &Path) -> std::path::PathBuf {
    let entries =
        fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    let mut journals: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "jnl")).collect();
    journals.sort();
    journals.pop().expect("a journal")
}

#[tokio::test]
async fn compaction_loses_no_chunk() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_lsm_store(folder.path()).await.unwrap();
    for round in 0..3 {
        for index in 0..20 {
            let bytes = content(200_000 + index as usize, index as u8);
            put(&store, chunk(index), &bytes).await.unwrap();
        }
        let odd = (0..20).filter(|index| index % 2 == 1).map(chunk).collect();
        assert_eq!(store.delete(odd).await.unwrap(), 10, "round {round}");
        store.compact().await.unwrap();
    }
    let usage = store.usage();
    store.close().await;
    let store = open_lsm(folder.path()).await.unwrap();
    assert_eq!(store.usage(), usage);
    for index in 0..20 {
        let read = get_all(&*store, chunk(index)).await;
        if index % 2 == 1 {
            read.expect_err("deleted");
        } else {
            assert!(read.unwrap() == content(200_000 + index as usize, index as u8));
        }
    }
}
