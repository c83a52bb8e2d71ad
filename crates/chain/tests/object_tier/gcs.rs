//! The store through the client for Google Cloud Storage. What it sends is the XML interface, which is that of S3: moto
//! answers it. What that cannot show is what Google alone has: conditions on generations, by which of two nodes that open a
//! new prefix at once one is refused.
//!
//! Clients ask for a token where the environment says: so the cases run in a process of their own.

use std::sync::Arc;

use cairn_chain::conformance::{PLENTY, content, get, get_all, put, put_in_pieces};
use cairn_chain::object_tier::{GcsConfig, GcsCredentials, Provider};
use cairn_chain::{ChunkStore, ListChunks, ObjectTier, ObjectTierConfig, ReadError};
use cairn_core::range::ByteRange;
use cairn_test_s3::Server;

use super::roles::{Front, run_ignored};
use crate::{chunk, seams};

#[tokio::test]
async fn through_the_client_for_google_the_store_keeps_the_contract() {
    let Some(server) = Server::shared().await else { return };
    let front = Front::of_google(server).await;
    let said = run_ignored("object_tier::gcs::", &front.environment_of_google()).await;
    assert!(said.contains("test result: ok. 23 passed"), "{said}");
    assert!(front.sent().contains("computemetadata"), "somebody asked for a token");
}

/// Settings for a new and empty bucket.
async fn new_bucket(server: &Server) -> ObjectTierConfig {
    let bucket = GcsConfig {
        name: server.new_bucket().await,
        endpoint: Some(server.endpoint()),
        allow_http: true,
        credentials: GcsCredentials::Role,
    };
    let prefix = "some/where".to_owned();
    ObjectTierConfig { prefix, ..ObjectTierConfig::at(PLENTY, Provider::Gcs(bucket)) }
}

async fn open(config: &ObjectTierConfig) -> ObjectTier {
    ObjectTier::open(config, seams(1)).await.expect("a store")
}

async fn fresh(_capacity: u64) -> Option<(Arc<dyn ChunkStore>, ())> {
    let server = Server::shared().await?;
    Some((Arc::new(open(&new_bucket(server).await).await), ()))
}

cairn_chain::chunk_store_conformance!(
    #[ignore = "run by the first test of this file"]
    fresh
);

#[tokio::test]
#[ignore = "run by the first test of this file"]
async fn a_large_chunk_is_put_by_parts_and_read_by_ranges() {
    let Some(server) = Server::shared().await else { return };
    let mut config = new_bucket(server).await;
    config.part_size = 5 << 20;
    let store = open(&config).await;
    let bytes = content(13_000_000, 1);
    put_in_pieces(&store, chunk(0), &bytes, 300_000).await.unwrap();
    assert!(get_all(&store, chunk(0)).await.unwrap() == bytes);
    let range = ByteRange { offset: 6_000_000, length: 2_000_000 };
    let (at, read) = get(&store, chunk(0), range).await.unwrap();
    let begin = at as usize;
    assert!(read == bytes[begin..begin + read.len()] && read.len() < 2_200_000);
}

#[tokio::test]
#[ignore = "run by the first test of this file"]
async fn chunks_are_found_again_and_one_that_was_deleted_is_a_miss() {
    let Some(server) = Server::shared().await else { return };
    let config = new_bucket(server).await;
    let store = open(&config).await;
    for index in 0..3 {
        put(&store, chunk(index), &content(100_000, 1)).await.unwrap();
    }
    store.delete(vec![chunk(1)]).await.unwrap();
    let disk = store.disks()[0].disk;
    store.close().await;
    let store = open(&config).await;
    assert_eq!(store.disks()[0].disk, disk);
    let all = ListChunks { after: None, blob: None, limit: 10 };
    assert_eq!(store.list(all).await.unwrap().chunks.len(), 2);
    let gone = get_all(&store, chunk(1)).await;
    assert!(matches!(gone, Err(ReadError::NotFound { .. })), "{gone:?}");
}
