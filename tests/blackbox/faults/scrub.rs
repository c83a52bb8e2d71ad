//! A bit that flips on a node's disk: the scrub finds it, puts the chunk aside and says so; the copy is made anew.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Content, Parts, PartsPlan, Process, eventually, hex};
use crate::operations::scrape;

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
        let numbers = scrape(parts.edge.admin).await;
        let made =
            numbers.lines().find(|line| line.starts_with("cairn_master_repair_copies_total"));
        let short = parts.edge.admin().await.short_chunks().await.len();
        let damaged: Vec<_> =
            disks(&parts).await.iter().map(|disk| disk["damaged_chunks"].clone()).collect();
        if (made, short) == (Some("cairn_master_repair_copies_total 1"), 0) && damaged == [0, 0] {
            Ok(())
        } else {
            Err(format!("{made:?}, {short} short, {damaged:?}"))
        }
    })
    .await;
    let (length, sha256) = http.request("GET", "/v1/files/large").send().await.digest().await;
    assert_eq!((length, hex(&sha256)), (LARGE.length, hex(&LARGE.sha256())));
}
