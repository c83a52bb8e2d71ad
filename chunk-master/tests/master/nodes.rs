//! Which nodes a master takes.

use bytes::Bytes;
use cairn_proto::Reason;
use uuid::Uuid;

use crate::cluster::{Cluster, id, reason};

#[tokio::test(start_paused = true)]
async fn a_node_of_another_catalog_is_refused_so_that_its_chunks_are_no_orphans() {
    let mut cluster = Cluster::small().await;
    let ours = cluster.register_in(0, Bytes::new()).await.unwrap();
    assert_eq!(cluster.register_in(0, ours.clone()).await.unwrap(), ours);
    let theirs = id(Uuid::from_u128(1234));
    assert_eq!(reason(cluster.register_in(1, theirs).await), Reason::ForeignCatalog);
}
