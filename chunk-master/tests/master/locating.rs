//! Locate and what is known of copies.

use std::time::Duration;

use bytes::Bytes;
use cairn_proto::{Reason, v1};
use futures_util::StreamExt;

use crate::cluster::{CHUNK, Cluster, config, reason};

#[tokio::test(start_paused = true)]
async fn a_file_of_300_chunks_is_located_in_pages_and_a_version_is_pinned_over_a_replace() {
    let mut cluster = Cluster::small().await;
    let length = 300 * CHUNK - 24;
    cluster.put("a", length).await.unwrap();
    let mut version = Bytes::new();
    let (mut offset, mut pages, mut next) = (0, 0, Some(0));
    while let Some(from) = next {
        let page = cluster.locate("a", version.clone(), from).await.unwrap();
        assert!(page.chunks.len() <= 128);
        for chunk in &page.chunks {
            assert_eq!(chunk.offset, offset);
            assert_eq!(chunk.places.len(), 2);
            offset += chunk.length;
        }
        version = page.object.unwrap().version_id;
        next = page.next_offset;
        pages += 1;
        if pages == 1 {
            cluster.put("a", 10).await.unwrap();
        }
    }
    assert_eq!((offset, pages), (length, 3));
}

#[tokio::test(start_paused = true)]
async fn a_range_touches_only_its_chunks_and_an_empty_one_none() {
    let mut cluster = Cluster::small().await;
    cluster.put("a", 10 * CHUNK).await.unwrap();
    cluster.put("empty", 0).await.unwrap();
    let request = |key: &str, offset, length| v1::LocateRequest {
        bucket: "default".into(),
        key: key.into(),
        offset,
        length,
        ..Default::default()
    };
    for (offset, length, chunks) in [
        (0, 1, 0..1),
        (CHUNK - 1, 2, 0..2),
        (9 * CHUNK, 0, 9..10),
        (CHUNK, u64::MAX, 1..10),
        (10 * CHUNK, 5, 0..0),
        (u64::MAX, u64::MAX, 0..0),
    ] {
        let page = cluster.client.locate(request("a", offset, length)).await.unwrap().into_inner();
        let found: Vec<_> = page.chunks.iter().map(|c| c.chunk.clone().unwrap().index).collect();
        assert_eq!(found, chunks.collect::<Vec<u32>>(), "{offset} {length}");
    }
    let page = cluster.client.locate(request("empty", 0, 0)).await.unwrap().into_inner();
    assert!(page.chunks.is_empty() && page.next_offset.is_none());
    assert_eq!(reason(cluster.locate("absent", Bytes::new(), 0).await), Reason::ObjectNotFound);
}

#[tokio::test(start_paused = true)]
async fn copies_found_bad_come_last_and_down_nodes_are_left_out() {
    let mut cluster = Cluster::small().await;
    cluster.put("a", 100).await.unwrap();
    let page = cluster.locate("a", Bytes::new(), 0).await.unwrap();
    let best = page.chunks[0].places[0].node_id.clone();
    let report = v1::CopyReport {
        chunk: page.chunks[0].chunk.clone(),
        node_id: best.clone(),
        finding: v1::CopyFinding::Corrupt.into(),
    };
    let request = v1::ReportCopiesRequest { reports: vec![report], ..Default::default() };
    cluster.client.report_copies(request).await.unwrap();
    let page = cluster.locate("a", Bytes::new(), 0).await.unwrap();
    assert_eq!(page.chunks[0].places[1].node_id, best);

    let short = v1::ListShortChunksRequest::default();
    let short = cluster.admin.list_short_chunks(short).await.unwrap().into_inner();
    assert_eq!((short.chunks.len(), &short.chunks[0].bad), (1, &vec![best.clone()]));

    tokio::time::advance(Duration::from_secs(31)).await;
    let bad = cluster.nodes.iter().position(|n| n.id_bytes() == best).unwrap();
    cluster.beat(bad).await.unwrap();
    let page = cluster.locate("a", Bytes::new(), 0).await.unwrap();
    let nodes: Vec<_> = page.chunks[0].places.iter().map(|p| p.node_id.clone()).collect();
    assert_eq!(nodes, [best], "bad, but not Down");
}

#[tokio::test(start_paused = true)]
async fn chunks_are_listed_page_by_page() {
    let mut cluster = Cluster::small().await;
    cluster.put("a", 300 * CHUNK).await.unwrap();
    cluster.put("b", 5).await.unwrap();
    let open = cluster.begin("c", Some(5)).await.unwrap();
    cluster.write(&open, 5).await.unwrap();
    let (mut after, mut seen) = (None, 0);
    loop {
        let request = v1::ListChunksRequest { after, limit: 100 };
        let page = cluster.admin.list_chunks(request).await.unwrap().into_inner();
        assert!(page.chunks.iter().all(|c| c.good.len() == 2 && c.wanted == 2));
        seen += page.chunks.len();
        after = page.next_after;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, 302);
    let short = v1::ListShortChunksRequest::default();
    let short = cluster.admin.list_short_chunks(short).await.unwrap().into_inner();
    assert!(short.chunks.is_empty());
    tokio::time::advance(Duration::from_secs(31)).await;
    cluster.beat(0).await.unwrap();
    let short = v1::ListShortChunksRequest::default();
    let short = cluster.admin.list_short_chunks(short).await.unwrap().into_inner();
    assert_eq!(short.chunks.len(), 301, "the open upload's chunk is not repaired");
}

#[tokio::test(start_paused = true)]
async fn watchers_hear_all_nodes_and_then_every_change() {
    let mut cluster = Cluster::with(config(), &["a"]).await;
    let watch = cluster.client.watch_nodes(v1::WatchNodesRequest {}).await.unwrap();
    let mut watch = watch.into_inner();
    let mut next = async || {
        let nodes = watch.next().await.unwrap().unwrap().nodes;
        nodes.iter().map(v1::NodeInfo::state).collect::<Vec<_>>()
    };
    assert_eq!(next().await, [v1::NodeState::Up]);
    assert_eq!(next().await, [v1::NodeState::Suspect], "told without being asked");
    assert_eq!(next().await, [v1::NodeState::Down]);
    cluster.beat(0).await.unwrap();
    assert_eq!(next().await, [v1::NodeState::Up]);
    cluster.master.stop();
    assert!(watch.next().await.is_none(), "the stream ends with the master");
}
