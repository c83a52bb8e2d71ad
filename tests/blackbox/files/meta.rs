//! What the owner says of a file is kept and given back.

use crate::harness::{Content, Up};

#[tokio::test]
async fn content_type_and_metadata_are_given_back() {
    let up = Up::start().await;
    let http = up.edge.http();
    let request = http
        .request("PUT", "/v1/files/page")
        .header("content-type", "text/html; charset=utf-8")
        .header("cairn-meta-author", "Ada")
        .header("Cairn-Meta-Two-Words", "a, b; c=\"d\"")
        .content(Content::new(1, 100));
    let put = request.answer().await.expect(201);
    assert_eq!(put.json()["content_type"], "text/html; charset=utf-8");
    for method in ["GET", "HEAD"] {
        let answer = http.request(method, "/v1/files/page").answer().await;
        let answer = answer.expect(200);
        assert_eq!(answer.must_have("content-type"), "text/html; charset=utf-8");
        assert_eq!(answer.must_have("cairn-meta-author"), "Ada");
        assert_eq!(answer.must_have("cairn-meta-two-words"), "a, b; c=\"d\"");
        assert_eq!(answer.must_have("etag"), put.must_have("etag"));
    }
}

#[tokio::test]
async fn without_a_content_type_it_is_bytes() {
    let up = Up::start().await;
    let http = up.edge.http();
    http.put("/v1/files/a", Content::new(1, 1)).await.expect(201);
    let answer = http.get("/v1/files/a").await.expect(200);
    assert_eq!(answer.must_have("content-type"), "application/octet-stream");
    // A browser must not guess that bytes of a stranger are a page.
    assert_eq!(answer.must_have("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn a_new_version_has_its_own_metadata() {
    let up = Up::start().await;
    let http = up.edge.http();
    let request = http.request("PUT", "/v1/files/a");
    let request = request.header("cairn-meta-old", "1");
    request.content(Content::new(1, 1)).answer().await.expect(201);
    http.put("/v1/files/a", Content::new(2, 1)).await.expect(200);
    let answer = http.get("/v1/files/a").await.expect(200);
    assert_eq!(answer.header("cairn-meta-old"), None);
}

#[tokio::test]
async fn too_much_metadata_is_refused() {
    let up = Up::start().await;
    let http = up.edge.http();
    let request = http.request("PUT", "/v1/files/a");
    let request = request.header("cairn-meta-much", &"x".repeat(3000));
    let detail = request.content(Content::new(1, 1)).answer().await;
    let detail = detail.problem(400);
    assert!(detail.contains("2048") || detail.contains("2 KiB"), "{detail}");
    http.get("/v1/files/a").await.problem(404);
}
