//! Placement over the service.

use std::collections::BTreeMap;

use cairn_proto::v1;

use crate::cluster::{CHUNK, Cluster, config};

#[tokio::test(start_paused = true)]
async fn a_thousand_chunks_on_six_nodes_in_three_zones_never_share_a_zone_and_fill_evenly() {
    let mut cluster = Cluster::with(config(), &["a", "b", "c", "a", "b", "c"]).await;
    let upload = cluster.begin("a", Some(1000 * CHUNK)).await.unwrap();
    let zones: BTreeMap<_, _> =
        cluster.nodes.iter().map(|n| (n.id_bytes(), n.zone.clone())).collect();
    let mut placed: BTreeMap<_, u64> = BTreeMap::new();
    for first in (0..1000).step_by(10) {
        let indices: Vec<u32> = (first..first + 10).collect();
        let answer = cluster.allocate(&upload, 0, &indices).await.unwrap();
        for chunk in answer.placements {
            assert_eq!(chunk.places.len(), 2);
            let [one, two] = [&chunk.places[0].node_id, &chunk.places[1].node_id];
            assert_ne!(zones[one], zones[two]);
            for place in &chunk.places {
                *placed.entry(place.node_id.clone()).or_default() += 1;
            }
        }
    }
    let (least, most) = (placed.values().min().unwrap(), placed.values().max().unwrap());
    assert!(placed.len() == 6 && (most - least) * 10 <= *most, "{placed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_replacement_avoids_holders_and_failed_nodes_and_prefers_another_zone() {
    let mut cluster = Cluster::with(config(), &["a", "a", "b", "b"]).await;
    let upload = cluster.begin("a", Some(10)).await.unwrap();
    let want = v1::ChunkWant {
        index: 0,
        length: 10,
        copies: 1,
        holders: vec![cluster.nodes[0].id_bytes()],
        failed: vec![cluster.nodes[2].id_bytes()],
    };
    let request =
        v1::AllocateChunksRequest { upload_id: upload.id, wants: vec![want], ..Default::default() };
    let answer = cluster.client.allocate_chunks(request).await.unwrap().into_inner();
    assert_eq!(answer.placements[0].places[0].node_id, cluster.nodes[3].id_bytes());
}
