//! What a storage node is told, and what it is given.

use std::time::Duration;

use cairn_runtime::{Blocking, Clock, Dialer, Drained, Entropy, Spawner};
use cairn_transport::Transport;

use crate::identity::NodeIdentity;

/// The settings of a storage node.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which node this is.
    pub identity: NodeIdentity,
    /// Where gateways, the master and other nodes reach it, e.g. `http://node-1:7100`.
    pub address: String,
    /// What it shares power, network or building with. Copies of a chunk go to different zones where they can.
    pub zone: String,
    /// Where the masters are reached, e.g. `http://master:7000`. The node makes itself known to each, so that each
    /// knows by itself which nodes live.
    pub masters: Vec<String>,
    /// A peer that sends nothing for this long in the middle of a chunk is given up, and its room is free again.
    /// Shorter frees room sooner; longer is kinder to clients that pause.
    pub body_idle: Duration,
    /// Chunks that are written at a time; more are refused as busy. Each holds up to 1.5 MiB of memory.
    pub max_open_writes: u32,
    /// How it fetches chunks from other nodes.
    pub transport: Transport,
    /// Bound on a call to the master.
    pub call_bound: Duration,
    /// Wait before the first repeat of a failed call to the master; doubled with each failure, and half of it random,
    /// so that the nodes of a cluster do not come back in one moment.
    pub retry_first: Duration,
    /// Longest wait before a repeat.
    pub retry_most: Duration,
}

impl Config {
    /// The defaults around what has none.
    pub fn new(identity: NodeIdentity, address: String, masters: Vec<String>) -> Self {
        Self {
            identity,
            address,
            zone: String::new(),
            masters,
            body_idle: Duration::from_secs(30),
            max_open_writes: 256,
            transport: Transport::Lane,
            call_bound: Duration::from_secs(5),
            retry_first: Duration::from_millis(200),
            retry_most: Duration::from_secs(5),
        }
    }
}

/// What a storage node is given.
#[derive(Debug, Clone)]
pub struct Seams {
    /// Time.
    pub clock: Clock,
    /// Randomness, for waits.
    pub entropy: Entropy,
    /// Where it talks to the master: a runtime that does not wait for data.
    pub spawner: Spawner,
    /// Where it hashes.
    pub hashing: Blocking,
    /// How it reaches the master and other nodes.
    pub dialer: Dialer,
    /// Tells it to stop.
    pub drained: Drained,
}
