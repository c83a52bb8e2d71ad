//! The node that serves a download dies: another copy goes on at the right byte, or the download is broken off.

use cairn_proto::v1::files_client::FilesClient;
use cairn_proto::v1::{GetFileRequest, GetFileResponse, NodeState, get_file_response};
use cairn_proto::{Reason, RemoteError};

use crate::harness::{
    Content, Download, Draw, Parts, PartsPlan, channel, chunk_name, eventually, hex,
};

const CHUNK: u64 = 64 << 20;
/// Two chunks, larger than all that is read ahead.
const FILE: Content = Content::new(77, 2 * CHUNK);
/// A kill in the last part of a chunk could come after all of it was read ahead.
const LAST_OFFSET: u64 = CHUNK - (32 << 20);

async fn start() -> Parts {
    let plan = PartsPlan::new(3, 2).chunk_size(CHUNK);
    let parts = plan.master_flag("--down-after", "8s").start().await;
    let stored = parts.edge.http().put("/v1/files/long", FILE).await;
    stored.expect(201);
    parts
}

async fn serving_node(parts: &Parts, download: &Download) -> usize {
    let served_by = download.header("cairn-served-by").expect("Cairn-Served-By");
    let id = served_by.replace('-', "");
    let nodes = parts.edge.admin().await.nodes().await;
    let node = nodes.iter().find(|node| hex(&node.node_id) == id);
    let node = node.unwrap_or_else(|| panic!("{served_by} is no node"));
    parts.node_at(&node.address)
}

/// Begins a download in the middle of a chunk, kills the node that serves it, reads on.
async fn survive(parts: &mut Parts, from: u64) -> usize {
    let request = parts.edge.http().request("GET", "/v1/files/long");
    let range = format!("bytes={from}-");
    let mut download = request.header("range", &range).send().await;
    assert_eq!(download.status, 206);
    let mut at = from;
    let mut killed = None;
    while let Some(data) = download
        .next()
        .await
        .unwrap_or_else(|error| panic!("broke off at {at}, begun at {from}: {error}"))
    {
        let end = at + data.len() as u64;
        assert!(data == FILE.bytes(at, end), "wrong bytes in {at}..{end}");
        at = end;
        if killed.is_none() {
            let node = serving_node(parts, &download).await;
            parts.kill_node(node);
            killed = Some(node);
        }
    }
    assert_eq!(at, FILE.length, "ended early, begun at {from}");
    killed.expect("a download has a first byte")
}

/// Every chunk is on two nodes that live, or is listed as short.
async fn no_lost_copy_is_hidden(parts: &Parts) {
    let mut admin = parts.edge.admin().await;
    eventually(60, "the dead node is down", async || {
        let nodes = admin.nodes().await;
        let down = nodes.iter().any(|node| node.state() == NodeState::Down);
        down.then_some(()).ok_or_else(|| "it is not".to_owned())
    })
    .await;
    let nodes = admin.nodes().await;
    let lives = |id: &[u8]| {
        nodes.iter().any(|node| node.node_id.as_ref() == id && node.state() == NodeState::Up)
    };
    let short = admin.short_chunks().await;
    let short: Vec<_> = short.iter().map(|of| chunk_name(of.chunk.as_ref())).collect();
    let chunks = admin.chunks().await;
    assert_eq!(chunks.len(), 2);
    for copies in chunks {
        let name = chunk_name(copies.chunk.as_ref());
        let living = copies.good.iter().filter(|id| lives(id)).count();
        assert_eq!(copies.wanted, 2);
        assert_eq!(living < 2, short.contains(&name), "{name:?}: {copies:?}");
    }
    assert!(!short.is_empty(), "the dead node held a copy");
}

/// Kills the serving node at this many random offsets.
pub(crate) async fn kill_serving_nodes(times: u64) {
    let mut parts = start().await;
    let mut draw = Draw::new(31_337);
    for nth in 0..times {
        let offset = draw.below(LAST_OFFSET) + CHUNK * draw.below(2);
        let node = survive(&mut parts, offset).await;
        if nth + 1 < times {
            parts.start_node(node).await;
            parts.all_nodes_up().await;
        }
    }
    no_lost_copy_is_hidden(&parts).await;
}

#[tokio::test]
async fn a_download_survives_the_node_that_serves_it() {
    kill_serving_nodes(4).await;
}

#[tokio::test]
async fn a_download_without_a_copy_left_is_broken_off_and_never_ends_as_a_whole_one() {
    let mut parts = start().await;
    let http = parts.edge.http();
    let mut download = http.request("GET", "/v1/files/long").send().await;
    assert_eq!(download.status, 200);
    let first = download.next().await.expect("begun").expect("a first byte");
    (0..3).for_each(|node| parts.kill_node(node));
    let mut at = first.len() as u64;
    let end = loop {
        match download.next().await {
            Ok(Some(data)) => at += data.len() as u64,
            end => break end,
        }
    };
    assert!(end.is_err(), "a clean end after {at} of {} bytes", FILE.length);
    // Before its first byte a download can still say so.
    http.get("/v1/files/long").await.problem(503);
}

/// Bytes of the file in a message.
fn bytes_in(message: &GetFileResponse) -> u64 {
    match &message.part {
        Some(get_file_response::Part::Data(data)) => data.len() as u64,
        _ => 0,
    }
}

#[tokio::test]
async fn over_grpc_a_download_without_a_copy_left_ends_with_an_error() {
    let mut parts = start().await;
    let mut files = FilesClient::new(channel(parts.edge.gateway).await);
    let request = GetFileRequest { key: "long".to_owned(), ..Default::default() };
    let mut answer = files.get(request).await.expect("begun").into_inner();
    let mut at = 0;
    while at == 0 {
        let message = answer.message().await.expect("begun").expect("a first byte");
        at += bytes_in(&message);
    }
    (0..3).for_each(|node| parts.kill_node(node));
    let end = loop {
        match answer.message().await {
            Ok(Some(message)) => at += bytes_in(&message),
            end => break end,
        }
    };
    let Err(status) = end else { panic!("a clean end after {at} of {} bytes", FILE.length) };
    assert_eq!(RemoteError::from(status).reason, Reason::Unreachable);
}
