//! A node dies while files are written to it: the copies go elsewhere.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::harness::{
    Content, Draw, Http, Parts, PartsPlan, assert_nodes_hold_what_the_catalog_names,
};

const WRITERS: u64 = 4;
/// More than a gateway gathers of a body of unknown length before it begins the upload.
const FILE: u64 = 9 << 20;

fn path(round: u64, writer: u64) -> String {
    format!("/v1/files/{round}/{writer}")
}

fn content(round: u64, writer: u64) -> Content {
    Content::new(round * WRITERS + writer, FILE + writer)
}

async fn write(http: Http, round: u64, writer: u64) {
    let request = http.request("PUT", &path(round, writer));
    let request = match writer % 2 {
        0 => request.content(content(round, writer)),
        _ => request.content_of_unknown_length(content(round, writer)),
    };
    let answer = request.answer().await.expect(201);
    let receipt = answer.must_have("cairn-receipt");
    assert!(receipt.starts_with("copies=2; "), "{receipt}");
}

async fn read_all(parts: &Parts, rounds: u64) {
    for round in 0..rounds {
        for writer in 0..WRITERS {
            let request = parts.edge.http().request("GET", &path(round, writer));
            let download = request.send().await;
            assert_eq!(download.status, 200);
            let expected = content(round, writer);
            let got = download.digest().await;
            assert_eq!(got, (expected.length, expected.sha256()), "{round}/{writer}");
        }
    }
}

/// In each round a node is killed during uploads, and started again.
pub(crate) async fn kill_a_node_during_uploads(rounds: u64) {
    let plan = PartsPlan::new(4, 2).chunk_size(256 << 10);
    let mut parts = plan.start().await;
    let mut draw = Draw::new(4711);
    for round in 0..rounds {
        let http = parts.edge.http();
        let uploads: Vec<_> =
            (0..WRITERS).map(|writer| tokio::spawn(write(http, round, writer))).collect();
        sleep(Duration::from_millis(5 + draw.below(150))).await;
        let victim = draw.below(4) as usize;
        let still_running = uploads.iter().filter(|task| !task.is_finished()).count();
        eprintln!("round {round}: {still_running} uploads run, node {victim} dies");
        parts.kill_node(victim);
        for upload in join_all(uploads).await {
            upload.expect("an upload goes through though a node died");
        }
        read_all(&parts, round + 1).await;
        parts.start_node(victim).await;
        parts.all_nodes_up().await;
    }
    parts.edge.settle().await;
    assert_nodes_hold_what_the_catalog_names(&parts).await;
}

#[tokio::test]
async fn uploads_go_through_when_a_node_dies() {
    kill_a_node_during_uploads(3).await;
}

#[tokio::test]
async fn too_few_nodes_are_told_and_not_hidden() {
    let mut parts = PartsPlan::new(2, 2).chunk_size(256 << 10).start().await;
    let http = parts.edge.http();
    http.put("/v1/files/before", Content::new(1, FILE)).await.expect(201);
    parts.kill_node(0);
    let answer = http.put("/v1/files/after", Content::new(2, FILE)).await;
    assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
    answer.problem(503);
    http.get("/v1/files/after").await.problem(404);
    let got = http.get("/v1/files/before").await.expect(200);
    assert!(got.body == Content::new(1, FILE).all(), "one copy is left");
    parts.edge.settle().await;
    parts.start_node(0).await;
    parts.all_nodes_up().await;
    http.put("/v1/files/after", Content::new(2, FILE)).await.expect(201);
    assert_nodes_hold_what_the_catalog_names(&parts).await;
}
