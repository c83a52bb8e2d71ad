//! What chunk bytes are promised between services, on each transport, over the network and within a process.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;

use bytes::Bytes;
use cairn_chain::conformance::{content, hash};
use cairn_core::copies::{CopyReceipt, Place};
use cairn_core::digest::block_crc;
use cairn_core::ids::{ChunkId, NodeId};
use cairn_core::range::ByteRange;
use cairn_proto::MAX_FRAME_BYTES;
use cairn_replicas::{ChunkBuffer, CopyError, Replica};
use cairn_runtime::{Clock, Dial, Drain, NetworkDial, RequestId, ServeLimits, Spawner, serve};
use cairn_transport::{Peer, Transport};
use futures_util::StreamExt;
use tokio::net::TcpListener;

use crate::harness::{Harness, chunk};

/// How the node is reached.
#[derive(Debug, Clone, Copy)]
enum Over {
    Network,
    Process,
}

/// A node, and its copies as a gateway sees them.
struct Reached {
    node: Harness,
    copies: Arc<dyn Replica>,
    server: Drain,
}

impl Reached {
    async fn new(over: Over, transport: Transport) -> Self {
        Self::of(Harness::new(|config| config.max_open_writes = 4).await, over, transport).await
    }

    async fn of(node: Harness, over: Over, transport: Transport) -> Self {
        const LOCAL: &str = "local://node";
        let server = Drain::default();
        let (dial, address): (Arc<dyn Dial>, _) = match over {
            Over::Process => {
                node.dial.add(LOCAL, node.routes(), Spawner::current());
                (node.dial.clone(), LOCAL.to_owned())
            }
            Over::Network => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = format!("http://{}", listener.local_addr().unwrap());
                let (limits, spawner) = (ServeLimits::default(), Spawner::current());
                let (clock, drained) = (Clock::system(), server.watch());
                let serving =
                    serve(listener, node.routes(), limits, clock, spawner.clone(), drained);
                drop(spawner.spawn(serving));
                (Arc::new(NetworkDial::tcp(2)), address)
            }
        };
        let place = Place { node: node.id, address: address.clone(), grant: Bytes::new() };
        let peer = Peer::dial(&*dial, transport, &address).unwrap();
        let copies = peer.replica(&place, &RequestId::background("test"));
        Self { node, copies, server }
    }

    async fn write(&self, chunk: ChunkId, bytes: &Bytes) -> Result<CopyReceipt, CopyError> {
        let source = whole(chunk, bytes, bytes.len().max(1)).reader();
        self.copies.write(chunk, bytes.len() as u64, source).await
    }

    /// All frames, put together, and where they begin. Each is checked to be whole blocks with their checksums.
    async fn read(&self, chunk: ChunkId, range: ByteRange) -> Result<(u64, Vec<u8>), CopyError> {
        let mut read = self.copies.read(chunk, range).await?;
        let mut bytes = Vec::new();
        while let Some(frame) = read.frames.next().await {
            let frame = frame?;
            for (block, crc) in frame.data.chunks(BLOCK).zip(&frame.block_crcs) {
                let number = (read.offset as usize + bytes.len()) / BLOCK;
                assert_eq!(block_crc(chunk, number as u32, block), *crc, "block {number}");
                bytes.extend_from_slice(block);
            }
            assert_eq!(frame.data.len().div_ceil(BLOCK), frame.block_crcs.len());
        }
        Ok((read.offset, bytes))
    }

    async fn until_nothing_is_open(&self) {
        while self.node.store.usage().open_writes > 0 {
            tokio::task::yield_now().await;
        }
    }
}

const BLOCK: usize = cairn_core::digest::BLOCK_BYTES;
const WHOLE: ByteRange = ByteRange { offset: 0, length: 0 };

/// A finished chunk that came in pieces of `size`.
struct Whole(ChunkBuffer, cairn_core::digest::ChunkHash);

impl Whole {
    fn reader(self) -> cairn_replicas::BufferReader {
        let reader = self.0.reader();
        self.0.end(self.1);
        reader
    }
}

fn whole(chunk: ChunkId, bytes: &Bytes, size: usize) -> Whole {
    let mut buffer = ChunkBuffer::new(chunk);
    for at in (0..bytes.len()).step_by(size) {
        buffer.push(bytes.slice(at..bytes.len().min(at + size)));
    }
    Whole(buffer, hash(bytes))
}

async fn chunks_of_every_length_come_back_as_they_went_in(at: Reached) {
    for (index, length) in (0..).zip([0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * MAX_FRAME_BYTES + 3]) {
        let bytes = content(length, 1);
        let receipt = at.write(chunk(index), &bytes).await.unwrap();
        assert_eq!(receipt, CopyReceipt { node: at.node.id, disk: at.node.store.disks()[0].disk });
        let (offset, read) = at.read(chunk(index), WHOLE).await.unwrap();
        assert!(offset == 0 && read == bytes, "{length} bytes changed");
    }
}

async fn pieces_of_any_size_make_the_same_chunk(at: Reached) {
    let bytes = content(3 * BLOCK + 17, 2);
    for (index, size) in (0..).zip([7_001, BLOCK - 1, BLOCK, BLOCK + 1]) {
        let source = whole(chunk(index), &bytes, size).reader();
        at.copies.write(chunk(index), bytes.len() as u64, source).await.unwrap();
        let (_, read) = at.read(chunk(index), WHOLE).await.unwrap();
        assert!(read == bytes, "pieces of {size}");
    }
}

async fn a_range_comes_as_the_blocks_that_hold_it(at: Reached) {
    let bytes = content(2 * MAX_FRAME_BYTES + 5, 3);
    at.write(chunk(0), &bytes).await.unwrap();
    let range = ByteRange { offset: BLOCK as u64 + 1, length: 2 * MAX_FRAME_BYTES as u64 };
    let (offset, read) = at.read(chunk(0), range).await.unwrap();
    assert_eq!(offset, BLOCK as u64);
    assert!(read == bytes[BLOCK..]);
}

async fn bytes_arrive_while_the_chunk_still_grows(at: Reached) {
    let bytes = content(4 * MAX_FRAME_BYTES, 4);
    let mut buffer = ChunkBuffer::new(chunk(0));
    let writing = at.copies.write(chunk(0), bytes.len() as u64, buffer.reader());
    let writing = Spawner::current().spawn(writing);
    buffer.push(bytes.slice(..MAX_FRAME_BYTES));
    while at.node.disk.changes() < 2 {
        tokio::task::yield_now().await;
    }
    buffer.push(bytes.slice(MAX_FRAME_BYTES..));
    buffer.end(hash(&bytes));
    writing.await.unwrap().unwrap();
    assert!(at.read(chunk(0), WHOLE).await.unwrap().1 == bytes);
}

async fn a_source_that_breaks_leaves_nothing(at: Reached) {
    let mut buffer = ChunkBuffer::new(chunk(0));
    let writing = at.copies.write(chunk(0), 1 << 20, buffer.reader());
    let writing = Spawner::current().spawn(writing);
    buffer.push(content(100_000, 5));
    while at.node.store.usage().open_writes == 0 {
        tokio::task::yield_now().await;
    }
    drop(buffer);
    assert_eq!(writing.await.unwrap(), Err(CopyError::SourceBroken));
    at.until_nothing_is_open().await;
    assert!(at.node.is_empty(), "{:?}", at.node.store.usage());
}

async fn a_write_that_is_dropped_leaves_nothing(at: Reached) {
    let mut buffer = ChunkBuffer::new(chunk(0));
    let writing = at.copies.write(chunk(0), 1 << 20, buffer.reader());
    let writing = Spawner::current().spawn(writing);
    buffer.push(content(100_000, 5));
    while at.node.store.usage().open_writes == 0 {
        tokio::task::yield_now().await;
    }
    writing.abort();
    at.until_nothing_is_open().await;
    assert!(at.node.is_empty(), "{:?}", at.node.store.usage());
}

async fn a_read_that_is_dropped_hurts_no_other(at: Reached) {
    let bytes = content(8 * MAX_FRAME_BYTES, 6);
    at.write(chunk(0), &bytes).await.unwrap();
    for _ in 0..20 {
        let mut read = at.copies.read(chunk(0), WHOLE).await.unwrap();
        read.frames.next().await.unwrap().unwrap();
        drop(read);
        drop(at.copies.read(chunk(0), WHOLE));
    }
    assert!(at.read(chunk(0), WHOLE).await.unwrap().1 == bytes);
}

async fn each_refusal_has_its_meaning(at: Reached) {
    let bytes = content(3 * MAX_FRAME_BYTES, 7);
    assert_eq!(at.read(chunk(9), WHOLE).await, Err(CopyError::Missing));
    at.write(chunk(0), &bytes).await.unwrap();
    at.write(chunk(0), &bytes).await.unwrap();
    let other = at.write(chunk(0), &content(3 * MAX_FRAME_BYTES, 8)).await;
    assert_eq!(other, Err(CopyError::Conflict));
    let source = whole(chunk(1), &bytes, BLOCK).reader();
    let large = at.copies.write(chunk(1), 1 << 26, source).await;
    assert_eq!(large, Err(CopyError::Full));
    let source = whole(chunk(1), &bytes, BLOCK).reader();
    let short = at.copies.write(chunk(1), 10, source).await;
    assert!(matches!(short, Err(CopyError::Protocol(_))), "{short:?}");
    // Checksums are seeded with the chunk: those of another do not match.
    let source = whole(chunk(2), &bytes, BLOCK).reader();
    let swapped = at.copies.write(chunk(1), bytes.len() as u64, source).await;
    assert!(matches!(swapped, Err(CopyError::Protocol(_))), "{swapped:?}");
    at.node.store.erase_blob(chunk(0).blob, 10).await.unwrap();
    assert_eq!(at.write(chunk(0), &bytes).await, Err(CopyError::Erased));
    assert!(at.node.is_empty(), "{:?}", at.node.store.usage());
}

async fn a_corrupt_block_ends_the_read_behind_the_good_ones(at: Reached) {
    let bytes = content(2 * MAX_FRAME_BYTES, 9);
    at.write(chunk(0), &bytes).await.unwrap();
    let file = at.node.chunk_file();
    at.node.disk.edit(&file, |file| file[MAX_FRAME_BYTES + 5] ^= 1);
    let mut read = at.copies.read(chunk(0), WHOLE).await.unwrap();
    let mut good = 0;
    let error = loop {
        match read.frames.next().await.expect("an error comes before the end") {
            Ok(frame) => good += frame.data.len(),
            Err(error) => break error,
        }
    };
    assert_eq!(good, MAX_FRAME_BYTES);
    assert!(matches!(error, CopyError::Corrupt(_)), "{error:?}");
}

async fn one_write_too_many_is_told_to_come_back(at: Reached) {
    let buffers: Vec<_> = (0..4).map(|index| ChunkBuffer::new(chunk(index))).collect();
    for (index, buffer) in (0..).zip(&buffers) {
        drop(Spawner::current().spawn(at.copies.write(chunk(index), 10, buffer.reader())));
    }
    while at.node.store.usage().open_writes < 4 {
        tokio::task::yield_now().await;
    }
    let refused = at.write(chunk(4), &content(10, 1)).await;
    assert!(matches!(refused, Err(CopyError::Refused(_))), "{refused:?}");
    drop(buffers);
    at.until_nothing_is_open().await;
    at.write(chunk(4), &content(10, 1)).await.unwrap();
}

async fn many_at_once_do_not_mix(at: Reached) {
    let one = |index: u32| {
        let at = &at;
        async move {
            let bytes = content(BLOCK * 3 + index as usize, index as u8);
            // No more than four at once are taken: come back until it is.
            while at.write(chunk(index), &bytes).await.is_err() {
                tokio::task::yield_now().await;
            }
            assert!(at.read(chunk(index), WHOLE).await.unwrap().1 == bytes, "chunk {index}");
        }
    };
    futures_util::future::join_all((0..24).map(one)).await;
}

async fn a_receipt_of_another_node_does_not_count(at: Reached) {
    let place = Place {
        node: NodeId::from_slice(&[9; 16]).unwrap(),
        address: "local://node".to_owned(),
        grant: Bytes::new(),
    };
    at.node.dial.add("local://node", at.node.routes(), Spawner::current());
    for transport in [Transport::Grpc, Transport::Lane] {
        let peer = Peer::dial(&*at.node.dial, transport, "local://node").unwrap();
        let copies = peer.replica(&place, &RequestId::background("test"));
        let bytes = content(10, 1);
        let source = whole(chunk(0), &bytes, 10).reader();
        let refused = copies.write(chunk(0), 10, source).await;
        assert!(matches!(refused, Err(CopyError::Protocol(_))), "{refused:?}");
    }
}

async fn a_node_that_goes_away_is_unreachable(at: Reached) {
    let bytes = content(16 * MAX_FRAME_BYTES, 9);
    at.write(chunk(0), &bytes).await.unwrap();
    let mut read = at.copies.read(chunk(0), WHOLE).await.unwrap();
    read.frames.next().await.unwrap().unwrap();
    at.server.begin();
    at.server.finish();
    let error = loop {
        match read.frames.next().await.expect("an error comes before the end") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, CopyError::Unreachable(_)), "{error:?}");
    let refused = at.write(chunk(1), &bytes).await;
    assert!(matches!(refused, Err(CopyError::Unreachable(_))), "{refused:?}");
}

macro_rules! transport_conformance {
    ($($name:ident: $over:expr, $transport:expr;)*) => {
        $(transport_conformance!(
            @ $name $over, $transport,
            chunks_of_every_length_come_back_as_they_went_in,
            pieces_of_any_size_make_the_same_chunk,
            a_range_comes_as_the_blocks_that_hold_it,
            bytes_arrive_while_the_chunk_still_grows,
            a_source_that_breaks_leaves_nothing,
            a_write_that_is_dropped_leaves_nothing,
            a_read_that_is_dropped_hurts_no_other,
            each_refusal_has_its_meaning,
            a_corrupt_block_ends_the_read_behind_the_good_ones,
            one_write_too_many_is_told_to_come_back,
            many_at_once_do_not_mix,
            a_receipt_of_another_node_does_not_count,
        );)*
    };
    (@ $name:ident $over:expr, $transport:expr, $($case:ident),* $(,)?) => {
        mod $name {
            use cairn_transport::Transport;

            use super::{Over, Reached};

            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(Reached::new($over, $transport).await).await;
                }
            )*
        }
    };
}

transport_conformance! {
    grpc_over_the_network: Over::Network, Transport::Grpc;
    grpc_within_a_process: Over::Process, Transport::Grpc;
    lane_over_the_network: Over::Network, Transport::Lane;
    lane_within_a_process: Over::Process, Transport::Lane;
}

#[tokio::test]
async fn a_node_that_goes_away_is_unreachable_over_grpc() {
    a_node_that_goes_away_is_unreachable(Reached::new(Over::Network, Transport::Grpc).await).await;
}

#[tokio::test]
async fn a_node_that_goes_away_is_unreachable_over_the_lane() {
    a_node_that_goes_away_is_unreachable(Reached::new(Over::Network, Transport::Lane).await).await;
}
