//! Gigabytes and hundreds of faults: minutes each, so only on request by `cargo xtask show`.

use std::fs;

use futures_util::future::join_all;

use crate::harness::{Content, Http, PartsPlan, Process, Up};

const GIB: u64 = 1 << 30;

async fn round_trip(http: Http, path: &str, content: Content, known: bool) {
    let request = http.request("PUT", path);
    let request =
        if known { request.content(content) } else { request.content_of_unknown_length(content) };
    request.answer().await.expect(201);
    let download = http.request("GET", path).send().await;
    assert_eq!(download.status, 200);
    let got = download.digest().await;
    assert_eq!(got, (content.length, content.sha256()), "{path}");
}

#[tokio::test]
#[ignore = "moves 4 GiB: cargo xtask show big-files"]
async fn big_files_of_one_gibibyte() {
    let up = Up::start().await;
    round_trip(up.edge.http(), "/v1/files/known", Content::new(1, GIB), true).await;
    round_trip(up.edge.http(), "/v1/files/unknown", Content::new(2, GIB + 1), false).await;
}

#[tokio::test]
#[ignore = "moves 20 GiB: cargo xtask show big-files"]
async fn big_files_of_ten_gibibytes() {
    let up = Up::plan().nodes(1).copies(1).start().await;
    let content = Content::new(3, 10 * GIB);
    round_trip(up.edge.http(), "/v1/files/stream", content, false).await;
}

#[tokio::test]
#[ignore = "100 uploads: cargo xtask show cuts"]
async fn cuts_of_a_hundred_uploads() {
    crate::cuts::cut_uploads(100).await;
}

#[tokio::test]
#[ignore = "20 rounds: cargo xtask show kills"]
async fn kills_of_a_node_in_twenty_rounds() {
    crate::faults::node_killed::kill_a_node_during_uploads(20).await;
}

#[tokio::test]
#[ignore = "5 rounds: cargo xtask show kills"]
async fn kills_of_everything_in_five_rounds() {
    crate::faults::all_killed::kill_everything_during_uploads(5).await;
}

#[tokio::test]
#[ignore = "20 rounds: cargo xtask show kills"]
async fn kills_of_serving_nodes_at_twenty_offsets() {
    crate::faults::download::kill_serving_nodes(20).await;
}

/// The most memory that a process has had, in MiB.
fn peak_mib(process: &Process) -> u64 {
    let path = format!("/proc/{}/status", process.id());
    let status = fs::read_to_string(path).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok()).expect("VmHWM") / 1024
}

#[tokio::test]
#[ignore = "moves 17 GiB: cargo xtask show memory"]
async fn memory_of_a_gateway_at_one_and_at_sixteen_uploads() {
    let parts = PartsPlan::new(2, 1).start().await;
    let http = parts.edge.http();
    let put = |nth| async move {
        let content = Content::new(nth, GIB);
        http.put(&format!("/v1/files/{nth}"), content).await.expect(201);
    };
    eprintln!("gateway idle: {} MiB", peak_mib(&parts.gateway));
    put(0).await;
    let one = peak_mib(&parts.gateway);
    join_all((1..=16).map(put)).await;
    let sixteen = peak_mib(&parts.gateway);
    eprintln!("gateway peak: {one} MiB at 1 upload, {sixteen} MiB at 16 uploads of 1 GiB");
    assert!(sixteen < 1024, "{sixteen} MiB: memory grows with uploads");
}
