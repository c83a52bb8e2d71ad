//! What a gateway holds in memory does not grow with what passes through it.

use futures_util::future::join_all;

use crate::harness::{Content, PartsPlan, peak_mib};

const MIB: u64 = 1 << 20;

/// The two budgets of a gateway, 128 and 64 MiB, and what comes on top of them (ARCHITECTURE.md, "Memory").
const MOST_MIB: u64 = 128 + 64 + 128;

#[tokio::test]
async fn a_gateway_holds_its_budgets_and_not_what_passes_through_it() {
    const FILES: u64 = 10;
    const LENGTH: u64 = 64 * MIB;
    let parts = PartsPlan::new(2, 1).start().await;
    let http = parts.edge.http();
    let path = |n| format!("/v1/files/{n}");
    let files = || (0..FILES).map(|n| (path(n), Content::new(n, LENGTH)));
    let puts = files().map(async |(path, content)| http.put(&path, content).await.expect(201));
    join_all(puts).await;
    let after_uploads = peak_mib(&parts.gateway);
    assert!(
        after_uploads < MOST_MIB,
        "{after_uploads} MiB after {} of uploads",
        FILES * LENGTH / MIB
    );
    let gets = files().map(async |(path, content)| {
        let read = http.request("GET", &path).send().await.digest().await;
        assert_eq!(read, (content.length, content.sha256()), "{path}");
    });
    join_all(gets).await;
    let in_all = peak_mib(&parts.gateway);
    assert!(in_all < MOST_MIB, "{in_all} MiB, {after_uploads} before the downloads");
}
