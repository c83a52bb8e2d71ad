//! The master's disk is lost under load: the catalog comes back from the nodes, and nothing acknowledged is missing.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::sleep;

use super::all_killed::{WRITERS, check, write_on};
use crate::harness::{
    Content, Draw, Parts, PartsPlan, Process, assert_nodes_hold_what_the_catalog_names,
};

/// `cairn admin meta restore` into the master's folder, from these nodes.
async fn restore(
    parts: &Parts,
    nodes: &[SocketAddr],
    more: &[&str],
) -> (Option<i32>, String, String) {
    let folder = parts.master_folder(0).to_string_lossy().into_owned();
    let nodes: Vec<_> = nodes.iter().map(|node| format!("http://{node}")).collect();
    let mut arguments = vec!["admin", "meta", "restore", "--data", &folder];
    arguments.extend(nodes.iter().flat_map(|node| ["--node", node.as_str()]));
    arguments.extend(more);
    Process::run(&arguments).await
}

async fn admin(parts: &Parts, what: &[&str]) -> (Option<i32>, String, String) {
    let url = format!("http://{}", parts.edge.admin);
    Process::run(&[&["admin"], what, &["--admin-url", &url]].concat()).await
}

/// Deletes the master's folder under its feet, and kills it.
fn lose_master(parts: &mut Parts) {
    fs::remove_dir_all(parts.master_folder(0)).expect("the folder is deleted");
    parts.kill_master(0);
}

/// Starts the master again, where gateways and nodes look for it.
async fn start_master(parts: &mut Parts) {
    parts.start_master(0).await;
    parts.all_nodes_up().await;
}

/// Quotas are exact, nothing is left over, nodes hold what the catalog names.
async fn all_is_exact(parts: &Parts) {
    parts.edge.settle().await;
    assert_nodes_hold_what_the_catalog_names(parts).await;
    let (code, out, err) = admin(parts, &["usage", "--verify"]).await;
    assert_eq!(code, Some(0), "{out}{err}");
}

/// In each round writers are at work when the master's disk goes.
pub(crate) async fn lose_the_masters_disk_under_load(rounds: u64) {
    let plan = PartsPlan::new(3, 2).chunk_size(64 << 10).master_flag("--lease", "3s");
    let mut parts = plan.start().await;
    let mut draw = Draw::new(7);
    let mut acknowledged = Vec::new();
    for round in 0..rounds {
        let http = parts.edge.http();
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| tokio::spawn(write_on(http, round, writer))).collect();
        sleep(Duration::from_millis(500 + draw.below(1000))).await;
        lose_master(&mut parts);
        for (writer, written) in (0..).zip(writers) {
            let written = written.await.expect("a writer ends with the master");
            acknowledged.push((round, writer, written));
        }
        eprintln!("acknowledged by round and writer: {acknowledged:?}");
        let (code, out, err) = restore(&parts, &parts.node_addresses(), &[]).await;
        assert_eq!(code, Some(0), "{out}{err}");
        eprintln!("{out}");
        assert!(out.contains("all agree with each other"), "{out}");
        start_master(&mut parts).await;
        for (round, writer, written) in &acknowledged {
            check(&parts, *round, *writer, *written).await;
        }
        all_is_exact(&parts).await;
    }
    assert!(acknowledged.iter().all(|(_, _, written)| *written > 0), "{acknowledged:?}");
}

#[tokio::test]
async fn nothing_acknowledged_is_missing_after_the_masters_disk_was_deleted_under_load() {
    lose_the_masters_disk_under_load(2).await;
}

#[tokio::test]
async fn a_receipt_counts_the_nodes_that_keep_the_metadata() {
    let parts = PartsPlan::new(3, 2).start().await;
    let put = parts.edge.http().request("PUT", "/v1/files/a").content(Content::new(1, 10));
    let receipt = put.send().await.header("cairn-receipt").map(str::to_owned);
    assert!(receipt.as_deref().is_some_and(|text| text.contains("; meta=2; ")), "{receipt:?}");
    let (_, out, _) = admin(&parts, &["meta", "status"]).await;
    assert!(out.contains("on 2 nodes before they are acknowledged"), "{out}");
}

#[tokio::test]
async fn a_catalog_that_may_lack_changes_is_restored_only_on_request_and_erases_nothing() {
    let plan = PartsPlan::new(3, 2).chunk_size(64 << 10).master_flag("--condemn-for", "0s");
    let mut parts = plan.start().await;
    let http = parts.edge.http();
    let content = Content::new(5, 100_000);
    for name in ["kept", "deleted"] {
        let put = http.request("PUT", &format!("/v1/files/{name}")).content(content);
        assert_eq!(put.send().await.status, 201);
    }
    all_keep_up(&parts, 3).await;
    lose_master(&mut parts);
    let one = [parts.node_address(0)];
    let (code, _, err) = restore(&parts, &one, &[]).await;
    assert_eq!(code, Some(6), "{err}");
    assert!(err.contains("2 nodes did not answer"), "{err}");
    let (code, _, err) = restore(&parts, &one, &["--allow-missing"]).await;
    assert!(code == Some(1) && err.contains("empty it"), "a half of a catalog is left: {err}");
    fs::remove_dir_all(parts.master_folder(0)).expect("the folder is emptied");
    let (code, out, err) = restore(&parts, &one, &["--allow-missing"]).await;
    assert!(code == Some(0) && out.contains("release-sweep"), "{out}{err}");

    start_master(&mut parts).await;
    let (_, out, _) = admin(&parts, &["meta", "status"]).await;
    assert!(out.contains("the sweep waits for you"), "{out}");
    let mut operator = parts.edge.admin().await;
    let delete = http.request("DELETE", "/v1/files/deleted").send().await;
    assert_eq!(delete.status, 204);
    assert_eq!(operator.sweep().await.versions_purged, 0, "it waits");
    let (code, out, _) = admin(&parts, &["meta", "release-sweep"]).await;
    assert!(code == Some(0) && out.contains("goes on"), "{out}");
    crate::harness::eventually(60, "what was deleted is purged", async || {
        let purged = operator.sweep().await.versions_purged;
        let condemned = operator.bucket_account().await.condemned_bytes;
        if condemned == 0 { Ok(()) } else { Err(format!("{purged} purged, {condemned} are left")) }
    })
    .await;
    let kept = http.request("GET", "/v1/files/kept").send().await;
    assert_eq!(kept.digest().await, (content.length, content.sha256()));
}

/// What `cairn admin meta status` says.
async fn status(parts: &Parts) -> serde_json::Value {
    let (code, out, err) = admin(parts, &["meta", "status", "--json"]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    serde_json::from_str(&out).expect("JSON")
}

/// Waits until every keeper has everything.
async fn all_keep_up(parts: &Parts, keepers: usize) {
    crate::harness::eventually(60, "all nodes keep the journal", async || {
        let told = status(parts).await;
        let all = told["keepers"].as_array().expect("a list");
        let well = |keeper: &&serde_json::Value| {
            keeper["problem"] == "" && keeper["sequence"] == told["committed"]
        };
        let count = all.iter().filter(well).count();
        if count == keepers { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
}

async fn write_files(parts: &Parts, folder: &str, count: u64) {
    let http = parts.edge.http();
    for nth in 0..count {
        let put = http.request("PUT", &format!("/v1/files/{folder}/{nth}"));
        let put = put.content(Content::new(nth, 100)).send().await;
        assert_eq!(put.status, 201, "{folder}/{nth}");
    }
}

#[tokio::test]
async fn a_node_that_is_gone_holds_nobody_up_and_catches_up_when_it_is_back() {
    let mut parts = PartsPlan::new(3, 2).start().await;
    all_keep_up(&parts, 3).await;
    parts.kill_node(1);
    write_files(&parts, "meanwhile", 20).await;
    parts.start_node(1).await;
    all_keep_up(&parts, 3).await;
    // The one that was away has it all.
    parts.kill_node(0);
    parts.kill_node(2);
    lose_master(&mut parts);
    let (code, out, err) = restore(&parts, &[parts.node_address(1)], &["--allow-missing"]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    parts.start_node(0).await;
    parts.start_node(2).await;
    start_master(&mut parts).await;
    let http = parts.edge.http();
    for nth in 0..20 {
        let got = http.request("GET", &format!("/v1/files/meanwhile/{nth}")).send().await;
        assert_eq!(got.status, 200, "{nth}");
    }
}

#[tokio::test]
async fn with_too_few_nodes_for_the_journal_nothing_is_acknowledged_and_files_are_read() {
    let plan = PartsPlan::new(2, 1).master_flag("--meta-copies", 2);
    let mut parts = plan.start().await;
    all_keep_up(&parts, 2).await;
    write_files(&parts, "before", 8).await;
    parts.kill_node(1);
    let http = parts.edge.http();
    let delete = http.request("DELETE", "/v1/files/before/0").send().await;
    assert!(delete.status >= 500, "{}", delete.status);
    let told = status(&parts).await;
    let problem = told["problem"].as_str().unwrap_or_default();
    assert!(problem.contains("1 of 2 nodes keep the journal"), "{told}");
    let listed = http.request("GET", "/v1/files?list").send().await;
    assert_eq!(listed.status, 200);
    parts.start_node(1).await;
    all_keep_up(&parts, 2).await;
    write_files(&parts, "after", 1).await;
}

#[tokio::test]
async fn backups_on_nodes_are_renewed_and_what_they_cover_goes() {
    let plan = PartsPlan::new(2, 2).master_flag("--meta-renew", "64KiB");
    let mut parts = plan.start().await;
    write_files(&parts, "first", 150).await;
    let many = status(&parts).await["committed"].as_u64().expect("a number");
    crate::harness::eventually(60, "the backups are renewed", async || {
        // What is covered goes with the backup after.
        write_files(&parts, "more", 10).await;
        let told = status(&parts).await;
        let renewed = |keeper: &serde_json::Value| {
            let number = |name: &str| keeper[name].as_u64().expect("a number");
            number("backup_bytes") > 64 << 10
                && number("journal_bytes") <= number("backup_bytes").max(64 << 10)
        };
        let all = told["keepers"].as_array().expect("a list");
        if all.iter().all(renewed) { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    lose_master(&mut parts);
    let (code, out, err) = restore(&parts, &parts.node_addresses(), &[]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    let groups = out.split(" groups").next().and_then(|before| before.rsplit(' ').next());
    let groups: u64 = groups.and_then(|number| number.parse().ok()).expect("a number");
    assert!(groups < many, "{out}: the backup has the rest of {many}");
    start_master(&mut parts).await;
    let http = parts.edge.http();
    for nth in 0..150 {
        let got = http.request("GET", &format!("/v1/files/first/{nth}")).send().await;
        assert_eq!(got.digest().await.0, 100, "{nth}");
    }
    all_is_exact(&parts).await;
}
