//! `cairn admin fsck` on a running cluster: clean under load, and what a hand did to a node's folder is named and mended.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cairn_chain::{
    ChunkEnd, ChunkStore, ListChunks, RealDisk, SegmentStore, SegmentStoreConfig, SegmentStoreSeams,
};
use cairn_core::digest::{BlockCrcs, ChunkHasher};
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;
use cairn_runtime::{Blocking, Clock, Entropy, Spawner};
use futures_util::StreamExt;
use serde_json::Value;

use crate::harness::{Content, Http, Parts, PartsPlan, Process, eventually};

const WRITERS: u64 = 4;
const FILES: u64 = 12;

/// The lines of a run as objects, the counts last, and its exit code.
async fn fsck(parts: &Parts, options: &[&str]) -> (Vec<Value>, Option<i32>) {
    let admin = format!("http://{}", parts.edge.admin);
    let arguments = [&["admin", "fsck", "--json", "--admin-url", &admin], options].concat();
    let (code, out, _) = Process::run(&arguments).await;
    let lines = out.lines().map(|line| serde_json::from_str(line).expect("an object"));
    (lines.collect(), code)
}

fn of_kind<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["kind"] == kind).collect()
}

async fn write(http: Http, writer: u64) {
    for n in 0..FILES {
        let path = format!("/v1/files/{writer}/{}", n % 5);
        let content = Content::new(writer * FILES + n, (200 << 10) + n);
        let request = http.request("PUT", &path);
        let request = match n % 2 {
            0 => request.content(content),
            _ => request.content_of_unknown_length(content),
        };
        let status = request.answer().await.status;
        assert!([200, 201].contains(&status), "{path}: {status}");
        if n % 3 == 0 {
            http.request("DELETE", &path).answer().await.expect(204);
        }
    }
}

/// Nothing that was deleted is left anywhere.
async fn is_swept(parts: &Parts) {
    eventually(90, "what was deleted is erased", async || {
        let mut admin = parts.edge.admin().await;
        let swept = admin.sweep().await;
        let condemned = admin.bucket_account().await.condemned_bytes;
        let rest = (condemned, swept.blobs_waiting, swept.blobs_erased);
        if rest == (0, 0, 0) { Ok(()) } else { Err(format!("{rest:?}")) }
    })
    .await;
}

/// At least three runs beside uploads, overwrites and deletions.
async fn is_clean_under_load(parts: &Parts) {
    let http = parts.edge.http();
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write(http, writer))).collect();
    let mut looks = 0;
    while looks < 3 || writers.iter().any(|writer| !writer.is_finished()) {
        let (lines, code) = fsck(parts, &[]).await;
        assert_eq!(code, Some(0), "clean while uploads run: {lines:?}");
        looks += 1;
    }
    for writer in writers {
        writer.await.expect("all is written");
    }
}

/// The store in a stopped node's folder.
async fn store(folder: &Path) -> SegmentStore {
    let seams = SegmentStoreSeams {
        disk: Arc::new(RealDisk::open(folder).expect("a folder")),
        blocking: Blocking::inline(),
        spawner: Spawner::current(),
        entropy: Entropy::seeded(1),
        clock: Clock::system(),
    };
    SegmentStore::open(SegmentStoreConfig::default(), seams).await.expect("the node is stopped")
}

async fn chunks(store: &SegmentStore) -> Vec<ChunkId> {
    let list = ListChunks { after: None, blob: None, limit: 100_000 };
    let page = store.list(list).await.expect("a list");
    page.chunks.iter().map(|held| held.chunk).collect()
}

async fn read(store: &SegmentStore, chunk: ChunkId) -> Bytes {
    let whole = ByteRange { offset: 0, length: u64::MAX };
    let frames = store.read(chunk, whole).await.expect("opened").frames;
    let frames: Vec<_> = frames.map(|frame| frame.expect("read").bytes).collect().await;
    frames.concat().into()
}

async fn write_chunk(store: &SegmentStore, chunk: ChunkId, bytes: &Bytes) {
    let (mut crcs, mut hasher) = (BlockCrcs::new(chunk), ChunkHasher::default());
    crcs.update(bytes, |_| panic!("less than a block"));
    hasher.update(bytes);
    let length = bytes.len() as u64;
    let mut writer = store.begin(chunk, length).await.expect("room");
    writer.append(bytes.clone(), Vec::new()).await.expect("taken");
    let end = ChunkEnd { length, hash: hasher.finish(), last_block_crc: crcs.finish() };
    writer.finish(end).await.expect("stored");
}

/// Does something with a node's folder while the node is stopped.
async fn by_hand<T>(
    parts: &mut Parts,
    node: usize,
    change: impl AsyncFnOnce(&SegmentStore) -> T,
) -> T {
    parts.kill_node(node);
    let store = store(&parts.node_folder(node)).await;
    let result = change(&store).await;
    store.close().await;
    drop(store);
    parts.start_node(node).await;
    parts.all_nodes_up().await;
    result
}

#[tokio::test(flavor = "multi_thread")]
async fn fsck_is_clean_under_load_and_names_and_mends_what_a_hand_did() {
    let plan = PartsPlan::new(3, 2).chunk_size(64 << 10).master_flag("--condemn-for", "0s");
    let mut parts = plan.start().await;
    let http = parts.edge.http();

    // A file that goes, of which somebody keeps a chunk.
    http.put("/v1/files/gone", Content::new(1, 1000)).await.expect(201);
    let mut found = None;
    for node in 0..3 {
        let first = by_hand(&mut parts, node, async |store| match chunks(store).await.first() {
            Some(&chunk) => Some((chunk, read(store, chunk).await)),
            None => None,
        });
        found = first.await.map(|(chunk, bytes)| (node, chunk, bytes));
        if found.is_some() {
            break;
        }
    }
    let (node, foreign, bytes) = found.expect("the file is somewhere");
    http.request("DELETE", "/v1/files/gone").answer().await.expect(204);

    is_clean_under_load(&parts).await;
    is_swept(&parts).await;

    parts.kill_node(node);
    let (lines, code) = fsck(&parts, &["--dry-run"]).await;
    assert_eq!(code, Some(8), "a node cannot be asked: {lines:?}");
    parts.start_node(node).await;
    parts.all_nodes_up().await;

    // The sweep may be faster: then it is planted again.
    let mut named = false;
    for _ in 0..5 {
        by_hand(&mut parts, node, async |store| write_chunk(store, foreign, &bytes).await).await;
        let (lines, code) = fsck(&parts, &["--repair"]).await;
        assert_eq!(code, Some(0), "what is mended is not left: {lines:?}");
        let held = by_hand(&mut parts, node, chunks).await;
        assert!(!held.contains(&foreign), "it is swept: {lines:?}");
        named = of_kind(&lines, "orphan").iter().any(|line| line["outcome"] == "mended");
        if named {
            break;
        }
    }
    assert!(named, "a foreign chunk was never named");

    // What is condemned goes by itself: the chunk that is lost is to be one that somebody has.
    is_swept(&parts).await;
    let lost = by_hand(&mut parts, node, async |store| {
        let lost = chunks(store).await.pop().expect("a chunk");
        store.delete(vec![lost]).await.expect("deleted");
        lost
    });
    let lost = lost.await;
    let short = async |parts: &Parts| parts.edge.admin().await.short_chunks().await.len();
    let (lines, code) = fsck(&parts, &["--dry-run"]).await;
    assert_eq!((code, of_kind(&lines, "missing copy").len()), (Some(7), 1), "{lines:?}");
    assert_eq!(of_kind(&lines, "missing copy")[0]["chunk"], lost.to_string().as_str());
    assert_eq!(short(&parts).await, 0);
    for _ in 0..2 {
        let (lines, code) = fsck(&parts, &["--repair"]).await;
        let counts = lines.last().expect("counts");
        let left = serde_json::json!({ "missing copy": 1 });
        assert_eq!((code, &counts["left"]), (Some(7), &left), "{lines:?}");
        assert_eq!(short(&parts).await, 1);
    }
}
