//! Buckets are created, changed and listed, and what they ask for is what happens.

use std::time::Duration;

use cairn_proto::v1::BucketSettings;
use cairn_proto::{Reason, RemoteError, v1};

use crate::cluster::{CHUNK, Cluster, Upload, config, reason};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn nothing() -> BucketSettings {
    BucketSettings::default()
}

fn copies(copies: u32) -> BucketSettings {
    BucketSettings { copies: Some(copies), ..nothing() }
}

/// The answer to a begin, whole.
async fn begun(cluster: &mut Cluster, bucket: &str) -> v1::BeginUploadResponse {
    let mut request = cluster.begin_request("k", Some(CHUNK));
    request.bucket = bucket.into();
    cluster.client.begin_upload(request).await.unwrap().into_inner()
}

#[tokio::test(start_paused = true)]
async fn a_bucket_without_settings_shows_what_the_cluster_does() {
    let mut cluster = Cluster::small().await;
    let made = cluster.make_bucket("photos", nothing()).await.unwrap();
    assert_eq!(made.state(), v1::BucketState::Live);
    assert_eq!(made.settings, Some(nothing()));
    let effective = made.effective.clone().unwrap();
    assert_eq!((effective.copies, effective.zones), (Some(2), Some(1)));
    assert_eq!((effective.least_copies, effective.sha256), (Some(2), Some(true)));
    assert_eq!(effective.retention_seconds, Some(24 * 60 * 60));
    assert_eq!(effective.durability(), v1::DurabilityLevel::Synced);
    assert_eq!(cluster.stat_bucket("photos").await.unwrap(), made);
    cluster.put_in("photos", "a", 10).await.unwrap();
    let usage = cluster.stat_bucket("photos").await.unwrap().usage.unwrap();
    assert_eq!((usage.used_bytes, usage.used_objects), (10, 1));
}

#[tokio::test(start_paused = true)]
async fn a_name_is_taken_once_and_what_is_absent_is_not_found() {
    let mut cluster = Cluster::small().await;
    cluster.make_bucket("photos", copies(1)).await.unwrap();
    assert_eq!(reason(cluster.make_bucket("photos", nothing()).await), Reason::BucketExists);
    assert_eq!(reason(cluster.make_bucket("default", nothing()).await), Reason::BucketExists);
    let settings = cluster.stat_bucket("photos").await.unwrap().settings;
    assert_eq!(settings, Some(copies(1)), "the first stays");
    assert_eq!(reason(cluster.stat_bucket("absent").await), Reason::BucketNotFound);
    let changed = cluster.change_bucket("absent", nothing(), &["copies"]).await;
    assert_eq!(reason(changed), Reason::BucketNotFound);
    assert_eq!(reason(cluster.remove_bucket("absent", true).await), Reason::BucketNotFound);
    assert_eq!(reason(cluster.begin_in("absent", "k", 1).await), Reason::BucketNotFound);
}

#[tokio::test(start_paused = true)]
async fn of_many_that_create_the_same_bucket_one_does() {
    let mut cluster = Cluster::small().await;
    let mut calls = Vec::new();
    for _ in 0..16 {
        let mut client = cluster.client.clone();
        let request = v1::MakeBucketRequest { bucket: "photos".into(), ..Default::default() };
        calls.push(async move { client.make_bucket(request).await.map_err(RemoteError::from) });
    }
    let answers = futures_util::future::join_all(calls).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), 1);
    for answer in refused {
        assert_eq!(reason(answer), Reason::BucketExists);
    }
    cluster.stat_bucket("photos").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn settings_that_break_their_rule_are_refused_and_nothing_changes() {
    let mut cluster = Cluster::small().await;
    let wrong = [
        copies(0),
        copies(9),
        BucketSettings { zones: Some(3), ..nothing() },
        BucketSettings { least_copies: Some(3), ..nothing() },
        BucketSettings { least_copies: Some(2), ..copies(1) },
        BucketSettings { retention_seconds: Some(u64::MAX), ..nothing() },
        BucketSettings { durability: 7, ..nothing() },
    ];
    for settings in wrong {
        let made = cluster.make_bucket("photos", settings.clone()).await;
        assert_eq!(reason(made), Reason::InvalidField, "{settings:?}");
    }
    assert_eq!(reason(cluster.make_bucket("No", nothing()).await), Reason::InvalidField);
    cluster.make_bucket("photos", copies(2)).await.unwrap();
    let least = BucketSettings { least_copies: Some(2), ..nothing() };
    cluster.change_bucket("photos", least, &["least_copies"]).await.unwrap();
    let fewer = cluster.change_bucket("photos", copies(1), &["copies"]).await;
    assert_eq!(reason(fewer), Reason::InvalidField, "it would contradict the least copies");
    for fields in [&["size"][..], &["copies"; 11]] {
        let refused = cluster.change_bucket("photos", nothing(), fields).await;
        assert_eq!(reason(refused), Reason::InvalidField, "{fields:?}");
    }
    let settings = cluster.stat_bucket("photos").await.unwrap().settings.unwrap();
    assert_eq!((settings.copies, settings.least_copies), (Some(2), Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_change_touches_what_it_names_and_absence_goes_back_to_the_default() {
    let mut cluster = Cluster::small().await;
    let quota = BucketSettings { quota_bytes: Some(100), ..copies(1) };
    cluster.make_bucket("photos", quota).await.unwrap();
    let changed = cluster.change_bucket("photos", nothing(), &["copies"]).await.unwrap();
    let left = BucketSettings { quota_bytes: Some(100), ..nothing() };
    assert_eq!(changed.settings, Some(left));
    assert_eq!(changed.effective.unwrap().copies, Some(2));
}

#[tokio::test(start_paused = true)]
async fn buckets_are_listed_by_name_page_by_page() {
    let mut cluster = Cluster::small().await;
    for name in ["b-1", "a-2", "a-1", "b-2"] {
        cluster.make_bucket(name, nothing()).await.unwrap();
    }
    for (prefix, limit, expected) in [
        ("", 2, vec!["a-1", "a-2", "b-1", "b-2", "default"]),
        ("b-", 1, vec!["b-1", "b-2"]),
        ("x", 5, vec![]),
    ] {
        let (mut names, mut after) = (Vec::new(), String::new());
        loop {
            let prefix = prefix.into();
            let request = v1::FindBucketsRequest { prefix, after, limit, ..Default::default() };
            let page = cluster.client.find_buckets(request).await.unwrap().into_inner();
            assert!(page.buckets.len() <= limit as usize);
            names.extend(page.buckets.into_iter().map(|bucket| bucket.name));
            let Some(next) = page.next_after else { break };
            after = next;
        }
        assert_eq!(names, expected, "{prefix:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_upload_has_the_copies_that_its_bucket_asks_for() {
    let mut cluster = Cluster::with(config(), &["a", "b", "c"]).await;
    cluster.make_bucket("one", copies(1)).await.unwrap();
    cluster.make_bucket("three", copies(3)).await.unwrap();
    cluster.make_bucket("four", copies(4)).await.unwrap();
    for (bucket, copies) in [("one", 1), ("default", 2), ("three", 3)] {
        let answer = begun(&mut cluster, bucket).await;
        assert_eq!(answer.copies, copies, "{bucket}");
        assert_eq!(answer.placements[0].places.len(), copies as usize, "{bucket}");
    }
    assert_eq!(reason(cluster.begin_in("four", "k", 1).await), Reason::TooFewNodes);

    let open = cluster.begin_in("three", "k", CHUNK).await.unwrap();
    cluster.change_bucket("three", copies(1), &["copies"]).await.unwrap();
    let receipt = cluster.store_on(&open, 0, CHUNK, &[0]);
    cluster.confirm(&open, vec![receipt]).await.unwrap();
    let few = cluster.commit(&open, CHUNK).await;
    assert_eq!(reason(few), Reason::UploadIncomplete, "an upload keeps what it began with");
    assert_eq!(begun(&mut cluster, "three").await.copies, 1, "a later one has the change");
}

#[tokio::test(start_paused = true)]
async fn copies_span_the_zones_that_the_bucket_asks_for_where_there_are_that_many() {
    let mut cluster = Cluster::with(config(), &["a", "a", "b"]).await;
    let spread = BucketSettings { zones: Some(2), ..nothing() };
    cluster.make_bucket("spread", spread).await.unwrap();
    let wide = BucketSettings { zones: Some(3), ..copies(3) };
    cluster.make_bucket("wide", wide).await.unwrap();
    cluster.begin_in("wide", "k", 1).await.expect("there are two zones only");
    let open = cluster.begin_in("spread", "k", CHUNK).await.unwrap();

    let lone = v1::ChunkWant { length: CHUNK, copies: 1, ..Default::default() };
    let within = v1::ChunkWant {
        holders: vec![cluster.nodes[0].id_bytes()],
        failed: vec![cluster.nodes[2].id_bytes()],
        ..lone
    };
    let request = v1::AllocateChunksRequest {
        upload_id: open.id.clone(),
        wants: vec![within],
        ..Default::default()
    };
    let replaced = cluster.client.allocate_chunks(request).await.map_err(RemoteError::from);
    assert_eq!(reason(replaced), Reason::TooFewNodes, "the other node of zone a will not do");

    // The node of zone b falls silent.
    for _ in 0..40 {
        tokio::time::advance(Duration::from_secs(1)).await;
        cluster.beat(0).await.unwrap();
        cluster.beat(1).await.unwrap();
    }
    let refused = cluster.begin_in("spread", "k", 1).await.expect_err("one zone is left");
    assert_eq!(refused.reason, Reason::TooFewNodes);
    assert!(refused.message.contains("in 1 zones, the bucket wants 2"), "{refused}");
    cluster.begin_in("default", "k", 1).await.expect("which asks for no zones");
}

#[tokio::test(start_paused = true)]
async fn receipts_from_fewer_zones_than_asked_for_do_not_make_a_version() {
    let mut cluster = Cluster::with(config(), &["a", "b", "a"]).await;
    let spread = BucketSettings { zones: Some(2), ..nothing() };
    cluster.make_bucket("spread", spread).await.unwrap();
    let open = cluster.begin_in("spread", "k", 3 * CHUNK).await.unwrap();
    for (index, nodes) in [(0, [0, 1]), (1, [2, 1]), (2, [0, 2])] {
        let receipt = cluster.store_on(&open, index, CHUNK, &nodes);
        let refused = cluster.confirm(&open, vec![receipt]).await.unwrap();
        assert!(refused.is_empty(), "{refused:?}");
    }
    let commit = cluster.commit(&open, 3 * CHUNK).await.expect_err("zones are missing");
    assert_eq!(commit.reason, Reason::UploadIncomplete);
    assert!(commit.message.contains("in 1 zones"), "{commit}");
    let receipt = cluster.store_on(&open, 2, CHUNK, &[1]);
    cluster.confirm(&open, vec![receipt]).await.unwrap();
    cluster.commit(&open, 3 * CHUNK).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_bucket_without_sha256_says_so_to_the_gateway() {
    let mut cluster = Cluster::small().await;
    let without = BucketSettings { sha256: Some(false), ..nothing() };
    cluster.make_bucket("plain", without).await.unwrap();
    assert!(begun(&mut cluster, "plain").await.without_sha256);
    assert!(!begun(&mut cluster, "default").await.without_sha256);
}

#[tokio::test(start_paused = true)]
async fn the_quota_of_a_bucket_is_its_accounts() {
    let mut cluster = Cluster::small().await;
    let small = BucketSettings { quota_bytes: Some(10), quota_objects: Some(2), ..nothing() };
    cluster.make_bucket("small", small).await.unwrap();
    assert_eq!(reason(cluster.begin_in("small", "a", 11).await), Reason::QuotaExceeded);
    cluster.put_in("small", "a", 10).await.unwrap();
    let larger = BucketSettings { quota_bytes: Some(20), ..nothing() };
    cluster.change_bucket("small", larger, &["quota_bytes"]).await.unwrap();
    cluster.put_in("small", "b", 10).await.unwrap();
    assert_eq!(reason(cluster.begin_in("small", "c", 0).await), Reason::QuotaExceeded, "files");
    assert_eq!(cluster.audit().await.differences, []);
}

async fn waits(cluster: &mut Cluster) -> Vec<(String, u64)> {
    let request = v1::ListCondemnedRequest::default();
    let page = cluster.admin.list_condemned(request).await.unwrap().into_inner();
    let wait = |version: v1::CondemnedVersion| {
        (version.object.unwrap().key, version.until_ms - version.since_ms)
    };
    page.versions.into_iter().map(wait).collect()
}

#[tokio::test(start_paused = true)]
async fn condemned_versions_wait_as_long_as_their_bucket_said_when_they_were_condemned() {
    let mut cluster = Cluster::small().await;
    let hour = BucketSettings { retention_seconds: Some(3600), ..nothing() };
    cluster.make_bucket("hour", hour).await.unwrap();
    cluster
        .make_bucket("none", BucketSettings { retention_seconds: Some(0), ..nothing() })
        .await
        .unwrap();
    let mut uploads: Vec<Upload> = Vec::new();
    for bucket in ["default", "hour", "none"] {
        uploads.push(cluster.put_in(bucket, bucket, 10).await.unwrap());
        cluster.delete_in(bucket, bucket).await.unwrap();
    }
    let expected = [("none", 15_000), ("hour", 3_600_000), ("default", DAY_MS)];
    let expected: Vec<_> = expected.map(|(key, wait)| (key.to_owned(), wait)).to_vec();
    assert_eq!(
        waits(&mut cluster).await,
        expected,
        "soonest first; a reader has the time of a lease"
    );
    let week = BucketSettings { retention_seconds: Some(7 * 24 * 3600), ..nothing() };
    cluster.change_bucket("hour", week, &["retention_seconds"]).await.unwrap();
    // A read lease may be as old as the master.
    cluster.pass_time(Duration::from_secs(60)).await;
    assert_eq!(cluster.sweep().await.versions_purged, 1);
    cluster.pass_time(Duration::from_secs(3600)).await;
    assert_eq!(cluster.sweep().await.versions_purged, 1, "the change is for what comes later");
    cluster.put_in("hour", "later", 10).await.unwrap();
    cluster.put_in("hour", "later", 10).await.unwrap();
    assert!(waits(&mut cluster).await.contains(&("later".to_owned(), 7 * DAY_MS)), "replaced");
    assert_eq!(cluster.audit().await.differences, []);
}
