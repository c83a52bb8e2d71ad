//! One test of files, over every store and through every wrapper.

use cairn_proto::v1::FlushRequest;
use cairn_proto::v1::chunks_client::ChunksClient;
use cairn_test_s3::Server;

use super::{admin, all_come_back, bucket, files, put_all, two_nodes};
use crate::harness::{Content, Parts, channel};

/// Files of all kinds of lengths are written, overwritten, read, read in part, deleted; they outlive the nodes' death;
/// the catalog and the nodes agree on every chunk.
async fn files_come_back(tiers: &str) -> Parts {
    let mut parts = two_nodes(tiers).await;
    let mut files = files(&[0, 1, 65_537, 1 << 20, (3 << 20) + 5, 40_000]);
    put_all(&parts, &files).await;
    all_come_back(&parts, &files).await;
    let http = parts.edge.http();

    let large = files[4].1;
    let part = http.request("GET", "/v1/files/f/4").header("range", "bytes=1000000-2200000");
    let part = part.answer().await.expect(206);
    assert_eq!(part.body, large.bytes(1_000_000, 2_200_001));

    files[3].1 = Content::new(99, 700_000);
    put_all(&parts, &files[3..4]).await;
    http.request("DELETE", "/v1/files/f/5").answer().await.expect(204);
    files.truncate(5);
    parts.edge.admin().await.sweep().await;

    for node in 0..2 {
        parts.kill_node(node);
    }
    for node in 0..2 {
        parts.start_node(node).await;
    }
    parts.all_nodes_up().await;
    all_come_back(&parts, &files).await;
    assert_eq!(http.get("/v1/files/f/5").await.status, 404);
    let (lines, code) = admin(&parts, "fsck").await;
    assert_eq!(code, Some(0), "{lines:?}");
    parts
}

/// Waits until every tier of every node has what it is to have.
pub(super) async fn flush(parts: &Parts) {
    for node in parts.node_addresses() {
        let mut node = ChunksClient::new(channel(node).await);
        node.flush(FlushRequest {}).await.expect("flushed");
    }
}

macro_rules! over {
    ($($title:ident: $tiers:expr;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $title() {
                files_come_back($tiers).await;
            }
        )*
    };
}

over! {
    files_come_back_from_segments_in_the_nodes_folder:
        "[[tier]]\nname = 'disk'\nstore = { kind = 'segments', path = '.' }\n";
    files_come_back_from_a_file_for_each_chunk:
        "[[tier]]\nname = 'disk'\nstore = { kind = 'files', path = 'files', mode = '0750' }\n";
    files_come_back_from_a_b_tree:
        "[[tier]]\nname = 'tree'\nstore = { kind = 'b-tree', path = 'tree/chunks' }\n";
    files_come_back_from_a_log_structured_tree:
        "[[tier]]\nname = 'log'\nstore = { kind = 'lsm', path = 'log' }\n";
    files_come_back_through_memory_with_an_lru_before_a_disk:
        "[[tier]]\nname = 'memory'\nstore = { kind = 'memory', capacity = '64 MiB' }\n\
         lru = { capacity = '16 MiB' }\n\
         [[tier]]\nname = 'disk'\nstore = { kind = 'segments', path = 'disk' }\n";
    files_come_back_through_a_traced_link_a_timeout_and_a_slow_store:
        "[[tier]]\nname = 'link'\nstore = { kind = 'nothing' }\ntraced = true\npromote = false\n\
         [[tier]]\nname = 'slow'\nstore = { kind = 'segments', path = 'slow' }\n\
         timeout = { call = '10s' }\nfaults = { delay = '2ms' }\ntraced = true\nmetered = false\n";
    files_come_back_from_a_chain_within_a_chain:
        "behind-journal = 'behind'\n\
         [[tier]]\nname = 'near'\nstore = { kind = 'segments', path = 'near' }\n\
         [[tier]]\nname = 'far'\nwrite = 'behind'\nstore.kind = 'chain'\n\
         [[tier.store.tier]]\nname = 'one'\nstore = { kind = 'segments', path = 'one' }\n\
         [[tier.store.tier]]\nname = 'two'\nstore = { kind = 'files', path = 'two' }\n";
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_back_from_a_bucket() {
    let Some(server) = Server::shared().await else { return };
    let tier = format!("[[tier]]\nname = 'bucket'\n{}", bucket(server, "").await);
    files_come_back(&tier).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_back_from_a_bucket_behind_a_disk_that_lets_go_of_them() {
    let Some(server) = Server::shared().await else { return };
    let tiers = format!(
        "behind-journal = 'behind'\n\
         [[tier]]\nname = 'disk'\nstore = {{ kind = 'segments', path = 'disk' }}\n\
         lru = {{ capacity = '16 MiB', wait = '60s' }}\n\
         [[tier]]\nname = 'bucket'\nwrite = 'behind'\n{}",
        bucket(server, "keys = 'hashed',").await
    );
    let parts = files_come_back(&tiers).await;
    let many = files(&[3 << 20; 12]);
    put_all(&parts, &many).await;
    flush(&parts).await;
    all_come_back(&parts, &many).await;
    let evicted = |line: &&str| {
        line.starts_with("cairn_node_tier_lru_evicted_total{") && line.contains("\"disk\"")
    };
    let numbers = crate::operations::scrape(parts.node_address(0)).await;
    let evicted = numbers.lines().find(evicted).expect("the disk has an LRU");
    assert!(!evicted.ends_with(" 0"), "36 MiB do not fit into 16: {evicted}");
    let (lines, code) = admin(&parts, "fsck").await;
    assert_eq!(code, Some(0), "{lines:?}");
}
