//! Chunks that are short of copies get new ones; nothing else is moved, and no deletion meets a copy that was made anew.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_chunk_master::Config;
use cairn_core::ids::{BlobId, ChunkId};
use cairn_kv::simulated::{Death, SimulatedStore};
use cairn_proto::v1;
use cairn_proto::v1::chunks_server::Chunks;
use cairn_runtime::{Clock, LocalDial, NetworkDial};
use tonic::Request;

use crate::cluster::{CAPACITY, CHUNK, Cluster, config};
use crate::judging::tell;

const SECOND: Duration = Duration::from_secs(1);

/// Passes of the sweep, with the census, each second; nodes that are down for a minute more are not waited for.
fn repairs() -> Config {
    Config { sweep_every: SECOND, repair_after: 60 * SECOND, ..config() }
}

/// A file of `chunks` chunks on the first two nodes, and then so many nodes more.
async fn cluster(config: Config, chunks: u64, more: usize) -> (Cluster, BlobId) {
    let mut cluster = Cluster::with(config, &["a", "b"]).await;
    let kept = cluster.put("kept", chunks * CHUNK).await.unwrap();
    for zone in ["c", "d"].iter().take(more) {
        cluster.add_node(zone).await;
    }
    (cluster, BlobId::from_slice(&kept.blob).unwrap())
}

async fn report(cluster: &mut Cluster, chunk: ChunkId, node: usize) {
    let report = v1::CopyReport {
        chunk: Some(chunk.into()),
        node_id: cluster.nodes[node].id_bytes(),
        finding: v1::CopyFinding::Corrupt.into(),
    };
    let request = v1::ReportCopiesRequest { reports: vec![report], ..Default::default() };
    cluster.client.report_copies(request).await.unwrap();
}

/// So many seconds, in which the nodes named are heard.
async fn seconds(cluster: &mut Cluster, seconds: u32, heard: &[usize]) {
    let clock = Clock::system();
    for _ in 0..seconds {
        clock.sleep(SECOND).await;
        for &node in heard {
            cluster.beat(node).await.unwrap();
        }
    }
}

/// The nodes that hold good copies of each chunk, by their places.
async fn good(cluster: &mut Cluster) -> Vec<Vec<usize>> {
    let listed = cluster.admin.list_chunks(v1::ListChunksRequest::default()).await.unwrap();
    let place = |id: &Bytes| cluster.nodes.iter().position(|node| node.id_bytes() == id).unwrap();
    let nodes = |chunk: &v1::ChunkCopies| {
        let mut nodes: Vec<_> = chunk.good.iter().map(place).collect();
        nodes.sort_unstable();
        nodes
    };
    listed.into_inner().chunks.iter().map(nodes).collect()
}

fn copied(cluster: &Cluster) -> usize {
    cluster.nodes.iter().map(|node| node.state.lock().unwrap().copied.len()).sum()
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_was_found_bad_is_made_anew_on_another_node_from_a_good_one() {
    let (mut cluster, blob) = cluster(repairs(), 3, 1).await;
    report(&mut cluster, ChunkId::new(blob, 1), 0).await;
    seconds(&mut cluster, 3, &[0, 1, 2]).await;
    assert_eq!(good(&mut cluster).await, [vec![0, 1], vec![1, 2], vec![0, 1]]);
    let source = cluster.nodes[1].address.clone();
    let made = cluster.nodes[2].state.lock().unwrap().copied.clone();
    assert_eq!(made, [(ChunkId::new(blob, 1), source)]);
    assert_eq!(cluster.audited().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_other_node_a_bad_copy_is_made_anew_in_its_place() {
    let (mut cluster, blob) = cluster(repairs(), 2, 0).await;
    report(&mut cluster, ChunkId::new(blob, 0), 1).await;
    seconds(&mut cluster, 3, &[0, 1]).await;
    assert_eq!(good(&mut cluster).await, [vec![0, 1], vec![0, 1]]);
    assert_eq!(cluster.nodes[1].state.lock().unwrap().copied.len(), 1);
    assert_eq!(cluster.audited().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_copies_of_a_node_that_is_away_are_made_anew_only_after_a_while() {
    let (mut cluster, _) = cluster(repairs(), 4, 1).await;
    seconds(&mut cluster, 80, &[1, 2]).await;
    assert_eq!(copied(&cluster), 0, "down for less than a minute");
    seconds(&mut cluster, 20, &[1, 2]).await;
    assert_eq!(good(&mut cluster).await, vec![vec![1, 2]; 4]);
    assert_eq!(copied(&cluster), 4);
    // It comes back with what it had: nothing is copied any more, and what is over is given up.
    seconds(&mut cluster, 10, &[0, 1, 2]).await;
    assert!(good(&mut cluster).await.iter().all(|nodes| nodes.len() == 2));
    let held: usize = cluster.nodes.iter().map(|n| n.state.lock().unwrap().chunks.len()).sum();
    assert_eq!((copied(&cluster), held), (4, 8));
    assert_eq!(cluster.audited().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_and_goes_for_some_minutes_causes_no_copies() {
    let config = Config { repair_after: 600 * SECOND, ..repairs() };
    // Down for a quarter of a minute each time; never down, but doubted from its third return on.
    for (rounds, silent) in [(8, 45), (15, 10)] {
        let (mut cluster, _) = cluster(config.clone(), 4, 1).await;
        for _ in 0..rounds {
            seconds(&mut cluster, silent, &[1, 2]).await;
            seconds(&mut cluster, 10, &[0, 1, 2]).await;
        }
        // The time for which it is left alone.
        seconds(&mut cluster, 700, &[0, 1, 2]).await;
        assert_eq!(copied(&cluster), 0, "silent for {silent} s");
    }
}

/// Copies on all nodes together.
fn held(cluster: &Cluster) -> usize {
    cluster.nodes.iter().map(|node| node.state.lock().unwrap().chunks.len()).sum()
}

#[tokio::test(start_paused = true)]
async fn the_copies_of_a_node_that_comes_and_goes_for_long_are_made_anew_once_and_kept_when_it_is_trusted()
 {
    let (mut cluster, _) = cluster(repairs(), 4, 1).await;
    for round in 0..16 {
        seconds(&mut cluster, 45, &[1, 2]).await;
        seconds(&mut cluster, 10, &[0, 1, 2]).await;
        assert_eq!(copied(&cluster), if round < 2 { 0 } else { 4 }, "round {round}");
    }
    assert_eq!(held(&cluster), 12, "nothing is given up for its sake, nor what it has");
    seconds(&mut cluster, 700, &[0, 1, 2]).await;
    assert_eq!((copied(&cluster), held(&cluster)), (4, 8));
    assert_eq!(cluster.audited().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_copies_of_a_node_that_gateways_cannot_reach_for_long_are_made_anew_and_kept_when_they_can()
 {
    let (mut cluster, _) = cluster(repairs(), 4, 1).await;
    for time in (0..90).step_by(5) {
        tell(&mut cluster, 1, &[(0, 3)]).await;
        seconds(&mut cluster, 5, &[0, 1, 2]).await;
        assert!(time > 50 || copied(&cluster) == 0, "after {time} s");
    }
    assert_eq!(copied(&cluster), 4);
    assert_eq!(good(&mut cluster).await, vec![vec![1, 2]; 4]);
    // Nobody says more; it is Up for a moment, which is too short to be trusted, and then they cannot reach it again.
    seconds(&mut cluster, 30, &[0, 1, 2]).await;
    tell(&mut cluster, 1, &[(0, 3)]).await;
    seconds(&mut cluster, 10, &[0, 1, 2]).await;
    assert_eq!((copied(&cluster), held(&cluster)), (4, 12));
    seconds(&mut cluster, 60, &[0, 1, 2]).await;
    assert_eq!((copied(&cluster), held(&cluster)), (4, 8));
    assert_eq!(cluster.audited().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_made_from_a_node_in_lasting_doubt_where_there_is_no_better_one() {
    let (mut cluster, blob) = cluster(repairs(), 1, 2).await;
    report(&mut cluster, ChunkId::new(blob, 0), 1).await;
    for node in 1..4 {
        cluster.nodes[node].state.lock().unwrap().copies_nothing = true;
    }
    for _ in 0..18 {
        tell(&mut cluster, 1, &[(0, 3)]).await;
        seconds(&mut cluster, 5, &[0, 1, 2, 3]).await;
    }
    // Between two passes: what was tried before has ended.
    Clock::system().sleep(SECOND / 2).await;
    for node in [2, 3] {
        cluster.nodes[node].state.lock().unwrap().copies_nothing = false;
    }
    tell(&mut cluster, 1, &[(0, 3)]).await;
    seconds(&mut cluster, 5, &[0, 1, 2, 3]).await;
    assert_eq!(good(&mut cluster).await, [vec![2, 3]]);
    let doubted = cluster.nodes[0].address.clone();
    let sources = [2, 3].map(|node| cluster.nodes[node].state.lock().unwrap().copied[0].1.clone());
    assert!(sources.contains(&doubted), "{sources:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_on_a_disk_that_its_node_has_no_more_is_made_anew() {
    let (mut cluster, _) = cluster(repairs(), 4, 1).await;
    cluster.nodes[0].state.lock().unwrap().chunks.clear();
    cluster.nodes[0].has_disks(&[999]);
    cluster.register(0).await.unwrap();
    seconds(&mut cluster, 5, &[0, 1, 2]).await;
    assert_eq!(good(&mut cluster).await, vec![vec![1, 2]; 4]);
    assert_eq!(cluster.audited().await, Vec::<String>::new());
}

/// The census has its first step, and no other in the time of a test.
fn without_census() -> Config {
    Config { sweep_every: 3600 * SECOND, ..repairs() }
}

#[tokio::test(start_paused = true)]
async fn what_a_node_that_is_away_had_is_found_and_made_anew_before_the_census_comes_to_it() {
    let (mut cluster, _) = cluster(without_census(), 5, 1).await;
    seconds(&mut cluster, 120, &[1, 2]).await;
    assert_eq!(good(&mut cluster).await, vec![vec![1, 2]; 5]);
}

#[tokio::test(start_paused = true)]
async fn what_was_on_a_lost_disk_is_found_and_made_anew_before_the_census_comes_to_it() {
    let (mut cluster, _) = cluster(without_census(), 5, 1).await;
    seconds(&mut cluster, 2, &[0, 1, 2]).await;
    cluster.nodes[0].state.lock().unwrap().chunks.clear();
    cluster.nodes[0].has_disks(&[999]);
    cluster.register(0).await.unwrap();
    seconds(&mut cluster, 5, &[0, 1, 2]).await;
    assert_eq!(good(&mut cluster).await, vec![vec![1, 2]; 5]);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_cannot_be_made_leaves_no_trace_and_is_tried_again() {
    let (mut cluster, blob) = cluster(repairs(), 1, 1).await;
    for node in [0, 2] {
        cluster.nodes[node].state.lock().unwrap().copies_nothing = true;
    }
    report(&mut cluster, ChunkId::new(blob, 0), 0).await;
    seconds(&mut cluster, 5, &[0, 1, 2]).await;
    assert_eq!(good(&mut cluster).await, [vec![1]]);
    assert_eq!(cluster.audited().await, Vec::<String>::new());
    cluster.nodes[2].state.lock().unwrap().copies_nothing = false;
    seconds(&mut cluster, 5, &[0, 1, 2]).await;
    assert_eq!(good(&mut cluster).await, [vec![1, 2]]);
}

#[tokio::test(start_paused = true)]
async fn where_one_node_makes_no_copy_another_one_does() {
    let (mut cluster, blob) = cluster(repairs(), 1, 2).await;
    // The emptier one is chosen first.
    cluster.nodes[3].state.lock().unwrap().used = CAPACITY / 16;
    cluster.nodes[2].state.lock().unwrap().copies_nothing = true;
    report(&mut cluster, ChunkId::new(blob, 0), 0).await;
    seconds(&mut cluster, 3, &[0, 1, 2, 3]).await;
    assert_eq!(good(&mut cluster).await, [vec![1, 3]]);
    assert_eq!(cluster.audited().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_stray_of_a_chunk_that_is_short_is_kept() {
    let (mut cluster, blob) = cluster(Config { repair_rate: 0, ..repairs() }, 1, 1).await;
    let chunk = ChunkId::new(blob, 0);
    report(&mut cluster, chunk, 0).await;
    cluster.nodes[2].state.lock().unwrap().chunks.insert(chunk);
    seconds(&mut cluster, 5, &[0, 1, 2]).await;
    assert!(cluster.nodes[2].state.lock().unwrap().chunks.contains(&chunk), "it may be the last");
    assert_eq!(good(&mut cluster).await, [vec![1]]);
}

#[tokio::test(start_paused = true)]
async fn where_all_copies_were_found_bad_they_are_tried_and_proven_by_who_copies_them() {
    let (mut cluster, blob) = cluster(repairs(), 1, 1).await;
    cluster.nodes[2].state.lock().unwrap().copies_nothing = true;
    for node in [0, 1] {
        cluster.nodes[node].state.lock().unwrap().copies_nothing = true;
        report(&mut cluster, ChunkId::new(blob, 0), node).await;
    }
    seconds(&mut cluster, 5, &[0, 1, 2]).await;
    assert_eq!((copied(&cluster), good(&mut cluster).await), (0, vec![vec![]]), "none was whole");
    for node in 0..3 {
        cluster.nodes[node].state.lock().unwrap().copies_nothing = false;
    }
    seconds(&mut cluster, 5, &[0, 1, 2]).await;
    assert_eq!(good(&mut cluster).await[0].len(), 2);
    assert_eq!(cluster.audited().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_stray_stays_where_the_named_copy_that_is_read_for_its_sake_is_bad() {
    let (mut cluster, blob) = cluster(Config { repair_rate: 0, ..repairs() }, 1, 1).await;
    let chunk = ChunkId::new(blob, 0);
    // Nobody has noticed that both have lost it.
    for node in [0, 1] {
        cluster.nodes[node].state.lock().unwrap().chunks.clear();
    }
    cluster.nodes[2].state.lock().unwrap().chunks.insert(chunk);
    seconds(&mut cluster, 10, &[0, 1, 2]).await;
    assert!(cluster.nodes[2].state.lock().unwrap().chunks.contains(&chunk), "it is the last");
    assert_eq!(good(&mut cluster).await, [vec![1]], "what was found is noted");
}

#[tokio::test(start_paused = true)]
async fn a_stray_stays_while_no_node_that_is_named_answers() {
    let (mut cluster, blob) = cluster(Config { repair_rate: 0, ..repairs() }, 1, 1).await;
    let chunk = ChunkId::new(blob, 0);
    let cut_off = |cluster: &Cluster, cut_off| {
        for node in [0, 1] {
            cluster.nodes[node].state.lock().unwrap().cut_off = cut_off;
        }
    };
    cut_off(&cluster, true);
    cluster.nodes[2].state.lock().unwrap().chunks.insert(chunk);
    seconds(&mut cluster, 5, &[0, 1, 2]).await;
    assert!(cluster.nodes[2].state.lock().unwrap().chunks.contains(&chunk));
    cut_off(&cluster, false);
    seconds(&mut cluster, 5, &[0, 1, 2]).await;
    assert!(cluster.nodes[2].state.lock().unwrap().chunks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn strays_go_as_fast_as_other_nodes_are_to_read_for_their_sake() {
    // A small chunk counts as 64 KiB: one a second from each of two nodes.
    let config = Config { repair_rate_per_node: 4 * (64 << 10), ..repairs() };
    let (mut cluster, blob) = cluster(config, 40, 1).await;
    let strays = (0..40).map(|index| ChunkId::new(blob, index));
    cluster.nodes[2].state.lock().unwrap().chunks.extend(strays);
    seconds(&mut cluster, 10, &[0, 1, 2]).await;
    let left = cluster.nodes[2].state.lock().unwrap().chunks.len();
    assert!((15..=30).contains(&left), "{left}");
    seconds(&mut cluster, 60, &[0, 1, 2]).await;
    assert!(cluster.nodes[2].state.lock().unwrap().chunks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_order_to_delete_a_stray_that_arrives_late_does_not_meet_a_copy_that_was_made_anew() {
    let (mut cluster, blob) = cluster(repairs(), 1, 1).await;
    let chunk = ChunkId::new(blob, 0);
    cluster.nodes[2].state.lock().unwrap().chunks.insert(chunk);
    seconds(&mut cluster, 3, &[0, 1, 2]).await;
    assert!(cluster.nodes[2].state.lock().unwrap().chunks.is_empty(), "the stray is swept");
    report(&mut cluster, chunk, 0).await;
    seconds(&mut cluster, 5, &[0, 1, 2]).await;
    assert_eq!(good(&mut cluster).await, [vec![1, 2]]);
    let node = cluster.nodes[2].clone();
    let late = node.state.lock().unwrap().orders.clone();
    assert_eq!(late.len(), 1);
    for order in late {
        Chunks::delete(&node, Request::new(order)).await.unwrap();
    }
    assert!(node.state.lock().unwrap().chunks.contains(&chunk));
}

#[tokio::test(start_paused = true)]
async fn with_a_rate_of_nothing_nothing_is_repaired() {
    let (mut cluster, blob) = cluster(Config { repair_rate: 0, ..repairs() }, 1, 1).await;
    report(&mut cluster, ChunkId::new(blob, 0), 0).await;
    seconds(&mut cluster, 5, &[0, 1, 2]).await;
    assert_eq!((copied(&cluster), good(&mut cluster).await), (0, vec![vec![1]]));
}

#[tokio::test(start_paused = true)]
async fn copies_are_made_at_the_rate_that_is_set() {
    let config = Config { repair_rate: CHUNK / 2, ..repairs() };
    let (mut cluster, _) = cluster(config, 20, 1).await;
    cluster.nodes[0].has_disks(&[999]);
    cluster.register(0).await.unwrap();
    seconds(&mut cluster, 21, &[0, 1, 2]).await;
    let made = copied(&cluster);
    assert!((8..=12).contains(&made), "a chunk in two seconds, not {made} in 21");
    seconds(&mut cluster, 25, &[0, 1, 2]).await;
    assert_eq!(copied(&cluster), 20);
}

/// A file of one chunk on the first two of three nodes, in a store whose crashes keep what was not synced, or do not.
async fn on_store(keeps: bool) -> (SimulatedStore, Cluster, ChunkId) {
    let store = SimulatedStore::new(move |below| if keeps { below - 1 } else { 0 });
    let dial = Arc::new(LocalDial::new(Arc::new(NetworkDial::tcp(1))));
    let mut cluster = Cluster::on(repairs(), store.open(), dial, 1).await;
    for zone in ["a", "b"] {
        cluster.add_node(zone).await;
    }
    let kept = cluster.put("kept", CHUNK).await.unwrap();
    cluster.add_node("c").await;
    let chunk = ChunkId::new(BlobId::from_slice(&kept.blob).unwrap(), 0);
    (store, cluster, chunk)
}

/// The next master, on what the store has.
async fn next_life(store: &SimulatedStore, before: Cluster) -> Cluster {
    before.master.stop();
    let mut next = Cluster::on(repairs(), store.open(), before.dial, 2).await;
    next.nodes = before.nodes;
    next
}

#[tokio::test(start_paused = true)]
async fn what_counts_as_repaired_is_so_after_a_crash() {
    let (store, mut cluster, _) = on_store(false).await;
    // No stray is left there: to name that would be synced, and everything before it.
    cluster.nodes[0].state.lock().unwrap().chunks.clear();
    cluster.nodes[0].has_disks(&[999]);
    cluster.register(0).await.unwrap();
    seconds(&mut cluster, 3, &[0, 1, 2]).await;
    assert_eq!(good(&mut cluster).await, [vec![1, 2]]);
    store.crash();
    let mut cluster = next_life(&store, cluster).await;
    assert_eq!(good(&mut cluster).await, [vec![1, 2]]);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_was_begun_and_is_needed_no_more_is_forgotten_and_swept() {
    let (store, mut cluster, chunk) = on_store(true).await;
    for _ in 0..105 {
        // Two changes in one second are a begin and its finish: it dies when the copy is made, and before that is written down.
        store.die(Death { at: store.changes() + 2, happened: false });
        Clock::system().sleep(SECOND).await;
        // The master may be dead by now.
        let _ = (cluster.beat(1).await, cluster.beat(2).await);
    }
    // What is left of the plan must not strike the next life.
    store.die(Death { at: u64::MAX, happened: false });
    assert!(cluster.nodes[2].state.lock().unwrap().chunks.contains(&chunk), "the copy is there");
    let mut cluster = next_life(&store, cluster).await;
    report(&mut cluster, chunk, 2).await;
    seconds(&mut cluster, 5, &[0, 1, 2]).await;
    assert_eq!(good(&mut cluster).await, [vec![0, 1]]);
    assert!(cluster.nodes[2].state.lock().unwrap().chunks.is_empty(), "nobody names it");
    assert_eq!(cluster.audited().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_stray_of_a_chunk_that_is_short_is_not_deleted() {
    let (mut cluster, blob) = cluster(Config { repair_rate: 0, ..repairs() }, 2, 1).await;
    let (short, whole) = (ChunkId::new(blob, 0), ChunkId::new(blob, 1));
    report(&mut cluster, short, 0).await;
    cluster.nodes[2].state.lock().unwrap().chunks.extend([short, whole]);
    seconds(&mut cluster, 5, &[0, 1, 2]).await;
    let left: Vec<_> = cluster.nodes[2].state.lock().unwrap().chunks.iter().copied().collect();
    assert_eq!(left, [short], "it may be the last good copy");
}

#[tokio::test(start_paused = true)]
async fn lost_copies_are_named_until_there_are_others_whatever_waits_to_be_deleted() {
    let config = Config { repair_rate: CHUNK / 4, ..repairs() };
    let (mut cluster, blob) = cluster(config, 2, 2).await;
    let second = ChunkId::new(blob, 1);
    cluster.nodes[3].state.lock().unwrap().chunks.insert(second);
    seconds(&mut cluster, 3, &[0, 1, 2, 3]).await;
    assert!(cluster.nodes[3].state.lock().unwrap().chunks.is_empty(), "the stray is swept");
    cluster.nodes[0].has_disks(&[999]);
    cluster.register(0).await.unwrap();
    seconds(&mut cluster, 2, &[0, 1, 2, 3]).await;
    // The first chunk has its copy; while the second one waits for its turn, its other copy goes bad as well.
    assert_eq!(copied(&cluster), 1);
    report(&mut cluster, second, 1).await;
    for _ in 0..12 {
        seconds(&mut cluster, 1, &[0, 1, 2, 3]).await;
        let listed = cluster.admin.list_chunks(v1::ListChunksRequest::default()).await.unwrap();
        for chunk in listed.into_inner().chunks {
            assert!(chunk.good.len() + chunk.bad.len() >= 2, "{chunk:?}");
        }
    }
    let whole = good(&mut cluster).await;
    assert!(whole.iter().all(|nodes| nodes.len() == 2), "{whole:?}");
    assert_eq!(cluster.audited().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn copies_that_share_a_zone_are_spread_once_there_is_another_one() {
    let mut cluster = Cluster::with(repairs(), &["a", "a"]).await;
    cluster.put("kept", 3 * CHUNK).await.unwrap();
    cluster.add_node("b").await;
    seconds(&mut cluster, 6, &[0, 1, 2]).await;
    let spread = good(&mut cluster).await;
    assert!(spread.iter().all(|nodes| nodes.len() == 2 && nodes.contains(&2)), "{spread:?}");
    assert_eq!(cluster.audited().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_emptier_node_gets_its_share_at_the_rate_that_is_set_and_then_nothing_moves() {
    const CHUNKS: u64 = 40;
    let config = Config { rebalance_rate: 2 * CHUNK, ..repairs() };
    let (mut cluster, _) = cluster(config, CHUNKS, 1).await;
    let mut moved_in_a_second = Vec::new();
    for _ in 0..60 {
        let before = copied(&cluster);
        for node in &cluster.nodes {
            let mut state = node.state.lock().unwrap();
            state.used = state.chunks.len() as u64 * (CAPACITY / (2 * CHUNKS));
        }
        seconds(&mut cluster, 1, &[0, 1, 2]).await;
        moved_in_a_second.push(copied(&cluster) - before);
        assert!(good(&mut cluster).await.iter().all(|nodes| nodes.len() >= 2));
    }
    assert!(moved_in_a_second.iter().all(|moved| *moved <= 3), "{moved_in_a_second:?}");
    let held: Vec<_> =
        cluster.nodes.iter().map(|node| node.state.lock().unwrap().chunks.len()).collect();
    assert_eq!(held.iter().sum::<usize>(), 80);
    assert!(held.iter().all(|held| (20..=34).contains(held)), "{held:?}");
    assert_eq!(moved_in_a_second[50..], [0; 10], "it is even enough");
    assert_eq!(cluster.audited().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_moved_into_a_zone_that_has_a_copy() {
    let mut cluster = Cluster::with(repairs(), &["a", "b"]).await;
    cluster.put("kept", 10 * CHUNK).await.unwrap();
    for (node, used) in [(0, CAPACITY / 2), (1, CAPACITY / 3)] {
        cluster.nodes[node].state.lock().unwrap().used = used;
        cluster.beat(node).await.unwrap();
    }
    cluster.add_node("b").await;
    seconds(&mut cluster, 20, &[0, 1, 2]).await;
    assert_eq!(copied(&cluster), 0, "the fullest node is the only one of its zone");
}

#[tokio::test(start_paused = true)]
async fn no_copy_is_given_up_for_the_sake_of_one_that_is_not_there() {
    let (mut cluster, blob) = cluster(repairs(), 1, 1).await;
    let chunk = ChunkId::new(blob, 0);
    // Nobody has noticed that node 1 has lost it.
    cluster.nodes[1].state.lock().unwrap().chunks.clear();
    let node_id = cluster.nodes[0].id_bytes();
    cluster.admin.drain_node(v1::DrainNodeRequest { node_id }).await.unwrap();
    for _ in 0..10 {
        seconds(&mut cluster, 1, &[0, 1, 2]).await;
        let there =
            |node: &usize| cluster.nodes[*node].state.lock().unwrap().chunks.contains(&chunk);
        let there: Vec<_> = (0..3).filter(there).collect();
        assert!(there.len() >= 2 || there.contains(&0), "{there:?}");
    }
    assert_eq!(good(&mut cluster).await, [vec![1, 2]]);
    assert_eq!(cluster.audited().await, Vec::<String>::new());
}
