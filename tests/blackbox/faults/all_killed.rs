//! Everything dies at once: what was acknowledged is there afterwards, and nothing else is left.

use std::time::Duration;

use tokio::time::sleep;

use crate::harness::{
    Content, Draw, Http, Parts, PartsPlan, assert_nodes_hold_what_the_catalog_names, eventually,
};

pub(super) const WRITERS: u64 = 4;

fn content(round: u64, writer: u64, nth: u64) -> Content {
    let seed = (round * WRITERS + writer) * 10_000 + nth;
    Content::new(seed, 1000 + seed * 7919 % 400_000)
}

fn path(round: u64, writer: u64, nth: u64) -> String {
    format!("/v1/files/{round}/{writer}/{nth}")
}

/// Writes file after file until no answer comes; how many were acknowledged.
pub(super) async fn write_on(http: Http, round: u64, writer: u64) -> u64 {
    for nth in 0.. {
        let request = http.request("PUT", &path(round, writer, nth));
        let request = request.content(content(round, writer, nth));
        match request.try_send().await {
            Ok(answer) if answer.status == 201 => {}
            _ => return nth,
        }
    }
    unreachable!("the gateway is killed before the numbers end")
}

/// The acknowledged ones are there; the one after them is whole or absent.
pub(super) async fn check(parts: &Parts, round: u64, writer: u64, acknowledged: u64) {
    let http = parts.edge.http();
    for nth in 0..=acknowledged {
        let path = path(round, writer, nth);
        let download = http.request("GET", &path).send().await;
        if nth == acknowledged && download.status == 404 {
            continue;
        }
        assert_eq!(download.status, 200, "{path} of {acknowledged} acknowledged");
        let expected = content(round, writer, nth);
        let got = download.digest().await;
        assert_eq!(got, (expected.length, expected.sha256()), "{path}");
    }
}

/// In each round everything is killed during uploads, and started again.
pub(crate) async fn kill_everything_during_uploads(rounds: u64) {
    let plan = PartsPlan::new(3, 2).chunk_size(64 << 10);
    let plan = plan.master_flag("--lease", "3s");
    let mut parts = plan.start().await;
    let mut draw = Draw::new(99);
    let mut acknowledged = Vec::new();
    for round in 0..rounds {
        let http = parts.edge.http();
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| tokio::spawn(write_on(http, round, writer))).collect();
        eventually(60, "a file is stored", async || {
            let listed = http.get(&format!("/v1/files?list&prefix={round}/")).await.json();
            if listed["files"].as_array().is_some_and(|files| !files.is_empty()) {
                Ok(())
            } else {
                Err(listed.to_string())
            }
        })
        .await;
        sleep(Duration::from_millis(300 + draw.below(700))).await;
        parts.kill_all();
        for (writer, written) in (0..).zip(writers) {
            let written = written.await.expect("a writer ends with the gateway");
            acknowledged.push((round, writer, written));
        }
        eprintln!("acknowledged by round and writer: {acknowledged:?}");
        parts.start_all().await;
        for (round, writer, written) in &acknowledged {
            check(&parts, *round, *writer, *written).await;
        }
    }
    assert!(acknowledged.iter().any(|(_, _, written)| *written > 0));
    parts.edge.settle().await;
    assert_nodes_hold_what_the_catalog_names(&parts).await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_death_of_everything() {
    kill_everything_during_uploads(2).await;
}
