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

/// A counter of a service, added over its labels.
pub(crate) async fn counted(port: SocketAddr, name: &str) -> u64 {
    let text = scrape(port).await;
    let of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    let lines: Vec<_> = text.lines().filter(of).collect();
    assert!(!lines.is_empty(), "no {name} in {text}");
    let number = |line: &str| line.rsplit(' ').next().and_then(|word| word.parse::<u64>().ok());
    lines.into_iter().map(|line| number(line).expect("a number")).sum()
}
