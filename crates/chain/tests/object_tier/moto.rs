//! The store on a real server.

use std::sync::Arc;

use bytes::Bytes;
use cairn_chain::conformance::{PLENTY, content, get, get_all, put, put_in_pieces};
use cairn_chain::object_tier::{CannedAcl, Provider, S3Config, S3Credentials};
use cairn_chain::{
    ChunkStore, Damage, EngineOpenError, ListChunks, ObjectTier, ObjectTierConfig, ObjectTierSeams,
    ReadError,
};
use cairn_core::ids::NodeId;
use cairn_core::range::ByteRange;
use cairn_test_s3::{Answer, Server};
use futures_util::{StreamExt, stream};

use crate::{chunk, seams};

async fn open(config: &ObjectTierConfig) -> ObjectTier {
    ObjectTier::open(config, seams(1)).await.expect("a store")
}

/// Settings for a new and empty bucket.
async fn new_bucket(server: &Server) -> ObjectTierConfig {
    let bucket = S3Config {
        name: server.new_bucket().await,
        region: Some("us-east-1".to_owned()),
        endpoint: Some(server.endpoint()),
        path_style: true,
        allow_http: true,
        credentials: S3Credentials::Static {
            access_key_id: "id".to_owned(),
            secret_access_key: "secret".to_owned().into(),
            session_token: None,
        },
        ..S3Config::default()
    };
    let prefix = "some/where".to_owned();
    ObjectTierConfig { prefix, ..ObjectTierConfig::at(PLENTY, Provider::S3(bucket)) }
}

fn bucket(config: &mut ObjectTierConfig) -> &mut S3Config {
    match &mut config.bucket {
        Provider::S3(bucket) => bucket,
        other => panic!("{other:?}"),
    }
}

/// Asks for a chunk's object, past the store.
async fn object(
    server: &Server,
    config: &ObjectTierConfig,
    method: &str,
    index: u32,
    query: &str,
    body: &[u8],
) -> Answer {
    let Provider::S3(bucket) = &config.bucket else { panic!("{config:?}") };
    let (name, prefix, chunk) = (&bucket.name, &config.prefix, chunk(index));
    server.request(method, &format!("/{name}/{prefix}/chunks/{chunk}{query}"), &[], body).await
}

async fn fresh(_capacity: u64) -> Option<(Arc<dyn ChunkStore>, ())> {
    let server = Server::shared().await?;
    Some((Arc::new(open(&new_bucket(server).await).await), ()))
}

cairn_chain::chunk_store_conformance!(fresh);

/// What S3 answers with 404 and NoSuchKey is a chunk that is not here, not an error of the store.
#[tokio::test]
async fn an_object_that_is_gone_is_a_miss() {
    let Some(server) = Server::shared().await else { return };
    let config = new_bucket(server).await;
    let store = open(&config).await;
    put(&store, chunk(0), &content(100_000, 1)).await.unwrap();
    let gone = object(server, &config, "DELETE", 0, "", b"").await;
    assert_eq!(gone.status, 204, "{gone:?}");
    let read = get_all(&store, chunk(0)).await;
    assert!(matches!(read, Err(ReadError::NotFound { .. })), "{read:?}");
    let stat = store.stat(chunk(0)).await;
    assert!(matches!(stat, Err(ReadError::NotFound { .. })), "{stat:?}");
    let never = get_all(&store, chunk(1)).await;
    assert!(matches!(never, Err(ReadError::NotFound { .. })), "{never:?}");
    store.delete(vec![chunk(0), chunk(1)]).await.unwrap();
    assert_eq!(store.usage().used, 0);
}

#[tokio::test]
async fn a_large_chunk_is_put_by_parts_and_read_by_ranges() {
    let Some(server) = Server::shared().await else { return };
    let mut config = new_bucket(server).await;
    config.part_size = 5 << 20;
    let store = open(&config).await;
    let bytes = content(13_000_000, 1);
    put_in_pieces(&store, chunk(0), &bytes, 300_000).await.unwrap();
    let head = object(server, &config, "HEAD", 0, "", b"").await;
    assert!(head.head.contains("-3\""), "three parts: {}", head.head);
    assert!(head.head.contains("application/octet-stream"), "{}", head.head);
    assert!(get_all(&store, chunk(0)).await.unwrap() == bytes);
    let range = ByteRange { offset: 6_000_000, length: 2_000_000 };
    let (at, read) = get(&store, chunk(0), range).await.unwrap();
    let begin = at as usize;
    assert!(read == bytes[begin..begin + read.len()] && read.len() < 2_200_000);
}

#[tokio::test]
async fn more_chunks_than_fit_a_page_are_found_again() {
    const CHUNKS: u32 = 1003;
    let Some(server) = Server::shared().await else { return };
    let config = new_bucket(server).await;
    let store = open(&config).await;
    let disk = store.disks()[0].disk;
    let bytes = content(10, 1);
    let puts = stream::iter(0..CHUNKS).map(|index| put(&store, chunk(index), &bytes));
    let put: Vec<_> = puts.buffer_unordered(8).collect().await;
    put.into_iter().collect::<Result<Vec<()>, _>>().unwrap();
    let usage = store.usage();
    store.close().await;
    let store = open(&config).await;
    assert_eq!(store.disks()[0].disk, disk);
    assert_eq!(store.usage(), usage);
    let all = ListChunks { after: None, blob: None, limit: 2000 };
    assert_eq!(store.list(all).await.unwrap().chunks.len(), CHUNKS as usize);
    let erased = store.erase_blob(chunk(0).blob, 2000).await.unwrap();
    assert_eq!((erased.deleted, erased.more), (u64::from(CHUNKS), false));
    assert_eq!(open(&config).await.usage().chunks, 0);
}

#[tokio::test]
async fn a_damaged_object_is_named_and_put_aside() {
    let Some(server) = Server::shared().await else { return };
    let config = new_bucket(server).await;
    let store = open(&config).await;
    put(&store, chunk(0), &content(200_000, 1)).await.unwrap();
    let mut found = object(server, &config, "GET", 0, "", b"").await.body;
    found[65_536] ^= 1;
    object(server, &config, "PUT", 0, "", &found).await;
    let read: Result<Bytes, _> = get_all(&store, chunk(0)).await;
    assert!(matches!(read, Err(ReadError::Corrupt { damage: Damage::Block(1), .. })), "{read:?}");
    object(server, &config, "PUT", 0, "", &found[..1000]).await;
    let read = get_all(&store, chunk(0)).await;
    assert!(matches!(read, Err(ReadError::Corrupt { damage: Damage::Length, .. })), "{read:?}");
    assert!(store.quarantine(chunk(0)).await.unwrap());
    let gone = object(server, &config, "HEAD", 0, "", b"").await;
    assert_eq!(gone.status, 404, "{gone:?}");
    assert_eq!(open(&config).await.usage().damaged, 1);
}

#[tokio::test]
async fn a_canned_acl_comes_with_each_object_and_with_parts() {
    let Some(server) = Server::shared().await else { return };
    for (acl, shows) in [
        (CannedAcl::Private, None),
        (CannedAcl::PublicRead, Some("global/AllUsers")),
        // moto shows the first of its two permissions only.
        (CannedAcl::PublicReadWrite, Some("global/AllUsers")),
        (CannedAcl::AuthenticatedRead, Some("global/AuthenticatedUsers")),
    ] {
        let mut config = new_bucket(server).await;
        config.part_size = 5 << 20;
        bucket(&mut config).acl = acl;
        let store = open(&config).await;
        // moto cannot show the ACL of what was uploaded by parts without one.
        let lengths = if shows.is_some() { &[1000, 6 << 20][..] } else { &[1000] };
        for (index, &length) in (0..).zip(lengths) {
            put(&store, chunk(index), &content(length, 1)).await.unwrap();
            let answer = object(server, &config, "GET", index, "?acl", b"").await;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(text.contains("FULL_CONTROL"), "{text}");
            match shows {
                Some(grant) => assert!(text.contains(grant), "{acl:?} of chunk {index}: {text}"),
                None => assert!(!text.contains("groups/global"), "{text}"),
            }
        }
    }
}

#[tokio::test]
async fn objects_are_encrypted_with_the_key_that_is_named() {
    let Some(server) = Server::shared().await else { return };
    let mut config = new_bucket(server).await;
    bucket(&mut config).sse_kms_key_id = Some("some-key".to_owned());
    let store = open(&config).await;
    put(&store, chunk(0), &content(1000, 1)).await.unwrap();
    let head = object(server, &config, "HEAD", 0, "", b"").await.head;
    assert!(head.contains("x-amz-server-side-encryption: aws:kms"), "{head}");
    assert!(head.contains("x-amz-server-side-encryption-aws-kms-key-id: some-key"), "{head}");
    get_all(&store, chunk(0)).await.unwrap();
}

/// By a condition of the put, which S3 and moto know.
#[tokio::test]
async fn of_two_nodes_that_open_a_new_prefix_at_once_one_is_refused() {
    let Some(server) = Server::shared().await else { return };
    for _ in 0..5 {
        let config = new_bucket(server).await;
        let open = |node: u8| {
            let node = NodeId::from_slice(&[node; 16]).expect("16 bytes");
            ObjectTier::open(&config, ObjectTierSeams { node, ..seams(1) })
        };
        let (one, other) = tokio::join!(open(1), open(2));
        let refused = match (one, other) {
            (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
            both => panic!("one opens it: {both:?}"),
        };
        assert!(matches!(refused, EngineOpenError::OfAnotherNode { .. }), "{refused:?}");
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_said_when_the_store_opens() {
    let Some(server) = Server::shared().await else { return };
    let mut config = new_bucket(server).await;
    bucket(&mut config).name = "no-such-bucket".to_owned();
    let opened = ObjectTier::open(&config, seams(1)).await;
    let refused = matches!(opened, Err(EngineOpenError::Refused { .. }));
    assert!(refused, "{opened:?}");
}
