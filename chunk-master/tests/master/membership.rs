//! Nodes are emptied and removed, one at a time; nothing is lost, and nothing is said to be safe that is not.

use std::time::Duration;

use cairn_chunk_master::Config;
use cairn_proto::{Reason, RemoteError, v1};
use cairn_runtime::Clock;

use crate::cluster::{CHUNK, Cluster, Upload, config};
use crate::judging::tell;

const SECOND: Duration = Duration::from_secs(1);

fn repairs() -> Config {
    Config { sweep_every: SECOND, repair_after: 60 * SECOND, ..config() }
}

async fn drain(cluster: &mut Cluster, node: usize) -> v1::NodeLeft {
    let node_id = cluster.nodes[node].id_bytes();
    let drained = cluster.admin.drain_node(v1::DrainNodeRequest { node_id }).await.unwrap();
    drained.into_inner().left.unwrap()
}

async fn left(cluster: &mut Cluster, node: usize) -> v1::NodeLeft {
    let node_id = cluster.nodes[node].id_bytes();
    let left = cluster.admin.get_node_left(v1::GetNodeLeftRequest { node_id }).await.unwrap();
    left.into_inner().left.unwrap()
}

async fn remove(cluster: &mut Cluster, node: usize) -> Result<(), RemoteError> {
    let node_id = cluster.nodes[node].id_bytes();
    Ok(cluster.admin.remove_node(v1::RemoveNodeRequest { node_id }).await.map(drop)?)
}

async fn seconds(cluster: &mut Cluster, seconds: u32, heard: &[usize]) {
    let clock = Clock::system();
    for _ in 0..seconds {
        clock.sleep(SECOND).await;
        for &node in heard {
            cluster.beat(node).await.unwrap();
        }
    }
}

async fn good(cluster: &mut Cluster) -> Vec<usize> {
    let listed = cluster.admin.list_chunks(v1::ListChunksRequest::default()).await.unwrap();
    listed.into_inner().chunks.iter().map(|chunk| chunk.good.len()).collect()
}

/// The nodes that one more chunk of an upload is to go to.
async fn given_to(cluster: &mut Cluster, upload: &Upload) -> Vec<usize> {
    let allocated = cluster.allocate(upload, CHUNK, &[1]).await.unwrap();
    let place = |place: &v1::Place| {
        cluster.nodes.iter().position(|node| node.id_bytes() == place.node_id).unwrap()
    };
    allocated.placements[0].places.iter().map(place).collect()
}

#[tokio::test(start_paused = true)]
async fn a_node_is_drained_and_removed_while_all_copies_stay_good() {
    let mut cluster = Cluster::with(repairs(), &["a", "b"]).await;
    cluster.put("kept", 5 * CHUNK).await.unwrap();
    cluster.add_node("c").await;
    let before = drain(&mut cluster, 0).await;
    assert_eq!((before.copies, before.safe_to_remove), (5, false));
    assert_eq!(remove(&mut cluster, 0).await.unwrap_err().reason, Reason::NodeNeeded);
    for _ in 0..5 {
        seconds(&mut cluster, 1, &[0, 1, 2]).await;
        assert!(good(&mut cluster).await.iter().all(|good| *good >= 2));
    }
    let after = left(&mut cluster, 0).await;
    assert_eq!((after.copies, after.uploads, after.safe_to_remove), (0, 0, true));
    remove(&mut cluster, 0).await.unwrap();
    assert!(cluster.nodes[0].state.lock().unwrap().chunks.is_empty(), "what it gave up is deleted");
    assert_eq!(good(&mut cluster).await, [2; 5]);
    assert_eq!(cluster.audited().await, Vec::<String>::new());
    let listed = cluster.admin.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner();
    assert_eq!(listed.nodes.len(), 2);
    assert_eq!(cluster.register(0).await.unwrap_err().reason, Reason::NodeRemoved);
    assert_eq!(cluster.beat(0).await.unwrap_err().reason, Reason::NodeUnknown);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_dead_is_drained_from_the_other_copies() {
    let mut cluster = Cluster::with(repairs(), &["a", "b"]).await;
    cluster.put("kept", 5 * CHUNK).await.unwrap();
    cluster.add_node("c").await;
    seconds(&mut cluster, 40, &[1, 2]).await;
    drain(&mut cluster, 0).await;
    seconds(&mut cluster, 5, &[1, 2]).await;
    assert!(left(&mut cluster, 0).await.safe_to_remove);
    remove(&mut cluster, 0).await.unwrap();
    assert_eq!(good(&mut cluster).await, [2; 5]);
    assert_eq!(cluster.audited().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_needed_for_the_copies_is_never_safe_to_remove() {
    let mut cluster = Cluster::with(repairs(), &["a", "b"]).await;
    cluster.put("kept", 2 * CHUNK).await.unwrap();
    drain(&mut cluster, 0).await;
    seconds(&mut cluster, 10, &[0, 1]).await;
    let left = left(&mut cluster, 0).await;
    assert_eq!((left.copies, left.safe_to_remove), (2, false));
    assert_eq!(remove(&mut cluster, 0).await.unwrap_err().reason, Reason::NodeNeeded);
    assert_eq!(good(&mut cluster).await, [2; 2], "it goes on serving");
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_was_given_the_node_keeps_it_from_being_removed() {
    let mut cluster = Cluster::with(repairs(), &["a", "b"]).await;
    let begun = cluster.begin("open", Some(CHUNK)).await.unwrap();
    cluster.add_node("c").await;
    let left_now = drain(&mut cluster, 0).await;
    assert_eq!((left_now.copies, left_now.uploads, left_now.safe_to_remove), (0, 1, false));
    assert_eq!(remove(&mut cluster, 0).await.unwrap_err().reason, Reason::NodeNeeded);
    cluster.abort(&begun).await.unwrap();
    seconds(&mut cluster, 5, &[0, 1, 2]).await;
    assert!(left(&mut cluster, 0).await.safe_to_remove);
    remove(&mut cluster, 0).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_is_removed_however_many_uploads_go_to_others() {
    let mut cluster = Cluster::with(repairs(), &["a", "b"]).await;
    let begun = cluster.begin("given the node", Some(2 * CHUNK)).await.unwrap();
    cluster.add_node("c").await;
    drain(&mut cluster, 0).await;
    for n in 0..10_001 {
        cluster.begin(&format!("{n}"), Some(1)).await.unwrap();
    }
    let needed = left(&mut cluster, 0).await;
    assert_eq!((needed.uploads, needed.more, needed.safe_to_remove), (1, false, false));
    assert_eq!(remove(&mut cluster, 0).await.unwrap_err().reason, Reason::NodeNeeded);
    // What ends may have left copies there: they are moved.
    cluster.write(&begun, 2 * CHUNK).await.unwrap();
    cluster.commit(&begun, 2 * CHUNK).await.unwrap();
    let needed = left(&mut cluster, 0).await;
    assert_eq!((needed.copies, needed.uploads, needed.safe_to_remove), (2, 0, false));
    seconds(&mut cluster, 5, &[0, 1, 2]).await;
    assert!(left(&mut cluster, 0).await.safe_to_remove);
    remove(&mut cluster, 0).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn uploads_are_told_from_the_nodes_that_they_were_given_until_they_end() {
    let mut cluster = Cluster::with(repairs(), &["a", "b", "c"]).await;
    let uploads = async |cluster: &mut Cluster| {
        let mut given = 0;
        for node in 0..3 {
            given += left(cluster, node).await.uploads;
        }
        given
    };
    let committed = cluster.begin("committed", None).await.unwrap();
    let aborted = cluster.begin("aborted", None).await.unwrap();
    for index in 3..12 {
        cluster.allocate(&aborted, u64::from(index) * CHUNK, &[index]).await.unwrap();
    }
    assert_eq!(uploads(&mut cluster).await, 6, "each was given all of them");
    assert_eq!(cluster.audited().await, Vec::<String>::new());
    cluster.abort(&aborted).await.unwrap();
    assert_eq!(uploads(&mut cluster).await, 3);
    let receipt = cluster.store(&committed, 0, 1);
    let _refused = cluster.confirm(&committed, vec![receipt]).await.unwrap();
    cluster.commit(&committed, 1).await.unwrap();
    assert_eq!(uploads(&mut cluster).await, 0);
    assert_eq!(cluster.audited().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_not_held_up_for_ever_by_a_node_in_doubt() {
    let mut cluster = Cluster::with(repairs(), &["a", "b"]).await;
    cluster.put("kept", 4 * CHUNK).await.unwrap();
    cluster.add_node("c").await;
    cluster.add_node("d").await;
    tell(&mut cluster, 1, &[(0, 3)]).await;
    drain(&mut cluster, 1).await;
    for time in (0..100).step_by(5) {
        tell(&mut cluster, 1, &[(0, 3)]).await;
        seconds(&mut cluster, 5, &[0, 1, 2, 3]).await;
        let copies = left(&mut cluster, 1).await.copies;
        assert!(time > 50 || copies == 4, "nothing is given up for the sake of node 0");
    }
    assert!(left(&mut cluster, 1).await.safe_to_remove);
    remove(&mut cluster, 1).await.unwrap();
    assert_eq!(cluster.audited().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_drained_gets_nothing_new_and_comes_back_when_it_is_let_back() {
    let mut cluster = Cluster::with(repairs(), &["a", "b", "c"]).await;
    drain(&mut cluster, 0).await;
    for n in 0..10 {
        let begun = cluster.begin(&format!("file-{n}"), Some(2 * CHUNK)).await.unwrap();
        assert!(!given_to(&mut cluster, &begun).await.contains(&0));
    }
    let node_id = cluster.nodes[0].id_bytes();
    cluster.admin.undrain_node(v1::UndrainNodeRequest { node_id }).await.unwrap();
    let mut again = 0;
    for n in 10..20 {
        let begun = cluster.begin(&format!("file-{n}"), Some(2 * CHUNK)).await.unwrap();
        again += usize::from(given_to(&mut cluster, &begun).await.contains(&0));
    }
    assert!(again > 0);
}

#[tokio::test(start_paused = true)]
async fn what_may_come_back_is_moved_as_well() {
    let mut cluster = Cluster::with(repairs(), &["a", "b"]).await;
    let kept = cluster.put("deleted", 3 * CHUNK).await.unwrap();
    cluster.delete("deleted").await.unwrap();
    cluster.add_node("c").await;
    assert_eq!(drain(&mut cluster, 0).await.copies, 3);
    seconds(&mut cluster, 6, &[0, 1, 2]).await;
    assert!(left(&mut cluster, 0).await.safe_to_remove);
    remove(&mut cluster, 0).await.unwrap();
    assert_eq!(cluster.nodes[2].holds(&kept.blob), 3);
    assert_eq!(cluster.audited().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_node_is_drained_by_the_next_master_too() {
    let mut cluster = Cluster::with(repairs(), &["a", "b"]).await;
    cluster.put("kept", 4 * CHUNK).await.unwrap();
    cluster.add_node("c").await;
    drain(&mut cluster, 0).await;
    cluster.master.stop();
    let (kv, dial, nodes) = (cluster.kv.clone(), cluster.dial.clone(), cluster.nodes.clone());
    let mut cluster = Cluster::on(repairs(), kv, dial, 2).await;
    cluster.nodes = nodes;
    seconds(&mut cluster, 8, &[0, 1, 2]).await;
    assert!(left(&mut cluster, 0).await.safe_to_remove);
    assert_eq!(good(&mut cluster).await, [2; 4]);
}

#[tokio::test(start_paused = true)]
async fn wrong_orders_are_refused_with_what_is_wrong() {
    let mut cluster = Cluster::with(repairs(), &["a", "b"]).await;
    assert_eq!(
        remove(&mut cluster, 0).await.unwrap_err().reason,
        Reason::NodeNeeded,
        "not drained"
    );
    let node_id = bytes::Bytes::from_static(&[9; 16]);
    let unknown = cluster.admin.drain_node(v1::DrainNodeRequest { node_id }).await.unwrap_err();
    assert_eq!(RemoteError::from(unknown).reason, Reason::NodeUnknown);
    let node_id = bytes::Bytes::from_static(b"node-1");
    let wrong = cluster.admin.drain_node(v1::DrainNodeRequest { node_id }).await.unwrap_err();
    assert_eq!(RemoteError::from(wrong).reason, Reason::InvalidField);
}

async fn job(cluster: &mut Cluster, name: &str) -> v1::Job {
    let listed = cluster.admin.list_jobs(v1::ListJobsRequest::default()).await.unwrap();
    listed.into_inner().jobs.into_iter().find(|job| job.name == name).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_drain_of_a_node_is_a_job_that_is_paused_resumed_and_cancelled() {
    let config = Config { repair_rate: CHUNK / 2, ..repairs() };
    let mut cluster = Cluster::with(config, &["a", "b"]).await;
    cluster.put("kept", 16 * CHUNK).await.unwrap();
    cluster.add_node("c").await;
    drain(&mut cluster, 0).await;
    let name = format!("drain/{}", cluster.nodes[0].id);
    seconds(&mut cluster, 8, &[0, 1, 2]).await;
    let begun = job(&mut cluster, &name).await;
    assert_eq!(begun.state(), v1::JobState::Running);
    assert!(begun.done > 0 && begun.left.is_some_and(|left| left > 0), "{begun:?}");
    cluster.admin.pause_job(v1::PauseJobRequest { job: name.clone() }).await.unwrap();
    // What was begun is ended.
    seconds(&mut cluster, 14, &[0, 1, 2]).await;
    let paused = left(&mut cluster, 0).await.copies;
    seconds(&mut cluster, 10, &[0, 1, 2]).await;
    assert_eq!(left(&mut cluster, 0).await.copies, paused, "nothing moves");
    cluster.admin.resume_job(v1::ResumeJobRequest { job: name.clone() }).await.unwrap();
    seconds(&mut cluster, 8, &[0, 1, 2]).await;
    assert!(left(&mut cluster, 0).await.copies < paused);
    cluster.admin.cancel_job(v1::CancelJobRequest { job: name.clone() }).await.unwrap();
    seconds(&mut cluster, 6, &[0, 1, 2]).await;
    assert_eq!(job(&mut cluster, &name).await.state(), v1::JobState::Cancelled);
    let nodes = cluster.admin.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner().nodes;
    assert!(nodes.iter().all(|node| node.state() == v1::NodeState::Up), "it is let back");
    drain(&mut cluster, 0).await;
    seconds(&mut cluster, 60, &[0, 1, 2]).await;
    assert_eq!(job(&mut cluster, &name).await.state(), v1::JobState::Done);
    assert!(left(&mut cluster, 0).await.safe_to_remove);
    assert_eq!(cluster.audited().await, Vec::<String>::new());
}
