//! Copies that were lost come back by themselves.

use std::fs;

use cairn_proto::v1::NodeState;
use serde_json::Value;

use crate::harness::{Content, Parts, PartsPlan, Process, eventually, hex};

const FILES: u64 = 12;

fn file(n: u64) -> (String, Content) {
    (format!("/v1/files/f/{n}"), Content::new(n, 100_000 * n + 1))
}

async fn fsck(parts: &Parts) -> (Vec<Value>, Option<i32>) {
    let admin = format!("http://{}", parts.edge.admin);
    let (code, out, _) = Process::run(&["admin", "fsck", "--json", "--admin-url", &admin]).await;
    let lines = out.lines().map(|line| serde_json::from_str(line).expect("an object"));
    (lines.collect(), code)
}

/// Every chunk has its copies, and the census has seen it.
async fn nothing_is_short(parts: &Parts) {
    eventually(120, "every chunk has its copies again", async || {
        let short = parts.edge.admin().await.short_chunks().await;
        if short.is_empty() { Ok(()) } else { Err(format!("{} are short", short.len())) }
    })
    .await;
}

async fn are_down(parts: &Parts, wanted: usize) {
    eventually(30, "the nodes are down", async || {
        let nodes = parts.edge.admin().await.nodes().await;
        let down = nodes.iter().filter(|node| node.state() == NodeState::Down).count();
        if down == wanted { Ok(()) } else { Err(format!("{down} of {wanted}")) }
    })
    .await;
}

async fn all_can_be_read(parts: &Parts) {
    for n in 0..FILES {
        let (path, content) = file(n);
        let (length, sha256) = parts.edge.http().request("GET", &path).send().await.digest().await;
        assert_eq!((length, hex(&sha256)), (content.length, hex(&content.sha256())), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_lost_with_its_disk_and_then_another_one_cost_no_file() {
    let plan = PartsPlan::new(4, 2)
        .chunk_size(256 << 10)
        .master_flag("--heartbeat", "200ms")
        .master_flag("--suspect-after", "1s")
        .master_flag("--down-after", "2s")
        .master_flag("--repair-after", "1s");
    let mut parts = plan.start().await;
    for n in 0..FILES {
        let (path, content) = file(n);
        parts.edge.http().put(&path, content).await.expect(201);
    }
    for lost in 0..2 {
        parts.kill_node(lost);
        fs::remove_dir_all(parts.node_folder(lost)).expect("removed");
        are_down(&parts, lost + 1).await;
        nothing_is_short(&parts).await;
        all_can_be_read(&parts).await;
    }
    // A new node comes in the place of a lost one.
    parts.start_node(0).await;
    parts.all_nodes_up().await;
    nothing_is_short(&parts).await;
    let (lines, code) = fsck(&parts).await;
    let differences: Vec<_> = lines.iter().filter(|line| line.get("kind").is_some()).collect();
    let counts = lines.last().expect("counts at the end");
    assert!(counts.get("kind").is_none() && code != Some(1), "it ran to its end: {lines:?}");
    let unexpected = |line: &&&Value| line["kind"] != "replaced disk";
    assert_eq!(differences.iter().filter(unexpected).count(), 0, "{differences:?}");
}
