//! What lists read, and what a store weighs, with many files: `cargo xtask show listing`.

use std::path::Path;

use cairn_core::chunking::ChunkSizes;
use cairn_core::copies::CopyReceipt;
use cairn_core::digest::{ChunkHash, FileRoot, Sha256};
use cairn_core::ids::{BlobId, DiskIncarnation, NodeId};
use cairn_core::lengths::ChunkLengths;
use cairn_core::lifecycle::{BlobState, CopyState};
use cairn_core::names::{BucketName, ObjectKey, Principal, TenantId};
use cairn_core::object::{ObjectInfo, ObjectMeta, VersionId};
use cairn_kv::{Durability, Kv, RedbConfig, Txn};
use uuid::Uuid;

use super::{CatalogError, List, Listed, list};
use crate::catalog::{
    Blob, Bucket, BucketKey, ChunkEntry, Copy, Extent, Head, HeadKey, NodePage, NodePageKey, Page,
    PageKey, Version, VersionKey, VersionState, record,
};

/// Chunks written in one transaction.
const CHUNKS_PER_STEP: u64 = 500;
const CHUNK_BYTES: u64 = 8 << 20;
const NODES: [u128; 3] = [11, 22, 33];

fn bucket() -> BucketKey {
    BucketKey { tenant: TenantId::standard(), bucket: BucketName::standard() }
}

/// Ids grow as UUIDv7 do.
fn id(n: u64) -> Uuid {
    Uuid::from_u128((u128::from(n) << 64) | u128::from(n))
}

/// Writes what the commit of a file leaves for good.
fn put_file(txn: &mut Txn<'_>, n: u64, chunks: u32) -> Result<(), CatalogError> {
    let BucketKey { tenant, bucket } = bucket();
    let blob_id = BlobId::from_uuid(id(n));
    let length = u64::from(chunks) * CHUNK_BYTES;
    let sizes = ChunkSizes::STANDARD;
    let copies: Vec<_> = (0..2).map(|c| NODES[(n as usize + c) % NODES.len()]).collect();
    let info = ObjectInfo {
        bucket: bucket.clone(),
        key: ObjectKey::new(format!("folder-{:04}/file-{n:08}.jpg", n / 1000)).expect("a key"),
        version: VersionId::from_uuid(id(n)),
        length,
        committed_ms: 1_700_000_000_000 + n,
        etag: "0123456789abcdef0123456789abcdef".into(),
        sha256: Some(Sha256([1; 32])),
        root: FileRoot([2; 32]),
        chunks: Some(ChunkLengths::of_blob(&sizes, length)),
        meta: ObjectMeta::default(),
    };
    let head = HeadKey { tenant: tenant.clone(), bucket, key: info.key.clone(), sequence: n };
    record::put(txn, &head, &Head::of(&info))?;
    let blob = Blob {
        tenant: tenant.clone(),
        state: BlobState::Live,
        current_refs: 1,
        condemned_refs: 0,
        length,
        sizes,
        copies: 2,
        nodes: copies.iter().map(|n| NodeId::from_uuid(Uuid::from_u128(*n))).collect(),
    };
    record::put(txn, &blob_id, &blob)?;
    let version = Version {
        principal: Principal::standard(),
        extents: vec![Extent { blob: blob_id, offset: 0, length }],
        state: VersionState::Current,
        info,
    };
    record::put(txn, &VersionKey { tenant, version: version.info.version }, &version)?;
    put_pages(txn, blob_id, chunks, &copies)
}

fn put_pages(
    txn: &mut Txn<'_>,
    blob: BlobId,
    chunks: u32,
    nodes: &[u128],
) -> Result<(), CatalogError> {
    let copy = |node: &u128| {
        let (node, disk) = (Uuid::from_u128(*node), Uuid::from_u128(*node + 1));
        let (node, disk) = (NodeId::from_uuid(node), DiskIncarnation::from_uuid(disk));
        CopyReceipt { node, disk }
    };
    let held: Vec<_> = nodes.iter().map(copy).collect();
    let mut pages = std::collections::BTreeMap::<PageKey, Page>::new();
    for index in 0..chunks {
        let live = |CopyReceipt { node, disk }: &CopyReceipt| Copy {
            node: *node,
            disk: *disk,
            state: CopyState::Live,
        };
        let hash = hash_of(blob, index);
        let copies = held.iter().map(live).collect();
        let (length, attempt) = (CHUNK_BYTES, None);
        let entry = ChunkEntry { length, hash, zones: 2, copies, mended: false, attempt };
        pages.entry(PageKey::of(blob, index)).or_default().chunks.insert(index, entry);
    }
    for (key, page) in &pages {
        record::put(txn, key, page)?;
        for CopyReceipt { node, .. } in &held {
            record::put(txn, &NodePageKey { node: *node, page: *key }, &NodePage)?;
        }
    }
    Ok(())
}

/// All different; what is in them does not matter to a store that compresses nothing.
fn hash_of(blob: BlobId, index: u32) -> ChunkHash {
    let mut bytes = [7; 32];
    bytes[..16].copy_from_slice(blob.as_bytes());
    bytes[16..20].copy_from_slice(&index.to_be_bytes());
    ChunkHash(bytes)
}

/// A store with that many files.
async fn loaded(path: &Path, files: u64, chunks: u32) -> Kv {
    let kv = Kv::redb(path, RedbConfig::default()).expect("a store");
    let found = |txn: &mut Txn<'_>| -> Result<(), CatalogError> {
        Ok(record::put(txn, &bucket(), &Bucket::default())?)
    };
    kv.transact(Durability::Synced, found).await.expect("written");
    let step = (CHUNKS_PER_STEP / u64::from(chunks)).max(1);
    for first in (0..files).step_by(usize::try_from(step).expect("small")) {
        let last = (first + step).min(files);
        let closure = move |txn: &mut Txn<'_>| -> Result<(), CatalogError> {
            (first..last).try_for_each(|n| put_file(txn, n, chunks))
        };
        kv.transact(Durability::Buffered, closure).await.expect("written");
    }
    kv.transact(Durability::Synced, |_| Ok::<_, CatalogError>(())).await.expect("synced");
    kv
}

/// A page of 1000, from the middle of the names, and one of all common prefixes.
async fn pages(kv: &Kv, files: u64) -> [Listed; 2] {
    let page = |delimiter: &str, after: String| {
        let (prefix, delimiter) = (String::new(), delimiter.to_owned());
        let request = List { bucket: bucket(), prefix, delimiter, after, limit: 1000 };
        async move { kv.view(move |view| list(view, &request)).await.expect("listed") }
    };
    let middle = format!("folder-{:04}/", files / 2000);
    [page("", middle).await, page("/", String::new()).await]
}

async fn size(kv: &Kv, path: &Path) -> u64 {
    kv.close().await.expect("closed");
    std::fs::metadata(path).expect("a file").len()
}

#[tokio::test]
#[ignore = "loads a million files: cargo xtask show listing"]
async fn a_page_of_a_million_files_reads_as_many_records_as_one_of_ten_thousand() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut read = Vec::new();
    let mut bytes = Vec::new();
    for files in [10_000, 1_000_000] {
        let path = folder.path().join(format!("{files}"));
        let kv = loaded(&path, files, 1).await;
        let [names, prefixes] = pages(&kv, files).await;
        assert_eq!(names.entries.len(), 1000);
        println!(
            "{files} files: {} records for a page of 1000 names, {} for {} common prefixes",
            names.records,
            prefixes.records,
            prefixes.entries.len()
        );
        read.push(names.records);
        bytes.push(size(&kv, &path).await);
        println!("{files} files of one chunk: {} bytes of store", bytes[bytes.len() - 1]);
        std::fs::remove_file(&path).expect("removed");
    }
    println!("per file of one chunk: {} bytes of store", (bytes[1] - bytes[0]) / 990_000);
    assert_eq!(read[0], read[1], "records of a page");

    let (files, chunks) = (50, 10_000);
    let path = folder.path().join("chunks");
    let kv = loaded(&path, files, chunks).await;
    let bytes = size(&kv, &path).await;
    let all = files * u64::from(chunks);
    println!("{files} files of {chunks} chunks: {} bytes of store per chunk", bytes / all);
}
