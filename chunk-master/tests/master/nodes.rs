//! Which nodes a master takes.

use bytes::Bytes;
use cairn_proto::{Reason, v1};
use uuid::Uuid;

use crate::cluster::{CHUNK, Cluster, config, id, reason};

#[tokio::test(start_paused = true)]
async fn a_node_of_another_catalog_is_refused_so_that_its_chunks_are_no_orphans() {
    let mut cluster = Cluster::small().await;
    let ours = cluster.register_in(0, Bytes::new()).await.unwrap();
    assert_eq!(cluster.register_in(0, ours.clone()).await.unwrap(), ours);
    let theirs = id(Uuid::from_u128(1234));
    assert_eq!(reason(cluster.register_in(1, theirs).await), Reason::ForeignCatalog);
}

fn disks(node: &v1::NodeInfo) -> Vec<Bytes> {
    let status = node.status.as_ref().unwrap();
    status.disks.iter().map(|disk| disk.disk.clone()).collect()
}

async fn nodes(cluster: &mut Cluster) -> Vec<v1::NodeInfo> {
    cluster.admin.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner().nodes
}

#[tokio::test(start_paused = true)]
async fn copies_on_any_disk_of_a_node_count_and_those_on_one_that_is_gone_do_not() {
    let mut cluster = Cluster::small().await;
    cluster.nodes[0].has_disks(&[7, 8, 9]);
    assert_eq!(reason(cluster.beat(0).await), Reason::NodeUnknown, "other disks");
    cluster.register(0).await.unwrap();
    cluster.beat(0).await.unwrap();
    cluster.put("a", 6 * CHUNK).await.unwrap();
    let served = |page: v1::LocateResponse| -> Vec<usize> {
        page.chunks.iter().map(|chunk| chunk.places.len()).collect()
    };
    let page = cluster.locate("a", Bytes::new(), 0).await.unwrap();
    assert_eq!(served(page), [2; 6]);
    assert_eq!(cluster.audited().await, Vec::<String>::new());

    // The disk in the middle was replaced: what was on it is gone, the rest is there.
    cluster.nodes[0].has_disks(&[7, 10, 9]);
    assert_eq!(reason(cluster.beat(0).await), Reason::NodeUnknown);
    cluster.register(0).await.unwrap();
    let page = cluster.locate("a", Bytes::new(), 0).await.unwrap();
    assert_eq!(served(page), [2, 1, 2, 2, 1, 2]);
    let short = v1::ListShortChunksRequest::default();
    let short = cluster.admin.list_short_chunks(short).await.unwrap().into_inner().chunks;
    let short: Vec<_> = short.iter().map(|chunk| chunk.chunk.as_ref().unwrap().index).collect();
    assert_eq!(short, [1, 4]);

    let upload = cluster.begin("b", Some(1)).await.unwrap();
    let mut receipt = cluster.store(&upload, 0, 1);
    receipt.copies[0].disk = id(Uuid::from_u128(8));
    let refused = cluster.confirm(&upload, vec![receipt.clone()]).await.unwrap();
    assert_eq!(refused.len(), 1, "a receipt of the disk that is gone");
    for disk in [7, 9, 10] {
        receipt.copies[0].disk = id(Uuid::from_u128(disk));
        assert_eq!(cluster.confirm(&upload, vec![receipt.clone()]).await, Ok(vec![]), "{disk}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_order_in_which_a_node_names_its_disks_says_nothing() {
    let mut cluster = Cluster::small().await;
    cluster.nodes[0].has_disks(&[7, 8]);
    cluster.register(0).await.unwrap();
    cluster.nodes[0].has_disks(&[8, 7]);
    assert_eq!(cluster.beat(0).await, Ok(()));
    for fewer_or_more in [&[7][..], &[7, 8, 9], &[]] {
        cluster.nodes[0].has_disks(fewer_or_more);
        assert!(cluster.beat(0).await.is_err(), "{fewer_or_more:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn operators_see_how_each_disk_is_and_after_a_restart_at_least_which_there_are() {
    let mut cluster = Cluster::small().await;
    let failed = v1::DiskStatus {
        disk: id(Uuid::from_u128(8)),
        capacity: 100,
        used: 30,
        chunks: 3,
        damaged: 2,
        failed: true,
    };
    let good = v1::DiskStatus { disk: id(Uuid::from_u128(7)), capacity: 50, ..Default::default() };
    cluster.nodes[0].has_disks(&[7, 8]);
    cluster.register(0).await.unwrap();
    let told = vec![good.clone(), failed.clone()];
    let status =
        v1::NodeStatus { capacity: 150, used: 30, disks: told.clone(), ..Default::default() };
    let node_id = cluster.nodes[0].id_bytes();
    let heartbeat = v1::HeartbeatRequest { node_id, status: Some(status.clone()) };
    cluster.client.heartbeat(heartbeat).await.unwrap();
    assert_eq!(nodes(&mut cluster).await[0].status, Some(status));

    let mut again = Cluster::on(config(), cluster.kv.clone(), cluster.dial.clone(), 2).await;
    let node = &nodes(&mut again).await[0];
    assert_eq!((node.state(), disks(node)), (v1::NodeState::Joining, vec![good.disk, failed.disk]));
}
