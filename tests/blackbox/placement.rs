//! Copies are spread over zones, and nodes fill alike.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};

use crate::harness::{Content, Up, hex};

const CHUNK: u64 = 1024;
const IN_ONE_FILE: u64 = 500;
const SMALL_FILES: u64 = 500;

#[tokio::test]
async fn six_nodes_in_three_zones_fill_alike_and_never_share_a_zone() {
    let up = Up::plan().nodes(6).copies(2).flag("--zones", 3).chunk_size(CHUNK).start().await;
    let http = up.edge.http();
    let large = Content::new(1, IN_ONE_FILE * CHUNK);
    http.put("/v1/files/large", large).await.expect(201);
    let small = |nth| async move {
        let content = Content::new(nth, CHUNK);
        http.put(&format!("/v1/files/{nth}"), content).await.expect(201);
    };
    stream::iter(0..SMALL_FILES).for_each_concurrent(8, small).await;

    let mut admin = up.edge.admin().await;
    let nodes = admin.nodes().await;
    let zones: BTreeMap<String, String> =
        nodes.iter().map(|node| (hex(&node.node_id), node.zone.clone())).collect();
    let distinct: BTreeSet<&String> = zones.values().collect();
    assert_eq!((zones.len(), distinct.len()), (6, 3), "{zones:?}");

    let chunks = admin.chunks().await;
    assert_eq!(chunks.len() as u64, IN_ONE_FILE + SMALL_FILES);
    let mut fill: BTreeMap<String, u64> = BTreeMap::new();
    for copies in chunks {
        assert_eq!((copies.good.len(), copies.bad.len()), (2, 0), "{copies:?}");
        let zone = |at: usize| &zones[&hex(&copies.good[at])];
        assert_ne!(zone(0), zone(1), "{copies:?}");
        for node in &copies.good {
            *fill.entry(hex(node)).or_default() += 1;
        }
    }
    let most = fill.values().max().expect("nodes");
    let least = fill.values().min().expect("nodes");
    assert_eq!(fill.len(), 6, "a node got nothing: {fill:?}");
    assert!((most - least) * 10 < *most, "differs by 10 % or more: {fill:?}");
}
