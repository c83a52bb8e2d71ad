//! A download that broke off goes on where it ended.

use crate::harness::{Content, Up};

#[tokio::test]
async fn a_download_that_broke_off_is_resumed() {
    let up = Up::plan().chunk_size(256 << 10).start().await;
    let http = up.edge.http();
    let content = Content::new(9, 20 << 20);
    let put = http.put("/v1/files/long", content).await.expect(201);
    let etag = put.must_have("etag");

    let mut first = http.request("GET", "/v1/files/long").send().await;
    let mut got = Vec::new();
    while got.len() < 3_000_000 {
        let data = first.next().await.expect("a body").expect("more of it");
        got.extend_from_slice(&data);
    }
    drop(first);

    let request = http.request("GET", "/v1/files/long");
    let range = format!("bytes={}-", got.len());
    let request = request.header("range", &range).header("if-range", etag);
    let rest = request.answer().await.expect(206);
    got.extend_from_slice(&rest.body);
    assert!(got == content.all());
}

/// As `curl -C 100 -T` does, which would replace the whole by its end.
#[tokio::test]
async fn a_part_is_not_taken_for_the_whole_file() {
    let up = Up::start().await;
    let http = up.edge.http();
    let whole = Content::new(3, 1000);
    http.put("/v1/files/whole", whole).await.expect(201);
    for method in ["PUT", "POST"] {
        let part = http.request(method, "/v1/files/whole").content(Content::new(4, 900));
        let refused = part.header("content-range", "bytes 100-999/1000").answer().await;
        assert!(refused.problem(400).contains("Content-Range"), "{method}");
    }
    let read = http.request("GET", "/v1/files/whole").send().await.digest().await;
    assert_eq!(read, (whole.length, whole.sha256()));
}
