//! `PUT`, `GET`, `PATCH` and `DELETE` of `/v1/buckets/…`.

use futures_util::future::join_all;

use super::{create, send, show};
use crate::harness::{Content, Up};

const FILE: Content = Content::new(3, 200_000);

#[tokio::test]
async fn a_bucket_is_created_shown_changed_and_deleted() {
    let up = Up::start().await;
    let http = up.edge.http();
    let made = create(http, "photos", r#"{"copies":1,"quota_bytes":300000}"#).await;
    assert_eq!((&made["bucket"], &made["state"]), (&"photos".into(), &"live".into()));
    assert_eq!(made["settings"], serde_json::json!({"copies": 1, "quota_bytes": 300_000}));
    assert_eq!((&made["effective"]["copies"], &made["effective"]["zones"]), (&1.into(), &1.into()));
    assert_eq!(made["effective"]["durability"], "synced");
    assert_eq!(show(http, "photos").await, made);
    send(http, "PUT", "photos", "").await.problem(409);

    let stored = http.put("/v1/buckets/photos/files/a", FILE).await.expect(201);
    assert!(stored.must_have("cairn-receipt").starts_with("copies=1; "), "{stored:?}");
    http.put("/v1/buckets/photos/files/b", FILE).await.problem(507);
    assert_eq!(show(http, "photos").await["usage"]["used"]["bytes"], FILE.length);

    let patch = r#"{"quota_bytes":null,"copies":2}"#;
    let changed = send(http, "PATCH", "photos", patch).await.expect(200).json();
    assert_eq!(changed["settings"], serde_json::json!({"copies": 2}));
    let stored = http.put("/v1/buckets/photos/files/b", FILE).await.expect(201);
    assert!(stored.must_have("cairn-receipt").starts_with("copies=2; "), "{stored:?}");

    let detail = send(http, "DELETE", "photos", "").await.problem(409);
    assert!(detail.contains("holds 2 files"), "{detail}");
    create(http, "empty", "").await;
    send(http, "DELETE", "empty", "").await.expect(204);
    send(http, "GET", "empty", "").await.problem(404);
    send(http, "DELETE", "empty", "").await.problem(404);
}

#[tokio::test]
async fn a_bucket_without_sha256_keeps_none_and_checks_what_is_announced() {
    let up = Up::start().await;
    let http = up.edge.http();
    create(http, "plain", r#"{"sha256":false}"#).await;
    let path = "/v1/buckets/plain/files/a";
    let stored = http.put(path, FILE).await.expect(201);
    assert!(stored.headers.get("repr-digest").is_none(), "{stored:?}");
    assert!(stored.json().get("sha256").is_none(), "{stored:?}");
    let got = http.request("GET", path).send().await;
    assert!(got.headers.get("repr-digest").is_none(), "{:?}", got.headers);
    assert_eq!(got.digest().await, (FILE.length, FILE.sha256()));

    let announced = format!("sha-256=:{}:", crate::harness::base64(&FILE.sha256()));
    let request = http.request("PUT", path).header("repr-digest", &announced);
    let stored = request.content(FILE).answer().await.expect(200);
    assert_eq!(stored.must_have("repr-digest"), announced);
    let other = Content::new(4, 200_000);
    let request = http.request("PUT", path).header("repr-digest", &announced);
    request.content(other).answer().await.problem(400);
}

#[tokio::test]
async fn buckets_are_listed_page_by_page() {
    let up = Up::start().await;
    let http = up.edge.http();
    for bucket in ["b-1", "a-2", "a-1"] {
        create(http, bucket, "").await;
    }
    for (query, expected) in
        [("", vec!["a-1", "a-2", "b-1", "default"]), ("prefix=a-&", vec!["a-1", "a-2"])]
    {
        let (mut names, mut after) = (Vec::new(), String::new());
        loop {
            let page = http.get(&format!("/v1/buckets?{query}limit=1&after={after}")).await;
            let page = page.expect(200).json();
            let bucket = page["buckets"][0]["bucket"].as_str().expect("a bucket").to_owned();
            assert_eq!(page["buckets"].as_array().map(Vec::len), Some(1));
            names.push(bucket);
            let Some(next) = page["next_after"].as_str() else { break };
            after = next.to_owned();
        }
        assert_eq!(names, expected);
    }
}

#[tokio::test]
async fn of_many_that_create_one_bucket_one_does() {
    let up = Up::start().await;
    let http = up.edge.http();
    let one = |n: usize| async move {
        send(http, "PUT", "contested", &format!(r#"{{"quota_objects":{n}}}"#)).await.status
    };
    let statuses = join_all((0..16).map(one)).await;
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [201, 409].contains(status)), "{statuses:?}");
    let winner = statuses.iter().position(|status| *status == 201).expect("one");
    assert_eq!(show(http, "contested").await["settings"]["quota_objects"], winner);
}
