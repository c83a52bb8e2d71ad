//! The sweep erases what is over, and nothing else.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use cairn_chunk_master::{Audit, Config, audit};
use cairn_core::ids::{BlobId, ChunkId};
use cairn_kv::simulated::{Odds, SimulatedStore};
use cairn_proto::{Reason, RemoteError, v1};
use cairn_runtime::{Clock, Entropy, LocalDial, NetworkDial};
use uuid::Uuid;

use crate::cluster::{CHUNK, Cluster, Upload, config, reason};

const DAY: Duration = Duration::from_secs(24 * 60 * 60 + 1);

fn held(cluster: &Cluster, upload: &Upload) -> usize {
    cluster.nodes.iter().map(|node| node.holds(&upload.blob)).sum()
}

#[tokio::test(start_paused = true)]
async fn aborted_blobs_and_orphans_are_erased_and_nothing_live() {
    let mut cluster = Cluster::small().await;
    let live = cluster.put("live", 5 * CHUNK).await.unwrap();
    let condemned = cluster.put("gone", 5 * CHUNK).await.unwrap();
    cluster.delete("gone").await.unwrap();
    let open = cluster.begin("open", Some(5 * CHUNK)).await.unwrap();
    cluster.write(&open, 5 * CHUNK).await.unwrap();
    let aborted = cluster.begin("aborted", Some(5 * CHUNK)).await.unwrap();
    cluster.write(&aborted, 5 * CHUNK).await.unwrap();
    cluster.abort(&aborted).await.unwrap();
    for n in 0..7 {
        let stray = ChunkId::new(BlobId::from_uuid(Uuid::from_u128(n)), 0);
        cluster.nodes[0].state.lock().unwrap().chunks.insert(stray);
    }
    let report = cluster.sweep().await;
    assert_eq!((report.blobs_erased, report.blobs_waiting, report.orphans_deleted), (1, 0, 7));
    assert_eq!(held(&cluster, &aborted), 0);
    for upload in [&live, &condemned, &open] {
        assert_eq!(held(&cluster, upload), 10);
    }
    assert_eq!(cluster.sweep().await, v1::SweepResponse::default(), "nothing is left to do");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_was_placed_anew_and_came_after_all_is_deleted_and_the_named_ones_stay() {
    let mut cluster = Cluster::with(config(), &["a", "b", "c", "d"]).await;
    let live = cluster.put("live", 5 * CHUNK).await.unwrap();
    let open = cluster.begin("open", Some(5 * CHUNK)).await.unwrap();
    cluster.write(&open, 5 * CHUNK).await.unwrap();
    let everywhere = cluster.nodes.len() * 5;
    for node in &cluster.nodes {
        for upload in [&live, &open] {
            let blob = BlobId::from_slice(&upload.blob).unwrap();
            let copies = (0..5).map(|index| ChunkId::new(blob, index));
            node.state.lock().unwrap().chunks.extend(copies);
        }
    }
    let report = cluster.sweep().await;
    assert_eq!(held(&cluster, &live), 10, "two named copies of each chunk");
    assert_eq!(report.orphans_deleted as usize, everywhere - 10);
    assert_eq!(held(&cluster, &open), everywhere, "receipts may be on their way");
}

#[tokio::test(start_paused = true)]
async fn a_condemned_version_is_purged_when_its_wait_is_over() {
    let mut cluster = Cluster::small().await;
    let upload = cluster.put("a", 300 * CHUNK).await.unwrap();
    let version = cluster.delete("a").await.unwrap();
    let page = cluster.locate("a", version.clone(), 0).await.unwrap();
    assert_eq!(page.chunks.len(), 128, "condemned can still be read");
    assert_eq!(cluster.sweep().await.versions_purged, 0);
    cluster.pass_time(DAY).await;
    let report = cluster.sweep().await;
    assert_eq!((report.versions_purged, report.blobs_erased), (1, 1));
    assert_eq!(held(&cluster, &upload), 0);
    assert_eq!(reason(cluster.locate("a", version, 0).await), Reason::ObjectNotFound);
    let account = cluster.usage().await.remove(0);
    assert_eq!((account.used_bytes, account.condemned_bytes), (0, 0));
    let request = v1::ListChunksRequest::default();
    let listed = cluster.admin.list_chunks(request).await.unwrap().into_inner();
    assert!(listed.chunks.is_empty(), "the manifest is gone");
}

#[tokio::test(start_paused = true)]
async fn what_is_being_read_is_not_purged_before_its_lease_has_ended() {
    let mut config = config();
    config.condemn_for = Duration::ZERO;
    let mut cluster = Cluster::with(config, &["a", "b"]).await;
    let read = cluster.put("read", CHUNK).await.unwrap();
    let unread = cluster.put("unread", CHUNK).await.unwrap();
    cluster.pass_time(Duration::from_secs(60)).await;
    let located = cluster.locate("read", Bytes::new(), 0).await.unwrap();
    let version = located.object.unwrap().version_id;
    for name in ["read", "unread"] {
        cluster.delete(name).await.unwrap();
    }
    cluster.pass_time(Duration::from_secs(14)).await;
    assert_eq!(cluster.sweep().await.versions_purged, 0, "it was asked for just before");
    let again = cluster.locate("read", version.clone(), 0).await.unwrap();
    assert_eq!(again.lease_ms, 10_000);
    cluster.pass_time(Duration::from_secs(2)).await;
    assert_eq!(cluster.sweep().await.versions_purged, 1);
    assert_eq!((held(&cluster, &read), held(&cluster, &unread)), (2, 0));
    let shared = cluster.locate("read", version.clone(), 0).await.unwrap();
    assert_eq!(shared.lease_ms, 8000, "what is left is told, and nothing is written");
    cluster.pass_time(Duration::from_secs(7)).await;
    cluster.locate("read", version, 0).await.unwrap();
    cluster.pass_time(Duration::from_secs(9)).await;
    assert_eq!(cluster.sweep().await.versions_purged, 0, "it asked again");
    cluster.pass_time(Duration::from_secs(2)).await;
    assert_eq!(cluster.sweep().await.versions_purged, 1);
    assert_eq!(cluster.audit().await.differences, []);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_be_reached_keeps_the_blob_waiting_until_it_returns() {
    let mut cluster = Cluster::small().await;
    let cut_off = cluster.begin("a", Some(5 * CHUNK)).await.unwrap();
    cluster.write(&cut_off, 5 * CHUNK).await.unwrap();
    cluster.abort(&cut_off).await.unwrap();
    cluster.nodes[1].state.lock().unwrap().cut_off = true;
    assert_eq!(cluster.sweep().await.blobs_waiting, 1);
    assert_eq!(cluster.nodes[0].holds(&cut_off.blob), 0, "the others do not wait");

    tokio::time::advance(Duration::from_secs(31)).await;
    cluster.beat(0).await.unwrap();
    cluster.nodes[1].state.lock().unwrap().cut_off = false;
    assert_eq!(cluster.sweep().await.blobs_waiting, 1, "a Down node is not even asked");
    assert_eq!(cluster.nodes[1].holds(&cut_off.blob), 5);

    cluster.beat_all().await;
    let report = cluster.sweep().await;
    assert_eq!((report.blobs_erased, report.blobs_waiting), (1, 0));
    assert_eq!(held(&cluster, &cut_off), 0);
}

#[tokio::test(start_paused = true)]
async fn bounded_passes_walk_the_inventory_from_where_the_last_one_ended() {
    let mut cluster = Cluster::small().await;
    let kept = cluster.put("a", 100 * CHUNK).await.unwrap();
    for n in 0..3 {
        let last = BlobId::from_uuid(Uuid::from_u128(u128::MAX));
        cluster.nodes[0].state.lock().unwrap().chunks.insert(ChunkId::new(last, n));
    }
    let mut deleted = 0;
    for _ in 0..10 {
        deleted += cluster.master.pass().await.unwrap().orphans_deleted;
    }
    assert_eq!(deleted, 3);
    assert_eq!(held(&cluster, &kept), 200);
    assert!(cluster.locate("a", Bytes::new(), 0).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_leaves_something_due_is_followed_without_a_pause() {
    const PAUSE: Duration = Duration::from_secs(60 * 60);
    let mut cluster = Cluster::with(Config { sweep_every: PAUSE, ..config() }, &["a", "b"]).await;
    for n in 0..1100 {
        cluster.begin(&format!("{n}"), Some(1)).await.unwrap();
    }
    cluster.pass_time(PAUSE).await;
    let clock = Clock::system();
    let woken = clock.monotonic();
    while cluster.usage().await[0].reserved_bytes > 0 {
        clock.sleep(Duration::from_secs(1)).await;
    }
    assert!(clock.monotonic() - woken < PAUSE, "1100 alarms are more than one pass rings");
}

#[tokio::test(start_paused = true)]
async fn a_purge_looks_past_versions_that_are_being_read() {
    let mut config = config();
    config.condemn_for = Duration::ZERO;
    let mut cluster = Cluster::with(config, &["a", "b"]).await;
    let mut read = Vec::new();
    for n in 0..300 {
        cluster.put(&format!("{n}"), 1).await.unwrap();
        read.push((n, cluster.delete(&format!("{n}")).await.unwrap()));
    }
    cluster.pass_time(Duration::from_secs(1)).await;
    cluster.put("unread", 1).await.unwrap();
    cluster.delete("unread").await.unwrap();
    cluster.pass_time(Duration::from_secs(13)).await;
    for (n, version) in read {
        cluster.locate(&n.to_string(), version, 0).await.unwrap();
    }
    cluster.pass_time(Duration::from_secs(3)).await;
    let pass = cluster.master.pass().await.unwrap();
    assert_eq!((pass.versions_purged, pass.behind), (1, false));
}

#[tokio::test(start_paused = true)]
async fn blobs_that_wait_for_a_node_keep_none_behind_them_waiting() {
    let mut cluster = Cluster::small().await;
    for n in 0..512 {
        let upload = cluster.begin(&format!("{n}"), Some(1)).await.unwrap();
        cluster.abort(&upload).await.unwrap();
    }
    cluster.add_node("c").await;
    tokio::time::advance(Duration::from_secs(31)).await;
    cluster.beat(0).await.unwrap();
    cluster.beat(2).await.unwrap();
    let behind = cluster.begin("behind", Some(1)).await.unwrap();
    cluster.abort(&behind).await.unwrap();
    let passes = [cluster.master.pass().await.unwrap(), cluster.master.pass().await.unwrap()];
    let erased = passes.map(|pass| (pass.blobs_erased, pass.blobs_waiting, pass.behind));
    assert_eq!(erased, [(0, 512, false), (1, 0, false)]);
}

/// Jumps of the wall in seconds, both ways, that are more than is borne.
const JUMPS_S: [i64; 3] = [10 * 24 * 60 * 60, 11 * 60, -11 * 60];

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_ends_no_wait_and_no_lease() {
    for jump_s in JUMPS_S {
        let mut cluster = Cluster::small().await;
        cluster.put("a", CHUNK).await.unwrap();
        cluster.delete("a").await.unwrap();
        let open = cluster.begin("b", Some(1)).await.unwrap();
        cluster.jump_s.store(jump_s, Ordering::Relaxed);
        assert_eq!(cluster.sweep().await, v1::SweepResponse::default());
        cluster.write(&open, 1).await.unwrap();
        cluster.commit(&open, 1).await.unwrap();
        cluster.jump_s.store(0, Ordering::Relaxed);
        cluster.pass_time(DAY).await;
        assert_eq!(cluster.sweep().await.versions_purged, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumped_stops_purges_and_is_told_until_it_is_right_again() {
    for jump_s in JUMPS_S {
        let mut cluster = Cluster::small().await;
        let upload = cluster.put("a", CHUNK).await.unwrap();
        cluster.delete("a").await.unwrap();
        let aborted = cluster.begin("b", Some(CHUNK)).await.unwrap();
        cluster.write(&aborted, CHUNK).await.unwrap();
        cluster.abort(&aborted).await.unwrap();
        cluster.pass_time(20 * DAY).await;
        cluster.jump_s.store(jump_s, Ordering::Relaxed);
        let report = cluster.sweep().await;
        assert_eq!(
            (report.versions_purged, report.blobs_erased),
            (0, 1),
            "{jump_s} s: what is final goes on"
        );
        assert_eq!(held(&cluster, &upload), 2);
        let shown = format!("cairn_master_clock_jump_seconds {}.0", jump_s.unsigned_abs());
        assert_shown(&cluster, &[&shown, "cairn_master_purges_stopped 1"]);
        cluster.jump_s.store(0, Ordering::Relaxed);
        assert_eq!(cluster.sweep().await.versions_purged, 1, "{jump_s} s");
        assert_shown(&cluster, &["cairn_master_purges_stopped 0"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_small_step_of_the_wall_clock_stops_nothing_and_ends_no_wait_early() {
    for (jump_s, purged_before, purged_after) in [(9 * 60, 0, 1), (-9 * 60, 0, 0)] {
        let mut cluster = Cluster::small().await;
        cluster.put("a", CHUNK).await.unwrap();
        cluster.delete("a").await.unwrap();
        cluster.jump_s.store(jump_s, Ordering::Relaxed);
        cluster.pass_time(DAY - Duration::from_secs(5)).await;
        assert_eq!(cluster.sweep().await.versions_purged, purged_before, "{jump_s} s");
        cluster.pass_time(Duration::from_secs(5)).await;
        assert_eq!(
            cluster.sweep().await.versions_purged,
            purged_after,
            "{jump_s} s: the slower of the two"
        );
        cluster.pass_time(Duration::from_secs(9 * 60)).await;
        assert_eq!(cluster.sweep().await.versions_purged, 1 - purged_after, "{jump_s} s");
    }
}

/// What is condemned while the wall is ahead waits longer, never shorter.
#[tokio::test(start_paused = true)]
async fn what_is_deleted_under_a_wrong_clock_waits_its_whole_time() {
    for jump_s in JUMPS_S {
        let mut cluster = Cluster::small().await;
        cluster.put("a", CHUNK).await.unwrap();
        cluster.jump_s.store(jump_s, Ordering::Relaxed);
        cluster.delete("a").await.unwrap();
        cluster.jump_s.store(0, Ordering::Relaxed);
        cluster.pass_time(DAY - Duration::from_secs(5)).await;
        assert_eq!(cluster.sweep().await.versions_purged, 0, "{jump_s} s");
        cluster.pass_time(Duration::from_secs(5 + jump_s.max(0).unsigned_abs())).await;
        assert_eq!(cluster.sweep().await.versions_purged, 1, "{jump_s} s");
    }
}

fn assert_shown(cluster: &Cluster, lines: &[&str]) {
    let mut registry = prometheus_client::registry::Registry::default();
    cluster.master.register_metrics(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in lines {
        assert!(text.lines().any(|there| there == *line), "{line} is not in\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn operators_see_counters_and_nodes_by_state() {
    let mut cluster = Cluster::small().await;
    cluster.put("a", 1).await.unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    cluster.sweep().await;
    let lines = ["cairn_master_uploads_committed_total 1", "cairn_master_nodes{state=\"up\"} 2"];
    assert_shown(&cluster, &lines);
}

#[tokio::test(start_paused = true)]
async fn operators_see_what_is_held_open_condemned_and_short() {
    let each_second = Config { sweep_every: Duration::from_secs(1), ..config() };
    let mut cluster = Cluster::with(each_second, &["a", "b"]).await;
    cluster.put("a", 3 * CHUNK).await.unwrap();
    cluster.put("b", CHUNK).await.unwrap();
    cluster.delete("b").await.unwrap();
    let _open = cluster.begin("c", Some(5)).await.unwrap();
    for _ in 0..10 {
        cluster.pass_time(Duration::from_secs(1)).await;
    }
    let (used, condemned) = (3 * CHUNK, CHUNK);
    let used = format!("cairn_master_used_bytes {used}");
    let condemned = format!("cairn_master_condemned_bytes {condemned}");
    let held = ["cairn_master_objects 1", &used, &condemned, "cairn_master_reserved_bytes 5"];
    assert_shown(&cluster, &held);
    assert_shown(&cluster, &["cairn_master_open_uploads 1", "cairn_master_short_chunks 0"]);

    // One of two nodes falls silent, then both.
    for _ in 0..40 {
        tokio::time::advance(Duration::from_secs(1)).await;
        cluster.beat(0).await.unwrap();
    }
    assert_shown(&cluster, &["cairn_master_short_chunks 3", "cairn_master_unreadable_chunks 0"]);
    for _ in 0..40 {
        tokio::time::advance(Duration::from_secs(1)).await;
        cluster.beat(1).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_shown(&cluster, &["cairn_master_short_chunks 3", "cairn_master_unreadable_chunks 0"]);
    for _ in 0..40 {
        tokio::time::advance(Duration::from_secs(1)).await;
        cluster.usage().await;
    }
    assert_shown(&cluster, &["cairn_master_short_chunks 3", "cairn_master_unreadable_chunks 3"]);
}

/// The store reopened between two steps of an erasure, and a buffered one was lost: the next step built on it, found the
/// blob still on its nodes, and panicked.
#[tokio::test(start_paused = true)]
async fn an_erasure_bears_a_store_that_reopens_in_the_middle_of_it() {
    let mut lost = 0;
    for seed in 0..6 {
        lost += erased_over_reopenings(seed).await;
    }
    assert!(lost > 0, "nothing was shown");
}

/// Erases on a failing store; how many times a buffered transaction was lost.
async fn erased_over_reopenings(seed: u64) -> u64 {
    let chance = Entropy::seeded(seed);
    let store = SimulatedStore::new(move |below| chance.below(below));
    let dial = Arc::new(LocalDial::new(Arc::new(NetworkDial::tcp(1))));
    let mut cluster = Cluster::on(config(), store.open(), dial, 1).await;
    for zone in ["a", "b"] {
        cluster.add_node(zone).await;
    }
    let mut uploads = Vec::new();
    for n in 0..8 {
        let upload = cluster.begin(&format!("{n}"), Some(3 * CHUNK)).await.unwrap();
        cluster.write(&upload, 3 * CHUNK).await.unwrap();
        cluster.abort(&upload).await.unwrap();
        uploads.push(upload);
    }
    store.set_odds(Odds { failure: 3, ..Odds::default() });
    for _ in 0..40 {
        if let Err(status) = cluster.admin.sweep(v1::SweepRequest {}).await {
            assert_eq!(RemoteError::from(status).reason, Reason::StorageFailed);
        }
    }
    store.set_odds(Odds::default());
    let lost = store.struck().get("buffered transactions lost").copied().unwrap_or(0);
    cluster.sweep().await;
    assert_eq!(cluster.sweep().await, v1::SweepResponse::default());
    assert!(uploads.iter().all(|upload| held(&cluster, upload) == 0));
    assert_eq!(audit(&store.open()).await.unwrap(), Audit::default());
    lost
}
