//! How copies are written and read is the request's choice, else the bucket's; the answer says who served.

use std::time::Duration;

use cairn_proto::v1::files_client::FilesClient;
use cairn_proto::v1::{
    AskedDurability, GetFileRequest, PutFileHeader, PutFileRequest, WaitForUpload,
    get_file_response, put_file_request,
};
use cairn_proto::{Reason, RemoteError};
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::harness::{Answer, Content, PartsPlan, Up, channel, eventually, hex};
use crate::operations::scrape;

const FILE: Content = Content::new(3, 300_000);
const CHUNK: u64 = 64 << 10;

fn matches(answer: &Answer, content: Content) -> bool {
    content.bytes(0, content.length) == answer.body
}

/// The nodes that a `Server-Timing` names.
fn timed(answer: &Answer) -> Vec<String> {
    let entries = answer.must_have("server-timing").split(", ");
    let node = |entry: &str| {
        let (_, rest) = entry.split_once("node;desc=\"").expect("a node");
        rest.split_once("\";dur=").expect("its time").0.to_owned()
    };
    entries.map(node).collect()
}

#[tokio::test]
async fn every_strategy_stores_and_reads_the_same_file_and_says_which_nodes_served() {
    let up = Up::plan().copies(2).chunk_size(CHUNK).start().await;
    let http = up.edge.http();
    let writes =
        ["sequential", "parallel", "parallel; all", "parallel; fail_fast", "parallel;quorum=1"];
    for (nth, write) in writes.into_iter().enumerate() {
        let path = format!("/v1/files/{nth}");
        let put = http.request("PUT", &path).header("cairn-write", write).content(FILE);
        let stored = put.answer().await.expect(201);
        assert!(!timed(&stored).is_empty(), "{write}");
        for read in ["ordered", "race", "hedged"] {
            let got = http.request("GET", &path).header("cairn-read", read).answer().await;
            let got = got.expect(200);
            assert!(matches(&got, FILE), "{write}, {read}");
            assert_eq!(timed(&got), [got.must_have("cairn-served-by")], "{write}, {read}");
        }
    }
    let metrics = scrape(up.edge.admin).await;
    for strategy in ["sequential", "parallel_all", "parallel_fail_fast", "parallel_quorum"] {
        let counted = format!("cairn_gateway_chunks_saved_total{{strategy=\"{strategy}\"}}");
        assert!(metrics.contains(&counted), "{counted}");
    }
    for strategy in ["ordered", "race", "hedged"] {
        let counted = format!("cairn_gateway_chunks_fetched_total{{strategy=\"{strategy}\"}}");
        assert!(metrics.contains(&counted), "{counted}");
    }
    // Copies beyond a quorum come, or are repaired.
    eventually(60, "every chunk has its copies", async || {
        let short = up.edge.admin().await.short_chunks().await;
        if short.is_empty() { Ok(()) } else { Err(format!("{} are short", short.len())) }
    })
    .await;
}

#[tokio::test]
async fn what_is_no_strategy_is_refused() {
    let up = Up::start().await;
    let http = up.edge.http();
    for (name, value, allowed) in [
        ("cairn-write", "first", "parallel; quorum=N"),
        ("cairn-write", "parallel; quorum=3", "the bucket keeps 2 copies"),
        ("cairn-write", "parallel; quorum=0", "from 1 to 8"),
        ("cairn-durability", "copies=9", "from 1 to 8"),
        ("cairn-durability", "much", "copies=N"),
    ] {
        let put = http.request("PUT", "/v1/files/a").header(name, value).content(FILE);
        let detail = put.answer().await.problem(400);
        assert!(detail.contains(allowed), "{name}: {value}: {detail}");
    }
    http.put("/v1/files/a", FILE).await.expect(201);
    for (name, value, allowed) in [
        ("cairn-read", "first", "ordered, race or hedged"),
        ("cairn-wait", "61", "from 1 to 60"),
        ("cairn-wait", "1; any", "replaced"),
    ] {
        let detail = http.request("GET", "/v1/files/a").header(name, value).answer().await;
        let detail = detail.problem(400);
        assert!(detail.contains(allowed), "{name}: {value}: {detail}");
    }
    for settings in
        [r#"{"write":"first"}"#, r#"{"read":"first"}"#, r#"{"write":"parallel; quorum=3"}"#]
    {
        let made = http.request("PUT", "/v1/buckets/photos").text(settings).answer().await;
        made.problem(400);
    }
}

#[tokio::test]
async fn a_bucket_says_how_its_copies_are_written_and_read() {
    let up = Up::start().await;
    let http = up.edge.http();
    let settings = r#"{"write":"sequential","read":"race"}"#;
    let made = http.request("PUT", "/v1/buckets/photos").text(settings).answer().await.expect(201);
    assert_eq!(made.json()["effective"]["write"], "sequential");
    http.put("/v1/buckets/photos/files/a", FILE).await.expect(201);
    assert!(matches(&http.get("/v1/buckets/photos/files/a").await.expect(200), FILE));
    let metrics = scrape(up.edge.admin).await;
    assert!(metrics.contains("cairn_gateway_chunks_saved_total{strategy=\"sequential\"} 1"));
    assert!(metrics.contains("cairn_gateway_chunks_fetched_total{strategy=\"race\"} 1"));
}

#[tokio::test]
async fn the_same_is_said_over_grpc() {
    let up = Up::start().await;
    let mut files = FilesClient::new(channel(up.edge.gateway).await);
    let put = |write: &str, copies: u32| {
        let header = PutFileHeader {
            key: "a".into(),
            write: write.into(),
            durability: Some(AskedDurability { copies, zones: 0 }),
            ..Default::default()
        };
        let data = FILE.bytes(0, FILE.length);
        let parts = [put_file_request::Part::Header(header), put_file_request::Part::Data(data)];
        stream::iter(parts.map(|part| PutFileRequest { part: Some(part) }))
    };
    let stored = files.put(put("parallel; quorum=1", 3)).await.expect("stored").into_inner();
    assert!(stored.receipt.starts_with("copies=3; "), "{}", stored.receipt);
    assert_eq!(stored.nodes.len(), 3);
    for (write, copies) in [("first", 0), ("", 9)] {
        let refused = RemoteError::from(files.put(put(write, copies)).await.expect_err("refused"));
        assert_eq!(refused.reason, Reason::InvalidField);
    }
    let get = |read: &str, wait| GetFileRequest {
        key: "a".into(),
        read: read.into(),
        wait,
        ..Default::default()
    };
    let mut answer = files.get(get("race", None)).await.expect("read").into_inner();
    let header = answer.message().await.expect("a header").expect("a header");
    assert!(matches!(header.part, Some(get_file_response::Part::Header(_))));
    let served = header.served_by.expect("a node").node;
    assert!(stored.nodes.iter().any(|node| node.node == served));
    let wait = Some(WaitForUpload { seconds: 61, replaced: false });
    for wrong in [get("first", None), get("", wait)] {
        let refused = RemoteError::from(files.get(wrong).await.expect_err("refused"));
        assert_eq!(refused.reason, Reason::InvalidField);
    }
}

#[tokio::test]
async fn more_copies_than_the_cluster_has_nodes_are_refused_and_as_many_are_made() {
    let up = Up::plan().nodes(3).copies(2).start().await;
    let http = up.edge.http();
    let put = |asked: &str| {
        http.request("PUT", "/v1/files/a").header("cairn-durability", asked).content(FILE).answer()
    };
    let stored = put("copies=3").await.expect(201);
    assert!(stored.must_have("cairn-receipt").starts_with("copies=3; "));
    assert!(put("copies=4").await.expect(503).text().contains("too-few-nodes"));
    assert!(
        put("copies=2; zones=2").await.expect(200).must_have("cairn-receipt").contains("zones=2")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_least_copies_files_are_stored_while_a_node_is_away_and_repaired_when_it_is_back()
{
    let plan = PartsPlan::new(2, 2)
        .chunk_size(CHUNK)
        .master_flag("--least-copies", 1)
        .master_flag("--meta-copies", 1);
    let mut parts = plan.start().await;
    parts.kill_node(1);
    let stored = parts.edge.http().put("/v1/files/a", FILE).await.expect(201);
    let receipt = stored.must_have("cairn-receipt").to_owned();
    assert!(receipt.starts_with("copies=1; wanted=2; hosts=1; "), "{receipt}");
    let put =
        parts.edge.http().request("PUT", "/v1/files/b").header("cairn-durability", "copies=2");
    put.content(FILE).answer().await.problem(503);
    assert_eq!(parts.edge.admin().await.short_chunks().await.len(), 5);
    parts.start_node(1).await;
    parts.all_nodes_up().await;
    eventually(120, "every chunk has its copies", async || {
        let short = parts.edge.admin().await.short_chunks().await;
        if short.is_empty() { Ok(()) } else { Err(format!("{} are short", short.len())) }
    })
    .await;
    // The copies that were made can be read by themselves.
    parts.kill_node(0);
    let (length, sha256) =
        parts.edge.http().request("GET", "/v1/files/a").send().await.digest().await;
    assert_eq!((length, hex(&sha256)), (FILE.length, hex(&FILE.sha256())));
}

/// A put over gRPC that is open until the sender is dropped or told more.
struct Slow {
    parts: mpsc::Sender<PutFileRequest>,
    answer: tokio::task::JoinHandle<bool>,
}

impl Slow {
    /// Begins, and waits until the master knows it.
    async fn begin(up: &Up, open_before: usize) -> Self {
        let (parts, body) = mpsc::channel(4);
        let header =
            PutFileHeader { key: "k".into(), length: Some(FILE.length), ..Default::default() };
        let part = Some(put_file_request::Part::Header(header));
        parts.send(PutFileRequest { part }).await.expect("taken");
        let mut files = FilesClient::new(channel(up.edge.gateway).await);
        let body = stream::unfold(body, async |mut body| Some((body.recv().await?, body)));
        let answer = tokio::spawn(async move { files.put(body).await.is_ok() });
        eventually(30, "the upload is open", async || {
            let open = up.edge.admin().await.uploads().await.len();
            if open > open_before { Ok(()) } else { Err(format!("{open} are open")) }
        })
        .await;
        Self { parts, answer }
    }

    async fn commit(self) {
        let part = Some(put_file_request::Part::Data(FILE.bytes(0, FILE.length)));
        self.parts.send(PutFileRequest { part }).await.expect("taken");
        drop(self.parts);
        assert!(self.answer.await.expect("ended"), "it is stored");
    }

    fn break_off(self) {
        self.answer.abort();
    }
}

/// A read that waits: it has looked at least once when this returns.
fn reading(up: &Up, wait: &'static str) -> tokio::task::JoinHandle<Answer> {
    let http = up.edge.http();
    tokio::spawn(async move {
        http.request("GET", "/v1/files/k").header("cairn-wait", wait).answer().await
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_waits_for_the_upload_that_is_open_to_be_committed() {
    let up = Up::start().await;
    let upload = Slow::begin(&up, 0).await;
    up.edge.http().get("/v1/files/k").await.expect(404);
    let read = reading(&up, "60");
    upload.commit().await;
    assert!(matches(&read.await.expect("ended").expect(200), FILE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_waits_no_longer_than_until_the_upload_is_given_up_or_its_time_is_over() {
    let up = Up::start().await;
    let upload = Slow::begin(&up, 0).await;
    reading(&up, "1").await.expect("ended").expect(404);
    let read = reading(&up, "60");
    upload.break_off();
    read.await.expect("ended").expect(404);
    // Nothing is open: nothing is waited for.
    reading(&up, "60").await.expect("ended").expect(404);
}

/// How often the master was asked what is open.
async fn looks(up: &Up) -> u64 {
    let text = scrape(up.edge.admin).await;
    let asked =
        |line: &&str| line.starts_with("cairn_requests_total{") && line.contains("PendingUploads");
    let number = |line: &str| line.rsplit(' ').next().and_then(|word| word.parse::<u64>().ok());
    text.lines().filter(asked).map(|line| number(line).expect("a number")).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn for_a_reader_who_leaves_while_it_waits_nobody_looks_any_more() {
    /// Much longer than a read that waits pauses between two looks.
    const PAUSE: Duration = Duration::from_secs(2);
    let up = Up::start().await;
    let upload = Slow::begin(&up, 0).await;
    let read = reading(&up, "60");
    eventually(30, "it looks again and again", async || match looks(&up).await {
        looks @ 0..3 => Err(format!("{looks} looks")),
        _ => Ok(()),
    })
    .await;
    read.abort();
    eventually(30, "nobody looks", async || {
        let before = looks(&up).await;
        sleep(PAUSE).await;
        match looks(&up).await - before {
            0 => Ok(()),
            more => Err(format!("{more} looks in {PAUSE:?}")),
        }
    })
    .await;
    upload.commit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_a_file_waits_for_its_replacement_when_it_is_told_to() {
    let up = Up::start().await;
    let before = Content::new(9, 10);
    up.edge.http().put("/v1/files/k", before).await.expect(201);
    let upload = Slow::begin(&up, 0).await;
    assert!(matches(&reading(&up, "60").await.expect("ended").expect(200), before));
    let read = reading(&up, "60; replaced");
    upload.commit().await;
    // It began before or after the commit: either way it gives what is new.
    assert!(matches(&read.await.expect("ended").expect(200), FILE));
}
