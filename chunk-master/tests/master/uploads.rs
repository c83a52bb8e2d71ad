//! The life of an upload.

use std::time::Duration;

use bytes::Bytes;
use cairn_kv::Kv;
use cairn_proto::{Reason, RemoteError, v1};
use uuid::Uuid;

use crate::cluster::{CHUNK, Cluster, config, id, reason};

fn create_only() -> Option<v1::WriteCondition> {
    Some(v1::WriteCondition { must_not_exist: true, ..Default::default() })
}

#[tokio::test(start_paused = true)]
async fn begin_is_idempotent_by_upload_id() {
    let mut cluster = Cluster::small().await;
    let request = cluster.begin_request("a", Some(3000));
    let first = cluster.begin_with(request.clone()).await.unwrap();
    let again = cluster.begin_with(request.clone()).await.unwrap();
    assert_eq!((first.blob, first.reserved), (again.blob, again.reserved));
    assert_eq!(cluster.usage().await[0].reserved_objects, 1, "reserved once");
    let other = v1::BeginUploadRequest { key: "b".into(), ..request.clone() };
    assert_eq!(reason(cluster.begin_with(other).await), Reason::InvalidField);
    let principal = v1::Principal { tenant: "other".into(), user: String::new() };
    let caller = Some(v1::Caller { principal: Some(principal), ..Default::default() });
    let stolen = v1::BeginUploadRequest { caller, ..request };
    assert_eq!(reason(cluster.begin_with(stolen).await), Reason::InvalidField);
}

#[tokio::test(start_paused = true)]
async fn begin_without_enough_nodes_leaves_nothing_behind() {
    let mut cluster = Cluster::with(config(), &["a"]).await;
    let refused = cluster.begin("a", Some(10)).await.expect_err("one node");
    assert_eq!((refused.reason, refused.retryable), (Reason::TooFewNodes, true));
    assert!(cluster.usage().await.iter().all(|a| a.reserved_objects == 0));
    cluster.add_node("b").await;
    cluster.put("a", 10).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn unknown_buckets_are_refused_before_missing_nodes_are() {
    let mut cluster = Cluster::with(config(), &[]).await;
    let mut request = cluster.begin_request("a", Some(10));
    request.bucket = "absent".into();
    assert_eq!(reason(cluster.begin_with(request).await), Reason::BucketNotFound);
}

#[tokio::test(start_paused = true)]
async fn a_replaced_version_is_condemned() {
    let mut cluster = Cluster::small().await;
    cluster.put("a", 1000).await.unwrap();
    let old = cluster.locate("a", id(Uuid::nil()).slice(..0), 0).await.unwrap().object.unwrap();
    let upload = cluster.begin("a", Some(2000)).await.unwrap();
    cluster.write(&upload, 2000).await.unwrap();
    let committed = cluster.commit(&upload, 2000).await.unwrap();
    assert!(committed.replaced);
    let durability = committed.durability.unwrap();
    assert_eq!(
        (durability.copies, durability.hosts, durability.zones, durability.meta),
        (2, 2, 2, 1)
    );
    let account = cluster.usage().await.remove(0);
    assert_eq!((account.used_bytes, account.used_objects), (2000, 1));
    assert_eq!((account.condemned_bytes, account.condemned_objects), (1000, 1));
    let pinned = cluster.locate("a", old.version_id.clone(), 0).await.unwrap();
    assert_eq!(pinned.object.unwrap().length, 1000);
    assert_eq!(reason(cluster.locate("b", old.version_id, 0).await), Reason::ObjectNotFound);
}

#[tokio::test(start_paused = true)]
async fn of_two_creators_exactly_one_wins_at_commit() {
    let mut cluster = Cluster::small().await;
    let mut uploads = Vec::new();
    for _ in 0..2 {
        let mut request = cluster.begin_request("a", Some(100));
        request.condition = create_only();
        let upload = cluster.begin_with(request).await.unwrap();
        cluster.write(&upload, 100).await.unwrap();
        uploads.push(upload);
    }
    cluster.commit(&uploads[1], 100).await.unwrap();
    assert_eq!(reason(cluster.commit(&uploads[0], 100).await), Reason::ObjectExists);
    cluster.abort(&uploads[0]).await.unwrap();
    let mut late = cluster.begin_request("a", Some(100));
    late.condition = create_only();
    assert_eq!(reason(cluster.begin_with(late).await), Reason::ObjectExists);
    let account = cluster.usage().await.remove(0);
    assert_eq!((account.used_objects, account.reserved_objects), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_repeated_commit_gives_the_same_answer_and_nothing_else() {
    let mut cluster = Cluster::small().await;
    let upload = cluster.begin("a", Some(100)).await.unwrap();
    cluster.write(&upload, 100).await.unwrap();
    let first = cluster.commit(&upload, 100).await.unwrap();
    cluster.pass_time(Duration::from_secs(300)).await;
    cluster.sweep().await;
    assert_eq!(cluster.commit(&upload, 100).await.unwrap(), first);
    assert_eq!(cluster.usage().await[0].used_objects, 1);
    assert_eq!(reason(cluster.abort(&upload).await), Reason::UploadCommitted);
    cluster.pass_time(Duration::from_secs(601)).await;
    cluster.sweep().await;
    assert_eq!(reason(cluster.commit(&upload, 100).await), Reason::UploadNotFound);
}

#[tokio::test(start_paused = true)]
async fn an_upload_without_progress_expires_and_later_receipts_are_refused() {
    let mut cluster = Cluster::small().await;
    let idle = cluster.begin("a", Some(2048)).await.unwrap();
    let busy = cluster.begin("b", Some(2048)).await.unwrap();
    let renewed = cluster.begin("c", Some(2048)).await.unwrap();
    cluster.pass_time(Duration::from_secs(40)).await;
    let receipt = cluster.store(&busy, 0, CHUNK);
    cluster.confirm(&busy, vec![receipt.clone()]).await.unwrap();
    let request = v1::RenewUploadRequest { upload_id: renewed.id.clone(), caller: None };
    cluster.client.renew_upload(request).await.unwrap();
    cluster.pass_time(Duration::from_secs(40)).await;
    assert_eq!(cluster.sweep().await.uploads_expired, 1);
    assert_eq!(reason(cluster.confirm(&idle, vec![receipt]).await), Reason::UploadAborted);
    assert_eq!(reason(cluster.allocate(&idle, 0, &[0]).await), Reason::UploadAborted);
    assert_eq!(reason(cluster.commit(&idle, 2048).await), Reason::UploadAborted);
    assert_eq!(cluster.abort(&idle).await, Ok(()), "idempotent");
    assert_eq!(cluster.usage().await[0].reserved_objects, 2);
    cluster.pass_time(Duration::from_secs(61)).await;
    assert_eq!(cluster.sweep().await.uploads_expired, 2);
    assert_eq!(cluster.usage().await[0].reserved_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn receipts_of_replaced_disks_and_of_strangers_do_not_count() {
    let mut cluster = Cluster::small().await;
    let upload = cluster.begin("a", Some(100)).await.unwrap();
    let mut receipt = cluster.store(&upload, 0, 100);
    receipt.copies[0].disk = id(Uuid::from_u128(999));
    let never_placed = v1::CopyReceipt { node_id: id(Uuid::from_u128(77)), disk: id(Uuid::nil()) };
    receipt.copies.push(never_placed);
    let refused = cluster.confirm(&upload, vec![receipt]).await.unwrap();
    let nodes: Vec<_> = refused.iter().map(|r| r.node_id.clone()).collect();
    assert_eq!(nodes[0], cluster.nodes[0].id_bytes());
    assert_eq!(nodes[1], id(Uuid::from_u128(77)));
}

#[tokio::test(start_paused = true)]
async fn a_disk_replaced_after_its_receipt_leaves_the_upload_incomplete_until_another_copy_is_made()
{
    let mut cluster = Cluster::small().await;
    let upload = cluster.begin("a", Some(100)).await.unwrap();
    cluster.write(&upload, 100).await.unwrap();
    cluster.nodes[0].has_disks(&[500]);
    assert_eq!(reason(cluster.beat(0).await), Reason::NodeUnknown);
    cluster.register(0).await.unwrap();
    assert_eq!(reason(cluster.commit(&upload, 100).await), Reason::UploadIncomplete);
    let receipt = cluster.store_on(&upload, 0, 100, &[0]);
    assert!(cluster.confirm(&upload, vec![receipt]).await.unwrap().is_empty());
    let durability = cluster.commit(&upload, 100).await.unwrap().durability.unwrap();
    assert_eq!((durability.copies, durability.hosts), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn only_a_whole_file_is_committed() {
    let mut cluster = Cluster::small().await;
    let upload = cluster.begin("a", None).await.unwrap();
    let receipts = vec![cluster.store(&upload, 0, CHUNK), cluster.store(&upload, 2, 10)];
    cluster.confirm(&upload, receipts).await.unwrap();
    let length = 2 * CHUNK + 10;
    assert_eq!(reason(cluster.commit(&upload, length).await), Reason::UploadIncomplete, "a gap");
    let one_copy = cluster.store_on(&upload, 1, CHUNK, &[0]);
    for _ in 0..2 {
        cluster.confirm(&upload, vec![one_copy.clone()]).await.unwrap();
    }
    assert_eq!(reason(cluster.commit(&upload, length).await), Reason::UploadIncomplete, "one copy");
    let second = cluster.store_on(&upload, 1, CHUNK, &[1]);
    cluster.confirm(&upload, vec![second]).await.unwrap();
    let short = cluster.store(&upload, 3, 5);
    assert_eq!(reason(cluster.confirm(&upload, vec![short]).await), Reason::UploadIncomplete);
    assert_eq!(reason(cluster.commit(&upload, length - 1).await), Reason::UploadIncomplete);
    let mut other = cluster.store(&upload, 1, CHUNK);
    other.hash = vec![8; 32].into();
    assert_eq!(reason(cluster.confirm(&upload, vec![other]).await), Reason::ChunkConflict);
    cluster.commit(&upload, length).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_deletion_is_idempotent_by_its_key_and_an_absent_object_is_not_found() {
    let mut cluster = Cluster::small().await;
    cluster.put("a", 100).await.unwrap();
    let caller = v1::Caller { idempotency_key: cluster.draw(), principal: None };
    let request = v1::DeleteObjectRequest {
        caller: Some(caller),
        bucket: "default".into(),
        key: "a".into(),
        condition: None,
    };
    let first = cluster.client.delete_object(request.clone()).await.unwrap().into_inner();
    cluster.put("a", 100).await.unwrap();
    let again = cluster.client.delete_object(request).await.unwrap().into_inner();
    assert_eq!(again, first);
    cluster.delete("a").await.expect("the second file is still there");
    assert_eq!(reason(cluster.delete("a").await), Reason::ObjectNotFound);
    assert_eq!(cluster.usage().await[0].condemned_objects, 2);
}

#[tokio::test(start_paused = true)]
async fn facts_outlive_the_master_and_its_nodes_join_again() {
    let mut cluster = Cluster::small().await;
    cluster.put("a", 100).await.unwrap();
    let upload = cluster.begin("b", Some(100)).await.unwrap();
    let kv: Kv = cluster.kv.clone();
    cluster.master.stop();
    assert!(!cluster.master.ready());
    let nodes = cluster.nodes.clone();
    let mut cluster = Cluster::on(config(), kv, cluster.dial.clone(), 2).await;
    cluster.nodes = nodes;
    let listed = cluster.admin.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner();
    let states: Vec<_> = listed.nodes.iter().map(v1::NodeInfo::state).collect();
    assert_eq!(states, [v1::NodeState::Joining; 2]);
    assert_eq!(reason(cluster.begin("c", Some(1)).await), Reason::Busy, "nobody was heard yet");
    cluster.beat_all().await;
    cluster.write(&upload, 100).await.unwrap();
    cluster.commit(&upload, 100).await.unwrap();
    assert_eq!(cluster.usage().await[0].used_objects, 2);
}

/// A master was away, and the wall jumped ahead meanwhile. The one that starts then took every lease for over and every
/// kept answer for old: uploads that went on were aborted, and a commit that was repeated met "no such upload" though it
/// had happened.
#[tokio::test(start_paused = true)]
async fn a_master_that_starts_gives_leases_and_kept_answers_the_whole_of_their_time_again() {
    let mut old = Cluster::small().await;
    let open = old.begin("open", Some(CHUNK)).await.unwrap();
    let committed = old.put("committed", CHUNK).await.unwrap();
    old.master.stop();

    let mut new = Cluster::on(config(), old.kv.clone(), old.dial.clone(), 2).await;
    assert_eq!(new.sweep().await.uploads_expired, 0);
    assert!(new.commit(&committed, CHUNK).await.is_ok(), "the answer is kept");
    tokio::time::advance(Duration::from_secs(59)).await;
    assert_eq!(new.sweep().await.uploads_expired, 0);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(new.sweep().await.uploads_expired, 1, "nobody has renewed it");
    assert_eq!(reason(new.commit(&open, CHUNK).await), Reason::UploadAborted);
    tokio::time::advance(Duration::from_secs(10 * 60)).await;
    new.sweep().await;
    assert_eq!(reason(new.commit(&committed, CHUNK).await), Reason::UploadNotFound);
}

/// A begin is buffered: a crash can lose it after it was answered. A copy of it that came late then opened the upload
/// anew, with another blob, and the receipts of the first one's chunks were taken for the second's: a file was
/// acknowledged that no node had.
#[tokio::test(start_paused = true)]
async fn receipts_for_a_blob_that_a_crash_has_lost_do_not_count_for_another() {
    let mut old = Cluster::small().await;
    let request = old.begin_request("a", Some(CHUNK));
    let lost = old.begin_with(request.clone()).await.unwrap();
    let nodes = old.nodes.clone();
    let mut new = Cluster::on(config(), Kv::memory(), old.dial.clone(), 2).await;
    new.nodes = nodes;
    for n in 0..new.nodes.len() {
        new.register(n).await.unwrap();
    }
    let again = new.begin_with(request).await.unwrap();
    assert_ne!(again.blob, lost.blob);
    assert_eq!(reason(new.write(&lost, CHUNK).await), Reason::UploadNotFound);
    let receipts = vec![new.store(&lost, 0, CHUNK)];
    let request = v1::CommitUploadRequest {
        upload_id: lost.id.clone(),
        blob_id: lost.blob.clone(),
        receipts,
        length: CHUNK,
        root: vec![9; 32].into(),
        ..Default::default()
    };
    let commit = new.client.commit_upload(request).await.map_err(RemoteError::from);
    assert_eq!(reason(commit), Reason::UploadNotFound);
    new.write(&again, CHUNK).await.unwrap();
    new.commit(&again, CHUNK).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn equal_parts_are_a_rule_of_the_blob_that_finds_every_chunk() {
    let mut cluster = Cluster::small().await;
    let cases: [&[u64]; 3] = [&[3], &[1, 1, 1, 1, 1, 3], &[1501, 1501, 1501, 1501, 1501, 1502]];
    for lengths in cases {
        let length: u64 = lengths.iter().sum();
        let key = length.to_string();
        let mut request = cluster.begin_request(&key, Some(length));
        request.chunking = Some(equal(6));
        let upload = cluster.begin_with(request).await.unwrap();
        let receipts = (0..).zip(lengths).map(|(i, length)| cluster.store(&upload, i, *length));
        let receipts = receipts.collect();
        assert_eq!(cluster.confirm(&upload, receipts).await, Ok(vec![]));
        cluster.commit(&upload, length).await.unwrap();
        for offset in 0..length {
            let page = cluster.locate(&key, Bytes::new(), offset).await.unwrap();
            let first = &page.chunks[0];
            assert!(first.offset <= offset && offset < first.offset + first.length);
            assert_eq!(
                page.chunks.len(),
                lengths.len() - first.chunk.as_ref().unwrap().index as usize
            );
        }
    }
    assert_eq!(cluster.audited().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn equal_parts_that_cannot_be_are_refused() {
    let mut cluster = Cluster::small().await;
    let too_large = Some(6 * (64 << 20) + 1);
    for (length, parts) in [(None, 6), (Some(10), 0), (Some(10), 1_000_001), (too_large, 6)] {
        let mut request = cluster.begin_request("a", length);
        request.chunking = Some(equal(parts));
        let refused = cluster.begin_with(request).await;
        assert_eq!(reason(refused), Reason::InvalidField, "{length:?} in {parts}");
    }
    assert_eq!(cluster.usage().await, []);
}

fn equal(parts: u32) -> v1::Chunking {
    v1::Chunking { rule: Some(v1::chunking::Rule::Equal(parts)) }
}
