//! Gigabytes and hundreds of faults: minutes each, so only on request by `cargo xtask show`.

use std::fs;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::faults::machines::{Size, lose_two_machines, repair_at, toggle_a_machine};
use crate::harness::{Content, Http, PartsPlan, Process, Up, mib, peak_mib};

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

#[tokio::test(flavor = "multi_thread")]
#[ignore = "5 pairs of 1,000 reads: cargo xtask show hedging"]
async fn hedging_past_a_node_that_answers_half_a_second_late() {
    crate::hedging::measure(5, 1000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "5 GiB on six machines: cargo xtask show machines"]
async fn machines_die_under_load_and_others_come_and_go() {
    let size = Size { clients: 16, files: 320, length: 16 << 20, written: 1 << 20 };
    lose_two_machines(size).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "toggled every 10 s for 5 minutes: cargo xtask show toggled"]
async fn toggled_machine_for_five_minutes() {
    let size = Size { clients: 2, files: 100, length: 4 << 20, written: 1 << 16 };
    toggle_a_machine(Duration::from_secs(10), 30, size).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "moves some 2 GiB: cargo xtask show repair-rate"]
async fn repair_rate_is_used() {
    let size = Size { clients: 0, files: 100, length: 20 << 20, written: 0 };
    for rate in [32 << 20, 64 << 20, 128 << 20] {
        let used = repair_at(rate, size).await;
        assert!((0.7..1.1).contains(&used), "{used}");
    }
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
#[ignore = "1,000 uploads: cargo xtask show kills"]
async fn kills_of_masters_during_a_thousand_uploads() {
    crate::masters::kill_masters_during_uploads(250).await;
}

#[tokio::test]
#[ignore = "20 rounds: cargo xtask show kills"]
async fn kills_of_serving_nodes_at_twenty_offsets() {
    crate::faults::download::kill_serving_nodes(20).await;
}

#[tokio::test]
#[ignore = "100 rounds: cargo xtask show master-kills"]
async fn master_kills_in_a_hundred_rounds() {
    crate::faults::master_killed::kill_the_master_under_load(100).await;
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

#[tokio::test]
#[ignore = "100,000 requests: cargo xtask show mutations"]
async fn mutations_of_a_hundred_thousand_requests() {
    crate::mutations::send_mutated_requests(100_000).await;
}

/// Nanoseconds that the threads of a process have spent on a CPU.
fn cpu_nanoseconds(process: &Process) -> u64 {
    let threads = fs::read_dir(format!("/proc/{}/task", process.id())).expect("the process runs");
    let spent = |thread: std::io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    threads.filter_map(spent).sum()
}

/// Says what processes with nothing to do cost for a minute, and holds them to the bar.
async fn idle<'a>(what: &str, processes: impl Iterator<Item = &'a Process>) {
    const SETTLE: Duration = Duration::from_secs(5);
    const MEASURED: Duration = Duration::from_secs(60);
    const MOST_PERCENT: f64 = 0.5;
    let processes: Vec<_> = processes.collect();
    sleep(SETTLE).await;
    let before: Vec<_> = processes.iter().map(|process| cpu_nanoseconds(process)).collect();
    sleep(MEASURED).await;
    for (process, before) in processes.into_iter().zip(before) {
        let spent = (cpu_nanoseconds(process) - before) as f64;
        let percent = 100.0 * spent / MEASURED.as_nanos() as f64;
        let (name, now) = (process.name(), mib(process, "VmRSS"));
        eprintln!("idle {what}: {name:8} {percent:.3} % of a core, {now:.1} MiB");
        assert!(percent < MOST_PERCENT, "{name} costs {percent} % of a core with nothing to do");
    }
}

#[tokio::test]
#[ignore = "takes two minutes: cargo xtask show idle"]
async fn idle_costs_next_to_nothing() {
    let up = Up::start().await;
    idle("cairn up", std::iter::once(&up.process)).await;
    drop(up);
    let parts = PartsPlan::new(6, 2).start().await;
    idle("separate processes", parts.processes()).await;
}
