//! A tier that fails: files go on, and operators see it.

use serde_json::Value;

use super::{admin, all_come_back, files, put_all, two_nodes};
use crate::harness::{Parts, Process, eventually};

const FAILING: &str = "behind-journal = 'behind'\n\
    chain = { behind = { first-retry = '10ms', last-retry = '50ms', drain = '1s' } }\n\
    [[tier]]\nname = 'near'\nstore = { kind = 'segments', path = 'near' }\n\
    [[tier]]\nname = 'far'\nwrite = 'behind'\nstore = { kind = 'segments', path = 'far' }\n";

/// How the tier behind is, as the master knows it of the first node.
async fn far(parts: &Parts) -> Value {
    let (nodes, _) = admin(parts, "nodes").await;
    nodes[0]["tiers"].as_array().and_then(|tiers| tiers.get(1).cloned()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tier_behind_that_fails_is_told_to_the_master_and_catches_up_when_it_works_again() {
    let failing = format!("{FAILING}faults = {{ fail-rate = 1.0 }}\n");
    let mut parts = two_nodes(&failing).await;
    let files = files(&[100, 2 << 20]);
    put_all(&parts, &files).await;
    all_come_back(&parts, &files).await;
    eventually(30, "the master knows that the tier fails", async || {
        let far = far(&parts).await;
        let told = far["degraded"] == true
            && far["waiting_chunks"] == 3
            && far["last_error"].as_str().is_some_and(|error| !error.is_empty());
        if told { Ok(()) } else { Err(format!("{far}")) }
    })
    .await;

    let url = format!("http://{}", parts.edge.admin);
    let (_, table, _) = Process::run(&["admin", "nodes", "--admin-url", &url]).await;
    let rows: Vec<_> = table.lines().map(str::trim).collect();
    let told: Vec<_> = rows.iter().filter(|row| row.starts_with("far")).collect();
    assert!(
        told.len() == 2 && told[0].contains("failing") && told[0].contains("tier: "),
        "{table}"
    );
    assert!(rows.iter().any(|row| row.starts_with("near") && row.contains("good")), "{table}");

    parts.describe_nodes(Some(FAILING));
    for node in 0..2 {
        parts.kill_node(node);
        parts.start_node(node).await;
    }
    parts.all_nodes_up().await;
    eventually(30, "what waited is copied", async || {
        let far = far(&parts).await;
        let copied = far["degraded"] == false && far["waiting_chunks"] == 0;
        if copied && far["used_bytes"].as_u64() > Some(2 << 20) {
            Ok(())
        } else {
            Err(format!("{far}"))
        }
    })
    .await;
    all_come_back(&parts, &files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_fails_every_call_fails_no_file() {
    let tiers = "[[tier]]\nname = 'cache'\ndurable = false\n\
        store = { kind = 'files', path = 'cache' }\nfaults = { fail-rate = 1.0 }\n\
        [[tier]]\nname = 'disk'\nstore = { kind = 'segments', path = 'disk' }\n";
    let parts = two_nodes(tiers).await;
    let files = files(&[0, 70_000, 2 << 20]);
    put_all(&parts, &files).await;
    all_come_back(&parts, &files).await;
    eventually(30, "the master knows that the cache fails", async || {
        let (nodes, _) = admin(&parts, "nodes").await;
        let cache = &nodes[0]["tiers"][0];
        if cache["degraded"] == true { Ok(()) } else { Err(format!("{cache}")) }
    })
    .await;
}
