//! Every size comes back as it was sent, whether its length was known or not.

use crate::harness::{Content, Http, Up, base64, hex};

const MIB: u64 = 1 << 20;
/// Around nothing, around a block, around a chunk, several chunks.
const SIZES: [u64; 12] = [
    0,
    1,
    5,
    7,
    1 << 10,
    64 << 10,
    (64 << 10) + 1,
    MIB,
    8 * MIB - 1,
    8 * MIB,
    8 * MIB + 1,
    64 * MIB,
];

async fn stored_file_comes_back(http: Http, path: &str, content: Content) {
    let sha256 = content.sha256();
    let head = http.request("HEAD", path).answer().await.expect(200);
    let length = content.length.to_string();
    assert_eq!(head.must_have("content-length"), length, "{path}");
    assert!(head.body.is_empty(), "{path}: HEAD has a body");
    let download = http.request("GET", path).send().await;
    assert_eq!(download.status, 200, "{path}");
    assert_eq!(download.header("content-length"), Some(length.as_str()));
    assert_eq!(download.header("accept-ranges"), Some("bytes"));
    let digest = format!("sha-256=:{}:", base64(&sha256));
    assert_eq!(download.header("repr-digest"), Some(digest.as_str()));
    let got = download.digest().await;
    assert_eq!(got, (content.length, sha256), "{path}");
}

#[tokio::test]
async fn a_file_of_any_size_and_known_length_comes_back() {
    let up = Up::start().await;
    let http = up.edge.http();
    for (seed, length) in (0..).zip(SIZES) {
        let content = Content::new(seed, length);
        let path = format!("/v1/files/known/{length}");
        let answer = http.put(&path, content).await.expect(201);
        let described = answer.json();
        assert_eq!(described["length"], length, "{described}");
        assert_eq!(described["sha256"], hex(&content.sha256()), "{described}");
        stored_file_comes_back(http, &path, content).await;
    }
}

#[tokio::test]
async fn a_file_of_any_size_and_unknown_length_comes_back() {
    let up = Up::start().await;
    let http = up.edge.http();
    for (seed, length) in (100..).zip(SIZES) {
        let content = Content::new(seed, length);
        let path = format!("/v1/files/unknown/{length}");
        let request = http.request("PUT", &path);
        let request = request.content_of_unknown_length(content);
        request.answer().await.expect(201);
        stored_file_comes_back(http, &path, content).await;
    }
}

#[tokio::test]
async fn many_chunks_come_back_in_order() {
    let up = Up::plan().chunk_size(4096).start().await;
    let http = up.edge.http();
    // More than two manifest pages of 128 chunks, and a last chunk that is short.
    let content = Content::new(1, 4096 * 300 + 17);
    http.put("/v1/files/many", content).await.expect(201);
    stored_file_comes_back(http, "/v1/files/many", content).await;
}

#[tokio::test]
async fn a_replaced_file_is_the_new_one() {
    let up = Up::start().await;
    let http = up.edge.http();
    let (old, new) = (Content::new(1, 100_000), Content::new(2, 50));
    let first = http.put("/v1/files/name", old).await.expect(201);
    let second = http.put("/v1/files/name", new).await.expect(200);
    assert_ne!(first.must_have("etag"), second.must_have("etag"));
    stored_file_comes_back(http, "/v1/files/name", new).await;
}

#[tokio::test]
async fn a_receipt_says_what_was_acknowledged() {
    let up = Up::start().await;
    let answer = up.edge.http().put("/v1/files/a", Content::new(1, 10)).await;
    let answer = answer.expect(201);
    assert_eq!(answer.must_have("cairn-receipt"), "copies=2; hosts=2; zones=2; meta=1; synced");
    assert!(!answer.must_have("cairn-root").is_empty());
    assert!(!answer.must_have("x-request-id").is_empty());
}

#[tokio::test]
async fn a_deleted_file_is_gone() {
    let up = Up::start().await;
    let http = up.edge.http();
    let delete = async || http.request("DELETE", "/v1/files/a").answer().await;
    http.put("/v1/files/a", Content::new(1, 10)).await.expect(201);
    let answer = delete().await.expect(204);
    assert!(answer.body.is_empty());
    http.get("/v1/files/a").await.problem(404);
    http.request("HEAD", "/v1/files/a").answer().await.expect(404);
    delete().await.problem(404);
    let again = http.put("/v1/files/a", Content::new(2, 20)).await;
    again.expect(201);
}

#[tokio::test]
async fn post_makes_a_file_once() {
    let up = Up::start().await;
    let http = up.edge.http();
    let post = async |content| {
        let request = http.request("POST", "/v1/files/once").content(content);
        request.answer().await
    };
    let first = Content::new(1, 1000);
    post(first).await.expect(201);
    post(Content::new(2, 1000)).await.problem(409);
    stored_file_comes_back(http, "/v1/files/once", first).await;
}
