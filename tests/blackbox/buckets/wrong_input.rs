//! Wrong input about buckets: a clear 4xx that says what to do, and nothing changes.

use super::{create, send, show};
use crate::harness::Up;

#[tokio::test]
async fn wrong_names_settings_and_queries_are_refused_and_say_why() {
    let up = Up::start().await;
    let http = up.edge.http();
    let made = create(http, "photos", "").await;
    let large = format!(r#"{{"copies":2{}}}"#, " ".repeat(70 << 10));
    let rows = [
        ("PUT", "No_Bucket", "", 400, "3 to 63"),
        ("PUT", "ab", "", 400, "3 to 63"),
        ("PUT", "1.2.3.4", "", 400, "IPv4"),
        ("PUT", "%FF%FE%FD", "", 400, "UTF-8"),
        ("PUT", "new", "[]", 400, "JSON object"),
        ("PUT", "new", "{", 400, "settings"),
        ("PUT", "new", r#"{"size":1}"#, 400, "copies, zones"),
        ("PUT", "new", r#"{"copies":0}"#, 400, "copies: 0: use 1 to 8"),
        ("PUT", "new", r#"{"copies":9}"#, 400, "use 1 to 8"),
        ("PUT", "new", r#"{"copies":-1}"#, 400, "settings"),
        ("PUT", "new", r#"{"copies":1,"zones":2}"#, 400, "zones: 2"),
        ("PUT", "new", r#"{"least_copies":3}"#, 400, "least_copies: 3"),
        ("PUT", "new", r#"{"durability":"memory"}"#, 400, "synced"),
        ("PUT", "new", r#"{"retention_seconds":999999999999}"#, 400, "ten years"),
        ("PUT", "new", r#"{"quota_bytes":"1MiB"}"#, 400, "settings"),
        ("PUT", "new", &large, 400, "64 KiB"),
        ("PATCH", "photos", "", 400, "JSON object"),
        ("PATCH", "photos", "null", 400, "JSON object"),
        ("PATCH", "photos", r#"{"copies":100}"#, 400, "use 1 to 8"),
        ("PATCH", "photos", r#"{"created":1}"#, 400, "copies, zones"),
        ("PATCH", "absent", "{}", 404, "there is no bucket"),
        ("DELETE", "photos?contents=keep", "", 400, "contents=delete"),
        ("DELETE", "photos?content=delete", "", 400, "contents=delete"),
        ("DELETE", "absent?contents=delete", "", 404, "there is no bucket"),
        ("GET", "absent", "", 404, "there is no bucket"),
    ];
    for (method, bucket, body, status, word) in rows {
        let answer = send(http, method, bucket, body).await;
        let detail = answer.problem(status);
        assert!(detail.contains(word), "{method} {bucket} {body}: {detail:?}, not {word:?}");
    }
    for query in ["limit=0", "limit=1001", "limit=x", "delimiter=/", "prefix=%FF", "after=%zz"] {
        http.get(&format!("/v1/buckets?{query}")).await.problem(400);
    }
    assert_eq!(show(http, "photos").await, made);
    http.get("/v1/buckets/new").await.problem(404);
}
