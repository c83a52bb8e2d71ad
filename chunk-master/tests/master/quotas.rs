//! Quotas are exact: filled to the byte, given back once.

use std::time::Duration;

use cairn_proto::{Reason, v1};
use cairn_runtime::{Clock, Spawner};

use crate::cluster::{CHUNK, Cluster, config, reason};

#[tokio::test(start_paused = true)]
async fn a_quota_is_filled_to_the_byte_and_refused_over_it_by_one() {
    for kind in [v1::ScopeKind::Tenant, v1::ScopeKind::User, v1::ScopeKind::Bucket] {
        let mut cluster = Cluster::small().await;
        cluster.limit(kind, 3000, None).await;
        cluster.put("a", 2000).await.unwrap();
        assert_eq!(reason(cluster.begin("b", Some(1001)).await), Reason::QuotaExceeded);
        cluster.put("b", 1000).await.unwrap();
        assert_eq!(reason(cluster.begin("c", Some(1)).await), Reason::QuotaExceeded);
        cluster.put("empty", 0).await.unwrap();
        for account in cluster.usage().await {
            assert_eq!((account.used_bytes, account.used_objects), (3000, 3));
            assert_eq!((account.reserved_bytes, account.reserved_objects), (0, 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_number_of_objects_is_limited_too() {
    let mut cluster = Cluster::small().await;
    cluster.limit(v1::ScopeKind::Bucket, 1 << 30, Some(1)).await;
    cluster.put("a", 0).await.unwrap();
    let refused = cluster.begin("b", Some(0)).await.expect_err("over");
    assert_eq!(refused.reason, Reason::QuotaExceeded);
    assert!(refused.message.contains("bucket default is 1 files: 1 are used"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_length_reserves_ahead_while_much_is_free_and_exactly_near_the_limit() {
    let mut cluster = Cluster::small().await;
    let upload = cluster.begin("a", None).await.unwrap();
    assert_eq!(upload.reserved, 3 * CHUNK, "unlimited");
    cluster.abort(&upload).await.unwrap();

    cluster.limit(v1::ScopeKind::User, 4000, None).await;
    let mut request = cluster.begin_request("a", None);
    request.received = 1500;
    let upload = cluster.begin_with(request).await.unwrap();
    assert_eq!(upload.reserved, 1500, "near the limit");
    let more = cluster.allocate(&upload, 4000, &[1, 2, 3]).await.unwrap();
    assert_eq!(more.reserved, 4000);
    let fewer = cluster.allocate(&upload, 10, &[]).await.unwrap();
    assert_eq!(fewer.reserved, 4000, "never shrinks");
    assert_eq!(reason(cluster.allocate(&upload, 4001, &[]).await), Reason::QuotaExceeded);

    cluster.write(&upload, 3500).await.unwrap();
    cluster.commit(&upload, 3500).await.unwrap();
    for account in cluster.usage().await {
        assert_eq!((account.used_bytes, account.reserved_bytes), (3500, 0), "settled exactly");
    }
}

#[tokio::test(start_paused = true)]
async fn more_than_was_announced_is_refused() {
    let mut cluster = Cluster::small().await;
    let upload = cluster.begin("a", Some(1000)).await.unwrap();
    assert_eq!(reason(cluster.allocate(&upload, 1001, &[]).await), Reason::BodyMismatch);
    let upload = cluster.begin("a", None).await.unwrap();
    cluster.write(&upload, 5000).await.unwrap();
    assert_eq!(reason(cluster.commit(&upload, 5000).await), Reason::UploadIncomplete);
    let refused = cluster.begin("a", Some((50 << 40) + 1)).await;
    assert_eq!(reason(refused), Reason::FileTooLarge);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_due_to_reservations_waits_until_one_is_given_back() {
    let config = cairn_chunk_master::Config { quota_wait: Duration::from_secs(2), ..config() };
    let mut cluster = Cluster::with(config, &["a", "b"]).await;
    cluster.limit(v1::ScopeKind::Tenant, 1000, None).await;
    let holder = cluster.begin("a", Some(600)).await.unwrap();

    let began = Clock::system();
    assert_eq!(reason(cluster.begin("b", Some(500)).await), Reason::QuotaExceeded);
    assert_eq!(began.monotonic().as_secs(), 2, "it waited for the holder");
    assert_eq!(reason(cluster.begin("b", Some(1001)).await), Reason::QuotaExceeded);
    assert_eq!(began.monotonic().as_secs(), 2, "what can never fit is refused at once");

    let request = cluster.begin_request("b", Some(500));
    let mut client = cluster.client.clone();
    let waiting = Spawner::current().spawn(async move { client.begin_upload(request).await });
    began.sleep(Duration::from_millis(500)).await;
    cluster.abort(&holder).await.unwrap();
    waiting.await.unwrap().expect("fits now");
    assert!(began.monotonic() < Duration::from_secs(3), "as soon as it was given back");
}

#[tokio::test(start_paused = true)]
async fn what_the_upload_itself_holds_is_not_waited_for() {
    let config = cairn_chunk_master::Config { quota_wait: Duration::from_secs(2), ..config() };
    let mut cluster = Cluster::with(config, &["a", "b"]).await;
    cluster.limit(v1::ScopeKind::Tenant, 1000, None).await;
    let mut request = cluster.begin_request("b", None);
    request.received = 1000;
    let upload = cluster.begin_with(request).await.unwrap();
    let began = Clock::system();
    assert_eq!(reason(cluster.allocate(&upload, 1001, &[]).await), Reason::QuotaExceeded);
    assert!(began.monotonic().is_zero());
}
