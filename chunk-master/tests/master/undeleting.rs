//! What was deleted or replaced comes back until its purge begins, and is counted each time.

use std::time::Duration;

use bytes::Bytes;
use cairn_proto::{Reason, RemoteError, v1};

use crate::cluster::{CHUNK, Cluster, reason};

const DAY: Duration = Duration::from_secs(24 * 60 * 60 + 1);

async fn condemned(cluster: &mut Cluster, prefix: &str) -> Vec<v1::CondemnedVersion> {
    let mut versions = Vec::new();
    let mut after = Bytes::new();
    loop {
        let prefix = prefix.to_owned();
        let request = v1::ListCondemnedRequest { prefix, after, limit: 2, ..Default::default() };
        let page = cluster.admin.list_condemned(request).await.unwrap().into_inner();
        versions.extend(page.versions);
        if page.next_after.is_empty() {
            return versions;
        }
        after = page.next_after;
    }
}

async fn undelete(cluster: &mut Cluster, version: &Bytes) -> Result<(), RemoteError> {
    let request = v1::UndeleteRequest { version_id: version.clone(), ..Default::default() };
    cluster.admin.undelete(request).await.map(drop).map_err(RemoteError::from)
}

#[tokio::test(start_paused = true)]
async fn a_deleted_file_comes_back_as_it_was() {
    let mut cluster = Cluster::small().await;
    cluster.put("a", 3 * CHUNK).await.unwrap();
    let before = cluster.locate("a", Bytes::new(), 0).await.unwrap();
    let version = cluster.delete("a").await.unwrap();
    assert_eq!(cluster.usage().await[0].used_bytes, 0);
    undelete(&mut cluster, &version).await.unwrap();
    let after = cluster.locate("a", Bytes::new(), 0).await.unwrap();
    assert_eq!((before.object, before.chunks), (after.object, after.chunks));
    for account in cluster.usage().await {
        assert_eq!((account.used_bytes, account.used_objects), (3 * CHUNK, 1));
        assert_eq!((account.condemned_bytes, account.condemned_objects), (0, 0));
    }
    assert_eq!(cluster.audit().await.differences, []);
    assert_eq!(condemned(&mut cluster, "").await, []);
    cluster.pass_time(DAY).await;
    assert_eq!(cluster.sweep().await.versions_purged, 0, "it does not wait any more");
    assert_eq!(reason(undelete(&mut cluster, &version).await), Reason::ObjectNotFound);
}

#[tokio::test(start_paused = true)]
async fn condemned_versions_are_listed_by_name_oldest_first_page_by_page() {
    let mut cluster = Cluster::small().await;
    for key in ["a/1", "b/1", "a/2", "b/2", "a/3"] {
        cluster.put(key, 10).await.unwrap();
        cluster.delete(key).await.unwrap();
        cluster.pass_time(Duration::from_millis(5)).await;
    }
    let names = |versions: &[v1::CondemnedVersion]| -> Vec<String> {
        versions.iter().map(|version| version.object.clone().unwrap().key).collect()
    };
    assert_eq!(names(&condemned(&mut cluster, "").await), ["a/1", "b/1", "a/2", "b/2", "a/3"]);
    let of_b = condemned(&mut cluster, "b/").await;
    assert_eq!(names(&of_b), ["b/1", "b/2"]);
    assert_eq!(of_b[0].until_ms - of_b[0].since_ms, 24 * 60 * 60 * 1000);
    for after in [&b"x"[..], &[0; 23], &[0; 24], &[0; 25]] {
        let after = Bytes::copy_from_slice(after);
        let request = v1::ListCondemnedRequest { after, ..Default::default() };
        let refused = cluster.admin.list_condemned(request).await.map_err(RemoteError::from);
        assert_eq!(reason(refused), Reason::InvalidField);
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_taken_since_keeps_its_new_file() {
    let mut cluster = Cluster::small().await;
    cluster.put("a", 10).await.unwrap();
    cluster.put("a", 20).await.unwrap();
    let old = condemned(&mut cluster, "").await[0].object.clone().unwrap().version_id;
    assert_eq!(reason(undelete(&mut cluster, &old).await), Reason::ObjectExists);
    let new = cluster.delete("a").await.unwrap();
    undelete(&mut cluster, &old).await.unwrap();
    assert_eq!(cluster.locate("a", Bytes::new(), 0).await.unwrap().object.unwrap().length, 10);
    assert_eq!(reason(undelete(&mut cluster, &new).await), Reason::ObjectExists);
    assert_eq!(cluster.audit().await.differences, []);
}

#[tokio::test(start_paused = true)]
async fn what_no_longer_fits_its_quota_stays_condemned() {
    let mut cluster = Cluster::small().await;
    cluster.put("a", 600).await.unwrap();
    let version = cluster.delete("a").await.unwrap();
    cluster.limit(v1::ScopeKind::Bucket, 1000, None).await;
    cluster.put("b", 500).await.unwrap();
    assert_eq!(reason(undelete(&mut cluster, &version).await), Reason::QuotaExceeded);
    assert_eq!(cluster.audit().await.differences, []);
    cluster.delete("b").await.unwrap();
    undelete(&mut cluster, &version).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_purged_does_not_come_back() {
    let mut cluster = Cluster::small().await;
    cluster.put("a", 600).await.unwrap();
    let version = cluster.delete("a").await.unwrap();
    cluster.pass_time(DAY).await;
    assert_eq!(cluster.sweep().await.versions_purged, 1);
    assert_eq!(reason(undelete(&mut cluster, &version).await), Reason::ObjectNotFound);
}

#[tokio::test(start_paused = true)]
async fn nothing_comes_back_into_a_bucket_that_is_being_deleted() {
    let mut cluster = Cluster::small().await;
    cluster.make_bucket("doomed", v1::BucketSettings::default()).await.unwrap();
    cluster.put_in("doomed", "a", 10).await.unwrap();
    let version = cluster.delete_in("doomed", "a").await.unwrap();
    assert!(!cluster.remove_bucket("doomed", true).await.unwrap());
    assert_eq!(reason(undelete(&mut cluster, &version).await), Reason::BucketNotFound);
    cluster.sweep().await;
    assert_eq!(reason(undelete(&mut cluster, &version).await), Reason::BucketNotFound);
    assert_eq!(cluster.audited().await, [""; 0]);
}

/// The queue of the bucket kept what had come back, and its deletion met it there.
#[tokio::test(start_paused = true)]
async fn what_came_back_is_in_no_queue_and_goes_with_its_bucket() {
    let mut cluster = Cluster::small().await;
    cluster.make_bucket("bees", v1::BucketSettings::default()).await.unwrap();
    cluster.put_in("bees", "a", 10).await.unwrap();
    let version = cluster.delete_in("bees", "a").await.unwrap();
    undelete(&mut cluster, &version).await.unwrap();
    assert_eq!(cluster.audited().await, [""; 0]);
    cluster.remove_bucket("bees", true).await.unwrap();
    for _ in 0..3 {
        cluster.pass_time(Duration::from_secs(20)).await;
        cluster.sweep().await;
        assert_eq!(cluster.audited().await, [""; 0]);
    }
    assert_eq!(reason(cluster.stat_bucket("bees").await), Reason::BucketNotFound);
}

/// The place of a page named no tenant: among versions of two tenants that wait until the same moment it pointed back,
/// and the list never ended.
#[tokio::test(start_paused = true)]
async fn a_list_ends_though_another_tenants_versions_wait_until_the_same_moment() {
    let mut cluster = Cluster::small().await;
    let tenant = v1::CreateTenantRequest { tenant: "zeta".into(), limits: None };
    cluster.admin.create_tenant(tenant).await.unwrap();
    let principal = Some(v1::Principal { tenant: "zeta".into(), user: "ada".into() });
    let caller = Some(v1::Caller { principal, ..Default::default() });
    let bucket =
        v1::MakeBucketRequest { caller: caller.clone(), bucket: "bees".into(), settings: None };
    cluster.client.make_bucket(bucket).await.unwrap();
    for n in 0..6 {
        let mut request = cluster.begin_request(&format!("{n}"), Some(0));
        (request.caller, request.bucket) = (caller.clone(), "bees".into());
        let upload = cluster.begin_with(request).await.unwrap();
        let commit = v1::CommitUploadRequest {
            upload_id: upload.id,
            root: vec![9; 32].into(),
            blob_id: upload.blob,
            caller: caller.clone(),
            ..Default::default()
        };
        cluster.client.commit_upload(commit).await.unwrap();
    }
    let bucket = v1::RemoveBucketRequest { bucket: "bees".into(), with_contents: true, caller };
    cluster.client.remove_bucket(bucket).await.unwrap();
    cluster.put("a", 10).await.unwrap();
    cluster.delete("a").await.unwrap();
    cluster.sweep().await;
    assert_eq!(condemned(&mut cluster, "").await.len(), 1, "pages of 2");
}
