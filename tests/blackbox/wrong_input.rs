//! Wrong input: a clear 4xx that says what to do, and a server that lives on.

use cairn_proto::v1::files_client::FilesClient;
use cairn_proto::v1::{Chunking, PutFileHeader, PutFileRequest, chunking, put_file_request};
use futures_util::stream;
use serde_json::Value;
use tonic::Code;

use crate::harness::{Content, RawAnswer, Up, channel};

/// What is sent, the answers that are right, and a word that the detail must hold.
type Row = (String, &'static [u16], &'static str);

fn put(path: &str, headers: &str) -> String {
    format!("PUT {path} HTTP/1.1\r\nhost: cairn\r\ncontent-length: 0\r\n{headers}\r\n")
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: cairn\r\n{headers}\r\n")
}

fn names() -> Vec<Row> {
    let long = "k".repeat(1025);
    let path = |key: &str| put(&format!("/v1/files/{key}"), "");
    let bucket = |name: &str| put(&format!("/v1/buckets/{name}/files/a"), "");
    vec![
        (path(""), &[400], "empty"),
        (path(&long), &[400], "1024"),
        (path("a%00b"), &[400], "NUL"),
        (path("%FF%FE"), &[400], "UTF-8"),
        (path("a%zz"), &[400], "percent"),
        (path("a%"), &[400], "percent"),
        (bucket("no-such-bucket"), &[404], "bucket"),
        (bucket("No_Bucket"), &[400], "bucket"),
        (bucket("ab"), &[400], "bucket"),
        (bucket("%00"), &[400], "bucket"),
        (get("/v1/buckets/no-such-bucket/files/a", ""), &[404], "bucket"),
        (get("/v1/buckets/no-such-bucket/files?list", ""), &[404], "bucket"),
        (get("/v1/files/no-such-file", ""), &[404], ""),
        (get("/nowhere", ""), &[404], "/v1/files"),
        (get("/", ""), &[404], "/v1/files"),
    ]
}

fn headers() -> Vec<Row> {
    let ranged = |range: &str| get("/v1/files/there", &format!("range: {range}\r\n"));
    let chunked = |rule: &str| put("/v1/files/a", &format!("cairn-chunking: {rule}\r\n"));
    vec![
        (ranged("bytes=abc"), &[400, 416], "range"),
        (ranged("bytes=9-3"), &[400, 416], "range"),
        (ranged("bytes="), &[400, 416], "range"),
        (ranged("bytes=1-2-3"), &[400, 416], "range"),
        (put("/v1/files/a", "repr-digest: sha-256=:AAAA:\r\n"), &[400], "Repr-Digest"),
        (
            put("/v1/files/a", &format!("cairn-meta-a: {}\r\n", "v".repeat(2048))),
            &[400],
            "metadata",
        ),
        (chunked("equal(0)"), &[400], "equal(N)"),
        (chunked("equal(1000001)"), &[400], "1000000"),
        (chunked("equal(-6)"), &[400], "equal(N)"),
        (chunked("equal(6"), &[400], "equal(N)"),
        (chunked("half"), &[400], "equal(N)"),
        (chunked(""), &[400], "equal(N)"),
        (
            // Six parts of 64 MiB, and one byte.
            "PUT /v1/files/a HTTP/1.1\r\nhost: cairn\r\ncontent-length: 402653185\r\ncairn-chunking: equal(6)\r\n\r\n"
                .into(),
            &[400],
            "use more parts",
        ),
        (
            "PUT /v1/files/a HTTP/1.1\r\nhost: cairn\r\ncontent-length: 54975581388801\r\n\r\n"
                .into(),
            &[413],
            "50 TiB",
        ),
    ]
}

fn methods_and_lists() -> Vec<Row> {
    let method = |method: &str| format!("{method} /v1/files/a HTTP/1.1\r\nhost: cairn\r\n\r\n");
    let list = |query: &str| get(&format!("/v1/files?list&{query}"), "");
    vec![
        (method("PATCH"), &[405], "PUT"),
        (method("BREW"), &[405], "PUT"),
        (list("limit=many"), &[400], "limit"),
        (list("limit=-1"), &[400], "limit"),
        (list("limit=100000"), &[400], "limit"),
        (list("limit=99999999999999999999"), &[400], "limit"),
        (list("prefix=%FF"), &[400], "UTF-8"),
    ]
}

/// What no client library sends: the protocol itself is broken, so the status alone counts.
fn protocol() -> Vec<Row> {
    let head = "PUT /v1/files/a HTTP/1.1\r\nhost: cairn\r\n";
    let large = "x".repeat(100 << 10);
    let many: String = (0..300).map(|nth| format!("x-{nth}: 1\r\n")).collect();
    vec![
        (format!("{head}content-length: -1\r\n\r\n"), &[400], ""),
        (format!("{head}content-length: five\r\n\r\n"), &[400], ""),
        (format!("{head}content-length: 1\r\ncontent-length: 2\r\n\r\nab"), &[400], ""),
        (format!("{head}content-length: 99999999999999999999\r\n\r\n"), &[400, 413], ""),
        (format!("{head}transfer-encoding: gzip\r\n\r\n"), &[400, 501], ""),
        (get("/v1/files/a", &format!("x-large: {large}\r\n")), &[431], ""),
        (get("/v1/files/a", &many), &[431], ""),
        (get(&format!("/v1/files/{large}"), ""), &[400, 414, 431], ""),
        (put("/v1/files/a", "content-type: \u{1}\r\n"), &[400], ""),
        (get("/v1/files/a", "no colon here\r\n"), &[400], ""),
        (get("/v1/files/a b", ""), &[400], ""),
        ("GET /v1/files/a HTTP/9.9\r\n\r\n".into(), &[400, 505], ""),
        ("hello, is this the library?\r\n\r\n".into(), &[400], ""),
        ("\r\n\r\n\r\n\u{7f}\u{0}\u{1}\r\n\r\n".into(), &[400], ""),
    ]
}

async fn still_serves(up: &Up, after: &str) {
    let got = up.edge.http().get("/v1/files/there").await;
    assert_eq!(got.status, 200, "after {after}");
}

async fn start() -> Up {
    let up = Up::start().await;
    let http = up.edge.http();
    let there = http.put("/v1/files/there", Content::new(1, 100)).await;
    there.expect(201);
    up
}

fn problem(answer: &RawAnswer, shown: &str) -> String {
    let read: Result<Value, _> = serde_json::from_str(&answer.body);
    let problem = read.unwrap_or_else(|_| panic!("{shown}: no problem: {answer:?}"));
    assert_eq!(problem["status"], u64::from(answer.status), "{shown}: {problem}");
    for field in ["type", "title", "request_id"] {
        assert!(problem[field].is_string(), "{shown}: no {field} in {problem}");
    }
    problem["detail"].as_str().unwrap_or_default().to_owned()
}

/// All rows are tried before any failure is told.
async fn refuse_all(rows: Vec<Row>, with_problem: bool) {
    let up = start().await;
    let mut wrong = Vec::new();
    for (sent, right, word) in rows {
        let shown: String = sent.chars().take(100).collect();
        let mut raw = up.edge.raw().await;
        raw.send(sent.as_bytes()).await;
        match raw.answer_within(20).await {
            None => wrong.push(format!("{shown:?}: closed without an answer")),
            Some(answer) if !right.contains(&answer.status) => {
                wrong.push(format!("{shown:?}: {} instead of {right:?}", answer.status));
            }
            Some(answer) if with_problem => {
                let detail = problem(&answer, &shown);
                if detail.is_empty() || !detail.contains(word) {
                    wrong.push(format!("{shown:?}: {word:?} is not in {detail:?}"));
                }
            }
            Some(_) => {}
        }
        still_serves(&up, &shown).await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    up.edge.settle().await;
}

#[tokio::test]
async fn wrong_names_are_told() {
    refuse_all(names(), true).await;
}

#[tokio::test]
async fn wrong_headers_are_told() {
    refuse_all(headers(), true).await;
}

#[tokio::test]
async fn wrong_methods_and_lists_are_told() {
    refuse_all(methods_and_lists(), true).await;
}

#[tokio::test]
async fn a_broken_protocol_is_refused() {
    refuse_all(protocol(), false).await;
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let up = start().await;
    let answer = up.edge.http().request("PATCH", "/v1/files/a").answer().await;
    let allowed = answer.must_have("allow").to_owned();
    for method in ["GET", "HEAD", "PUT", "POST", "DELETE"] {
        assert!(allowed.contains(method), "{allowed}");
    }
    answer.problem(405);
}

#[tokio::test]
async fn a_body_longer_than_announced_is_cut_there_and_refused() {
    let up = start().await;
    let mut raw = up.edge.raw().await;
    let sent = "PUT /v1/files/a HTTP/1.1\r\nhost: cairn\r\ncontent-length: 5\r\n\r\n\
                cairn and more than was said\r\n\r\n";
    raw.send(sent.as_bytes()).await;
    let (mut text, mut statuses) = (String::new(), Vec::new());
    if let Some(answer) = raw.try_answer().await {
        statuses.push(answer.status);
        text = answer.body;
    }
    // Both answers can have come at once: the second is then behind the first one's body.
    match text.find("HTTP/1.1 400") {
        Some(_) => statuses.push(400),
        None => statuses.extend(raw.try_answer().await.map(|answer| answer.status)),
    }
    assert_eq!(statuses, [201, 400], "{text}");
    let got = up.edge.http().get("/v1/files/a").await.expect(200);
    assert_eq!(got.body, "cairn");
}

#[tokio::test]
async fn a_broken_chunked_body_stores_nothing() {
    let up = start().await;
    for body in ["zz\r\nabc\r\n", "5\r\ncairnXX", "5\r\nca", "ffffffffffffffffff\r\nabc"] {
        let mut raw = up.edge.raw().await;
        let head = "PUT /v1/files/a HTTP/1.1\r\nhost: cairn\r\ntransfer-encoding: chunked\r\n\r\n";
        raw.send(format!("{head}{body}").as_bytes()).await;
        raw.finish().await;
        if let Some(answer) = raw.try_answer().await {
            assert_eq!(answer.status, 400, "{body:?}: {}", answer.body);
        }
        up.edge.settle().await;
        up.edge.http().get("/v1/files/a").await.problem(404);
    }
    still_serves(&up, "broken bodies").await;
}

#[tokio::test]
async fn bytes_that_are_no_http_do_no_harm() {
    let up = start().await;
    let noise = Content::new(1, 100_000).all();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for sent in [
        noise.to_vec(),
        [&preface[..], &noise[..1000]].concat(),
        [&preface[..], &[0xff; 1000]].concat(),
        preface[..10].to_vec(),
        [&tls[..], &[0; 600]].concat(),
        vec![0; 100_000],
        Vec::new(),
    ] {
        let mut raw = up.edge.raw().await;
        raw.send(&sent).await;
        raw.finish().await;
        if let Some(answer) = raw.try_answer().await {
            assert!(answer.status < 500, "{answer:?}");
        }
        still_serves(&up, "noise").await;
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_given_up() {
    let up = start().await;
    let mut raw = up.edge.raw().await;
    raw.send(b"GET /v1/files/there HTTP/1.1\r\nhost:").await;
    let answer = raw.answer_within(40).await;
    assert!(answer.is_none_or(|answer| (400..500).contains(&answer.status)));
}

fn header(length: Option<u64>) -> put_file_request::Part {
    put_file_request::Part::Header(PutFileHeader {
        key: "grpc".to_owned(),
        length,
        ..PutFileHeader::default()
    })
}

fn cut(length: Option<u64>, chunking: Chunking) -> put_file_request::Part {
    put_file_request::Part::Header(PutFileHeader {
        key: "grpc".to_owned(),
        length,
        chunking: Some(chunking),
        ..PutFileHeader::default()
    })
}

fn data(length: u64) -> put_file_request::Part {
    put_file_request::Part::Data(Content::new(1, length).all())
}

#[tokio::test]
async fn wrong_grpc_streams_are_told() {
    let up = start().await;
    let mut client = FilesClient::new(channel(up.edge.gateway).await);
    let equal = |parts| Chunking { rule: Some(chunking::Rule::Equal(parts)) };
    for (title, parts) in [
        ("nothing", vec![]),
        ("no part", vec![cut(Some(10), equal(0)), data(10)]),
        ("too many parts", vec![cut(Some(10), equal(1_000_001)), data(10)]),
        ("too large a part", vec![cut(Some(402_653_185), equal(6)), data(10)]),
        ("parts of no length", vec![cut(None, equal(6)), data(10)]),
        ("another rule", vec![cut(Some(10), Chunking { rule: None }), data(10)]),
        ("data first", vec![data(10)]),
        ("two headers", vec![header(None), header(None), data(10)]),
        ("shorter", vec![header(Some(11)), data(10)]),
        ("longer", vec![header(Some(9)), data(10)]),
        ("a large frame", vec![header(None), data((1 << 20) + 1)]),
    ] {
        let request = |part| PutFileRequest { part: Some(part) };
        let sent = stream::iter(parts.into_iter().map(request));
        let status = client.put(sent).await.expect_err(title);
        assert_eq!(status.code(), Code::InvalidArgument, "{title}: {status:?}");
        assert!(!status.message().is_empty(), "{title}");
    }
    up.edge.http().get("/v1/files/grpc").await.problem(404);
    up.edge.settle().await;
}
