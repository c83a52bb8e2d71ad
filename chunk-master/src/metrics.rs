//! What operators watch.

use cairn_core::liveness::NodeState;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::nodes::Directory;
use crate::sweep::SweepReport;

/// Counters and gauges of the master. Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    pub(crate) begun: Counter,
    pub(crate) committed: Counter,
    pub(crate) aborted: Counter,
    pub(crate) quota_refused: Counter,
    pub(crate) placement_failed: Counter,
    expired: Counter,
    purged: Counter,
    erased: Counter,
    waiting: Gauge,
    orphans: Counter,
    nodes: Family<Vec<(String, String)>, Gauge>,
}

impl Metrics {
    /// Makes the numbers visible.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let counters = [
            ("uploads_begun", "Uploads begun", &self.begun),
            ("uploads_committed", "Uploads committed", &self.committed),
            ("uploads_aborted", "Uploads aborted by their callers", &self.aborted),
            ("uploads_expired", "Uploads whose lease ended", &self.expired),
            ("quota_refusals", "Requests refused by a quota", &self.quota_refused),
            ("placements_failed", "Requests refused for lack of nodes", &self.placement_failed),
            ("versions_purged", "Condemned versions purged", &self.purged),
            ("blobs_erased", "Blobs erased from all their nodes", &self.erased),
            ("orphans_deleted", "Chunks deleted that no blob names", &self.orphans),
        ];
        let registry = registry.sub_registry_with_prefix("cairn_master");
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        let help = "Blobs that wait for a node to be erased from";
        registry.register("blobs_waiting", help, self.waiting.clone());
        registry.register("nodes", "Nodes by state", self.nodes.clone());
    }

    /// Counts a pass of the sweep.
    pub(crate) fn swept(&self, report: &SweepReport) {
        self.expired.inc_by(report.uploads_expired);
        self.purged.inc_by(report.versions_purged);
        self.erased.inc_by(report.blobs_erased);
        self.orphans.inc_by(report.orphans_deleted);
        self.waiting.set(i64::try_from(report.blobs_waiting).unwrap_or(i64::MAX));
    }

    /// Shows how many nodes are in each state.
    pub(crate) fn show_nodes(&self, directory: &Directory) {
        for state in [NodeState::Joining, NodeState::Up, NodeState::Suspect, NodeState::Down] {
            let count = directory.values().filter(|view| view.state == state).count();
            let label = vec![("state".to_owned(), format!("{state:?}").to_lowercase())];
            let gauge = self.nodes.get_or_create(&label);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
