//! Tells a master what a node found out about its own copies.
//!
//! ```text
//! scrub ─► found, at most so many ─► the first master that takes them ─► forgotten
//!              ▲                         │ none: wait, again
//!              └─────────────────────────┘
//! ```

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cairn_core::copies::{CopyFinding, CopyReport};
use cairn_core::ids::{ChunkId, NodeId};
use cairn_proto::v1::ReportCopiesRequest;
use cairn_proto::v1::master_client::MasterClient;
use cairn_runtime::{Clock, Drained, PeerChannel, Phase};
use tokio::sync::Notify;
use tonic::Request;

use crate::registration::bounded;

/// Most chunks that wait to be told.
const MOST_FOUND: usize = 4096;
/// Most chunks of one call.
const BATCH: usize = 128;
/// Wait until masters are asked again when none took a report.
const AGAIN: Duration = Duration::from_secs(10);

/// Tells masters of damaged copies; made by [`crate::StorageNode::reporter`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reporter {
    found: Arc<Found>,
}

/// What no master was told yet.
#[derive(Debug, Default)]
struct Found {
    damaged: Mutex<BTreeSet<ChunkId>>,
    /// There is something.
    some: Notify,
}

impl Found {
    fn damaged(&self) -> MutexGuard<'_, BTreeSet<ChunkId>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reporter {
    pub(crate) fn new() -> Self {
        Self { found: Arc::default() }
    }

    /// Has masters told that the node's copy of `chunk` is damaged, once one can be reached. When too many wait, or the node
    /// ends before, the next reader of the copy, or `cairn admin fsck`, finds that it is missing.
    pub fn damaged(&self, chunk: ChunkId) {
        let mut damaged = self.found.damaged();
        if damaged.len() < MOST_FOUND {
            damaged.insert(chunk);
        } else {
            tracing::warn!(target: "cairn", %chunk, "too many damaged copies wait to be reported: not this one");
        }
        drop(damaged);
        self.found.some.notify_one();
    }
}

/// Sends what a [`Reporter`] was told.
#[derive(Debug, Clone)]
pub(crate) struct Reports {
    pub(crate) reporter: Reporter,
    pub(crate) node: NodeId,
    pub(crate) masters: Vec<MasterClient<PeerChannel>>,
    pub(crate) clock: Clock,
    /// The longest that one master is waited for.
    pub(crate) bound: Duration,
    pub(crate) drained: Drained,
}

impl Reports {
    /// Runs until the node is told to stop.
    pub(crate) async fn run(self) {
        let mut drained = self.drained.clone();
        tokio::select! {
            biased;
            () = drained.reached(Phase::Draining) => {}
            () = self.send_all() => {}
        }
    }

    async fn send_all(&self) {
        let found = &self.reporter.found;
        loop {
            let some: Vec<_> = found.damaged().iter().copied().take(BATCH).collect();
            if some.is_empty() {
                found.some.notified().await;
            } else if self.send(&some).await {
                let mut damaged = found.damaged();
                damaged.retain(|chunk| !some.contains(chunk));
            } else {
                self.clock.sleep(AGAIN).await;
            }
        }
    }

    /// Tells the first master that takes it; whether one did.
    async fn send(&self, damaged: &[ChunkId]) -> bool {
        let (node, finding) = (self.node, CopyFinding::Corrupt);
        let report = |chunk: &ChunkId| CopyReport { chunk: *chunk, node, finding }.into();
        let reports: Vec<_> = damaged.iter().map(report).collect();
        for master in &self.masters {
            let mut request = Request::new(ReportCopiesRequest {
                reports: reports.clone(),
                ..ReportCopiesRequest::default()
            });
            request.set_timeout(self.bound);
            let mut master = master.clone();
            match bounded(&self.clock, self.bound, master.report_copies(request)).await {
                Ok(_) => return true,
                Err(error) => {
                    tracing::warn!(target: "cairn", copies = damaged.len(), %error, "a master did not take the report of damaged copies");
                }
            }
        }
        false
    }
}
