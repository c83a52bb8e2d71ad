//! The calls of a node, over the generated client: what is stored comes back, and what is wrong is refused by its
//! name and leaves nothing.

use std::time::Duration;

use bytes::Bytes;
use cairn_chain::conformance::{blob, content, hash};
use cairn_core::digest::block_crc;
use cairn_proto::v1::read_chunk_response::Part as ReadPart;
use cairn_proto::v1::write_chunk_request::Part;
use cairn_proto::v1::{self, WriteChunkRequest, WriteFinish, WriteHeader};
use cairn_proto::{MAX_FRAME_BYTES, Reason, RemoteError};
use cairn_runtime::Spawner;
use prometheus_client::encoding::text::encode;
use tokio_stream::StreamExt;
use tonic::{Response, Status};

use crate::harness::{Harness, chunk, data, finish, header, id_bytes, reading, writing};

fn reason<T>(result: Result<Response<T>, Status>) -> Reason {
    match result {
        Ok(_) => panic!("it was taken"),
        Err(status) => RemoteError::from(status).reason,
    }
}

async fn write(node: &Harness, messages: Vec<WriteChunkRequest>) -> Result<(), Reason> {
    let written = node.client().write(tokio_stream::iter(messages)).await;
    written.map(drop).map_err(|status| RemoteError::from(status).reason)
}

async fn read(node: &Harness, request: v1::ReadChunkRequest) -> Result<(u64, Vec<u8>), Status> {
    let mut stream = node.client().read(request).await?.into_inner();
    let Some(ReadPart::Header(header)) = stream.next().await.expect("a header")?.part else {
        panic!("the header comes first");
    };
    let mut bytes = Vec::new();
    while let Some(message) = stream.next().await {
        let Some(ReadPart::Data(frame)) = message?.part else {
            panic!("data follows the header");
        };
        assert!(frame.data.len() <= MAX_FRAME_BYTES);
        assert_eq!(frame.block_crcs.len(), frame.data.len().div_ceil(65_536));
        bytes.extend_from_slice(&frame.data);
    }
    Ok((header.offset, bytes))
}

#[tokio::test]
async fn a_chunk_comes_back_as_it_was_written() {
    let node = Harness::new(|_| {}).await;
    for (index, length) in (0..).zip([0, 1, 65_536, MAX_FRAME_BYTES * 2 + 3]) {
        let messages = tokio_stream::iter(writing(chunk(index), length));
        let receipt = node.client().write(messages).await.unwrap().into_inner();
        assert_eq!(receipt.node_id, id_bytes(node.id.as_bytes()));
        assert_eq!(receipt.disk, id_bytes(node.store.disks()[0].disk.as_bytes()));
        let (_, bytes) = read(&node, reading(chunk(index))).await.unwrap();
        assert!(bytes == content(length, 1), "{length} bytes changed");
        let request =
            v1::StatChunkRequest { chunk: Some(chunk(index).into()), ..Default::default() };
        let stat = node.client().stat(request).await.unwrap().into_inner();
        assert_eq!(stat.length, length as u64);
        assert_eq!(stat.hash, hash(&content(length, 1)).0.as_slice());
        assert_eq!(stat.disk, receipt.disk);
    }
    let request = v1::ReadChunkRequest { offset: 70_000, length: 10, ..reading(chunk(3)) };
    let (offset, bytes) = read(&node, request).await.unwrap();
    assert_eq!((offset, bytes.len()), (65_536, 65_536));
}

#[tokio::test]
async fn a_repeat_succeeds_and_other_content_is_a_conflict() {
    let node = Harness::new(|_| {}).await;
    write(&node, writing(chunk(0), 1000)).await.unwrap();
    write(&node, writing(chunk(0), 1000)).await.unwrap();
    let other = write(&node, writing(chunk(0), 1001)).await;
    assert_eq!(other, Err(Reason::ChunkConflict));
}

/// Bodies that are wrong, each with what it is called.
fn wrong_bodies() -> Vec<(&'static str, Vec<WriteChunkRequest>, Reason)> {
    let right = writing(chunk(0), 1000);
    let (begin, body, end) = (&right[0], &right[1], &right[2]);
    let part = |part| WriteChunkRequest { part };
    let short = v1::ChunkId { blob_id: Bytes::from_static(b"short"), index: 0 };
    let to = |chunk| Some(Part::Header(WriteHeader { chunk, reserve: 1000, grant: Bytes::new() }));
    let bytes = content(1000, 1);
    let short_hash =
        WriteFinish { length: 1000, hash: Bytes::from_static(b"x"), last_block_crc: None };
    let large = content(MAX_FRAME_BYTES + 1, 1);
    let end_of = |bytes: &[u8]| finish(bytes, Some(block_crc(chunk(0), 0, bytes)));
    let plenty = header(chunk(0), 1 << 24);
    vec![
        ("nothing", vec![], Reason::BodyMismatch),
        ("an empty message", vec![part(None)], Reason::InvalidField),
        ("no header", vec![body.clone(), end.clone()], Reason::InvalidField),
        ("a finish alone", vec![end.clone()], Reason::InvalidField),
        ("two headers", vec![begin.clone(), begin.clone()], Reason::InvalidField),
        ("no chunk", vec![part(to(None))], Reason::InvalidField),
        ("a short id", vec![part(to(Some(short)))], Reason::InvalidField),
        ("no finish", vec![begin.clone(), body.clone()], Reason::BodyMismatch),
        ("an empty part", vec![begin.clone(), part(None)], Reason::InvalidField),
        ("a large frame", vec![plenty, data(large, vec![])], Reason::InvalidField),
        (
            "a wrong length",
            vec![begin.clone(), body.clone(), end_of(&bytes[..999])],
            Reason::BodyMismatch,
        ),
        (
            "a short hash",
            vec![begin.clone(), body.clone(), part(Some(Part::Finish(short_hash)))],
            Reason::InvalidField,
        ),
        (
            "a wrong checksum",
            vec![begin.clone(), body.clone(), finish(&bytes, Some(1))],
            Reason::BodyMismatch,
        ),
        (
            "no checksum",
            vec![begin.clone(), body.clone(), finish(&bytes, None)],
            Reason::InvalidField,
        ),
        (
            "a checksum too many",
            vec![begin.clone(), data(bytes.clone(), vec![1, 2])],
            Reason::InvalidField,
        ),
        ("more than reserved", vec![header(chunk(0), 999), body.clone()], Reason::BodyMismatch),
        ("more than a chunk", vec![header(chunk(0), 1 << 40)], Reason::InvalidField),
        ("more than there is", vec![header(chunk(0), 1 << 26)], Reason::NodeFull),
    ]
}

#[tokio::test]
async fn a_wrong_body_is_refused_by_its_name_and_nothing_is_stored() {
    let node = Harness::new(|_| {}).await;
    for (what, messages, reason) in wrong_bodies() {
        assert_eq!(write(&node, messages).await, Err(reason), "{what}");
        assert!(node.is_empty(), "{what} left something: {:?}", node.store.usage());
    }
    write(&node, writing(chunk(0), 1000)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_stalls_gives_its_room_back() {
    let node = Harness::new(|config| config.body_idle = Duration::from_secs(30)).await;
    let begun = tokio_stream::iter([header(chunk(0), 1000)]);
    let stalled = node.client().write(begun.chain(tokio_stream::pending())).await;
    assert_eq!(reason(stalled), Reason::BodyMismatch);
    assert!(node.is_empty());
}

#[tokio::test(start_paused = true)]
async fn writes_are_bounded_and_one_more_is_told_so() {
    let node = Harness::new(|config| config.max_open_writes = 1).await;
    let mut client = node.client();
    let begun = tokio_stream::iter([header(chunk(0), 1000)]).chain(tokio_stream::pending());
    let open = Spawner::current().spawn(async move { client.write(begun).await });
    while node.store.usage().open_writes == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(write(&node, writing(chunk(1), 10)).await, Err(Reason::Busy));
    assert_eq!(reason(open.await.unwrap()), Reason::BodyMismatch);
    write(&node, writing(chunk(1), 10)).await.unwrap();
}

#[tokio::test]
async fn a_node_that_is_told_to_stop_takes_no_more_and_closes_its_store() {
    let node = Harness::new(|_| {}).await;
    write(&node, writing(chunk(0), 10)).await.unwrap();
    node.drain.begin();
    node.node.stopped().await;
    assert_eq!(write(&node, writing(chunk(1), 10)).await, Err(Reason::Stopping));
    let request = v1::DeleteChunksRequest { chunks: vec![chunk(0).into()], ..Default::default() };
    assert_eq!(reason(node.client().delete(request).await), Reason::Stopping);
}

#[tokio::test]
async fn a_corrupt_block_ends_the_stream_and_is_counted() {
    let node = Harness::new(|_| {}).await;
    write(&node, writing(chunk(0), MAX_FRAME_BYTES * 2)).await.unwrap();
    let file = node.chunk_file();
    node.disk.edit(&file, |file| file[MAX_FRAME_BYTES + 5] ^= 1);
    let mut stream = node.client().read(reading(chunk(0))).await.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();
    let first = stream.next().await.unwrap().unwrap();
    assert!(matches!(first.part, Some(ReadPart::Data(_))), "the intact frame comes");
    let status = stream.next().await.unwrap().unwrap_err();
    assert_eq!(RemoteError::from(status).reason, Reason::ChunkCorrupt);
    let mut text = String::new();
    encode(&mut text, &node.registry).unwrap();
    assert!(text.contains("cairn_node_corrupt_reads_total 1"), "{text}");
    assert!(text.contains("cairn_node_chunks 1"), "{text}");
    assert!(text.contains("cairn_node_written_bytes_total 2097152"), "{text}");
    assert!(text.contains("reason=\"ERROR_REASON_CHUNK_CORRUPT\""), "{text}");
}

#[tokio::test]
async fn what_is_asked_wrongly_or_is_absent_is_refused_by_its_name() {
    let node = Harness::new(|_| {}).await;
    let mut client = node.client();
    let short = || Some(v1::ChunkId { blob_id: Bytes::from_static(b"short"), index: 0 });
    let absent = || Some(chunk(9).into());
    for (chunk, expected) in [
        (None, Reason::InvalidField),
        (short(), Reason::InvalidField),
        (absent(), Reason::ChunkNotFound),
    ] {
        let request = v1::ReadChunkRequest { chunk: chunk.clone(), ..Default::default() };
        assert_eq!(reason(client.read(request).await), expected);
        let request = v1::StatChunkRequest { chunk, ..Default::default() };
        assert_eq!(reason(client.stat(request).await), expected);
    }
    let list = v1::ListStoredChunksRequest { after: short(), limit: 0, blob_id: Bytes::new() };
    assert_eq!(reason(client.list(list).await), Reason::InvalidField);
    let list =
        v1::ListStoredChunksRequest { blob_id: Bytes::from_static(b"x"), ..Default::default() };
    assert_eq!(reason(client.list(list).await), Reason::InvalidField);
    let blob_id = id_bytes(blob(1).as_bytes());
    for (chunks, blob_id) in [
        (vec![], Bytes::new()),
        (vec![chunk(0).into()], blob_id),
        (vec![], Bytes::from_static(b"short")),
        (vec![chunk(0).into(); 1001], Bytes::new()),
    ] {
        let request = v1::DeleteChunksRequest { chunks, blob_id, ..Default::default() };
        assert_eq!(reason(client.delete(request).await), Reason::InvalidField);
    }
}

#[tokio::test]
async fn chunks_are_listed_in_pages_and_deleted_by_name_or_by_blob() {
    let node = Harness::new(|_| {}).await;
    for index in 0..5 {
        write(&node, writing(chunk(index), 10)).await.unwrap();
    }
    let mut client = node.client();
    let page = v1::ListStoredChunksRequest {
        after: Some(chunk(1).into()),
        limit: 2,
        blob_id: id_bytes(blob(1).as_bytes()),
    };
    let page = client.list(page).await.unwrap().into_inner();
    let indices: Vec<_> =
        page.chunks.iter().map(|held| held.chunk.clone().unwrap().index).collect();
    assert_eq!((indices, page.more), (vec![2, 3], true));
    assert_eq!(page.chunks[0].length, 10);
    let chunks = vec![chunk(0).into(), chunk(7).into()];
    let some = v1::DeleteChunksRequest { chunks, ..Default::default() };
    let deleted = client.delete(some).await.unwrap().into_inner();
    assert_eq!((deleted.deleted, deleted.more), (1, false));
    let blob_id = id_bytes(blob(1).as_bytes());
    let whole = v1::DeleteChunksRequest { blob_id, ..Default::default() };
    let deleted = client.delete(whole).await.unwrap().into_inner();
    assert_eq!((deleted.deleted, deleted.more), (4, false));
    assert_eq!(write(&node, writing(chunk(0), 10)).await, Err(Reason::ChunkErased));
}

fn copying(length: usize, address: &str) -> v1::CopyChunkRequest {
    let source =
        v1::Place { node_id: id_bytes(&[4; 16]), address: address.to_owned(), grant: Bytes::new() };
    v1::CopyChunkRequest {
        chunk: Some(chunk(0).into()),
        source: Some(source),
        length: length as u64,
        hash: Bytes::copy_from_slice(&hash(&content(length, 1)).0),
        grant: Bytes::new(),
    }
}

/// Two nodes; the first knows the second as `http://source:7100`.
async fn two_nodes() -> (Harness, Harness) {
    let (node, source) = (Harness::new(|_| {}).await, Harness::new(|_| {}).await);
    node.dial.add("http://source:7100", source.routes(), Spawner::current());
    (node, source)
}

#[tokio::test]
async fn a_copy_is_fetched_proven_and_stored() {
    let (node, source) = two_nodes().await;
    for length in [0, 10, MAX_FRAME_BYTES + 70_000] {
        write(&source, writing(chunk(0), length)).await.unwrap();
        let copied = node.client().copy(copying(length, "http://source:7100")).await.unwrap();
        assert_eq!(copied.into_inner().disk, id_bytes(node.store.disks()[0].disk.as_bytes()));
        let (_, bytes) = read(&node, reading(chunk(0))).await.unwrap();
        assert!(bytes == content(length, 1), "{length} bytes changed");
        for of in [&node, &source] {
            of.store.delete(vec![chunk(0)]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_copy_that_cannot_be_proven_is_refused_and_nothing_is_stored() {
    let (node, source) = two_nodes().await;
    let mut client = node.client();
    let from = "http://source:7100";
    assert_eq!(reason(client.copy(copying(1000, from)).await), Reason::ChunkNotFound);
    write(&source, writing(chunk(0), 1000)).await.unwrap();
    let other_hash = Bytes::copy_from_slice(&[7; 32]);
    for (request, expected) in [
        (copying(999, from), Reason::ChunkCorrupt),
        (v1::CopyChunkRequest { hash: other_hash, ..copying(1000, from) }, Reason::ChunkCorrupt),
        (v1::CopyChunkRequest { hash: Bytes::new(), ..copying(1000, from) }, Reason::InvalidField),
        (v1::CopyChunkRequest { source: None, ..copying(1000, from) }, Reason::InvalidField),
        (v1::CopyChunkRequest { chunk: None, ..copying(1000, from) }, Reason::InvalidField),
        (copying(1000, "nowhere"), Reason::InvalidField),
        (copying(1 << 27, from), Reason::NodeFull),
    ] {
        assert_eq!(reason(client.copy(request.clone()).await), expected, "{request:?}");
        assert!(node.is_empty(), "{request:?} left something");
    }
    let file = source.chunk_file();
    source.disk.edit(&file, |file| file[5] ^= 1);
    assert_eq!(reason(client.copy(copying(1000, from)).await), Reason::ChunkCorrupt);
    assert!(node.is_empty());
}
