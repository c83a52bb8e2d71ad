//! A bucket goes with its contents, in the background, whatever happens meanwhile.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::sleep;

use super::{create, send, show};
use crate::harness::{
    Content, Draw, Edge, Parts, PartsPlan, Up, assert_nodes_hold_what_the_catalog_names, eventually,
};

const FILES: u64 = 60;

async fn fill(edge: &Edge, bucket: &str) {
    let http = edge.http();
    let put = |nth: u64| async move {
        let path = format!("/v1/buckets/{bucket}/files/{nth}");
        http.put(&path, Content::new(nth, 70_000)).await.expect(201);
    };
    for first in (0..FILES).step_by(10) {
        join_all((first..first + 10).map(put)).await;
    }
    for nth in 0..5 {
        let path = format!("/v1/buckets/{bucket}/files/{nth}");
        http.request("DELETE", &path).answer().await.expect(204);
    }
}

/// Sweeps until the bucket is gone; the books are right all the time.
async fn gone(edge: &Edge, bucket: &str) {
    let mut admin = edge.admin().await;
    eventually(120, "the bucket is gone", async || {
        assert_eq!(admin.wrong_accounts().await, 0);
        admin.sweep().await;
        let answer = edge.http().get(&format!("/v1/buckets/{bucket}")).await;
        match answer.status {
            404 => Ok(()),
            _ => Err(answer.text()),
        }
    })
    .await;
    assert_eq!(admin.wrong_accounts().await, 0);
}

#[tokio::test]
async fn a_bucket_goes_with_its_contents_and_nothing_can_be_done_in_it_meanwhile() {
    let up = Up::plan().chunk_size(64 << 10).start().await;
    let http = up.edge.http();
    create(http, "doomed", "").await;
    fill(&up.edge, "doomed").await;
    http.put("/v1/files/kept", Content::new(1, 100)).await.expect(201);
    http.request("DELETE", "/v1/buckets/doomed?contents=delete").answer().await.expect(202);

    let state: Value = show(http, "doomed").await;
    assert_eq!(state["state"], "deleting");
    http.get("/v1/buckets/doomed/files/9").await.problem(404);
    http.get("/v1/buckets/doomed/files").await.problem(404);
    let put = http.put("/v1/buckets/doomed/files/new", Content::new(1, 100)).await;
    assert!(put.problem(404).contains("is being deleted"));
    assert!(send(http, "PUT", "doomed", "").await.problem(409).contains("is being deleted"));
    send(http, "PATCH", "doomed", r#"{"copies":1}"#).await.problem(409);
    http.request("DELETE", "/v1/buckets/doomed?contents=delete").answer().await.expect(202);

    gone(&up.edge, "doomed").await;
    create(http, "doomed", "").await;
    assert_eq!(show(http, "doomed").await["usage"]["used"]["objects"], 0);
    http.get("/v1/files/kept").await.expect(200);
}

/// Everything is killed again and again while a bucket is being deleted.
#[tokio::test]
async fn a_deletion_survives_kill_9_of_everything() {
    let mut parts: Parts = PartsPlan::new(3, 2).chunk_size(64 << 10).start().await;
    create(parts.edge.http(), "doomed", "").await;
    create(parts.edge.http(), "kept", "").await;
    fill(&parts.edge, "doomed").await;
    fill(&parts.edge, "kept").await;
    let doomed = "/v1/buckets/doomed?contents=delete";
    parts.edge.http().request("DELETE", doomed).answer().await.expect(202);
    let mut draw = Draw::new(5);
    for _ in 0..4 {
        sleep(Duration::from_millis(draw.below(700))).await;
        parts.kill_all();
        parts.start_all().await;
        assert_eq!(parts.edge.admin().await.wrong_accounts().await, 0);
    }
    gone(&parts.edge, "doomed").await;
    let usage = show(parts.edge.http(), "kept").await["usage"].clone();
    assert_eq!(
        (&usage["used"]["objects"], &usage["condemned"]["objects"]),
        (&(FILES - 5).into(), &5.into())
    );
    for nth in 5..FILES {
        let path = format!("/v1/buckets/kept/files/{nth}");
        let content = Content::new(nth, 70_000);
        let got = parts.edge.http().request("GET", &path).send().await;
        assert_eq!(got.digest().await, (content.length, content.sha256()), "{path}");
    }
    parts.edge.settle().await;
    assert_nodes_hold_what_the_catalog_names(&parts).await;
}

/// Whatever a PUT answered in the race, nothing is left of it.
#[tokio::test]
async fn uploads_race_with_the_deletion_of_their_bucket() {
    let up = Up::plan().chunk_size(64 << 10).start().await;
    let http = up.edge.http();
    for round in 0..3 {
        create(http, "contested", "").await;
        http.put("/v1/buckets/contested/files/first", Content::new(1, 10)).await.expect(201);
        let put = |nth: u64| async move {
            sleep(Duration::from_millis(nth * 3)).await;
            let path = format!("/v1/buckets/contested/files/{nth}");
            http.put(&path, Content::new(nth, 100_000)).await.status
        };
        let delete = async {
            sleep(Duration::from_millis(30)).await;
            http.request("DELETE", "/v1/buckets/contested?contents=delete")
                .answer()
                .await
                .expect(202);
        };
        let (statuses, ()) = tokio::join!(join_all((0..24).map(put)), delete);
        // Lost: the sweep aborted it. Not found: the deletion came before its begin or commit.
        assert!(statuses.iter().all(|s| [201, 404, 503].contains(s)), "{round}: {statuses:?}");
        gone(&up.edge, "contested").await;
    }
    up.edge.settle().await;
}
