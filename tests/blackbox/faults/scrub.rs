//! Bits that flip on a node's disk: the scrub or a reader finds them and says so; the copy is made anew.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Content, Parts, PartsPlan, Process, eventually, hex};
use crate::operations::{counted, scrape};

const LARGE: Content = Content::new(3, 3 << 20);

/// Flips a bit in the middle of the largest segment: in the large file's chunk.
fn flip_a_bit(folder: &Path) {
    let entries = fs::read_dir(folder.join("segments")).expect("segments");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let bytes = |path: &PathBuf| fs::metadata(path).expect("a file").len();
    let largest = files.max_by_key(bytes).expect("a segment");
    let file = File::options().read(true).write(true).open(&largest).expect("opened");
    let (at, mut byte) = (bytes(&largest) / 2, [0]);
    file.read_exact_at(&mut byte, at).expect("read");
    byte[0] ^= 4;
    file.write_all_at(&byte, at).expect("written");
}

async fn disks(parts: &Parts) -> Vec<Value> {
    let url = format!("http://{}", parts.edge.admin);
    let (_, out, _) = Process::run(&["admin", "nodes", "--json", "--admin-url", &url]).await;
    let nodes = out.lines().map(|line| serde_json::from_str::<Value>(line).expect("an object"));
    nodes.map(|node| node["disks"][0].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_found_and_the_copy_made_anew() {
    let plan = PartsPlan::new(2, 2).node_file("scrub-period = \"1s\"\n");
    let parts = plan.start().await;
    let http = parts.edge.http();
    http.put("/v1/files/small", Content::new(1, 10_000)).await.expect(201);
    http.put("/v1/files/large", LARGE).await.expect(201);
    flip_a_bit(&parts.node_folder(0));

    eventually(60, "the scrub has put the chunk aside", async || {
        let numbers = scrape(parts.node_address(0)).await;
        let of = |name: &str| numbers.lines().find(|line| line.starts_with(name)).unwrap_or("");
        let line = of("cairn_node_scrub_damaged_total");
        if line.ends_with(" 1") { Ok(()) } else { Err(line.to_owned()) }
    })
    .await;
    eventually(30, "the copy is made anew", async || {
        let made = counted(parts.edge.admin, "cairn_master_repair_copies_total").await;
        let short = parts.edge.admin().await.short_chunks().await.len();
        let damaged: Vec<_> =
            disks(&parts).await.iter().map(|disk| disk["damaged_chunks"].clone()).collect();
        if (made, short) == (1, 0) && damaged == [0, 0] {
            Ok(())
        } else {
            Err(format!("{made} made, {short} short, {damaged:?}"))
        }
    })
    .await;
    let (length, sha256) = http.request("GET", "/v1/files/large").send().await.digest().await;
    assert_eq!((length, hex(&sha256)), (LARGE.length, hex(&LARGE.sha256())));
}

/// Flips a bit in each 4 KiB of what the node holds.
fn damage_everything(folder: &Path) {
    for entry in fs::read_dir(folder.join("segments")).expect("segments") {
        let path = entry.expect("an entry").path();
        let file = File::options().read(true).write(true).open(&path).expect("opened");
        let length = fs::metadata(&path).expect("a file").len();
        for at in (0..length).step_by(4096) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).expect("read");
            byte[0] ^= 4;
            file.write_all_at(&byte, at).expect("written");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reader_finds_damaged_is_read_from_another_copy_and_made_anew() {
    // So many that of some the damaged copy is the first one to be asked.
    const FILES: u64 = 40;
    let file = |n: u64| (format!("/v1/files/{n}"), Content::new(n, 10_000));
    let parts = PartsPlan::new(3, 2).start().await;
    let http = parts.edge.http();
    for n in 0..FILES {
        let (path, content) = file(n);
        http.put(&path, content).await.expect(201);
    }
    damage_everything(&parts.node_folder(0));
    for n in 0..FILES {
        let (path, content) = file(n);
        let read = http.request("GET", &path).header("cairn-read", "ordered").answer().await;
        assert!(read.expect(200).body == content.all(), "{path}");
    }
    let gateway = parts.gateway_admin().await;
    let found = counted(gateway, "cairn_gateway_copies_reported_total").await;
    assert!(found > 0, "no reader met a damaged copy");
    eventually(60, "the copies that readers found are made anew", async || {
        let made = counted(parts.edge.admin, "cairn_master_repair_copies_total").await;
        let short = parts.edge.admin().await.short_chunks().await.len();
        if made >= found && short == 0 {
            Ok(())
        } else {
            Err(format!("{made} of {found} are made, {short} are short"))
        }
    })
    .await;
}
