//! A node that the master counts on, and that answers garbage: uploads and downloads go on without it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cairn_proto::v1::chunks_server::{Chunks, ChunksServer};
use cairn_proto::v1::master_client::MasterClient;
use cairn_proto::v1::{self, NodeInfo};
use cairn_transport::lane;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::{Request, Response, Status, Streaming};

use crate::harness::{Content, Parts, PartsPlan, channel, eventually};

const FILES: u64 = 12;
const CHUNK: u64 = 64 << 10;

fn file(nth: u64) -> Content {
    Content::new(nth, 3 * CHUNK + nth)
}

fn path(nth: u64) -> String {
    format!("/v1/files/file-{nth}")
}

/// Four nodes, files on all of them, and the first node dead.
async fn with_a_dead_node(transport: &'static str) -> (Parts, NodeInfo) {
    let plan = PartsPlan::new(4, 2).chunk_size(CHUNK).transport(transport);
    let mut parts = plan.start().await;
    for nth in 0..FILES {
        parts.edge.http().put(&path(nth), file(nth)).await.expect(201);
    }
    let address = parts.node_address(0).to_string();
    let nodes = parts.edge.admin().await.nodes().await;
    let dead = nodes.into_iter().find(|node| node.address.ends_with(&address));
    parts.kill_node(0);
    (parts, dead.expect("a node"))
}

/// Says for a node, to the end of the test, that it lives and has more room than any other.
async fn keep_counted_on(master: SocketAddr, node: NodeInfo) {
    let mut client = MasterClient::new(channel(master).await);
    let disks = node.status.clone().unwrap_or_default().disks;
    let status = v1::NodeStatus { capacity: 1 << 50, disks, ..Default::default() };
    loop {
        let request =
            v1::HeartbeatRequest { node_id: node.node_id.clone(), status: Some(status.clone()) };
        let beat = client.heartbeat(request).await;
        beat.expect("the master knows the node");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Uploads and downloads, while the master counts on the node.
async fn goes_on(parts: &Parts, node: NodeInfo) {
    let id = node.node_id.clone();
    let beats = tokio::spawn(keep_counted_on(parts.master_address(), node));
    let mut admin = parts.edge.admin().await;
    eventually(20, "the master counts on the node", async || {
        let nodes = admin.nodes().await;
        let up = nodes.iter().any(|n| n.node_id == id && n.state() == v1::NodeState::Up);
        up.then_some(()).ok_or_else(|| "it does not".to_owned())
    })
    .await;
    let http = parts.edge.http();
    for nth in 0..FILES {
        let got = http.get(&path(nth)).await.expect(200);
        assert!(got.body == file(nth).all(), "{} was served wrongly", path(nth));
        let replaced = http.put(&path(nth), file(nth + 100)).await.expect(200);
        assert!(replaced.must_have("cairn-receipt").starts_with("copies=2;"));
        let got = http.get(&path(nth)).await.expect(200);
        assert!(got.body == file(nth + 100).all(), "{} was served wrongly", path(nth));
    }
    let named = admin.chunks().await.into_iter().filter(|chunk| chunk.wanted == 2);
    for chunk in named {
        assert!(chunk.good.len() + chunk.bad.len() >= 2, "{chunk:?}");
    }
    beats.abort();
}

/// What no node would answer, in several ways.
fn nonsense() -> Vec<Vec<u8>> {
    let raw: [&[u8]; 4] = [
        b"\0\xff\xfe\x80 this is no protocol at all \r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        // An empty SETTINGS frame, as a server of HTTP/2 begins, and then noise.
        b"\0\0\0\x04\0\0\0\0\0\xde\xad\xbe\xef\xde\xad\xbe\xef\xde\xad\xbe\xef",
        b"",
    ];
    raw.map(<[u8]>::to_vec).into()
}

/// Frames of the lane, each of them a lie.
fn lies() -> Vec<Vec<u8>> {
    let stranger = bytes::Bytes::from_static(&[9; 16]);
    let receipt = v1::WriteChunkResponse { node_id: stranger.clone(), disk: stranger };
    let header = v1::ReadHeader { length: CHUNK, hash: vec![7; 32].into(), offset: 0 };
    let data = [&lane::data(1000, vec![1])[..], &[0; 1000]].concat();
    let bodies = [
        lane::receipt(receipt).to_vec(),
        [&lane::read_header(header)[..], &data].concat(),
        data,
        b"\xff\xff\xff\xff".to_vec(),
        Vec::new(),
    ];
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {}\r\n\r\n", lane::MEDIA_TYPE);
    bodies.map(|body| [head.as_bytes(), &body].concat()).into()
}

/// Reads a little and answers.
async fn babble(mut stream: TcpStream, answer: &[u8]) {
    let mut head = [0; 256];
    let _ = stream.read(&mut head).await;
    let _ = stream.write_all(answer).await;
}

async fn is_survived(answers: Vec<Vec<u8>>) {
    let (parts, node) = with_a_dead_node("lane").await;
    let listener = TcpListener::bind(parts.node_address(0)).await.expect("the dead node's port");
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let babbler = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let nth = counted.fetch_add(1, Ordering::Relaxed);
            let answer = answers[nth % answers.len()].clone();
            tokio::spawn(async move { babble(stream, &answer).await });
        }
    });
    goes_on(&parts, node).await;
    babbler.abort();
    assert!(asked.load(Ordering::Relaxed) >= 5, "it must have been asked to show anything");
}

#[tokio::test]
async fn a_node_that_speaks_no_known_protocol_is_survived() {
    is_survived(nonsense()).await;
}

#[tokio::test]
async fn a_node_that_lies_in_the_frames_of_the_lane_is_survived() {
    is_survived(lies()).await;
}

/// Speaks the protocol and lies in every answer; counts writes and reads.
#[derive(Debug, Default, Clone)]
struct Liar {
    writes: Arc<AtomicUsize>,
    reads: Arc<AtomicUsize>,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Chunks for Liar {
    async fn write(
        &self,
        mut request: Request<Streaming<v1::WriteChunkRequest>>,
    ) -> Answer<v1::WriteChunkResponse> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        while let Ok(Some(_)) = request.get_mut().message().await {}
        let stranger = bytes::Bytes::from_static(&[9; 16]);
        Ok(Response::new(v1::WriteChunkResponse { node_id: stranger.clone(), disk: stranger }))
    }

    type ReadStream = BoxStream<'static, Result<v1::ReadChunkResponse, Status>>;

    async fn read(&self, request: Request<v1::ReadChunkRequest>) -> Answer<Self::ReadStream> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let index = request.into_inner().chunk.map_or(0, |chunk| chunk.index);
        let part = |part| Ok(v1::ReadChunkResponse { part: Some(part) });
        let data = v1::ChunkData { block_crcs: vec![1], data: vec![0; 1000].into() };
        let data = part(v1::read_chunk_response::Part::Data(data));
        let header = v1::ReadHeader { length: CHUNK, hash: vec![7; 32].into(), offset: 0 };
        let header = part(v1::read_chunk_response::Part::Header(header));
        let parts = match index % 3 {
            0 => vec![data],
            1 => vec![header, data],
            _ => vec![],
        };
        Ok(Response::new(stream::iter(parts).boxed()))
    }

    async fn stat(&self, _: Request<v1::StatChunkRequest>) -> Answer<v1::StatChunkResponse> {
        Err(Status::data_loss("who knows"))
    }

    async fn list(
        &self,
        _: Request<v1::ListStoredChunksRequest>,
    ) -> Answer<v1::ListStoredChunksResponse> {
        let chunk = v1::ChunkId { blob_id: vec![1, 2, 3].into(), index: 7 };
        let chunk = v1::StoredChunk { chunk: Some(chunk), length: 1, ..Default::default() };
        let chunks = vec![chunk; 10];
        Ok(Response::new(v1::ListStoredChunksResponse { chunks, more: true }))
    }

    async fn delete(
        &self,
        _: Request<v1::DeleteChunksRequest>,
    ) -> Answer<v1::DeleteChunksResponse> {
        Ok(Response::new(v1::DeleteChunksResponse {
            deleted: u64::MAX,
            more: true,
            ..Default::default()
        }))
    }

    async fn flush(&self, _: Request<v1::FlushRequest>) -> Answer<v1::FlushResponse> {
        Err(Status::unimplemented(""))
    }

    async fn copy(&self, _: Request<v1::CopyChunkRequest>) -> Answer<v1::CopyChunkResponse> {
        Err(Status::unimplemented(""))
    }
}

#[tokio::test]
async fn a_node_that_lies_in_every_answer_is_survived() {
    let (parts, node) = with_a_dead_node("grpc").await;
    let address = parts.node_address(0);
    let liar = Liar::default();
    let service = ChunksServer::new(liar.clone());
    let server = tonic::transport::Server::builder().add_service(service).serve(address);
    let server = tokio::spawn(server);
    goes_on(&parts, node).await;
    server.abort();
    for asked in [&liar.writes, &liar.reads] {
        assert!(asked.load(Ordering::Relaxed) > 0, "it must have been asked to show anything");
    }
}
