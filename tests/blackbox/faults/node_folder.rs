//! A look at a stopped node's folder: what it holds, what of it is damaged, and its index from the records alone.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Content, PartsPlan, Process};

const SMALL: u64 = 30_000;
const LARGE: u64 = 3 << 20;

/// The lines of a command as objects, its exit code, and what it complained of.
async fn node(command: &str, folder: &Path) -> (Vec<Value>, Option<i32>, String) {
    let folder = folder.to_string_lossy();
    let (code, out, err) = Process::run(&["node", command, &folder, "--json"]).await;
    let lines = out.lines().map(|line| serde_json::from_str(line).expect("an object"));
    (lines.collect(), code, err)
}

/// The largest segment: it has the large file's chunk.
fn largest_segment(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder.join("segments")).expect("segments");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let bytes = |path: &PathBuf| fs::metadata(path).expect("a file").len();
    files.max_by_key(bytes).expect("a segment")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_nodes_folder_can_be_looked_at_proven_and_indexed_anew() {
    let mut parts = PartsPlan::new(2, 2).start().await;
    let http = parts.edge.http();
    for n in 0..3 {
        let path = format!("/v1/files/small-{n}");
        http.put(&path, Content::new(n, SMALL + n)).await.expect(201);
    }
    http.put("/v1/files/large", Content::new(9, LARGE)).await.expect(201);
    let folder = parts.node_folder(0);

    let (_, code, complaint) = node("inspect", &folder).await;
    assert_eq!(code, Some(1), "the node has its folder: {complaint}");
    assert!(complaint.contains("another process"), "{complaint}");
    let (_, code, complaint) = node("verify", Path::new("/nowhere")).await;
    assert_eq!(code, Some(3), "{complaint}");

    parts.kill_node(0);
    let (lines, code, complaint) = node("inspect", &folder).await;
    assert_eq!(code, Some(0), "{complaint}");
    let sum = lines.last().expect("a summary");
    assert_eq!((&sum["chunks"], &sum["damaged"]), (&4.into(), &0.into()), "{lines:?}");
    assert_eq!(
        lines.len() - 1,
        usize::try_from(sum["segments"].as_u64().expect("a number")).expect("few")
    );
    let (lines, code, _) = node("verify", &folder).await;
    assert_eq!(code, Some(0), "{lines:?}");
    assert_eq!(
        lines,
        [serde_json::json!({
            "chunks": 4, "bytes": 3 * SMALL + 3 + LARGE, "damaged": 0, "in_quarantine": 0,
        })]
    );
    let (lines, code, _) = node("rebuild-index", &folder).await;
    assert_eq!((code, &lines[0]["chunks"]), (Some(0), &4.into()), "{lines:?}");

    // A bit rots in the middle of the large chunk.
    let segment = largest_segment(&folder);
    let mut bytes = fs::read(&segment).expect("read");
    bytes[1 << 20] ^= 4;
    fs::write(&segment, bytes).expect("written");
    let (lines, code, complaint) = node("verify", &folder).await;
    assert_eq!((code, lines.len()), (Some(7), 2), "{lines:?} {complaint}");
    assert_eq!(lines[1]["damaged"], 1);
    assert!(lines[0]["problem"].as_str().expect("text").contains("block"), "{lines:?}");
}
