//! `Repr-Digest` (RFC 9530): what the client says of the content is checked.

use crate::harness::{Answer, Content, Http, Up, base64, sha256};

const CONTENT: Content = Content::new(5, 100_000);

async fn put(http: Http, digest: &str) -> Answer {
    let request = http.request("PUT", "/v1/files/a").content(CONTENT);
    request.header("repr-digest", digest).answer().await
}

fn digest_of(bytes: &[u8]) -> String {
    format!("sha-256=:{}:", base64(&sha256(bytes)))
}

#[tokio::test]
async fn a_right_digest_is_accepted_and_sent_back() {
    let up = Up::start().await;
    let right = digest_of(&CONTENT.all());
    let answer = put(up.edge.http(), &right).await.expect(201);
    assert_eq!(answer.must_have("repr-digest"), right);
}

#[tokio::test]
async fn a_wrong_digest_stores_nothing() {
    let up = Up::start().await;
    let http = up.edge.http();
    put(http, &digest_of(b"something else")).await.problem(400);
    http.get("/v1/files/a").await.problem(404);
    up.edge.settle().await;
    let account = up.edge.admin().await.bucket_account().await;
    assert_eq!((account.used_bytes, account.used_objects), (0, 0));
    let mut admin = up.edge.admin().await;
    assert!(admin.chunks().await.is_empty(), "chunks are left");
}

#[tokio::test]
async fn a_wrong_digest_keeps_the_old_file() {
    let up = Up::start().await;
    let http = up.edge.http();
    let old = Content::new(1, 10);
    http.put("/v1/files/a", old).await.expect(201);
    put(http, &digest_of(b"something else")).await.problem(400);
    assert_eq!(http.get("/v1/files/a").await.expect(200).body, old.all());
}

#[tokio::test]
async fn a_digest_that_cannot_be_read_is_refused() {
    let up = Up::start().await;
    for digest in ["sha-256=:AAAA:", "sha-256=", "sha-256=:not base64!:"] {
        put(up.edge.http(), digest).await.problem(400);
    }
}

#[tokio::test]
async fn a_digest_of_another_kind_is_not_taken_for_ours() {
    let up = Up::start().await;
    let right = digest_of(&CONTENT.all());
    let both = format!("unixsum=:AAAA:, {right}");
    put(up.edge.http(), &both).await.expect(201);
}
