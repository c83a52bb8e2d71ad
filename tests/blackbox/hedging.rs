//! One node answers half a second late: a second copy is asked, and readers hardly notice.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};

use crate::harness::{Content, Parts, PartsPlan, eventually, hex};
use crate::operations::scrape;

const MIB: u64 = 1 << 20;
const PLAIN: &str = "[[tier]]\nname = 'disk'\nstore = { kind = 'segments', path = '.' }\n";
const LATE: &str = "[[tier]]\nname = 'disk'\nstore = { kind = 'segments', path = '.' }\n\
    faults = { delay = '500ms' }\n";

fn file(n: u64, length: u64) -> (String, Content) {
    (format!("/v1/files/{n}"), Content::new(n, length))
}

async fn store(parts: &Parts, files: u64, length: u64) {
    for n in 0..files {
        let (path, content) = file(n, length);
        parts.edge.http().put(&path, content).await.expect(201);
    }
}

/// Starts node 0 anew, late or not.
async fn node_is(parts: &mut Parts, description: &str) {
    parts.describe_nodes(Some(description));
    parts.kill_node(0);
    parts.start_node(0).await;
    parts.all_nodes_up().await;
}

/// What the gateway counted of second copies.
async fn hedges(parts: &Parts, outcome: &str) -> u64 {
    let text = scrape(parts.gateway_admin().await).await;
    let name = format!("cairn_gateway_hedges_total{{outcome=\"{outcome}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.expect("it is counted").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_answers_late_is_overtaken_by_another_copy_and_that_is_counted() {
    const FILES: u64 = 40;
    let mut parts = PartsPlan::new(3, 2).node_file(PLAIN).start().await;
    store(&parts, FILES, 1000).await;
    node_is(&mut parts, LATE).await;
    // A node that was overtaken is asked last for a while: so until one was.
    eventually(60, "a second copy wins", async || {
        for n in 0..FILES {
            let (path, content) = file(n, 1000);
            let read = parts.edge.http().request("GET", &path).send().await.digest().await;
            assert_eq!((read.0, hex(&read.1)), (content.length, hex(&content.sha256())));
        }
        let (asked, won) = (hedges(&parts, "asked").await, hedges(&parts, "won").await);
        assert!(won <= asked, "{won} of {asked}");
        if won > 0 { Ok(()) } else { Err(format!("{asked} asked")) }
    })
    .await;
}

/// How long each of so many reads of the files took, four at a time.
async fn times(parts: &Parts, files: u64, reads: u64, strategy: &str) -> Vec<Duration> {
    let read = |nth: u64| async move {
        let (path, content) = file(nth % files, MIB);
        let begun = Instant::now();
        let request = parts.edge.http().request("GET", &path).header("cairn-read", strategy);
        let (length, _) = request.send().await.digest().await;
        assert_eq!(length, content.length);
        begun.elapsed()
    };
    stream::iter(0..reads).map(read).buffer_unordered(4).collect().await
}

fn p99(times: &[Duration]) -> f64 {
    let mut times = times.to_vec();
    times.sort();
    let nth = (times.len() * 99 / 100).min(times.len() - 1);
    times[nth].as_secs_f64() * 1000.0
}

fn mean(times: &[Duration]) -> f64 {
    times.iter().sum::<Duration>().as_secs_f64() * 1000.0 / times.len() as f64
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Pairs of measurements on six nodes with three copies: all healthy, and node 0 late.
pub(crate) async fn measure(pairs: usize, reads: u64) {
    const FILES: u64 = 60;
    // For much longer than a node that was overtaken is asked last.
    let hedged = 4 * reads;
    let mut parts = PartsPlan::new(6, 3).node_file(PLAIN).start().await;
    store(&parts, FILES, MIB).await;
    let (mut ratios, mut in_order, mut costs) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 1..=pairs {
        node_is(&mut parts, PLAIN).await;
        let _warm = times(&parts, FILES, 2 * FILES, "hedged").await;
        let plain = mean(&times(&parts, FILES, reads, "ordered").await);
        let healthy = times(&parts, FILES, hedged, "hedged").await;
        costs.push(mean(&healthy) / plain);
        let healthy = p99(&healthy);
        node_is(&mut parts, LATE).await;
        let _warm = times(&parts, FILES, 2 * FILES, "hedged").await;
        let before = hedges(&parts, "asked").await;
        let late = p99(&times(&parts, FILES, hedged, "hedged").await);
        let asked = hedges(&parts, "asked").await - before;
        let ordered = p99(&times(&parts, FILES, reads, "ordered").await);
        ratios.push(late / healthy);
        in_order.push(ordered);
        eprintln!(
            "pair {pair}: p99 of {hedged} reads of 1 MiB: healthy {healthy:.1} ms, one node late {late:.1} ms \
             ({asked} second copies); of {reads} in order {ordered:.1} ms"
        );
    }
    let (won, refused) = (hedges(&parts, "won").await, hedges(&parts, "refused").await);
    eprintln!(
        "median of {pairs} pairs: {:.2} times the healthy p99; in order {:.1} ms; {won} second copies won, \
         {refused} were refused; with all nodes healthy a hedged read takes {:.2} times one in order",
        median(ratios),
        median(in_order),
        median(costs)
    );
}
