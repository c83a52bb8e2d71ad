//! A bucket with contents is deleted in bounded steps that may be repeated, and the books are right at each of them.

use std::time::Duration;

use bytes::Bytes;
use cairn_proto::{Reason, RemoteError, v1};
use tokio::task::JoinSet;

use crate::cluster::{CHUNK, Cluster, config, reason};

async fn clean(cluster: &mut Cluster) {
    let audit = cluster.audit().await;
    assert_eq!((audit.differences, audit.more_differences), (vec![], 0));
}

/// Bounded passes until the bucket is gone; the books are audited after each.
async fn until_gone(cluster: &mut Cluster, bucket: &str) -> usize {
    for passes in 1..1000 {
        cluster.pass_time(Duration::from_secs(2)).await;
        cluster.master.pass().await.unwrap();
        clean(cluster).await;
        match cluster.stat_bucket(bucket).await {
            Ok(info) => assert_eq!(info.state(), v1::BucketState::Deleting),
            Err(error) => {
                assert_eq!(error.reason, Reason::BucketNotFound);
                return passes;
            }
        }
    }
    panic!("{bucket} is not gone");
}

fn chunks_left(cluster: &Cluster) -> usize {
    cluster.nodes.iter().map(|node| node.state.lock().unwrap().chunks.len()).sum()
}

#[tokio::test(start_paused = true)]
async fn an_empty_bucket_goes_at_once_and_its_name_is_free() {
    let mut cluster = Cluster::small().await;
    cluster.make_bucket("photos", v1::BucketSettings::default()).await.unwrap();
    assert!(cluster.remove_bucket("photos", false).await.unwrap());
    assert_eq!(reason(cluster.stat_bucket("photos").await), Reason::BucketNotFound);
    assert!(cluster.usage().await.is_empty(), "its account is gone");
    cluster.make_bucket("photos", v1::BucketSettings::default()).await.unwrap();
    assert!(cluster.remove_bucket("photos", true).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn files_open_uploads_and_what_can_come_back_keep_a_bucket() {
    let mut cluster = Cluster::small().await;
    cluster.make_bucket("photos", v1::BucketSettings::default()).await.unwrap();
    let upload = cluster.begin_in("photos", "a", 10).await.unwrap();
    let message = |refused: RemoteError| (refused.reason, refused.message);
    let expect = |uploads, files, condemned| {
        let text = format!(
            "bucket photos holds {files} files, {uploads} open uploads and {condemned} deleted or replaced files that \
             can come back: delete it with its contents to give them up"
        );
        (Reason::BucketNotEmpty, text)
    };
    let refused = cluster.remove_bucket("photos", false).await.expect_err("an upload");
    assert_eq!(message(refused), expect(1, 0, 0));
    cluster.write(&upload, 10).await.unwrap();
    cluster.commit(&upload, 10).await.unwrap();
    let refused = cluster.remove_bucket("photos", false).await.expect_err("a file");
    assert_eq!(message(refused), expect(0, 1, 0));
    cluster.delete_in("photos", "a").await.unwrap();
    let refused = cluster.remove_bucket("photos", false).await.expect_err("it can come back");
    assert_eq!(message(refused), expect(0, 0, 1));
    cluster.pass_time(Duration::from_secs(24 * 60 * 60 + 1)).await;
    cluster.sweep().await;
    assert!(cluster.remove_bucket("photos", false).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn nothing_can_be_done_in_a_bucket_that_is_being_deleted() {
    let mut cluster = Cluster::small().await;
    cluster.make_bucket("photos", v1::BucketSettings::default()).await.unwrap();
    cluster.put_in("photos", "a", 10).await.unwrap();
    cluster.put_in("photos", "gone", 10).await.unwrap();
    let version = cluster.delete_in("photos", "gone").await.unwrap();
    let open = cluster.begin_in("photos", "b", 10).await.unwrap();
    cluster.write(&open, 10).await.unwrap();
    assert!(!cluster.remove_bucket("photos", true).await.unwrap());

    let bucket = || "photos".to_owned();
    assert_eq!(reason(cluster.commit(&open, 10).await), Reason::BucketNotFound);
    let refused = cluster.begin_in("photos", "c", 1).await.expect_err("deleting");
    assert_eq!(refused.reason, Reason::BucketNotFound);
    assert!(refused.message.contains("is being deleted"), "{refused}");
    let request = v1::ListObjectsRequest { bucket: bucket(), ..Default::default() };
    let listed = cluster.client.list_objects(request).await.map_err(RemoteError::from);
    assert_eq!(reason(listed), Reason::BucketNotFound);
    let request = v1::StatObjectRequest { bucket: bucket(), key: "a".into(), ..Default::default() };
    let found = cluster.client.stat_object(request).await.map_err(RemoteError::from);
    assert_eq!(reason(found), Reason::BucketNotFound);
    for version_id in [Bytes::new(), version.clone()] {
        let request = v1::LocateRequest {
            bucket: bucket(),
            key: "gone".into(),
            version_id,
            ..Default::default()
        };
        let located = cluster.client.locate(request).await.map_err(RemoteError::from);
        assert_eq!(reason(located), Reason::BucketNotFound);
    }
    assert_eq!(reason(cluster.delete_in("photos", "a").await), Reason::BucketNotFound);
    let request = v1::UndeleteRequest { version_id: version, ..Default::default() };
    let undeleted = cluster.admin.undelete(request).await.map_err(RemoteError::from);
    assert_eq!(reason(undeleted), Reason::BucketNotFound);
    let changed = cluster.change_bucket("photos", v1::BucketSettings::default(), &["copies"]).await;
    assert_eq!(reason(changed), Reason::BucketDeleting);
    let made = cluster.make_bucket("photos", v1::BucketSettings::default()).await;
    assert_eq!(reason(made), Reason::BucketDeleting);
    for with_contents in [true, false] {
        let again = cluster.remove_bucket("photos", with_contents).await.unwrap();
        assert!(!again, "it goes on");
    }
    clean(&mut cluster).await;

    until_gone(&mut cluster, "photos").await;
    assert_eq!(reason(cluster.commit(&open, 10).await), Reason::UploadAborted);
    cluster.make_bucket("photos", v1::BucketSettings::default()).await.unwrap();
    assert_eq!(
        cluster.stat_bucket("photos").await.unwrap().usage,
        Some(v1::BucketUsage::default())
    );
    cluster.put_in("photos", "a", 10).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_large_bucket_goes_in_passes_and_leaves_no_chunk_and_no_neighbour_harmed() {
    let mut cluster = Cluster::small().await;
    for bucket in ["doomed", "doomed-2"] {
        cluster.make_bucket(bucket, v1::BucketSettings::default()).await.unwrap();
    }
    let kept = cluster.put_in("doomed-2", "kept", 3 * CHUNK).await.unwrap();
    for n in 0..150 {
        let key = format!("k{n}");
        cluster.put_in("doomed", &key, CHUNK).await.unwrap();
        if n % 3 == 0 {
            cluster.put_in("doomed", &key, CHUNK).await.unwrap();
        }
        if n % 5 == 0 {
            cluster.delete_in("doomed", &key).await.unwrap();
        }
        if n % 10 == 0 {
            cluster.begin_in("doomed", "open", CHUNK).await.unwrap();
        }
    }
    let waiting = cluster.put_in("doomed-2", "waits", CHUNK).await.unwrap();
    cluster.delete_in("doomed-2", "waits").await.unwrap();
    cluster.remove_bucket("doomed", true).await.unwrap();
    until_gone(&mut cluster, "doomed").await;
    cluster.sweep().await;
    let left: usize = [kept, waiting]
        .iter()
        .flat_map(|upload| cluster.nodes.iter().map(|node| node.holds(&upload.blob)))
        .sum();
    assert_eq!((chunks_left(&cluster), left), (8, 8), "the neighbour's, and no other");
    let usage = cluster.stat_bucket("doomed-2").await.unwrap().usage.unwrap();
    assert_eq!((usage.used_objects, usage.condemned_objects), (1, 1));
    for account in cluster.usage().await {
        assert_eq!((account.used_objects, account.condemned_objects), (1, 1), "{account:?}");
        assert_eq!(account.reserved_bytes, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_read_is_not_purged_under_its_reader() {
    let mut cluster = Cluster::small().await;
    cluster.make_bucket("photos", v1::BucketSettings::default()).await.unwrap();
    let upload = cluster.put_in("photos", "a", CHUNK).await.unwrap();
    cluster.pass_time(Duration::from_secs(60)).await;
    let request =
        v1::LocateRequest { bucket: "photos".into(), key: "a".into(), ..Default::default() };
    cluster.client.locate(request).await.unwrap();
    cluster.remove_bucket("photos", true).await.unwrap();
    cluster.sweep().await;
    cluster.pass_time(Duration::from_secs(5)).await;
    cluster.sweep().await;
    assert_eq!(cluster.nodes[0].holds(&upload.blob), 1, "its lease lasts 10 s");
    until_gone(&mut cluster, "photos").await;
    cluster.sweep().await;
    assert_eq!(chunks_left(&cluster), 0);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_goes_on_after_restarts() {
    let mut cluster = Cluster::small().await;
    cluster.make_bucket("photos", v1::BucketSettings::default()).await.unwrap();
    for n in 0..200 {
        cluster.put_in("photos", &format!("k{n}"), 1).await.unwrap();
    }
    cluster.begin_in("photos", "open", 1).await.unwrap();
    cluster.remove_bucket("photos", true).await.unwrap();
    for life in 2..6 {
        cluster.master.stop();
        let nodes = cluster.nodes.clone();
        let (kv, dial) = (cluster.kv.clone(), cluster.dial.clone());
        cluster = Cluster::on(config(), kv, dial, life).await;
        cluster.nodes = nodes;
        for n in 0..cluster.nodes.len() {
            cluster.register(n).await.unwrap();
        }
        cluster.master.pass().await.unwrap();
        clean(&mut cluster).await;
        assert_eq!(reason(cluster.begin_in("photos", "a", 1).await), Reason::BucketNotFound);
    }
    until_gone(&mut cluster, "photos").await;
    cluster.sweep().await;
    assert_eq!(chunks_left(&cluster), 0);
}

/// Commits, creations and the deletion meet in every order that the runtime finds.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commits_race_with_the_deletion_and_either_win_before_it_or_lose() {
    for round in 0..10 {
        let mut cluster = Cluster::small().await;
        cluster.make_bucket("photos", v1::BucketSettings::default()).await.unwrap();
        let mut ready = Vec::new();
        for n in 0..16 {
            let upload = cluster.begin_in("photos", &format!("k{n}"), 10).await.unwrap();
            cluster.write(&upload, 10).await.unwrap();
            ready.push(upload);
        }
        let mut racing = JoinSet::new();
        for (n, upload) in ready.into_iter().enumerate() {
            let mut client = cluster.client.clone();
            let request = v1::CommitUploadRequest {
                upload_id: upload.id,
                blob_id: upload.blob,
                length: 10,
                root: vec![9; 32].into(),
                ..Default::default()
            };
            racing.spawn(async move {
                let done = client.commit_upload(request).await.map_err(RemoteError::from);
                done.err().map(|error| (n, error.reason))
            });
        }
        let mut client = cluster.client.clone();
        let remove =
            v1::RemoveBucketRequest { bucket: "photos".into(), with_contents: true, caller: None };
        let removed = client.remove_bucket(remove).await.unwrap().into_inner();
        assert!(!removed.gone, "uploads are open or files are there");
        let mut make = cluster.client.clone();
        let made = make
            .make_bucket(v1::MakeBucketRequest { bucket: "photos".into(), ..Default::default() })
            .await
            .map_err(RemoteError::from);
        assert_eq!(reason(made), Reason::BucketDeleting, "round {round}");
        for refused in racing.join_all().await.into_iter().flatten() {
            assert_eq!(refused.1, Reason::BucketNotFound, "round {round}");
        }
        clean(&mut cluster).await;
        cluster.sweep().await;
        clean(&mut cluster).await;
        let usage = cluster.stat_bucket("photos").await.unwrap().usage.unwrap();
        assert_eq!((usage.used_objects, usage.reserved_objects), (0, 0), "round {round}");
    }
}
