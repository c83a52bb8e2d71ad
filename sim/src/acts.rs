//! Acts that a scenario plays when its faults are over: one fault each, at the worst moment.

use std::time::Duration;

use bytes::Bytes;
use cairn_proto::v1::NodeState;
use futures_util::future::join;

use crate::client::{Client, Upload};
use crate::cluster::{Cut, MASTER};
use crate::history::Told;
use crate::operator::Operator;
use crate::scenario::Play;

/// A slow reader is in the middle of a file when the file is deleted, waits out its time and is swept: it reads to the
/// end all the same.
pub(crate) async fn a_reader_outlives_a_purge(play: &Play, operator: &Operator) -> Vec<String> {
    /// More than fits into the buffers on the way.
    const BYTES: u64 = 7 << 20;
    /// Pauses of the reader, and how long each is: together longer than a deleted file waits to be purged.
    const PAUSES: u32 = 10;
    const PAUSE: Duration = Duration::from_secs(4);
    const KEY: &str = "read-for-long";
    let writer = Client::new("writer", &play.log, &play.history);
    let upload = Upload { pause: Duration::ZERO, piece: 1 << 20, ..play.upload(BYTES) };
    if writer.put(KEY, upload).await != Told::Acknowledged {
        return vec![format!("{KEY} cannot be written after healing")];
    }
    let reader = Client::new("reader", &play.log, &play.history);
    let sweeps = async {
        play.clock.sleep(PAUSE / 2).await;
        writer.delete(KEY).await;
        for _ in 1..PAUSES {
            play.clock.sleep(PAUSE).await;
            // What it cannot do now it does in the next pass.
            let _report = operator.sweep().await;
        }
    };
    let (whole, ()) = join(reader.get_slowly(KEY, PAUSES, PAUSE), sweeps).await;
    if whole { Vec::new() } else { vec![format!("{KEY} was purged under its reader")] }
}

/// The master dies as soon as it has given its word: what it has acknowledged stands.
pub(crate) async fn the_master_dies_after_its_word(
    play: &Play,
    operator: &Operator,
) -> Vec<String> {
    const KEY: &str = "last-words";
    let client = Client::new("witness", &play.log, &play.history);
    let upload = Upload { pause: Duration::ZERO, ..play.upload(play.chunk_bytes) };
    if client.put(KEY, upload).await != Told::Acknowledged {
        return vec![format!("{KEY} cannot be written after healing")];
    }
    for step in 0..2 {
        if step == 1 {
            client.delete(KEY).await;
        }
        play.control.cut(MASTER, Cut::Killed);
        play.control.heal(MASTER, Cut::Killed);
        if !play.wait_until_all_are_up(operator).await {
            return vec!["the master does not come back".to_owned()];
        }
        client.get(KEY).await;
    }
    Vec::new()
}

/// Longest time until every chunk has its copies again after a node was lost, as docs/operations.md says: until it is Down, `repair_after`,
/// and ten seconds; what is copied takes no time to speak of here.
const REPAIRED_WITHIN: Duration = Duration::from_secs(10 + 5 + 10);
/// Longest time until nothing is left on a node that is drained: what is deleted meanwhile is purged, and open uploads end.
const DRAINED_WITHIN: Duration = Duration::from_secs(90);

/// Waits until `is_so`.
async fn until(play: &Play, bound: Duration, is_so: impl AsyncFn() -> bool) -> bool {
    const LOOK_AGAIN: Duration = Duration::from_millis(500);
    let waits = async {
        while !is_so().await {
            play.clock.sleep(LOOK_AGAIN).await;
        }
    };
    play.clock.timeout(bound, waits).await.is_ok()
}

/// The id under which the master knows a host.
async fn id_of(operator: &Operator, host: &str) -> Option<Bytes> {
    let nodes = operator.nodes().await.ok()?;
    let named = nodes.into_iter().find(|node| node.address.contains(&format!("//{host}:")));
    named.map(|node| node.node_id)
}

async fn is_down(operator: &Operator, node_id: &Bytes) -> bool {
    let nodes = operator.nodes().await.unwrap_or_default();
    nodes.iter().any(|node| node.node_id == *node_id && node.state() == NodeState::Down)
}

/// A node is lost with its disk: its copies are made anew within a bound, and it is drained and removed though it is dead. One with
/// an empty disk comes in its place.
pub(crate) async fn a_node_is_lost_with_its_disk(play: &Play, operator: &Operator) -> Vec<String> {
    let host = play.some_node();
    let Some(lost) = id_of(operator, &host).await else {
        return vec![format!("{host} is not known")];
    };
    play.control.cut(&host, Cut::DiskLost);
    let repaired = until(play, REPAIRED_WITHIN, async || {
        let short = operator.short_chunks().await;
        is_down(operator, &lost).await && short.is_ok_and(|short| short.is_empty())
    });
    if !repaired.await {
        let short = operator.short_chunks().await.map(|short| short.len()).unwrap_or_default();
        return vec![format!("{short} chunks are short {REPAIRED_WITHIN:?} after a loss")];
    }
    let mut violations = empty(play, operator, &lost).await;
    if let Err(refused) = operator.remove(&lost).await {
        violations.push(format!("{host} is drained and cannot be removed: {refused}"));
    }
    play.control.heal(&host, Cut::DiskLost);
    if !play.wait_until_all_are_up(operator).await {
        violations.push(format!("{host} does not come back with an empty disk"));
    }
    violations
}

/// A node is emptied, and let back.
pub(crate) async fn a_node_is_emptied(play: &Play, operator: &Operator) -> Vec<String> {
    let host = play.some_node();
    let Some(node) = id_of(operator, &host).await else {
        return vec![format!("{host} is not known")];
    };
    let mut violations = empty(play, operator, &node).await;
    if let Err(refused) = operator.undrain(&node).await {
        violations.push(format!("{host} is not let back: {refused}"));
    }
    violations
}

/// Drains a node until nothing is left there.
async fn empty(play: &Play, operator: &Operator, node: &Bytes) -> Vec<String> {
    if let Err(refused) = operator.drain(node).await {
        return vec![format!("a node cannot be drained: {refused}")];
    }
    let is_empty = async || operator.is_empty(node).await.unwrap_or(false);
    if until(play, DRAINED_WITHIN, is_empty).await {
        return Vec::new();
    }
    vec![format!("something is left on a node that is drained for {DRAINED_WITHIN:?}")]
}
