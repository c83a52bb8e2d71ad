//! A node's disk is full, breaks, lies about its cache, or is slow.

use std::path::PathBuf;

use crate::harness::{Content, Http, Injected, Parts, PartsPlan, SmallDisk, eventually};

const FILE: u64 = 2 << 20;
/// More files than fit.
const FILES: u64 = 60;
const DISK_MEGABYTES: u32 = 64;

fn path(file: u64) -> String {
    format!("/v1/files/{file}")
}

fn content(file: u64) -> Content {
    Content::new(file, FILE + file)
}

/// One node, which is often heard. Without the journal of the metadata on it, chunks alone meet the faults.
fn one_node(meta_copies: u32) -> PartsPlan {
    let plan = PartsPlan::new(1, 1).chunk_size(256 << 10);
    plan.master_flag("--heartbeat", "200ms").master_flag("--meta-copies", meta_copies)
}

/// One node, whose folder is on the small disk.
async fn on(disk: &SmallDisk, meta_copies: u32) -> Parts {
    let plan = one_node(meta_copies).master_flag("--condemn-for", "0s");
    plan.node_data(0, folder(disk)).start().await
}

fn folder(disk: &SmallDisk) -> PathBuf {
    disk.path().join("node")
}

async fn put(http: Http, file: u64) -> u16 {
    let answer = http.put(&path(file), content(file)).await;
    let status = answer.status;
    assert!(matches!(status, 201 | 503 | 507), "{file}: {status} {}", answer.text());
    if status != 201 {
        answer.problem(status);
    }
    status
}

async fn read(http: Http, files: impl Iterator<Item = u64>) {
    for file in files {
        let got = http.get(&path(file)).await.expect(200);
        assert!(got.body == content(file).all(), "file {file} has other bytes");
    }
}

/// Writes files until one is refused; tells how many were taken.
async fn fill(http: Http) -> u64 {
    for file in 0..FILES {
        if put(http, file).await != 201 {
            return file;
        }
    }
    panic!("{FILES} files of {FILE} bytes fit on {DISK_MEGABYTES} MB");
}

/// Whether the node says that its disk failed.
async fn disk_failed(parts: &Parts) -> bool {
    let nodes = parts.edge.admin().await.nodes().await;
    let statuses = nodes.into_iter().filter_map(|node| node.status);
    statuses.flat_map(|status| status.disks).any(|disk| disk.failed)
}

async fn says_that_its_disk_failed(parts: &Parts) {
    eventually(60, "the node says that its disk failed", async || {
        if disk_failed(parts).await { Ok(()) } else { Err("it does not".to_owned()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_serves_and_takes_writes_again_after_deletions() {
    for meta_copies in [0, 1] {
        fill_and_delete(meta_copies).await;
    }
}

/// With the journal of the metadata on the same disk, or without one.
async fn fill_and_delete(meta_copies: u32) {
    let Some(disk) = SmallDisk::new(DISK_MEGABYTES) else { return };
    let mut parts = on(&disk, meta_copies).await;
    let http = parts.edge.http();
    let taken = fill(http).await;
    assert!(taken > 10, "{taken} files");
    read(http, 0..taken).await;
    parts.kill_node(0);
    parts.start_node(0).await;
    parts.all_nodes_up().await;
    read(http, 0..taken).await;
    assert_ne!(put(http, taken).await, 201, "it is as full as before");
    for file in 0..taken / 2 {
        http.request("DELETE", &path(file)).answer().await.expect(204);
    }
    eventually(120, "there is room again", async || {
        parts.edge.settle().await;
        match put(http, taken).await {
            201 => Ok(()),
            status => Err(format!("refused with {status}")),
        }
    })
    .await;
    read(http, taken / 2..=taken).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_somebody_else_fills_refuses_until_there_is_room_again() {
    let Some(disk) = SmallDisk::new(DISK_MEGABYTES) else { return };
    let parts = on(&disk, 0).await;
    let http = parts.edge.http();
    for file in 0..3 {
        assert_eq!(put(http, file).await, 201);
    }
    let others = disk.fill();
    for file in 3..6 {
        assert_eq!(put(http, file).await, 503);
    }
    read(http, 0..3).await;
    std::fs::remove_file(others).expect("removed");
    eventually(60, "writes are taken again", async || match put(http, 6).await {
        201 => Ok(()),
        status => Err(format!("refused with {status}")),
    })
    .await;
    assert!(!disk_failed(&parts).await, "a full disk has not failed");
    read(http, (0..3).chain([6])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_that_turns_read_only_loses_nothing_that_was_acknowledged() {
    let Some(disk) = SmallDisk::new(DISK_MEGABYTES) else { return };
    let mut parts = on(&disk, 0).await;
    let http = parts.edge.http();
    for file in 0..5 {
        assert_eq!(put(http, file).await, 201);
    }
    disk.fail();
    assert_eq!(put(http, 5).await, 503);
    read(http, 0..5).await;
    // It does not come back by itself: the folder is repaired under a node that is stopped.
    parts.kill_node(0);
    disk.repair();
    parts.start_node(0).await;
    parts.all_nodes_up().await;
    read(http, 0..5).await;
    eventually(60, "writes are taken again", async || match put(http, 6).await {
        201 => Ok(()),
        status => Err(format!("refused with {status}")),
    })
    .await;
    read(http, [6].into_iter()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fsync_is_not_acknowledged_and_ends_writing_until_the_node_is_started_again() {
    let mut parts = one_node(0).start().await;
    let http = parts.edge.http();
    assert_eq!(put(http, 0).await, 201);
    let Some(injected) = Injected::into(parts.node(0), "fdatasync", "error=EIO:when=1") else {
        return;
    };
    assert_eq!(put(http, 1).await, 503);
    drop(injected);
    // The next fsync would say that all is well, and what the first one lost is lost.
    assert_eq!(put(http, 2).await, 503);
    read(http, 0..1).await;
    says_that_its_disk_failed(&parts).await;
    parts.kill_node(0);
    parts.start_node(0).await;
    parts.all_nodes_up().await;
    eventually(60, "writes are taken again", async || match put(http, 3).await {
        201 => Ok(()),
        status => Err(format!("refused with {status}")),
    })
    .await;
    assert!(!disk_failed(&parts).await, "it was opened anew");
    read(http, [0, 3].into_iter()).await;
    http.get(&path(1)).await.problem(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_go_through_with_one_slow_disk_among_three() {
    let parts = PartsPlan::new(3, 2).chunk_size(256 << 10).start().await;
    let http = parts.edge.http();
    let slow = "delay_enter=200000";
    let Some(injected) = Injected::into(parts.node(0), "fdatasync", slow) else { return };
    for file in 0..5 {
        let answer = http.put(&path(file), content(file)).await.expect(201);
        let receipt = answer.must_have("cairn-receipt");
        assert!(receipt.starts_with("copies=2; "), "{receipt}");
    }
    read(http, 0..5).await;
    assert!(injected.struck() > 0, "the slow disk was asked");
}
