//! Below the floor, condemned versions go before their wait is over: as few as it takes, those first that end first.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use cairn_chunk_master::Config;
use cairn_proto::{Reason, v1};

use crate::cluster::{CAPACITY, CHUNK, Cluster, Upload, config, reason};

const HOUR: Duration = Duration::from_secs(60 * 60);
/// Bytes free on each node at the floor.
const FLOOR: u64 = CAPACITY / 10;

/// Each node says that so much is free.
async fn free(cluster: &mut Cluster, bytes: &[u64]) {
    for (node, free) in cluster.nodes.iter().zip(bytes) {
        node.state.lock().unwrap().used = CAPACITY - free;
    }
    cluster.beat_all().await;
}

fn held(cluster: &Cluster, upload: &Upload) -> usize {
    cluster.nodes.iter().map(|node| node.holds(&upload.blob)).sum()
}

/// Five files of 2 chunks, deleted one after the other, an hour apart.
async fn deleted(config: Config, zones: &[&str]) -> (Cluster, Vec<Upload>) {
    let mut cluster = Cluster::with(config, zones).await;
    let mut uploads = Vec::new();
    for n in 0..5 {
        uploads.push(cluster.put(&n.to_string(), 2 * CHUNK).await.unwrap());
    }
    for n in 0..5 {
        cluster.delete(&n.to_string()).await.unwrap();
        cluster.pass_time(HOUR).await;
    }
    (cluster, uploads)
}

#[tokio::test(start_paused = true)]
async fn above_the_floor_nothing_goes_early() {
    let (mut cluster, uploads) = deleted(config(), &["a", "b"]).await;
    free(&mut cluster, &[FLOOR, FLOOR]).await;
    assert_eq!(cluster.sweep().await, v1::SweepResponse::default());
    assert!(uploads.iter().all(|upload| held(&cluster, upload) == 4));
}

#[tokio::test(start_paused = true)]
async fn below_the_floor_as_many_go_as_it_takes_and_those_first_whose_wait_ends_first() {
    let (mut cluster, uploads) = deleted(config(), &["a", "b"]).await;
    free(&mut cluster, &[FLOOR - 3 * CHUNK, FLOOR]).await;
    let report = cluster.sweep().await;
    assert_eq!(
        (report.versions_purged, report.versions_purged_early),
        (0, 2),
        "3 chunks, 2 a file"
    );
    assert_eq!(report.blobs_erased, 2);
    let left: Vec<_> = uploads.iter().map(|upload| held(&cluster, upload)).collect();
    assert_eq!(left, [0, 0, 4, 4, 4]);
    assert_eq!(cluster.audited().await, [""; 0]);

    let again = cluster.sweep().await;
    assert_eq!(again.versions_purged_early, 0, "what is erased and not reported yet counts");
    cluster.pass_time(Duration::from_secs(3)).await;
    assert_eq!(
        cluster.sweep().await.versions_purged_early,
        2,
        "the nodes say that it did not help"
    );
    free(&mut cluster, &[FLOOR, FLOOR]).await;
    cluster.pass_time(Duration::from_secs(3)).await;
    assert_eq!(cluster.sweep().await.versions_purged_early, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_set_free_and_waits_for_its_node_counts() {
    let (mut cluster, _) = deleted(config(), &["a", "b"]).await;
    cluster.nodes[1].state.lock().unwrap().cut_off = true;
    free(&mut cluster, &[FLOOR - 3 * CHUNK, FLOOR]).await;
    assert_eq!(cluster.sweep().await.versions_purged_early, 2);
    cluster.pass_time(Duration::from_secs(3)).await;
    let report = cluster.sweep().await;
    assert_eq!((report.versions_purged_early, report.blobs_waiting), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn room_on_one_node_does_not_help_where_two_are_needed() {
    let (mut cluster, _) = deleted(config(), &["a", "b", "c"]).await;
    // Two thirds are free, and no more than 1000 bytes can be placed in two copies.
    free(&mut cluster, &[CAPACITY, 500, 500]).await;
    assert_eq!(cluster.sweep().await.versions_purged_early, 5);
}

#[tokio::test(start_paused = true)]
async fn what_is_read_or_was_deleted_just_now_stays() {
    let (mut cluster, uploads) = deleted(config(), &["a", "b"]).await;
    cluster.put("new", CHUNK).await.unwrap();
    let listed = v1::ListCondemnedRequest::default();
    let listed = cluster.admin.list_condemned(listed).await.unwrap().into_inner().versions;
    let oldest = listed[0].object.clone().unwrap();
    cluster.locate("0", oldest.version_id.clone(), 0).await.unwrap();
    let new = cluster.delete("new").await.unwrap();
    free(&mut cluster, &[0, 0]).await;
    assert_eq!(cluster.sweep().await.versions_purged_early, 4);
    assert_eq!(held(&cluster, &uploads[0]), 4, "it is being read");
    cluster.locate("0", oldest.version_id, 0).await.unwrap();
    cluster.locate("new", new, 0).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_floor_of_0_keeps_every_wait() {
    let config = Config { space_floor_percent: 0, ..config() };
    let (mut cluster, _) = deleted(config, &["a", "b"]).await;
    free(&mut cluster, &[0, 0]).await;
    assert_eq!(cluster.sweep().await.versions_purged_early, 0);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_came_back_does_not_go() {
    let (mut cluster, uploads) = deleted(config(), &["a", "b"]).await;
    let listed = v1::ListCondemnedRequest::default();
    let listed = cluster.admin.list_condemned(listed).await.unwrap().into_inner().versions;
    let version_id = listed[0].object.clone().unwrap().version_id;
    let request = v1::UndeleteRequest { version_id, ..Default::default() };
    cluster.admin.undelete(request).await.unwrap();
    free(&mut cluster, &[0, 0]).await;
    assert_eq!(cluster.sweep().await.versions_purged_early, 4);
    assert_eq!(held(&cluster, &uploads[0]), 4);
    assert!(cluster.locate("0", Bytes::new(), 0).await.is_ok());
    assert_eq!(reason(cluster.locate("1", Bytes::new(), 0).await), Reason::ObjectNotFound);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumped_stops_early_purges_as_well() {
    let (mut cluster, _) = deleted(config(), &["a", "b"]).await;
    free(&mut cluster, &[0, 0]).await;
    cluster.jump_s.store(3600, Ordering::Relaxed);
    assert_eq!(cluster.sweep().await.versions_purged_early, 0);
    cluster.jump_s.store(0, Ordering::Relaxed);
    assert_eq!(cluster.sweep().await.versions_purged_early, 5);
}
