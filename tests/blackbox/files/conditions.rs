//! Conditional requests (RFC 9110, section 13).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::harness::{Content, Http, Up};

const PATH: &str = "/v1/files/name";
const LONG_AGO: &str = "Thu, 01 Jan 1970 00:00:01 GMT";
const FAR_OFF: &str = "Fri, 31 Dec 2100 23:59:59 GMT";

fn next_seed() -> u64 {
    static SEED: AtomicU64 = AtomicU64::new(1000);
    SEED.fetch_add(1, Ordering::Relaxed)
}

async fn asked(http: Http, method: &str, name: &str, value: &str) -> u16 {
    let request = http.request(method, PATH).header(name, value);
    let request = match method {
        // No two contents alike, and so no two entity tags.
        "PUT" => request.content(Content::new(next_seed(), 20)),
        _ => request,
    };
    let answer = request.answer().await;
    if answer.status == 304 {
        assert!(answer.body.is_empty(), "304 with a body");
        assert!(!answer.must_have("etag").is_empty());
    }
    answer.status
}

#[tokio::test]
async fn reads_depend_on_what_the_client_has() {
    let up = Up::start().await;
    let http = up.edge.http();
    let put = http.put(PATH, Content::new(1, 10)).await.expect(201);
    let etag = put.must_have("etag");
    let head = http.request("HEAD", PATH).answer().await;
    let modified = head.must_have("last-modified");
    let (weak, several) = (format!("W/{etag}"), format!("\"x\", {etag}"));
    for (name, value, status) in [
        ("if-none-match", etag, 304),
        ("if-none-match", &weak, 304),
        ("if-none-match", &several, 304),
        ("if-none-match", "*", 304),
        ("if-none-match", "\"x\"", 200),
        ("if-match", etag, 200),
        ("if-match", &several, 200),
        ("if-match", "*", 200),
        ("if-match", "\"x\"", 412),
        ("if-match", &weak, 412),
        ("if-modified-since", modified, 304),
        ("if-modified-since", FAR_OFF, 304),
        ("if-modified-since", LONG_AGO, 200),
        ("if-modified-since", "yesterday", 200),
        ("if-unmodified-since", modified, 200),
        ("if-unmodified-since", LONG_AGO, 412),
    ] {
        for method in ["GET", "HEAD"] {
            let got = asked(http, method, name, value).await;
            assert_eq!(got, status, "{method} {name}: {value}");
        }
    }
}

#[tokio::test]
async fn a_refused_condition_is_a_problem() {
    let up = Up::start().await;
    let http = up.edge.http();
    http.put(PATH, Content::new(1, 10)).await.expect(201);
    let request = http.request("GET", PATH).header("if-match", "\"x\"");
    request.answer().await.problem(412);
    let request = http.request("PUT", PATH).header("if-match", "\"x\"");
    let request = request.content(Content::new(2, 10));
    request.answer().await.problem(412);
}

#[tokio::test]
async fn writes_to_an_existing_name_keep_what_a_condition_protects() {
    let up = Up::start().await;
    let http = up.edge.http();
    let first = Content::new(1, 10);
    let put = http.put(PATH, first).await.expect(201);
    let etag = put.must_have("etag");
    let weak = format!("W/{etag}");
    for (name, value) in [
        ("if-none-match", "*"),
        ("if-none-match", etag),
        ("if-match", "\"x\""),
        ("if-match", &weak),
        ("if-unmodified-since", LONG_AGO),
    ] {
        for method in ["PUT", "DELETE"] {
            let got = asked(http, method, name, value).await;
            assert_eq!(got, 412, "{method} {name}: {value}");
        }
    }
    let kept = http.get(PATH).await.expect(200);
    assert_eq!(kept.body, first.all());
}

#[tokio::test]
async fn writes_go_through_when_the_condition_holds() {
    let up = Up::start().await;
    let http = up.edge.http();
    assert_eq!(asked(http, "PUT", "if-match", "*").await, 412);
    assert_eq!(asked(http, "PUT", "if-none-match", "*").await, 201);
    let head = http.request("HEAD", PATH).answer().await;
    let etag = head.must_have("etag");
    assert_eq!(asked(http, "PUT", "if-match", etag).await, 200);
    assert_eq!(asked(http, "PUT", "if-match", etag).await, 412, "it is old");
    assert_eq!(asked(http, "PUT", "if-none-match", etag).await, 200);
    let got = asked(http, "PUT", "if-unmodified-since", FAR_OFF).await;
    assert_eq!(got, 200);
    let got = asked(http, "DELETE", "if-match", "*").await;
    assert_eq!(got, 204);
}
