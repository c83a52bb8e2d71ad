//! What is exported, documented and used is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use cairn_proto::v1::StatChunkRequest;
use cairn_proto::v1::chunks_client::ChunksClient;

use super::deploy::expressions_of_dashboard;
use super::scrape;
use crate::harness::{Content, Parts, PartsPlan, Up, channel, eventually, workspace};

const FILE: Content = Content::new(9, 200_000);
/// A cache before a disk: tiers have metrics of their own.
const TIERS: &str = "[[tier]]\nname = 'memory'\nlru = { capacity = '16 MiB' }\n\
    store = { kind = 'memory', capacity = '64 MiB' }\n\
    [[tier]]\nname = 'disk'\nstore = { kind = 'segments', path = '.' }\n";

/// Names and types in OpenMetrics text, as series are named.
fn exported(text: &str) -> BTreeMap<String, String> {
    let declared = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let named = |line: &str| {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        (format!("{name}{suffix}"), kind.to_owned())
    };
    declared.map(named).collect()
}

/// Names and types in the tables of the page.
fn documented() -> BTreeMap<String, String> {
    let page = fs::read_to_string(workspace().join("docs/metrics.md")).expect("the page");
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split('|');
        let name = cells.next()?.trim().trim_matches('`').to_owned();
        Some((name, cells.next()?.trim().to_owned()))
    };
    page.lines().filter_map(row).collect()
}

/// Does one of everything, so that metrics with labels have something to count.
async fn exercise(parts: &Parts) {
    let http = parts.edge.http();
    http.put("/v1/files/a", FILE).await.expect(201);
    http.get("/v1/files/a").await.expect(200);
    http.request("DELETE", "/v1/files/a").answer().await.expect(204);
    parts.edge.admin().await.sweep().await;
    let mut node = ChunksClient::new(channel(parts.node_address(0)).await);
    let absent = StatChunkRequest::default();
    node.stat(absent).await.expect_err("no chunk was named");
}

async fn scraped(parts: &Parts) -> String {
    let ports = [parts.gateway_admin().await, parts.edge.admin, parts.node_address(0)];
    let mut all = String::new();
    for port in ports {
        all += &scrape(port).await;
    }
    all
}

/// Waits for the first round of the census as well.
async fn cluster() -> (Parts, String) {
    let parts = PartsPlan::new(2, 2).chunk_size(64 << 10).node_file(TIERS).start().await;
    exercise(&parts).await;
    let text = eventually(60, "the census has gone round", async || {
        let text = scraped(&parts).await;
        let round = text.lines().any(|line| line == "cairn_master_census_rounds_total 0");
        if round { Err("no round yet".to_owned()) } else { Ok(text) }
    })
    .await;
    (parts, text)
}

#[tokio::test]
async fn each_exported_metric_is_documented_and_each_documented_one_is_exported() {
    let (_parts, text) = cluster().await;
    let (exported, documented) = (exported(&text), documented());
    assert!(documented.len() > 50, "the tables are read: {documented:?}");
    let names = |map: &BTreeMap<String, String>| map.keys().cloned().collect::<BTreeSet<_>>();
    let (is, says) = (names(&exported), names(&documented));
    assert_eq!(is.difference(&says).collect::<Vec<_>>(), Vec::<&String>::new(), "undocumented");
    assert_eq!(says.difference(&is).collect::<Vec<_>>(), Vec::<&String>::new(), "not exported");
    for (name, kind) in exported {
        assert_eq!(documented[&name], kind, "the type of {name}");
    }
}

/// Names of metrics in an expression: what recording rules make has a colon.
fn named_in(expression: &str) -> Vec<String> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
    let words = expression.split(|letter| !is_name(letter));
    let ours = |word: &&str| {
        ["cairn_", "cairn:", "process_"].iter().any(|prefix| word.starts_with(prefix))
    };
    words.filter(ours).map(str::to_owned).collect()
}

#[tokio::test]
async fn dashboard_and_rules_name_only_what_is_exported() {
    let (_parts, text) = cluster().await;
    let exported = exported(&text);
    let rules = fs::read_to_string(workspace().join("deploy/prometheus/rules.yml")).expect("rules");
    let recorded: BTreeSet<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- record: "))
        .map(str::to_owned)
        .collect();
    let adapter = workspace().join("deploy/kubernetes/prometheus-adapter.yaml");
    let adapter = fs::read_to_string(adapter).expect("the adapter's rules");
    let asked_by_adapter = named_in(&adapter);
    let asked_by_adapter = asked_by_adapter.iter().filter(|name| !name.ends_with("_ratio"));
    let mut used: BTreeSet<_> = asked_by_adapter.cloned().collect();
    used.extend(named_in(&rules));
    used.extend(expressions_of_dashboard().iter().flat_map(|expression| named_in(expression)));
    assert!(used.len() > 50, "the expressions are read: {used:?}");
    for name in used {
        let series = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let histogram =
            series.is_some_and(|base| exported.get(base).is_some_and(|kind| kind == "histogram"));
        let known = exported.contains_key(&name) || histogram || recorded.contains(&name);
        assert!(known, "nothing exports or records {name}");
    }
}

#[tokio::test]
async fn a_request_leaves_its_traces_in_the_numbers() {
    let up = Up::plan().chunk_size(64 << 10).start().await;
    let http = up.edge.http();
    http.put("/v1/files/a", FILE).await.expect(201);
    http.get("/v1/files/a").await.expect(200);
    http.get("/v1/files/absent").await.expect(404);
    http.request("BREW", "/v1/teapot/1").answer().await;
    http.request("HEAD", "/v1/files/a").answer().await.expect(200);
    let of = |method: &str, route: &str, status: u16| {
        format!(
            "cairn_requests_total{{service=\"gateway\",method=\"{method}\",route=\"{route}\",status=\"{status}\"}} 1"
        )
    };
    let wanted = [
        of("PUT", "/v1/files/{key}", 201),
        of("GET", "/v1/files/{key}", 200),
        of("GET", "/v1/files/{key}", 404),
        of("HEAD", "/v1/files/{key}", 200),
        of("other", "other", 404),
        "cairn_gateway_upload_bytes_total 200000".to_owned(),
        "cairn_gateway_download_bytes_total 200000".to_owned(),
        "cairn_gateway_downloads_total{outcome=\"done\"} 1".to_owned(),
        "cairn_gateway_open_uploads 0".to_owned(),
        "cairn_gateway_open_downloads 0".to_owned(),
        "cairn_gateway_budget_limit_bytes{budget=\"upload\"} 134217728".to_owned(),
        "cairn_gateway_budget_used_bytes{budget=\"upload\"} 0".to_owned(),
        "cairn_gateway_budget_used_bytes{budget=\"download\"} 0".to_owned(),
        "cairn_request_body_bytes_total{service=\"gateway\"} 200000".to_owned(),
        "cairn_master_nodes{state=\"up\"} 3".to_owned(),
    ];
    eventually(60, "all requests are counted", async || {
        let text = scrape(up.edge.admin).await;
        match wanted.iter().find(|line| !text.lines().any(|there| there == line.as_str())) {
            None => Ok(()),
            Some(missing) => Err(format!("no {missing}\n{text}")),
        }
    })
    .await;
}
