//! A key is stored as given: no byte of it means anything to Cairn.

use crate::harness::{Content, Up};

/// What stands in the path, and the key that it names.
fn names() -> Vec<(String, String)> {
    let longest = "\u{1f5ff}".repeat(256);
    let longest_encoded = "%F0%9F%97%BF".repeat(256);
    let mut names: Vec<(String, String)> = [
        ("plain", "plain"),
        ("a/b/c.txt", "a/b/c.txt"),
        ("a//b", "a//b"),
        ("/leading", "/leading"),
        ("trailing/", "trailing/"),
        ("//", "//"),
        ("with%20space", "with space"),
        ("%20", " "),
        ("plus+plus", "plus+plus"),
        ("Gr%C3%BC%C3%9Fe/%E6%97%A5%E6%9C%AC", "Grüße/日本"),
        ("%2e", "."),
        ("%2e%2e", ".."),
        ("x/%2e%2e/y", "x/../y"),
        ("%2E%2E%2Fetc%2Fpasswd", "../etc/passwd"),
        ("100%25", "100%"),
        ("a%2525", "a%25"),
        ("what%3Flist", "what?list"),
        ("hash%23", "hash#"),
        ("back%5Cslash", "back\\slash"),
        ("tab%09line%0Afeed%0D", "tab\tline\nfeed\r"),
        ("semi;colon=1&x", "semi;colon=1&x"),
        ("%22quoted%22", "\"quoted\""),
        ("%3Cscript%3E", "<script>"),
        ("%EF%BF%BD", "\u{fffd}"),
        ("e%CC%81", "e\u{301}"),
        ("%C3%A9", "\u{e9}"),
    ]
    .map(|(path, key)| (path.to_owned(), key.to_owned()))
    .to_vec();
    names.push((longest_encoded, longest));
    names
}

#[tokio::test]
async fn a_key_of_any_bytes_is_kept_as_it_is() {
    let up = Up::start().await;
    let http = up.edge.http();
    for (seed, (path, key)) in (0..).zip(names()) {
        let path = format!("/v1/files/{path}");
        let answer = http.put(&path, Content::new(seed, 100)).await.expect(201);
        assert_eq!(answer.json()["key"], key, "{path}");
    }
    for (seed, (path, _)) in (0..).zip(names()) {
        let got = http.get(&format!("/v1/files/{path}")).await.expect(200);
        assert_eq!(got.body, Content::new(seed, 100).all(), "{path}");
    }
    let listed = http.get("/v1/files?list").await.expect(200).json();
    let files = listed["files"].as_array().expect("files").iter();
    let listed: Vec<String> =
        files.map(|file| file["key"].as_str().expect("key").to_owned()).collect();
    let mut keys: Vec<String> = names().into_iter().map(|(_, key)| key).collect();
    keys.sort();
    assert_eq!(listed, keys, "in byte order");
}

#[tokio::test]
async fn an_encoded_slash_is_a_slash() {
    let up = Up::start().await;
    let http = up.edge.http();
    let content = Content::new(1, 10);
    http.put("/v1/files/a%2Fb", content).await.expect(201);
    let got = http.get("/v1/files/a/b").await.expect(200);
    assert_eq!(got.body, content.all());
}

#[tokio::test]
async fn the_bucket_default_has_two_addresses() {
    let up = Up::start().await;
    let http = up.edge.http();
    let content = Content::new(1, 10);
    http.put("/v1/files/a", content).await.expect(201);
    let got = http.get("/v1/buckets/default/files/a").await.expect(200);
    assert_eq!(got.body, content.all());
}
