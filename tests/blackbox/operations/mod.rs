//! What operators rely on: traces, metrics, and what `deploy/` holds for them.

mod deploy;
mod metrics;
mod traces;

use std::net::SocketAddr;

use crate::harness::Http;

/// All that `/metrics` says.
pub(crate) async fn scrape(port: SocketAddr) -> String {
    let answer = Http::new(port).get("/metrics").await.expect(200);
    let text = String::from_utf8(answer.body.to_vec()).expect("UTF-8");
    assert!(text.ends_with("# EOF\n"), "this is no OpenMetrics: {text}");
    text
}
