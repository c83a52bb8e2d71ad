//! Settings. Each tells its price.

use std::time::Duration;

use cairn_core::chunking::ChunkSizes;
use cairn_core::doubt::FlapBounds;
use cairn_core::liveness::LivenessBounds;

/// Settings of the chunk master.
#[derive(Debug, Clone)]
pub struct Config {
    /// Copies of each chunk, on different nodes. More survive more failures and cost as many times the
    /// space; an upload is refused while fewer nodes take chunks. Default 2.
    pub copies: u32,
    /// Least copies with which a write is accepted when nodes are short; the rest is made when there are nodes again. `None`:
    /// all copies. Fewer accept writes while nodes are away, and leave what is new in more danger until then.
    /// Default `None`.
    pub least_copies: Option<u32>,
    /// Nodes that keep the journal of the metadata and have each record before it is answered; 0 for none. For receipts:
    /// the store is opened with the journal. Default 0.
    pub meta_copies: u32,
    /// Nodes get a new backup of the catalog when the records behind theirs have more bytes than this, and than the
    /// backup. Less makes a restore read less and nodes write more. Default 64 MiB.
    pub meta_renew: u64,
    /// How new blobs are cut. Larger chunks mean fewer records and longer waits for a whole chunk.
    /// Kept with each blob, so changing it touches nothing that is stored. Default 8 MiB, then 64 MiB.
    pub chunk_sizes: ChunkSizes,
    /// How long an upload may make no progress before it is given up. Longer is kinder to slow clients
    /// and holds their reservations longer. Default 60 s.
    pub lease: Duration,
    /// How long replaced and deleted versions wait before they are purged. Longer forgives more
    /// mistakes and holds more space. Default 24 h.
    pub condemn_for: Duration,
    /// Share of what could be placed on the nodes that are up, in percent, below which condemned versions are purged before
    /// their wait is over, those first whose wait ends first. Higher keeps more room for uploads and forgives fewer
    /// mistakes while space is short; 0 keeps every wait and lets uploads fail instead. Default 10.
    pub space_floor_percent: u8,
    /// How long a version is safe from a purge after a reader asked where it lies. Longer bears slower readers and
    /// delays purges of what was just read. Default 10 s.
    pub read_lease: Duration,
    /// How long the ends of uploads and deletions are remembered for repeated calls. Default 10 min.
    pub remember_for: Duration,
    /// Pause between passes of the sweep. Shorter frees space sooner and asks nodes more often.
    /// Default 5 s.
    pub sweep_every: Duration,
    /// How long Begin and Allocate wait for what other uploads have reserved. Longer refuses less near
    /// a limit and makes refusals slower. Default 2 s.
    pub quota_wait: Duration,
    /// How long a node is waited for, from when it is Down, before its copies are made anew elsewhere. Shorter is exposed
    /// for less time; longer moves fewer bytes for nodes that come back. Default 10 min.
    pub repair_after: Duration,
    /// Most bytes of copies that are made anew or moved in a second, all nodes together; with 0 none are. More is exposed for
    /// less time and leaves less to clients. Default 512 MiB.
    pub repair_rate: u64,
    /// The same, from and to one node. Default 64 MiB.
    pub repair_rate_per_node: u64,
    /// The same, of copies that are moved only to even out, all nodes together. Default 32 MiB.
    pub rebalance_rate: u64,
    /// How often nodes send heartbeats. Default 1 s.
    pub heartbeat: Duration,
    /// When silence makes a node Suspect and Down.
    pub liveness: LivenessBounds,
    /// When a node that falls silent and comes back again and again is left alone for a while. Stricter bounds keep new
    /// chunks from nodes that may go again; looser ones use them sooner.
    pub flaps: FlapBounds,
    /// Bound on one call to a node. Default 10 s.
    pub node_call: Duration,
    /// How far the wall clock may move against monotonic time before nothing is purged any more, until it is set right
    /// or the master restarts. Purges wait for the slower of the two in any case. Default 10 min.
    pub clock_tolerance: Duration,
    /// A fault on purpose, for the simulation to find.
    #[cfg(feature = "seeded-bugs")]
    pub seeded_bug: Option<SeededBug>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            copies: 2,
            least_copies: None,
            meta_copies: 0,
            meta_renew: 64 << 20,
            chunk_sizes: ChunkSizes::STANDARD,
            lease: Duration::from_secs(60),
            condemn_for: Duration::from_secs(24 * 60 * 60),
            space_floor_percent: 10,
            read_lease: Duration::from_secs(10),
            remember_for: Duration::from_secs(10 * 60),
            sweep_every: Duration::from_secs(5),
            quota_wait: Duration::from_secs(2),
            repair_after: Duration::from_secs(10 * 60),
            repair_rate: 512 << 20,
            repair_rate_per_node: 64 << 20,
            rebalance_rate: 32 << 20,
            heartbeat: Duration::from_secs(1),
            liveness: LivenessBounds::default(),
            flaps: FlapBounds::default(),
            node_call: Duration::from_secs(10),
            clock_tolerance: Duration::from_secs(10 * 60),
            #[cfg(feature = "seeded-bugs")]
            seeded_bug: None,
        }
    }
}

impl Config {
    /// Least time between the moment when a version is condemned and its purge: a read lease, and half of one for what
    /// the clocks of several masters differ.
    pub(crate) fn least_wait(&self) -> Duration {
        self.read_lease + self.read_lease / 2
    }

    pub(crate) fn faults(&self) -> Faults {
        Faults {
            #[cfg(feature = "seeded-bugs")]
            seeded: self.seeded_bug,
        }
    }
}

/// Faults on purpose that reach the transactions; empty in a release.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    #[cfg(feature = "seeded-bugs")]
    seeded: Option<SeededBug>,
}

impl Faults {
    /// Whether `bug` was asked for: never in a release.
    #[cfg(feature = "seeded-bugs")]
    pub(crate) fn has(self, bug: SeededBug) -> bool {
        self.seeded == Some(bug)
    }

    /// Whether `bug` was asked for: never in a release.
    #[cfg(not(feature = "seeded-bugs"))]
    pub(crate) fn has(self, _: SeededBug) -> bool {
        false
    }
}

/// Faults that the simulation can put in.
#[cfg_attr(
    not(feature = "seeded-bugs"),
    expect(unreachable_pub, reason = "only the simulation asks for them")
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeededBug {
    /// An abort forgets to release the bucket's account.
    SkipRelease,
    /// A commit takes what the version holds twice.
    SettleTwice,
    /// A commit does not look at its condition again: only the begin did.
    ConditionOutside,
    /// A commit is answered before it is durable.
    BufferedCommit,
    /// A delete is answered before it is durable.
    BufferedDelete,
    /// A purge does not ask who reads.
    PurgeIgnoresReaders,
    /// The sweep takes chunks of open uploads for orphans.
    SweepOpenBlobs,
    /// What comes back goes on waiting for its purge.
    UndeleteKeepsWaiting,
    /// A bucket is made while the one of its name is still being deleted.
    CreateWhileDeleting,
    /// A stray is deleted whenever the order arrives: a late one meets a copy that was made anew.
    DeleteUnfenced,
    /// What a repair began and nobody finishes stays named, and on its node.
    KeepBegunCopies,
    /// A bucket with open uploads goes at once, and their commits find the next one of its name.
    DeleteUnderUploads,
}

/// Milliseconds of a setting.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
