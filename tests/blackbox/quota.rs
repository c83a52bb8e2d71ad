//! A bucket never holds a byte more than its quota.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;

use crate::harness::{Answer, Content, Http, Up};

const WRITERS: u64 = 64;
const CHUNK: u64 = 256 << 10;
/// A gateway gathers this much of a body of unknown length before it begins the upload.
const GATHERED: u64 = 8 << 20;

/// From below a chunk to several chunks; those of unknown length are longer than what is gathered.
fn file(nth: u64) -> Content {
    let length = CHUNK / 2 + nth * 79_193 % (8 * CHUNK);
    Content::new(nth, if is_known(nth) { length } else { GATHERED + length })
}

fn is_known(nth: u64) -> bool {
    nth.is_multiple_of(2)
}

async fn start() -> Up {
    let plan = Up::plan().nodes(2).copies(1).chunk_size(CHUNK);
    plan.start().await
}

async fn write(http: Http, nth: u64, content: Content, known: bool) -> Answer {
    let request = http.request("PUT", &format!("/v1/files/{nth}"));
    let request =
        if known { request.content(content) } else { request.content_of_unknown_length(content) };
    request.answer().await
}

/// All writers at once, half of them with unknown length: the bytes that were accepted, and the
/// number of answers of each status.
async fn write_all(http: Http) -> (u64, BTreeMap<u16, u64>) {
    let one = |nth| async move {
        let content = file(nth);
        loop {
            let answer = write(http, nth, content, is_known(nth)).await;
            match answer.status {
                201 => return (201, content.length),
                // The gateway's memory is bounded: the client is asked to come again.
                503 => answer.must_have("retry-after"),
                status => {
                    answer.problem(507);
                    return (status, 0);
                }
            };
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let mut counts = BTreeMap::new();
    let mut accepted = 0;
    for (status, bytes) in join_all((0..WRITERS).map(one)).await {
        *counts.entry(status).or_default() += 1;
        accepted += bytes;
    }
    (accepted, counts)
}

#[tokio::test]
async fn writers_that_fit_together_are_all_accepted() {
    let up = start().await;
    let all: u64 = (0..WRITERS).map(|nth| file(nth).length).sum();
    let mut admin = up.edge.admin().await;
    admin.limit_bucket(Some(all)).await;
    let (accepted, counts) = write_all(up.edge.http()).await;
    assert_eq!(counts, [(201, WRITERS)].into(), "they fit to the byte");
    let account = admin.bucket_account().await;
    assert_eq!((accepted, account.used_bytes), (all, all));
    assert_eq!(account.reserved_bytes, 0);
}

#[tokio::test]
async fn too_many_writers_never_exceed_the_quota() {
    let up = start().await;
    let http = up.edge.http();
    let all: u64 = (0..WRITERS).map(|nth| file(nth).length).sum();
    let limit = all / 3 + 12_345;
    let mut admin = up.edge.admin().await;
    admin.limit_bucket(Some(limit)).await;

    let watch = async {
        let mut watching = up.edge.admin().await;
        loop {
            let account = watching.bucket_account().await;
            let held = account.used_bytes + account.reserved_bytes;
            assert!(held <= limit, "{held} held of {limit}: {account:?}");
            tokio::task::yield_now().await;
        }
    };
    let (accepted, counts) = tokio::select! {
        written = write_all(http) => written,
        () = watch => unreachable!("it watches until the writers are done"),
    };
    assert!(counts.contains_key(&507), "{counts:?}");
    assert!(accepted <= limit, "{accepted} of {limit}");
    up.edge.settle().await;
    let account = admin.bucket_account().await;
    assert_eq!(account.used_bytes, accepted, "{account:?}");
    eprintln!("{counts:?}: {accepted} of {limit} bytes");
    fill_the_rest(http, limit - accepted).await;
}

/// What is free takes a file of exactly that size, and nothing more.
async fn fill_the_rest(http: Http, free: u64) {
    let half = free / 2;
    let first = write(http, 1000, Content::new(1, half), true).await;
    first.expect(201);
    let second = write(http, 1001, Content::new(2, free - half), false).await;
    second.expect(201);
    for known in [true, false] {
        let answer = write(http, 1002, Content::new(3, 1), known).await;
        let detail = answer.problem(507);
        assert!(detail.contains("quota"), "{detail}");
    }
    let long = Content::new(4, GATHERED + 1);
    write(http, 1002, long, false).await.problem(507);
    http.get("/v1/files/1002").await.problem(404);
}

#[tokio::test]
async fn a_deleted_file_makes_room_at_once() {
    let up = start().await;
    let http = up.edge.http();
    let mut admin = up.edge.admin().await;
    admin.limit_bucket(Some(1000)).await;
    write(http, 1, Content::new(1, 1000), true).await.expect(201);
    write(http, 2, Content::new(2, 1), true).await.problem(507);
    let delete = http.request("DELETE", "/v1/files/1");
    delete.answer().await.expect(204);
    let answer = write(http, 2, Content::new(2, 1000), false).await;
    answer.expect(201);
    let account = admin.bucket_account().await;
    assert_eq!((account.used_bytes, account.condemned_bytes), (1000, 1000));
}

#[tokio::test]
async fn replacing_needs_room_for_both_until_it_is_done() {
    let up = start().await;
    let http = up.edge.http();
    let mut admin = up.edge.admin().await;
    admin.limit_bucket(Some(1000)).await;
    write(http, 1, Content::new(1, 600), true).await.expect(201);
    write(http, 1, Content::new(2, 600), true).await.problem(507);
    let answer = write(http, 1, Content::new(3, 400), true).await;
    answer.expect(200);
    let account = admin.bucket_account().await;
    assert_eq!((account.used_bytes, account.reserved_bytes), (400, 0));
}

#[tokio::test]
async fn what_cannot_fit_is_refused_before_its_body_is_sent() {
    let up = start().await;
    let mut admin = up.edge.admin().await;
    admin.limit_bucket(Some(1000)).await;
    for expect in ["", "expect: 100-continue\r\n"] {
        let mut raw = up.edge.raw().await;
        let head = format!(
            "PUT /v1/files/large HTTP/1.1\r\nhost: cairn\r\ncontent-length: 104857600\r\n{expect}\r\n"
        );
        assert!(raw.send(head.as_bytes()).await);
        let answer = raw.answer_within(10).await;
        let answer = answer.expect("an answer while the body is not sent");
        assert_eq!(answer.status, 507, "{expect:?}: {}", answer.head);
        assert!(answer.body.contains("quota"), "{}", answer.body);
    }
    up.edge.settle().await;
}

#[tokio::test]
async fn what_fits_is_told_to_go_on() {
    let up = start().await;
    let mut raw = up.edge.raw().await;
    let head = "PUT /v1/files/a HTTP/1.1\r\nhost: cairn\r\ncontent-length: 5\r\n\
                expect: 100-continue\r\n\r\n";
    assert!(raw.send(head.as_bytes()).await);
    assert_eq!(raw.answer().await.status, 100);
    assert!(raw.send(b"cairn").await);
    assert_eq!(raw.answer().await.status, 201);
    let got = up.edge.http().get("/v1/files/a").await.expect(200);
    assert_eq!(got.body, "cairn");
}
