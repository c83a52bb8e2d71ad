//! Several masters of one catalog. Their walls are five hours apart.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_chunk_master::Config;
use cairn_kv::simulated::SimulatedStore;
use cairn_proto::v1;
use cairn_runtime::{Clock, LocalDial, NetworkDial};

use crate::cluster::{CHUNK, Cluster, config};

fn network() -> Arc<LocalDial> {
    Arc::new(LocalDial::new(Arc::new(NetworkDial::tcp(1))))
}

/// A master on `store`, which knows two nodes.
async fn join(store: &SimulatedStore, config: Config, life: u32) -> Cluster {
    let mut cluster = Cluster::on(config, store.open_shared(), network(), life).await;
    add_nodes(&mut cluster).await;
    cluster
}

async fn add_nodes(cluster: &mut Cluster) {
    for zone in ["a", "b"] {
        cluster.add_node(zone).await;
    }
}

fn store() -> SimulatedStore {
    SimulatedStore::new(|_| 0)
}

/// Lets the masters' loops run for so long.
async fn seconds(seconds: u64) {
    Clock::system().sleep(Duration::from_secs(seconds)).await;
}

fn who(masters: &[&Cluster]) -> Vec<bool> {
    masters.iter().map(|cluster| cluster.master.does_duties()).collect()
}

#[tokio::test(start_paused = true)]
async fn one_of_several_masters_does_the_duties() {
    let store = store();
    let first = join(&store, config(), 1).await;
    let second = join(&store, config(), 2).await;
    let third = join(&store, config(), 3).await;
    for _ in 0..20 {
        assert_eq!(who(&[&first, &second, &third]), [true, false, false]);
        seconds(1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_duties_of_a_master_that_falls_silent_are_taken_by_one_other() {
    let store = store();
    let silent = Cluster::idle(config(), store.open_shared(), network(), 1).await;
    assert_eq!(who(&[&silent]), [true]);
    let second = join(&store, config(), 2).await;
    let third = join(&store, config(), 3).await;
    seconds(4).await;
    assert_eq!(
        who(&[&silent, &second, &third]),
        [false; 3],
        "the lease is over for its holder first"
    );
    seconds(3).await;
    let now = who(&[&silent, &second, &third]);
    assert_eq!(now.iter().filter(|mine| **mine).count(), 1, "{now:?}");
    assert!(!now[0]);
}

#[tokio::test(start_paused = true)]
async fn a_master_that_stops_lays_the_duties_down() {
    let store = store();
    let first = join(&store, config(), 1).await;
    let second = join(&store, config(), 2).await;
    first.master.stop();
    seconds(2).await;
    assert_eq!(who(&[&first, &second]), [false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_master_whose_store_is_its_own_waits_for_nobody() {
    let store = store();
    let dead = Cluster::idle(config(), store.open(), network(), 1).await;
    drop(dead);
    let next = Cluster::idle(config(), store.open(), network(), 2).await;
    assert_eq!(who(&[&next]), [true]);
}

/// By its own wall, the second master ended the leases of the first one's uploads five hours too early.
#[tokio::test(start_paused = true)]
async fn leases_and_waits_go_by_one_time_though_walls_are_hours_apart() {
    let store = store();
    let config = Config { condemn_for: Duration::from_secs(100), ..config() };
    let mut first = join(&store, config.clone(), 1).await;
    let mut second = join(&store, config, 2).await;
    first.begin("by the first", Some(1)).await.unwrap();
    second.begin("by the second", Some(1)).await.unwrap();
    first.put("condemned", CHUNK).await.unwrap();
    first.delete("condemned").await.unwrap();
    seconds(50).await;
    for cluster in [&mut first, &mut second] {
        assert_eq!(cluster.sweep().await, v1::SweepResponse::default());
    }
    seconds(15).await;
    assert_eq!(second.sweep().await.uploads_expired, 2);
    assert_eq!(second.sweep().await.versions_purged, 0);
    seconds(40).await;
    assert_eq!(second.sweep().await.versions_purged, 1);
    assert_eq!(first.audit().await.differences, []);
}

#[tokio::test(start_paused = true)]
async fn time_goes_on_when_another_master_takes_the_duties() {
    let store = store();
    let first = join(&store, config(), 1).await;
    let mut second = join(&store, config(), 2).await;
    seconds(10).await;
    second.beat_all().await;
    second.begin("a", Some(1)).await.unwrap();
    first.master.stop();
    seconds(50).await;
    assert!(second.master.does_duties());
    assert_eq!(second.sweep().await.uploads_expired, 0);
    seconds(15).await;
    assert_eq!(second.sweep().await.uploads_expired, 1);
}

/// All masters were away for hours: who comes back alone goes by the wall, and gives every lease its whole time again.
#[tokio::test(start_paused = true)]
async fn where_nobody_lived_time_begins_anew() {
    let store = store();
    let mut dead = Cluster::idle(config(), store.open_shared(), network(), 1).await;
    add_nodes(&mut dead).await;
    dead.begin("a", Some(1)).await.unwrap();
    let mut next = join(&store, config(), 2).await;
    seconds(10).await;
    assert!(next.master.does_duties());
    assert_eq!(next.sweep().await.uploads_expired, 0);
    seconds(60).await;
    assert_eq!(next.sweep().await.uploads_expired, 1, "a minute after it took the duties");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_one_master_gave_stops_the_purge_of_another() {
    let store = store();
    let config = Config { condemn_for: Duration::ZERO, ..config() };
    let mut first = join(&store, config.clone(), 1).await;
    let mut second = join(&store, config, 2).await;
    seconds(20).await;
    first.beat_all().await;
    first.put("a", CHUNK).await.unwrap();
    let version = second.locate("a", Bytes::new(), 0).await.unwrap().object.unwrap().version_id;
    first.delete("a").await.unwrap();
    seconds(14).await;
    second.locate("a", version.clone(), 0).await.unwrap();
    seconds(8).await;
    assert_eq!(first.sweep().await.versions_purged, 0, "somebody reads it");
    second.locate("a", version, 0).await.unwrap();
    seconds(11).await;
    assert_eq!(first.sweep().await.versions_purged, 1);
}

#[tokio::test(start_paused = true)]
async fn quota_that_is_given_back_at_one_master_is_found_by_who_waits_at_another() {
    let store = store();
    let config = Config { quota_wait: Duration::from_secs(2), ..config() };
    let mut first = join(&store, config.clone(), 1).await;
    let mut second = join(&store, config, 2).await;
    first.limit(v1::ScopeKind::Bucket, 10, None).await;
    let held = first.begin("a", Some(10)).await.unwrap();
    let give_back = async {
        seconds(1).await;
        first.abort(&held).await.unwrap();
    };
    let (begun, ()) = tokio::join!(second.begin("b", Some(10)), give_back);
    begun.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_drained_at_one_master_gets_nothing_new_from_another_one() {
    let store = store();
    let mut first = join(&store, config(), 1).await;
    let mut second = join(&store, config(), 2).await;
    let node_id = first.nodes[0].id_bytes();
    first.admin.drain_node(v1::DrainNodeRequest { node_id: node_id.clone() }).await.unwrap();
    seconds(2).await;
    for node in 0..2 {
        second.beat(node).await.unwrap();
    }
    let listed = second.admin.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner();
    let states: Vec<_> = listed.nodes.iter().map(v1::NodeInfo::state).collect();
    assert_eq!(states, [v1::NodeState::Draining, v1::NodeState::Up]);
    first.admin.remove_node(v1::RemoveNodeRequest { node_id }).await.unwrap();
    seconds(2).await;
    let listed = second.admin.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner();
    assert_eq!(listed.nodes.len(), 1);
    assert!(second.register(0).await.is_err(), "it is not let in again, at no master");
}
