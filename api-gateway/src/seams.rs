//! What a gateway is given, so that a simulation can give its own.

use cairn_runtime::{Blocking, Clock, Dialer, Drained, Entropy, Spawner};

use crate::metrics::GatewayMetrics;

/// What a gateway is given.
#[derive(Debug, Clone)]
pub struct Seams {
    /// Time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// Where its tasks run.
    pub spawner: Spawner,
    /// Where it hashes.
    pub hashing: Blocking,
    /// How it reaches master and nodes.
    pub dialer: Dialer,
    /// Tells it to stop.
    pub drained: Drained,
    /// What it counts.
    pub metrics: GatewayMetrics,
}
