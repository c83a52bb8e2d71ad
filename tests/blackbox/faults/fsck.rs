//! `cairn admin fsck` on a running cluster: clean under load, and what a hand did to a node's folder is named and mended.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Content, Http, Parts, PartsPlan, Process, eventually};

const WRITERS: u64 = 4;
const FILES: u64 = 12;

/// The lines of a run as objects, the counts last, and its exit code.
async fn fsck(parts: &Parts, options: &[&str]) -> (Vec<Value>, Option<i32>) {
    let admin = format!("http://{}", parts.edge.admin);
    let arguments = [&["admin", "fsck", "--json", "--admin-url", &admin], options].concat();
    let (code, out, _) = Process::run(&arguments).await;
    let lines = out.lines().map(|line| serde_json::from_str(line).expect("an object"));
    (lines.collect(), code)
}

fn of_kind<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["kind"] == kind).collect()
}

async fn write(http: Http, writer: u64) {
    for n in 0..FILES {
        let path = format!("/v1/files/{writer}/{}", n % 5);
        let content = Content::new(writer * FILES + n, (200 << 10) + n);
        let request = http.request("PUT", &path);
        let request = match n % 2 {
            0 => request.content(content),
            _ => request.content_of_unknown_length(content),
        };
        let status = request.answer().await.status;
        assert!([200, 201].contains(&status), "{path}: {status}");
        if n % 3 == 0 {
            http.request("DELETE", &path).answer().await.expect(204);
        }
    }
}

/// At least three runs beside uploads, overwrites and deletions.
async fn is_clean_under_load(parts: &Parts) {
    let http = parts.edge.http();
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write(http, writer))).collect();
    let mut looks = 0;
    while looks < 3 || writers.iter().any(|writer| !writer.is_finished()) {
        let (lines, code) = fsck(parts, &[]).await;
        assert_eq!(code, Some(0), "clean while uploads run: {lines:?}");
        looks += 1;
    }
    for writer in writers {
        writer.await.expect("all is written");
    }
}

/// The chunks in a node's folder, by where they lie in it.
fn chunks(folder: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let read = fs::read_dir(folder).into_iter().flatten();
        read.map(|entry| entry.expect("an entry").path()).collect()
    };
    let outer = entries(&folder.join("chunks"));
    let inner = outer.iter().flat_map(|folder| entries(folder));
    let mut files: Vec<_> = inner.flat_map(|folder| entries(&folder)).collect();
    files.sort();
    files.iter().map(|file| file.strip_prefix(folder).expect("within").to_owned()).collect()
}

/// Changes a node's folder while the node is stopped.
async fn by_hand(parts: &mut Parts, node: usize, change: impl FnOnce(&Path)) {
    parts.kill_node(node);
    change(&parts.node_folder(node));
    parts.start_node(node).await;
    parts.all_nodes_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fsck_is_clean_under_load_and_names_and_mends_what_a_hand_did() {
    let plan = PartsPlan::new(3, 2).chunk_size(64 << 10).master_flag("--condemn-for", "0s");
    let mut parts = plan.start().await;
    let http = parts.edge.http();

    // A file that goes, of which somebody keeps a chunk.
    http.put("/v1/files/gone", Content::new(1, 1000)).await.expect(201);
    let holds = |node: &usize| !chunks(&parts.node_folder(*node)).is_empty();
    let node = (0..3).find(holds).expect("the file is somewhere");
    let folder = parts.node_folder(node);
    let foreign = chunks(&folder).remove(0);
    let bytes = fs::read(folder.join(&foreign)).expect("a chunk");
    http.request("DELETE", "/v1/files/gone").answer().await.expect(204);

    is_clean_under_load(&parts).await;
    eventually(90, "the deleted file is erased", async || {
        let there = folder.join(&foreign).exists();
        if there { Err("it is there".to_owned()) } else { Ok(()) }
    })
    .await;

    parts.kill_node(node);
    let (lines, code) = fsck(&parts, &["--dry-run"]).await;
    assert_eq!(code, Some(8), "a node cannot be asked: {lines:?}");
    parts.start_node(node).await;
    parts.all_nodes_up().await;

    // The sweep may be faster: then it is planted again.
    let mut named = false;
    for _ in 0..5 {
        by_hand(&mut parts, node, |folder| {
            let file = folder.join(&foreign);
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            fs::write(file, &bytes).expect("planted");
        })
        .await;
        let (lines, code) = fsck(&parts, &["--repair"]).await;
        assert_eq!(code, Some(0), "what is mended is not left: {lines:?}");
        assert!(!folder.join(&foreign).exists(), "it is swept: {lines:?}");
        named = of_kind(&lines, "orphan").iter().any(|line| line["outcome"] == "mended");
        if named {
            break;
        }
    }
    assert!(named, "a foreign chunk was never named");

    // What is condemned goes by itself: the chunk that is lost is to be one that somebody has.
    eventually(90, "what was deleted is erased", async || {
        let mut admin = parts.edge.admin().await;
        let swept = admin.sweep().await;
        let condemned = admin.bucket_account().await.condemned_bytes;
        let rest = (condemned, swept.blobs_waiting, swept.blobs_erased);
        if rest == (0, 0, 0) { Ok(()) } else { Err(format!("{rest:?}")) }
    })
    .await;
    let lost = chunks(&folder).pop().expect("a chunk");
    by_hand(&mut parts, node, |folder| fs::remove_file(folder.join(&lost)).expect("deleted")).await;
    let short = async |parts: &Parts| parts.edge.admin().await.short_chunks().await.len();
    let (lines, code) = fsck(&parts, &["--dry-run"]).await;
    assert_eq!((code, of_kind(&lines, "missing copy").len()), (Some(7), 1), "{lines:?}");
    let name = lost.file_name().expect("a name").to_string_lossy().into_owned();
    assert_eq!(of_kind(&lines, "missing copy")[0]["chunk"], name.as_str());
    assert_eq!(short(&parts).await, 0);
    for _ in 0..2 {
        let (lines, code) = fsck(&parts, &["--repair"]).await;
        let counts = lines.last().expect("counts");
        let left = serde_json::json!({ "missing copy": 1 });
        assert_eq!((code, &counts["left"]), (Some(7), &left), "{lines:?}");
        assert_eq!(short(&parts).await, 1);
    }
}
