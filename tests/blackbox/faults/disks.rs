//! A node with several disks: chunks lie on all of them, and one that dies costs neither the node nor a file.

use std::fs;

use serde_json::Value;

use crate::harness::{Content, Parts, PartsPlan, Process, eventually, hex};

const FILES: u64 = 8;
const NODE: &str = "disk = [\"{home}/disk-{node}-a\", \"{home}/disk-{node}-b\"]\n";

fn file(n: u64) -> (String, Content) {
    (format!("/v1/files/f/{n}"), Content::new(n, 700_000 + n))
}

async fn all_can_be_read(parts: &Parts) {
    for n in 0..FILES {
        let (path, content) = file(n);
        let (length, sha256) = parts.edge.http().request("GET", &path).send().await.digest().await;
        assert_eq!((length, hex(&sha256)), (content.length, hex(&content.sha256())), "{path}");
    }
}

/// Chunks on each disk of the node at `address`, as the master knows it.
async fn disks(parts: &Parts, node: usize) -> Vec<u64> {
    let url = format!("http://{}", parts.edge.admin);
    let (_, out, _) = Process::run(&["admin", "nodes", "--json", "--admin-url", &url]).await;
    let lines = out.lines().map(|line| serde_json::from_str::<Value>(line).expect("an object"));
    let address = format!("http://{}", parts.node_address(node));
    let of = lines.filter(|line| line["address"] == address.as_str());
    let disks = of.flat_map(|line| line["disks"].as_array().cloned().unwrap_or_default());
    disks.map(|disk| disk["chunks"].as_u64().expect("a number")).collect()
}

/// Node 0 is known with so many disks.
async fn serves_with(parts: &Parts, wanted: usize) {
    eventually(30, "the node serves with the disks that it has", async || {
        let disks = disks(parts, 0).await.len();
        if disks == wanted { Ok(()) } else { Err(format!("{disks} disks")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_dies_takes_neither_its_node_nor_a_file_with_it() {
    let plan = PartsPlan::new(2, 2).chunk_size(64 << 10).node_file(NODE);
    let mut parts = plan.start().await;
    for n in 0..FILES {
        let (path, content) = file(n);
        parts.edge.http().put(&path, content).await.expect(201);
    }
    eventually(30, "both disks of a node have chunks", async || {
        let disks = disks(&parts, 0).await;
        if disks.len() == 2 && disks.iter().all(|chunks| *chunks > 10) {
            Ok(())
        } else {
            Err(format!("{disks:?}"))
        }
    })
    .await;

    parts.kill_node(0);
    let (disk, away) = (parts.home().join("disk-0-b"), parts.home().join("away"));
    fs::rename(&disk, &away).expect("the disk is gone");
    parts.start_node(0).await;
    parts.all_nodes_up().await;
    serves_with(&parts, 1).await;
    all_can_be_read(&parts).await;
    eventually(60, "what was on it is made anew", async || {
        let short = parts.edge.admin().await.short_chunks().await.len();
        if short == 0 { Ok(()) } else { Err(format!("{short} are short")) }
    })
    .await;

    parts.kill_node(0);
    fs::rename(&away, &disk).expect("it is back");
    parts.start_node(0).await;
    parts.all_nodes_up().await;
    serves_with(&parts, 2).await;
    all_can_be_read(&parts).await;
    let url = format!("http://{}", parts.edge.admin);
    let (code, out, _) = Process::run(&["admin", "fsck", "--json", "--admin-url", &url]).await;
    assert_eq!(code, Some(0), "{out}");
}
