//! One request is one trace, over all processes; and a collector is never waited for.

use std::collections::BTreeSet;

use cairn_proto::v1::StatFileRequest;
use cairn_proto::v1::files_client::FilesClient;
use tokio::net::TcpListener;

use super::scrape;
use crate::harness::{Collector, Content, PartsPlan, Process, SeenSpan, Up, channel};

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const CHUNK: u64 = 64 << 10;
/// Three chunks of several blocks' worth of frames.
const FILE: Content = Content::new(7, 3 * CHUNK);
/// `traceparent` of a client: the trace, and the client's own span.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn named<'a>(spans: &'a [SeenSpan], kind: i32, name: &str) -> Vec<&'a SeenSpan> {
    spans.iter().filter(|span| span.kind == kind && span.name == name).collect()
}

/// Calls of a node for chunks, as their client or their server tells of them.
fn of_chunks(spans: &[SeenSpan], kind: i32, method: &str) -> usize {
    let call = format!("{method} chunks");
    let of_chunk = |span: &&SeenSpan| match span.attributes.get("path") {
        Some(path) => span.name == method && path.starts_with("/chunks/"),
        None => span.name == call,
    };
    spans.iter().filter(|span| span.kind == kind).filter(of_chunk).count()
}

/// Client and server of an upload of [`FILE`] in two copies.
fn upload_is_whole(spans: &[SeenSpan]) -> bool {
    let count = |kind, name| named(spans, kind, name).len();
    let both = |name| (count(CLIENT, name), count(SERVER, name));
    both("cairn.v1.Master/BeginUpload") == (1, 1)
        && both("cairn.v1.Master/CommitUpload") == (1, 1)
        && (of_chunks(spans, CLIENT, "PUT"), of_chunks(spans, SERVER, "PUT")) == (6, 6)
        && spans.iter().any(|span| span.parent == PARENT || span.parent.is_empty())
}

fn download_is_whole(spans: &[SeenSpan]) -> bool {
    let count = |kind, name| named(spans, kind, name).len();
    let both = |name| (count(CLIENT, name), count(SERVER, name));
    both("cairn.v1.Master/Locate") == (1, 1)
        && (of_chunks(spans, CLIENT, "GET"), of_chunks(spans, SERVER, "GET")) == (3, 3)
        && spans.iter().any(|span| span.parent.is_empty())
}

/// Every span hangs on another one of the trace, up to `root`.
fn assert_is_one_tree(spans: &[SeenSpan], root: &str) {
    let ids: BTreeSet<_> = spans.iter().map(|span| span.id.as_str()).collect();
    for span in spans {
        let hangs = ids.contains(span.parent.as_str()) || span.parent == root;
        assert!(hangs, "{span:?} hangs on nothing");
    }
    let roots = spans.iter().filter(|span| span.parent == root);
    assert_eq!(roots.count(), 1, "{spans:#?}");
}

fn services(spans: &[SeenSpan]) -> BTreeSet<&str> {
    spans.iter().map(|span| span.service.as_str()).collect()
}

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

#[tokio::test]
async fn an_upload_and_a_download_are_a_trace_each_over_separate_processes() {
    let collector = Collector::start().await;
    let plan = PartsPlan::new(3, 2).chunk_size(CHUNK);
    let mut parts = plan.flag("--otlp-endpoint", collector.endpoint()).start().await;
    let http = parts.edge.http();

    let put = http.request("PUT", "/v1/files/traced").header("traceparent", &traceparent("01"));
    let put = put.content(FILE).answer().await.expect(201);
    let id = put.must_have("x-request-id").to_owned();
    let spans = collector.trace(TRACE, upload_is_whole).await;
    assert_is_one_tree(&spans, PARENT);
    let all = BTreeSet::from(["cairn-gateway", "cairn-master", "cairn-node"]);
    assert_eq!(services(&spans), all);
    let instances: BTreeSet<_> = spans.iter().map(|span| &span.instance).collect();
    assert!(instances.len() >= 4, "gateway, master and at least two nodes: {instances:?}");
    for span in spans.iter().filter(|span| span.kind == SERVER) {
        assert_eq!(span.attributes.get("request_id"), Some(&id), "{span:?}");
    }
    // A request, its calls, and nothing for frames or blocks.
    let calls = spans.iter().filter(|span| span.kind == CLIENT).count();
    assert_eq!(spans.len(), 1 + 2 * calls, "{spans:#?}");

    let got = http.get("/v1/files/traced").await.expect(200);
    let id = got.must_have("x-request-id").to_owned();
    let is_root =
        |span: &SeenSpan| span.parent.is_empty() && span.attributes.get("request_id") == Some(&id);
    let trace = collector.trace_of(is_root).await;
    let spans = collector.trace(&trace, download_is_whole).await;
    assert_is_one_tree(&spans, "");
    assert_eq!(services(&spans), all);

    assert_eq!(parts.terminate_all().await, [Some(0); 5]);
    let strays = collector.all().into_iter().filter(|span| span.name.contains("Heartbeat"));
    assert_eq!(strays.count(), 0, "heartbeats are not traced");
}

#[tokio::test]
async fn in_one_process_a_trace_is_the_same() {
    let collector = Collector::start().await;
    let plan = Up::plan().chunk_size(CHUNK).flag("--otlp-endpoint", collector.endpoint());
    let up =
        plan.flag("--otlp-service", "all-in-one").flag("--otlp-instance", "here").start().await;
    let http = up.edge.http();
    let put = http.request("PUT", "/v1/files/traced").header("traceparent", &traceparent("01"));
    put.content(FILE).answer().await.expect(201);
    let spans = collector.trace(TRACE, upload_is_whole).await;
    assert_is_one_tree(&spans, PARENT);
    assert_eq!(services(&spans), BTreeSet::from(["all-in-one"]));
    assert!(spans.iter().all(|span| span.instance == "here"));
    let inner: BTreeSet<_> =
        spans.iter().filter_map(|span| span.attributes.get("service")).collect();
    assert_eq!(inner.into_iter().collect::<Vec<_>>(), ["gateway", "master", "node"]);
}

#[tokio::test]
async fn what_is_not_sampled_is_not_sent_unless_its_client_says_so() {
    let collector = Collector::start().await;
    let plan = Up::plan().chunk_size(CHUNK).flag("--otlp-endpoint", collector.endpoint());
    let up = plan.flag("--otlp-sample", 0).start().await;
    let http = up.edge.http();
    http.put("/v1/files/untraced", FILE).await.expect(201);
    let put = http.request("PUT", "/v1/files/traced").header("traceparent", &traceparent("01"));
    put.content(FILE).answer().await.expect(201);
    collector.trace(TRACE, upload_is_whole).await;
    assert!(collector.all().iter().all(|span| span.trace == TRACE), "{:#?}", collector.all());
}

#[tokio::test]
async fn a_grpc_client_continues_its_trace_as_well() {
    let collector = Collector::start().await;
    let up = Up::plan().flag("--otlp-endpoint", collector.endpoint()).start().await;
    up.edge.http().put("/v1/files/kept", FILE).await.expect(201);
    let mut files = FilesClient::new(channel(up.edge.gateway).await);
    let stat = StatFileRequest { bucket: String::new(), key: "kept".to_owned() };
    let mut request = tonic::Request::new(stat);
    let parent = traceparent("01").parse().expect("a header");
    request.metadata_mut().insert("traceparent", parent);
    files.stat(request).await.expect("the file is there");
    let spans = collector.trace(TRACE, |spans| spans.len() >= 3).await;
    assert_is_one_tree(&spans, PARENT);
    assert_eq!(named(&spans, SERVER, "cairn.v1.Files/Stat").len(), 1);
    assert_eq!(named(&spans, SERVER, "cairn.v1.Master/StatObject").len(), 1);
}

/// A file goes in and comes back, and the process ends in order.
async fn serves_and_ends(endpoint: String) -> (Vec<String>, String) {
    let plan = Up::plan().chunk_size(CHUNK).flag("--otlp-endpoint", endpoint);
    let mut up = plan.start().await;
    let http = up.edge.http();
    http.put("/v1/files/kept", FILE).await.expect(201);
    let got = http.get("/v1/files/kept").await.expect(200);
    assert!(got.body == FILE.all());
    let metrics = scrape(up.edge.admin).await;
    up.process.terminate();
    assert_eq!(up.process.ended().await.code(), Some(0));
    (up.process.logged(), metrics)
}

#[tokio::test]
async fn a_collector_that_is_dead_costs_nothing_but_its_traces() {
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = format!("http://{}", gone.local_addr().expect("its address"));
    drop(gone);
    let (logged, metrics) = serves_and_ends(endpoint).await;
    let told = logged.iter().filter(|line| line.contains("spans of traces were lost")).count();
    assert!((1..=2).contains(&told), "told at a bounded rate, and at the end: {logged:#?}");
    assert!(metrics.contains("cairn_trace_spans_exported_total 0"), "{metrics}");
}

#[tokio::test]
async fn a_collector_that_says_nothing_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = format!("http://{}", silent.local_addr().expect("its address"));
    let (logged, _) = serves_and_ends(endpoint).await;
    assert!(logged.iter().any(|line| line.contains("lost")), "{logged:#?}");
}

#[tokio::test]
async fn a_wrong_collector_or_share_is_refused_at_the_start() {
    for (option, value) in [
        ("--otlp-endpoint=https://collector:4317", "http://HOST:PORT"),
        ("--otlp-endpoint=collector", "http://HOST:PORT"),
        ("--otlp-sample=2", "0 to 1"),
    ] {
        let collector = "--otlp-endpoint=http://127.0.0.1:1";
        let all = ["up", "--open", "--data", "/nonexistent/x", collector, option];
        let given: Vec<&str> = if option.contains("endpoint") {
            [&all[..4], &[option]].concat()
        } else {
            all.to_vec()
        };
        let (code, _, stderr) = Process::run(&given).await;
        assert_eq!(code, Some(2), "{option}: {stderr}");
        assert!(stderr.contains(value), "{option}: {stderr}");
    }
}
