//! What operators watch.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

use cairn_core::doubt::Doubt;
use cairn_core::liveness::NodeState;
use cairn_kv::{Durability, Kv};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::catalog::JobState;
use crate::census::Census;
use crate::journal::MetaJournal;
use crate::master::Master;
use crate::nodes::Directory;
use crate::repair::progress::{self, Purpose};
use crate::sweep::SweepReport;

/// Bounds of the histogram in seconds: from an answer out of memory to a store that is stuck behind a slow disk.
const SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Which transactions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kept {
    durability: &'static str,
}

/// Which jobs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    kind: &'static str,
    state: &'static str,
}

/// How a pass of the sweep ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: &'static str,
}

/// Counters and gauges of the master. Clones share the numbers.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) begun: Counter,
    pub(crate) committed: Counter,
    pub(crate) aborted: Counter,
    pub(crate) quota_refused: Counter,
    pub(crate) placement_failed: Counter,
    expired: Counter,
    purged: Counter,
    purged_early: Counter,
    erased: Counter,
    waiting: Gauge,
    orphans: Counter,
    buckets: Counter,
    pub(crate) journal_failures: Counter,
    pub(crate) sweep_held: Gauge,
    pages: Counter,
    page_records: Counter,
    nodes: Family<Vec<(String, String)>, Gauge>,
    doubted: Family<Vec<(String, String)>, Gauge>,
    transactions: Family<Kept, Histogram, fn() -> Histogram>,
    passes: Family<Ended, Counter>,
    last_pass: Gauge<f64, AtomicU64>,
    clock_jump: Gauge<f64, AtomicU64>,
    purges_stopped: Gauge,
    room: Gauge<f64, AtomicU64>,
    duties: Gauge,
    jobs: Family<JobLabels, Gauge>,
    census: CensusGauges,
    repairs: RepairNumbers,
}

/// What copies are made for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct For {
    purpose: &'static str,
}

impl For {
    fn of(purpose: Purpose) -> Self {
        Self { purpose: purpose.name() }
    }
}

/// What the repair of chunks that are short of copies does.
#[derive(Debug, Clone, Default)]
struct RepairNumbers {
    waiting: Gauge,
    at_work: Gauge,
    copies: Family<For, Counter>,
    bytes: Family<For, Counter>,
    given_up: Counter,
    failures: Counter,
}

impl RepairNumbers {
    fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("repair");
        let help = "Chunks that wait for a copy more or fewer";
        registry.register("waiting_chunks", help, self.waiting.clone());
        registry.register("chunks_at_work", "Chunks of which a copy is made", self.at_work.clone());
        for purpose in Purpose::ALL {
            // There from the start on: what nothing was copied for is 0.
            drop(self.copies.get_or_create(&For::of(purpose)));
            drop(self.bytes.get_or_create(&For::of(purpose)));
        }
        registry.register("copies", "Copies that were made anew", self.copies.clone());
        registry.register_with_unit("copied", "Their bytes", Unit::Bytes, self.bytes.clone());
        let help =
            "Copies that were given up: there were more than wanted, or their node is drained";
        registry.register("given_up", help, self.given_up.clone());
        registry.register("failures", "Copies that could not be made", self.failures.clone());
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            begun: Counter::default(),
            committed: Counter::default(),
            aborted: Counter::default(),
            quota_refused: Counter::default(),
            placement_failed: Counter::default(),
            expired: Counter::default(),
            purged: Counter::default(),
            purged_early: Counter::default(),
            erased: Counter::default(),
            waiting: Gauge::default(),
            orphans: Counter::default(),
            buckets: Counter::default(),
            journal_failures: Counter::default(),
            sweep_held: Gauge::default(),
            pages: Counter::default(),
            page_records: Counter::default(),
            nodes: Family::default(),
            doubted: Family::default(),
            transactions: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            passes: Family::default(),
            last_pass: Gauge::default(),
            clock_jump: Gauge::default(),
            purges_stopped: Gauge::default(),
            room: Gauge::default(),
            duties: Gauge::default(),
            jobs: Family::default(),
            census: CensusGauges::default(),
            repairs: RepairNumbers::default(),
        }
    }
}

impl Metrics {
    /// Makes the numbers visible, and those of the catalog's store.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let counters = [
            ("uploads_begun", "Uploads begun", &self.begun),
            ("uploads_committed", "Uploads committed", &self.committed),
            ("uploads_aborted", "Uploads aborted by their callers", &self.aborted),
            ("uploads_expired", "Uploads whose lease ended", &self.expired),
            ("quota_refusals", "Requests refused by a quota", &self.quota_refused),
            ("placements_failed", "Requests refused for lack of nodes", &self.placement_failed),
            ("versions_purged", "Condemned versions purged, early ones included", &self.purged),
            (
                "versions_purged_early",
                "Condemned versions purged before their wait was over, because room was short",
                &self.purged_early,
            ),
            ("blobs_erased", "Blobs erased from all their nodes", &self.erased),
            ("orphans_deleted", "Chunks deleted that no blob names", &self.orphans),
            ("buckets_removed", "Buckets removed with their contents", &self.buckets),
            ("journal_failures", "Failures of nodes to keep the journal", &self.journal_failures),
            ("list_pages", "Pages of lists of files", &self.pages),
            ("list_records", "Records read for pages of lists of files", &self.page_records),
        ];
        let registry = registry.sub_registry_with_prefix("cairn_master");
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        let help = "1 while the sweep waits for an operator, after a restore";
        registry.register("sweep_held", help, self.sweep_held.clone());
        let help = "Blobs that wait for a node to be erased from";
        registry.register("blobs_waiting", help, self.waiting.clone());
        registry.register("nodes", "Nodes by state", self.nodes.clone());
        let help = "Nodes that are suspect though they are heard, by reason";
        registry.register("nodes_doubted", help, self.doubted.clone());
        let help = "Time from a transaction's call to its outcome, the wait for its group included";
        let seconds = self.transactions.clone();
        registry.register_with_unit("transaction_duration", help, Unit::Seconds, seconds);
        registry.register("sweep_passes", "Passes of the sweep", self.passes.clone());
        let help = "When the last pass of the sweep was done, in seconds since 1970-01-01 UTC";
        let last_pass = self.last_pass.clone();
        registry.register_with_unit("sweep_last_pass_timestamp", help, Unit::Seconds, last_pass);
        let help = "How far the wall clock has moved against steady time since the start";
        let jump = self.clock_jump.clone();
        registry.register_with_unit("clock_jump", help, Unit::Seconds, jump);
        let help = "1 while nothing is purged because the wall clock jumped";
        registry.register("purges_stopped", help, self.purges_stopped.clone());
        let help = "Share of what could be placed on all nodes that can still be placed";
        registry.register("room_free_ratio", help, self.room.clone());
        let help = "Whether this master does what is done once for all: 1 on one of them";
        registry.register("duties", help, self.duties.clone());
        let help = "Jobs by kind and state, as the master with the duties saw them last";
        registry.register("jobs", help, self.jobs.clone());
        self.census.register(registry);
        self.repairs.register(registry);
    }

    /// Shows what `kv` has done, asked when metrics are read.
    pub(crate) fn register_store(kv: Kv, registry: &mut Registry) {
        registry.register_collector(Box::new(StoreNumbers { kv }));
    }

    /// Shows how far repair, drains and rebalance are, asked when metrics are read.
    pub(crate) fn register_progress(master: &Arc<Master>, registry: &mut Registry) {
        registry.register_collector(Box::new(ProgressNumbers { master: Arc::downgrade(master) }));
    }

    /// Shows how far `journal` is, asked when metrics are read.
    pub(crate) fn register_journal(journal: MetaJournal, registry: &mut Registry) {
        registry.register_collector(Box::new(JournalNumbers { journal }));
    }

    /// Measures a transaction.
    pub(crate) fn transacted(&self, durability: Durability, took: Duration) {
        let durability = match durability {
            Durability::Synced => "synced",
            Durability::Buffered => "buffered",
        };
        self.transactions.get_or_create(&Kept { durability }).observe(took.as_secs_f64());
    }

    /// A page of a list, for which so many records were read.
    pub(crate) fn listed(&self, records: usize) {
        self.pages.inc();
        self.page_records.inc_by(records as u64);
    }

    /// A pass of the sweep broke off.
    pub(crate) fn sweep_failed(&self) {
        self.passes.get_or_create(&Ended { outcome: "failed" }).inc();
    }

    /// The wall clock, as the sweep found it, and whether that stops purges.
    pub(crate) fn clock_jumped(&self, by: Duration, stops: bool) {
        self.clock_jump.set(by.as_secs_f64());
        self.purges_stopped.set(i64::from(stops));
    }

    /// The share of all room that is free, as the sweep found it.
    pub(crate) fn room(&self, free: f64) {
        self.room.set(free);
    }

    /// Whether this master does the duties.
    pub(crate) fn does_duties(&self, mine: bool) {
        self.duties.set(i64::from(mine));
    }

    /// Chunks that wait to be repaired, and those that are worked on.
    pub(crate) fn repairs(&self, waiting: usize, at_work: usize) {
        self.repairs.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.repairs.at_work.set(i64::try_from(at_work).unwrap_or(i64::MAX));
    }

    /// A copy of so many bytes was made anew.
    pub(crate) fn repaired(&self, purpose: Purpose, bytes: u64) {
        self.repairs.copies.get_or_create(&For::of(purpose)).inc();
        self.repairs.bytes.get_or_create(&For::of(purpose)).inc_by(bytes);
    }

    /// A copy is not named any more.
    pub(crate) fn gave_up(&self) {
        self.repairs.given_up.inc();
    }

    /// A copy could not be made.
    pub(crate) fn repair_failed(&self) {
        self.repairs.failures.inc();
    }

    /// Shows what was counted in the catalog.
    pub(crate) fn counted(&self, census: &Census) {
        self.census.show(census);
    }

    /// Counts a pass of the sweep that is done.
    pub(crate) fn swept(&self, report: &SweepReport, wall_ms: u64) {
        self.passes.get_or_create(&Ended { outcome: "done" }).inc();
        self.last_pass.set(wall_ms as f64 / 1000.0);
        self.expired.inc_by(report.uploads_expired);
        self.purged.inc_by(report.versions_purged + report.versions_purged_early);
        self.purged_early.inc_by(report.versions_purged_early);
        self.erased.inc_by(report.blobs_erased);
        self.orphans.inc_by(report.orphans_deleted);
        self.waiting.set(i64::try_from(report.blobs_waiting).unwrap_or(i64::MAX));
    }

    /// A bucket is gone with its contents.
    pub(crate) fn bucket_removed(&self) {
        self.buckets.inc();
    }

    /// Shows how many jobs of each kind are in each state.
    pub(crate) fn show_jobs(&self, counts: &BTreeMap<(&'static str, JobState), u64>) {
        self.jobs.clear();
        for ((kind, state), count) in counts {
            let labels = JobLabels { kind, state: state.name() };
            self.jobs.get_or_create(&labels).set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
    }

    /// Copies that this master has made anew for a purpose, and their bytes.
    pub(crate) fn repaired_so_far(&self, purpose: Purpose) -> (u64, u64) {
        let of = |numbers: &Family<For, Counter>| numbers.get_or_create(&For::of(purpose)).get();
        (of(&self.repairs.copies), of(&self.repairs.bytes))
    }

    /// Shows how many nodes are in each state.
    pub(crate) fn show_nodes(&self, directory: &Directory) {
        for state in [NodeState::Joining, NodeState::Up, NodeState::Suspect, NodeState::Down] {
            let count = directory.values().filter(|view| view.state == state).count();
            let label = vec![("state".to_owned(), format!("{state:?}").to_lowercase())];
            let gauge = self.nodes.get_or_create(&label);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for doubt in [Doubt::Unsteady, Doubt::Unreached] {
            let count = directory.values().filter(|view| view.doubt == Some(doubt)).count();
            let label = vec![("doubt".to_owned(), format!("{doubt:?}").to_lowercase())];
            let gauge = self.doubted.get_or_create(&label);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// What the census counts; all 0 before its first round.
#[derive(Debug, Clone, Default)]
struct CensusGauges {
    open_uploads: Gauge,
    purge_queue: Gauge,
    used: Gauge,
    reserved: Gauge,
    condemned: Gauge,
    objects: Gauge,
    short: Gauge,
    without_copy: Gauge,
    rounds: Counter,
    counted_at: Gauge<f64, AtomicU64>,
}

impl CensusGauges {
    fn register(&self, registry: &mut Registry) {
        let gauges = [
            ("open_uploads", "Uploads that are open", &self.open_uploads),
            ("purge_queue_blobs", "Blobs that wait to be erased", &self.purge_queue),
            ("used_bytes", "Bytes of files, not times copies", &self.used),
            ("reserved_bytes", "Bytes promised to uploads", &self.reserved),
            ("condemned_bytes", "Bytes replaced or deleted, not purged yet", &self.condemned),
            ("objects", "Files", &self.objects),
            ("short_chunks", "Chunks with fewer good copies than wanted", &self.short),
            ("unreadable_chunks", "Chunks without a good copy now", &self.without_copy),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        let help = "Rounds of the census over all chunks";
        registry.register("census_rounds", help, self.rounds.clone());
        let help = "When the last round of the census ended, in seconds since 1970-01-01 UTC";
        let counted_at = self.counted_at.clone();
        registry.register_with_unit("census_timestamp", help, Unit::Seconds, counted_at);
    }

    fn show(&self, census: &Census) {
        let set = |gauge: &Gauge, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.open_uploads, census.open_uploads);
        set(&self.purge_queue, census.purge_queue);
        set(&self.used, census.used.bytes);
        set(&self.reserved, census.reserved.bytes);
        set(&self.condemned, census.condemned.bytes);
        set(&self.objects, census.used.objects);
        if let Some(chunks) = &census.chunks {
            set(&self.short, chunks.short);
            set(&self.without_copy, chunks.without_copy);
            self.rounds.inc();
            self.counted_at.set(census.wall_ms as f64 / 1000.0);
        }
    }
}

/// The key-value store's own counts. Transactions of one commit: `transactions` by `commits`.
#[derive(Debug)]
struct StoreNumbers {
    kv: Kv,
}

impl Collector for StoreNumbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stats = self.kv.stats();
        let counters = [
            ("transactions", "Transactions that succeeded", stats.transactions),
            ("rejected_transactions", "Transactions that said no", stats.rejected),
            ("panicked_transactions", "Transactions that panicked", stats.panicked),
            ("commits", "Commits, each of a group of transactions", stats.commits),
            ("synced_commits", "Commits that waited for an fsync", stats.synced_commits),
            ("reopens", "Reopenings after a storage error", stats.reopens),
        ];
        for (name, help, value) in counters {
            let name = format!("cairn_master_store_{name}");
            let counter = ConstCounter::new(value);
            let kind = counter.metric_type();
            counter.encode(encoder.encode_descriptor(&name, help, None, kind)?)?;
        }
        let waiting = ConstGauge::new(i64::try_from(stats.waiting).unwrap_or(i64::MAX));
        let (name, help) = ("cairn_master_store_waiting", "Transactions that wait for their group");
        waiting.encode(encoder.encode_descriptor(name, help, None, waiting.metric_type())?)
    }
}

/// What is left for each purpose of copies, and how long that takes: what is not known is not there.
#[derive(Debug)]
struct ProgressNumbers {
    master: Weak<Master>,
}

impl Collector for ProgressNumbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(master) = self.master.upgrade() else { return Ok(()) };
        let left = Purpose::ALL.map(|purpose| (purpose, progress::left(&master, purpose)));
        let known = left.into_iter().filter_map(|(purpose, left)| Some((purpose, left?)));
        let known: Vec<_> = known.collect();
        let count = known.iter().map(|(purpose, left)| (*purpose, left.count));
        let bytes = known.iter().map(|(purpose, left)| (*purpose, left.bytes));
        let seconds = known.iter().filter_map(|(purpose, left)| {
            let time = progress::time_left(&master, *purpose, left.bytes)?;
            Some((*purpose, time.as_secs()))
        });
        let gauges = [
            ("left_copies", "Copies that are still to be made", count.collect::<Vec<_>>()),
            ("left_bytes", "Their bytes", bytes.collect()),
            ("left_seconds", "How long that takes at the pace of late", seconds.collect()),
        ];
        for (name, help, values) in gauges.iter().filter(|(.., values)| !values.is_empty()) {
            let name = format!("cairn_master_repair_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            for (purpose, value) in values {
                let gauge = ConstGauge::new(i64::try_from(*value).unwrap_or(i64::MAX));
                gauge.encode(family.encode_family(&For::of(*purpose))?)?;
            }
        }
        Ok(())
    }
}

/// How far the journal of the metadata is, and who keeps it.
#[derive(Debug)]
struct JournalNumbers {
    journal: MetaJournal,
}

impl Collector for JournalNumbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let keepers = self.journal.keepers();
        let keeping = keepers.values().filter(|keeper| keeper.problem.is_none()).count();
        let journal_bytes = keepers.values().map(|keeper| keeper.journal_bytes).max();
        let waiting = self.journal.last().saturating_sub(cairn_kv::Journal::durable(&self.journal));
        let gauges = [
            (
                "wanted",
                "Nodes that must have a record of the journal",
                self.journal.copies().into(),
            ),
            ("keepers", "Nodes that keep the journal and are up to date", keeping as u64),
            ("waiting", "Records that too few nodes have yet", waiting),
            (
                "bytes",
                "Bytes of records behind the backup, on the node with most",
                journal_bytes.unwrap_or(0),
            ),
        ];
        for (name, help, value) in gauges {
            let name = format!("cairn_master_journal_{name}");
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(&name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
