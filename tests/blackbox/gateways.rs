//! Two gateways over one master serve the same files, and learn of nodes alike.

use std::collections::BTreeMap;

use cairn_proto::v1::NodeState;
use futures_util::future::join_all;

use crate::harness::{Answer, Content, Http, Parts, PartsPlan, Process, eventually};

const PATH: &str = "/v1/files/shared";
/// Several chunks.
const LENGTH: u64 = 700_000;

/// A cluster with two gateways.
struct Two {
    parts: Parts,
    /// Kept, because it ends when dropped.
    _second: Process,
    gateways: [Http; 2],
}

impl Two {
    async fn start(plan: PartsPlan) -> Self {
        let parts = plan.chunk_size(64 << 10).start().await;
        let (second, edge) = parts.another_gateway().await;
        let gateways = [parts.edge.http(), edge.http()];
        Self { parts, _second: second, gateways }
    }

    /// Waits until the master says that a node is Down.
    async fn until_down(&self) {
        let mut admin = self.parts.edge.admin().await;
        eventually(60, "a node is Down", async || {
            let states: Vec<_> = admin.nodes().await.iter().map(|node| node.state()).collect();
            if states.contains(&NodeState::Down) { Ok(()) } else { Err(format!("{states:?}")) }
        })
        .await;
    }
}

async fn has(gateway: Http, content: Content) {
    let answer = gateway.get(PATH).await.expect(200);
    assert!(answer.body == content.all(), "what one gateway stored, the other one serves");
}

fn names(answer: &Answer) -> Vec<String> {
    let list = answer.json();
    let files = list["files"].as_array().expect("files").iter();
    files.map(|file| file["key"].as_str().expect("a key").to_owned()).collect()
}

#[tokio::test]
async fn what_is_done_at_one_gateway_is_seen_at_the_other() {
    let two = Two::start(PartsPlan::new(3, 2)).await;
    for (one, other) in [(0, 1), (1, 0)] {
        let (one, other) = (two.gateways[one], two.gateways[other]);
        let [first, second] = [1, 2].map(|seed| Content::new(seed, LENGTH + seed));
        let stored = one.put(PATH, first).await.expect(201);
        has(other, first).await;
        let head = other.request("HEAD", PATH).answer().await.expect(200);
        assert_eq!(head.must_have("etag"), stored.must_have("etag"));
        assert_eq!(names(&other.get("/v1/files?list").await), ["shared"]);

        other.put(PATH, second).await.expect(200);
        has(one, second).await;
        one.request("DELETE", PATH).answer().await.expect(204);
        other.get(PATH).await.problem(404);
        assert!(names(&other.get("/v1/files?list").await).is_empty());
    }
    two.parts.edge.settle().await;
}

/// Sends a PUT for each content, in turn through both gateways, all at once under one condition.
async fn race(two: &Two, contents: &[Content], condition: (&str, &str)) -> Vec<Answer> {
    let put = |(nth, content): (usize, &Content)| {
        let request = two.gateways[nth % 2].request("PUT", PATH);
        request.header(condition.0, condition.1).content(*content).answer()
    };
    join_all(contents.iter().enumerate().map(put)).await
}

#[tokio::test]
async fn of_conditional_puts_through_both_gateways_exactly_one_wins() {
    let two = Two::start(PartsPlan::new(3, 2)).await;
    let mut condition = ("if-none-match", "*".to_owned());
    for round in 0..5 {
        let contents: Vec<_> = (0..8).map(|nth| Content::new(8 * round + nth, LENGTH)).collect();
        let answers = race(&two, &contents, (condition.0, &condition.1)).await;
        let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
        for answer in &answers {
            *counts.entry(answer.status).or_default() += 1;
        }
        let won = if round == 0 { 201 } else { 200 };
        assert_eq!(counts, [(won, 1), (412, 7)].into(), "round {round}");
        let winner = answers.iter().position(|answer| answer.status == won).expect("one");
        for gateway in two.gateways {
            has(gateway, contents[winner]).await;
        }
        condition = ("if-match", answers[winner].must_have("etag").to_owned());
    }
    two.parts.edge.settle().await;
    let account = two.parts.edge.admin().await.bucket_account().await;
    assert_eq!((account.used_bytes, account.used_objects), (LENGTH, 1));
}

#[tokio::test]
async fn a_node_that_was_down_is_used_again_by_both_gateways() {
    // Two copies on two nodes: a write that succeeds has used both of them.
    let plan = PartsPlan::new(2, 2)
        .master_flag("--heartbeat", "100ms")
        .master_flag("--suspect-after", "500ms")
        .master_flag("--down-after", "1s");
    let mut two = Two::start(plan).await;
    for (round, elsewhere) in [(0, false), (1, true)] {
        for (seed, gateway) in (10 * round..).zip(two.gateways) {
            gateway.put(PATH, Content::new(seed, LENGTH)).await;
            has(gateway, Content::new(seed, LENGTH)).await;
        }
        two.parts.kill_node(0);
        two.until_down().await;
        for gateway in two.gateways {
            gateway.put(PATH, Content::new(9, LENGTH)).await.problem(503);
        }
        if elsewhere {
            two.parts.start_node_elsewhere(0).await;
        } else {
            two.parts.start_node(0).await;
        }
        two.parts.all_nodes_up().await;
        let mut content = Content::new(0, 0);
        for (seed, gateway) in (10 * round + 5..).zip(two.gateways) {
            content = Content::new(seed, LENGTH);
            let answer = gateway.put(PATH, content).await.expect(200);
            assert!(answer.must_have("cairn-receipt").starts_with("copies=2; hosts=2; "));
        }
        // Only the node that returned is left to read from.
        two.parts.kill_node(1);
        for gateway in two.gateways {
            has(gateway, content).await;
        }
        two.parts.start_node(1).await;
        two.parts.all_nodes_up().await;
    }
}
