//! Nodes are drained and removed, one at a time, while people read and write.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use crate::harness::{Content, Edge, Parts, PartsPlan, Process, eventually, hex};

const FILES: u64 = 16;

fn file(n: u64) -> (String, Content) {
    (format!("/v1/files/m/{n}"), Content::new(n, 60_000 * (n % 20) + 1))
}

async fn admin(parts: &Parts, args: &[&str]) -> (Option<i32>, String, String) {
    let admin = format!("http://{}", parts.edge.admin);
    let args = [&["admin"], args, &["--admin-url", &admin]].concat();
    Process::run(&args).await
}

async fn can_be_read(edge: &Edge, n: u64) {
    let (path, content) = file(n);
    let (length, sha256) = edge.http().request("GET", &path).send().await.digest().await;
    assert_eq!((length, hex(&sha256)), (content.length, hex(&content.sha256())), "{path}");
}

async fn fsck_is_clean(parts: &Parts) {
    eventually(60, "fsck is clean", async || {
        let (code, out, _) = admin(parts, &["fsck", "--json"]).await;
        if code == Some(0) { Ok(()) } else { Err(format!("{code:?}: {out}")) }
    })
    .await;
}

/// Reads and writes until it is told to stop; how many files there are then.
async fn work(edge: Edge, stop: Arc<AtomicBool>, files: Arc<AtomicU64>) {
    while !stop.load(Ordering::Relaxed) {
        let n = files.load(Ordering::Relaxed);
        let (path, content) = file(n);
        edge.http().put(&path, content).await.expect(201);
        files.store(n + 1, Ordering::Relaxed);
        can_be_read(&edge, n * 7 % (n + 1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_drained_and_removed_and_its_disk_deleted_while_files_are_read_and_written() {
    let plan = PartsPlan::new(4, 2)
        .chunk_size(256 << 10)
        .master_flag("--heartbeat", "200ms")
        .master_flag("--condemn-for", "1h");
    let mut parts = plan.start().await;
    for n in 0..FILES {
        let (path, content) = file(n);
        parts.edge.http().put(&path, content).await.expect(201);
    }
    let (stop, files) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(FILES)));
    let working = tokio::spawn(work(parts.edge, Arc::clone(&stop), Arc::clone(&files)));
    let gone = parts.node_address(0).to_string();
    let (code, _, refused) = admin(&parts, &["node", "remove", &gone]).await;
    assert_eq!(code, Some(4), "it is not drained: {refused}");
    let (code, told, error) = admin(&parts, &["node", "drain", &gone, "--wait"]).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(told.contains("safe to remove"), "{told}");
    let (code, _, error) = admin(&parts, &["node", "remove", &gone]).await;
    assert_eq!(code, Some(0), "{error}");
    parts.kill_node(0);
    fs::remove_dir_all(parts.node_folder(0)).expect("removed");
    let before = files.load(Ordering::Relaxed);
    eventually(60, "files are written after that", async || {
        let now = files.load(Ordering::Relaxed);
        if now > before + 3 { Ok(()) } else { Err(format!("{now} files")) }
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    working.await.expect("nobody was refused");
    let files = files.load(Ordering::Relaxed);
    for n in 0..files {
        can_be_read(&parts.edge, n).await;
    }
    let (code, listed, _) = admin(&parts, &["nodes"]).await;
    assert!(code == Some(0) && !listed.contains(&gone), "{listed}");
    fsck_is_clean(&parts).await;
    // The folder is empty: it comes as another node, and gets its share of what is new.
    parts.start_node(0).await;
    parts.all_nodes_up().await;
    for n in files..files + 20 {
        let (path, content) = file(n);
        parts.edge.http().put(&path, content).await.expect(201);
    }
    let nodes = parts.edge.admin().await.nodes().await;
    let chunks = |info: &cairn_proto::v1::NodeInfo| info.status.as_ref().map_or(0, |s| s.chunks);
    assert!(nodes.iter().any(|info| info.address.ends_with(&gone)), "{nodes:?}");
    eventually(30, "each node has chunks", async || {
        let nodes = parts.edge.admin().await.nodes().await;
        let held: Vec<_> = nodes.iter().map(chunks).collect();
        if held.iter().all(|held| *held > 0) { Ok(()) } else { Err(format!("{held:?}")) }
    })
    .await;
    fsck_is_clean(&parts).await;
}

/// The gateway knows a page of places, far ahead of its reader; what is moved is deleted where it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_reads_on_where_the_copies_were_moved_to_meanwhile() {
    /// More than the buffers on the way hold.
    const LENGTH: u64 = 64 << 20;
    let plan = PartsPlan::new(2, 1).chunk_size(1 << 20).master_flag("--heartbeat", "200ms");
    let mut parts = plan.start().await;
    let content = Content::new(7, LENGTH);
    parts.edge.http().put("/v1/files/long", content).await.expect(201);
    let mut reading = parts.edge.http().request("GET", "/v1/files/long").send().await;
    let (mut hash, mut length) = (Sha256::new(), 0);
    let first = reading.next().await.expect("it is served").expect("it has just begun");
    hash.update(&first);
    length += first.len() as u64;
    let emptied = parts.node_address(0).to_string();
    let (code, told, error) = admin(&parts, &["node", "drain", &emptied, "--wait"]).await;
    assert!(code == Some(0) && told.contains("safe to remove"), "{told} {error}");
    parts.kill_node(0);
    while let Some(bytes) = reading.next().await.expect("it is read to its end") {
        hash.update(&bytes);
        length += bytes.len() as u64;
    }
    let sha256: [u8; 32] = hash.finalize().into();
    assert_eq!((length, hex(&sha256)), (LENGTH, hex(&content.sha256())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_removed_is_not_let_in_again_with_what_it_has() {
    let plan = PartsPlan::new(3, 2).chunk_size(256 << 10).master_flag("--heartbeat", "200ms");
    let mut parts = plan.start().await;
    for n in 0..4 {
        let (path, content) = file(n);
        parts.edge.http().put(&path, content).await.expect(201);
    }
    let gone = parts.node_address(2).to_string();
    for order in [&["node", "drain", &gone, "--wait"][..], &["node", "remove", &gone]] {
        let (code, _, error) = admin(&parts, order).await;
        assert_eq!(code, Some(0), "{error}");
    }
    eventually(30, "the node is told that it was removed", async || {
        let told = |line: &String| line.contains("was removed from the cluster");
        if parts.node(2).logged().iter().any(told) { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    parts.kill_node(2);
    let (code, listed, _) = admin(&parts, &["nodes"]).await;
    assert!(code == Some(0) && !listed.contains(&gone), "{listed}");
    for n in 0..4 {
        can_be_read(&parts.edge, n).await;
    }
    fsck_is_clean(&parts).await;
}
