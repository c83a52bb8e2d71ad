//! How nodes are judged: silence, returns, and what gateways say.

use std::time::Duration;

use bytes::Bytes;
use cairn_kv::Kv;
use cairn_proto::v1;
use cairn_proto::v1::NodeDoubt::{Unreached, Unspecified, Unsteady};
use cairn_proto::v1::NodeState::{self, Down, Joining, Suspect, Up};
use tokio::time::advance;
use uuid::Uuid;

use crate::cluster::{CHUNK, Cluster, config, id};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

async fn judged(cluster: &mut Cluster) -> Vec<(NodeState, v1::NodeDoubt)> {
    let listed = cluster.admin.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner();
    listed.nodes.iter().map(|node| (node.state(), node.doubt())).collect()
}

async fn states(cluster: &mut Cluster) -> Vec<NodeState> {
    judged(cluster).await.into_iter().map(|(state, _)| state).collect()
}

/// Six nodes in one zone: enough for two copies, whomever the master doubts.
async fn six() -> Cluster {
    Cluster::with(config(), &["a"; 6]).await
}

/// Time passes second by second; the nodes that `live` says are heard.
async fn pass(cluster: &mut Cluster, time: u64, live: impl Fn(usize) -> bool) {
    for _ in 0..time {
        advance(seconds(1)).await;
        for n in (0..cluster.nodes.len()).filter(|n| live(*n)) {
            cluster.beat(n).await.unwrap();
        }
    }
}

/// The nodes that are chosen for the first chunks of a new file.
async fn chosen(cluster: &mut Cluster, key: &str) -> Vec<Bytes> {
    let request = cluster.begin_request(key, Some(20 * CHUNK));
    let answer = cluster.client.begin_upload(request).await.unwrap().into_inner();
    assert!(!answer.placements.is_empty());
    let places = answer.placements.into_iter().flat_map(|chunk| chunk.places);
    places.map(|place| place.node_id).collect()
}

/// A gateway tells of calls to nodes that did not come through.
pub(crate) async fn tell(cluster: &mut Cluster, gateway: u128, unreached: &[(usize, u32)]) {
    let calls = unreached.iter().map(|&(n, unreached)| v1::NodeCalls {
        node_id: cluster.nodes[n].id_bytes(),
        reached: 0,
        unreached,
    });
    let request = v1::ReportCopiesRequest {
        reports: Vec::new(),
        gateway_id: id(Uuid::from_u128(gateway)),
        calls: calls.collect(),
    };
    cluster.client.report_copies(request).await.unwrap();
}

/// Some other master begins on the same store: after a restart, or beside the one that has the duties.
async fn another_master(cluster: &Cluster, life: u32) -> Cluster {
    let kv: Kv = cluster.kv.clone();
    let mut other = Cluster::on(config(), kv, cluster.dial.clone(), life).await;
    other.nodes = cluster.nodes.clone();
    other
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_of_the_master_nobody_is_down_before_a_full_timeout() {
    let mut cluster = Cluster::small().await;
    cluster.put("a", 3 * CHUNK).await.unwrap();
    // Both nodes were silent for nearly as long as it takes, when the master dies.
    advance(seconds(29)).await;
    cluster.master.stop();
    let mut cluster = another_master(&cluster, 2).await;
    advance(seconds(29)).await;
    assert_eq!(states(&mut cluster).await, [Joining; 2]);
    let page = cluster.locate("a", Bytes::new(), 0).await.unwrap();
    assert!(page.chunks.iter().all(|chunk| chunk.places.len() == 2), "they may live");
    cluster.beat(0).await.unwrap();
    advance(seconds(2)).await;
    assert_eq!(states(&mut cluster).await, [Up, Down]);
}

#[tokio::test(start_paused = true)]
async fn a_master_that_takes_over_counts_from_its_own_start_and_calls_nobody_down_before() {
    let mut first = Cluster::small().await;
    first.put("a", CHUNK).await.unwrap();
    advance(seconds(28)).await;
    let mut second = another_master(&first, 2).await;
    advance(seconds(4)).await;
    assert_eq!(states(&mut first).await, [Down; 2]);
    assert_eq!(states(&mut second).await, [Joining; 2]);
    first.master.stop();
    advance(seconds(20)).await;
    assert_eq!(states(&mut second).await, [Joining; 2]);
    second.beat(1).await.unwrap();
    advance(seconds(7)).await;
    assert_eq!(states(&mut second).await, [Down, Suspect]);
}

#[tokio::test(start_paused = true)]
async fn a_node_toggled_every_10_seconds_gets_no_new_chunks_until_it_was_steady_for_the_hold() {
    let mut cluster = six().await;
    let toggled = cluster.nodes[0].id_bytes();
    for round in 1..=15 {
        pass(&mut cluster, 10, |n| n != 0).await;
        assert_eq!(states(&mut cluster).await[0], Suspect, "silent in round {round}");
        pass(&mut cluster, 10, |_| true).await;
        let expected = if round < 3 { (Up, Unspecified) } else { (Suspect, Unsteady) };
        assert_eq!(judged(&mut cluster).await[0], expected, "heard in round {round}");
        let places = chosen(&mut cluster, &format!("file {round}")).await;
        assert_eq!(places.contains(&toggled), round < 3, "chosen in round {round}");
    }
    assert_eq!(judged(&mut cluster).await[1..], [(Up, Unspecified); 5]);
    // The hold has grown to its bound, from the last return on.
    pass(&mut cluster, 580, |_| true).await;
    assert_eq!(judged(&mut cluster).await[0], (Suspect, Unsteady));
    pass(&mut cluster, 20, |_| true).await;
    assert_eq!(judged(&mut cluster).await[0], (Up, Unspecified));
    assert!(chosen(&mut cluster, "later").await.contains(&toggled));
}

#[tokio::test(start_paused = true)]
async fn an_unsteady_node_serves_and_is_used_where_there_are_too_few_others() {
    let mut cluster = Cluster::with(config(), &["a"; 3]).await;
    for _ in 0..3 {
        pass(&mut cluster, 10, |n| n != 0).await;
        pass(&mut cluster, 1, |_| true).await;
    }
    assert_eq!(judged(&mut cluster).await[0], (Suspect, Unsteady));
    // Two copies want two nodes.
    pass(&mut cluster, 10, |n| n != 1).await;
    let judged = judged(&mut cluster).await;
    assert_eq!(judged, [(Up, Unspecified), (Suspect, Unspecified), (Up, Unspecified)]);
    chosen(&mut cluster, "a").await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_gateways_cannot_reach_is_suspect_until_they_say_no_more_and_never_down() {
    let mut cluster = six().await;
    let cut_off = cluster.nodes[2].id_bytes();
    for _ in 0..10 {
        tell(&mut cluster, 1, &[(2, 1)]).await;
        tell(&mut cluster, 2, &[(2, 3)]).await;
        pass(&mut cluster, 5, |_| true).await;
        assert_eq!(judged(&mut cluster).await[2], (Suspect, Unreached));
    }
    assert!(!chosen(&mut cluster, "meanwhile").await.contains(&cut_off));
    pass(&mut cluster, 9, |_| true).await;
    assert_eq!(judged(&mut cluster).await[2], (Suspect, Unreached));
    pass(&mut cluster, 2, |_| true).await;
    assert_eq!(judged(&mut cluster).await, [(Up, Unspecified); 6]);
    assert!(chosen(&mut cluster, "later").await.contains(&cut_off));
}

#[tokio::test(start_paused = true)]
async fn what_is_read_from_a_node_in_doubt_is_read_last() {
    let mut cluster = six().await;
    cluster.put("a", 30 * CHUNK).await.unwrap();
    let doubted = cluster.nodes[0].id_bytes();
    let ranks = |page: v1::LocateResponse| -> Vec<usize> {
        let rank = |chunk: v1::ChunkLocation| {
            chunk.places.iter().position(|place| place.node_id == doubted)
        };
        page.chunks.into_iter().filter_map(rank).collect()
    };
    let before = ranks(cluster.locate("a", Bytes::new(), 0).await.unwrap());
    assert!(before.contains(&0), "{before:?}");
    tell(&mut cluster, 1, &[(0, 5)]).await;
    let after = ranks(cluster.locate("a", Bytes::new(), 0).await.unwrap());
    assert_eq!(after, vec![1; before.len()]);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_is_cut_off_itself_makes_nobody_suspect() {
    let mut cluster = six().await;
    let all: Vec<_> = (0..6).map(|n| (n, 100)).collect();
    tell(&mut cluster, 1, &all).await;
    tell(&mut cluster, 1, &all[..4]).await;
    assert_eq!(judged(&mut cluster).await, [(Up, Unspecified); 6]);
    tell(&mut cluster, 2, &[(5, 3)]).await;
    assert_eq!(judged(&mut cluster).await[5], (Suspect, Unreached), "another one's word counts");
    assert_eq!(judged(&mut cluster).await[..5], [(Up, Unspecified); 5]);
}

#[tokio::test(start_paused = true)]
async fn gateways_leave_as_many_nodes_as_there_are_copies_whatever_they_say() {
    let mut cluster = Cluster::with(config(), &["a"; 4]).await;
    tell(&mut cluster, 1, &[(0, 3), (1, 9)]).await;
    tell(&mut cluster, 2, &[(1, 3), (2, 5)]).await;
    let judged = judged(&mut cluster).await;
    let suspect: Vec<_> = (0..4).filter(|n| judged[*n].0 == Suspect).collect();
    assert_eq!(suspect, [1, 2], "the worst two, and no more");
    chosen(&mut cluster, "a").await;
}

#[tokio::test(start_paused = true)]
async fn calls_to_nodes_that_the_master_does_not_know_are_passed_over() {
    let mut cluster = six().await;
    cluster.know_node("a");
    tell(&mut cluster, 1, &[(6, 5), (0, 5)]).await;
    assert_eq!(judged(&mut cluster).await[0], (Suspect, Unreached));
}
