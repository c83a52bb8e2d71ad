//! Whether a node is alive, judged from the time since it was last heard.
//!
//! ```text
//!          master starts          silence > suspect_after      silence > down_after
//! (known) ──────────────► Joining     Up ────────────► Suspect ────────────► Down
//!                            │         ▲                  │                   │
//!                            └─ heard ─┴────── heard ─────┴────── heard ──────┘
//! ```
//!
//! A node that is Up by this is Suspect all the same while it is doubted: see [`crate::doubt`].
//!
//! Liveness is in memory at every master; nothing of it is written. A master that starts has heard nobody
//! yet, so it counts silence from its own start: nobody is Down before a full timeout.

use std::time::Duration;

/// Bounds on silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LivenessBounds {
    /// Silence after which a node gets no new chunks while others can take them. Shorter gives faster
    /// reaction, and more false alarms under load. Default 5 s.
    pub suspect_after: Duration,
    /// Silence after which a node is treated as gone. Default 30 s.
    pub down_after: Duration,
}

impl Default for LivenessBounds {
    fn default() -> Self {
        Self { suspect_after: Duration::from_secs(5), down_after: Duration::from_secs(30) }
    }
}

/// Whether a node belongs to the cluster, as the operator wants it.
///
/// ```text
/// Member ◄──► Draining ──► Removed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Membership {
    /// Takes and serves chunks.
    Member,
    /// Is to be emptied.
    Draining,
    /// Gone for good: it is not let in again under this id.
    Removed,
}

/// What a node is good for now. Ordered from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeState {
    /// Heard lately: takes and serves chunks.
    Up,
    /// Being emptied, and heard lately: serves, takes none.
    Draining,
    /// Known, but not heard since it registered or since this master started: serves, takes none.
    Joining,
    /// Silent for a while: serves if asked, takes none while others can.
    Suspect,
    /// Silent for long: its copies do not count.
    Down,
    /// Gone for good: its receipts are refused.
    Removed,
}

impl NodeState {
    /// May get new chunks.
    pub fn takes_chunks(self) -> bool {
        self == Self::Up
    }

    /// Worth asking for a chunk.
    pub fn serves_chunks(self) -> bool {
        !matches!(self, Self::Down | Self::Removed)
    }
}

/// When a node was last heard, on the master's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Liveness {
    since: Duration,
    heard: bool,
}

impl Liveness {
    /// A node that is known at `now` but has sent no heartbeat yet.
    pub fn joining(now: Duration) -> Self {
        Self { since: now, heard: false }
    }

    /// A heartbeat arrived.
    pub fn heard(&mut self, now: Duration) {
        *self = Self { since: self.since.max(now), heard: true };
    }

    /// Time since it was last heard, or became known.
    pub fn silence(&self, now: Duration) -> Duration {
        now.saturating_sub(self.since)
    }

    /// The state at `now` of a node that belongs to the cluster so.
    pub fn state_of(
        &self,
        membership: Membership,
        now: Duration,
        bounds: &LivenessBounds,
    ) -> NodeState {
        match (membership, self.state(now, bounds)) {
            (Membership::Removed, _) => NodeState::Removed,
            (Membership::Draining, NodeState::Up) => NodeState::Draining,
            (_, state) => state,
        }
    }

    /// The state at `now` of a member.
    pub fn state(&self, now: Duration, bounds: &LivenessBounds) -> NodeState {
        let silence = self.silence(now);
        if silence > bounds.down_after {
            NodeState::Down
        } else if !self.heard {
            NodeState::Joining
        } else if silence > bounds.suspect_after {
            NodeState::Suspect
        } else {
            NodeState::Up
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn silence_makes_a_node_suspect_and_then_down_and_a_heartbeat_brings_it_back() {
        let bounds = LivenessBounds::default();
        let mut node = Liveness::joining(at(0));
        assert_eq!(node.state(at(1), &bounds), NodeState::Joining);
        node.heard(at(2));
        assert_eq!(node.state(at(7), &bounds), NodeState::Up);
        assert_eq!(node.state(at(8), &bounds), NodeState::Suspect);
        assert_eq!(node.state(at(33), &bounds), NodeState::Down);
        node.heard(at(40));
        assert_eq!(node.state(at(41), &bounds), NodeState::Up);
    }

    #[test]
    fn a_node_that_is_emptied_is_draining_while_it_is_heard_and_one_that_was_removed_never_counts()
    {
        let bounds = LivenessBounds::default();
        let mut node = Liveness::joining(at(0));
        node.heard(at(2));
        let draining = |now| node.state_of(Membership::Draining, now, &bounds);
        assert_eq!((draining(at(3)), draining(at(8))), (NodeState::Draining, NodeState::Suspect));
        assert_eq!(draining(at(40)), NodeState::Down);
        assert_eq!(node.state_of(Membership::Removed, at(3), &bounds), NodeState::Removed);
    }

    #[test]
    fn after_a_restart_of_the_master_nobody_is_down_before_a_full_timeout() {
        let bounds = LivenessBounds::default();
        let node = Liveness::joining(at(100));
        assert_eq!(node.state(at(130), &bounds), NodeState::Joining);
        assert_eq!(node.state(at(131), &bounds), NodeState::Down);
    }
}
