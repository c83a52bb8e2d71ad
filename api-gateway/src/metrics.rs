//! What the gateway counts.

use std::sync::atomic::AtomicU64;

use cairn_core::strategy::{ReadStrategy, SaveStrategy};
use cairn_replicas::ReadEvent;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// How an upload or download ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    /// `done`, or the reason in the words of the proto.
    outcome: String,
}

/// Which strategy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct By {
    strategy: &'static str,
}

/// What became of a call beyond the first one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Extra {
    outcome: &'static str,
}

/// Which budget.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Which {
    budget: &'static str,
}

/// The numbers of one budget. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct BudgetMetrics {
    limit: Gauge,
    used: Gauge,
    waits: Counter,
    refusals: Counter,
}

impl BudgetMetrics {
    pub(crate) fn limited_to(&self, bytes: u64) {
        self.limit.set(signed(bytes));
    }

    pub(crate) fn taken(&self, bytes: u64) {
        self.used.inc_by(signed(bytes));
    }

    pub(crate) fn given_back(&self, bytes: u64) {
        self.used.dec_by(signed(bytes));
    }

    pub(crate) fn waited(&self) {
        self.waits.inc();
    }

    pub(crate) fn refused(&self) {
        self.refusals.inc();
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The numbers of all budgets.
#[derive(Debug, Clone, Default)]
struct Budgets {
    limit: Family<Which, Gauge>,
    used: Family<Which, Gauge>,
    waits: Family<Which, Counter>,
    refusals: Family<Which, Counter>,
}

impl Budgets {
    fn register(&self, registry: &mut Registry) {
        let help = "Memory that chunks in flight may take";
        registry.register_with_unit("budget_limit", help, Unit::Bytes, self.limit.clone());
        let help = "Memory that chunks in flight take";
        registry.register_with_unit("budget_used", help, Unit::Bytes, self.used.clone());
        let help = "Shares of a budget that had to be waited for";
        registry.register("budget_waits", help, self.waits.clone());
        let help = "Shares of a budget that did not become free in time: answered with 503";
        registry.register("budget_refusals", help, self.refusals.clone());
    }

    fn of(&self, budget: &'static str) -> BudgetMetrics {
        let which = Which { budget };
        BudgetMetrics {
            limit: self.limit.get_or_create(&which).clone(),
            used: self.used.get_or_create(&which).clone(),
            waits: self.waits.get_or_create(&which).clone(),
            refusals: self.refusals.get_or_create(&which).clone(),
        }
    }
}

/// One of those that are open; no more when dropped.
#[derive(Debug)]
pub(crate) struct Open(Gauge);

impl Open {
    fn one_of(all: &Gauge) -> Self {
        all.inc();
        Self(all.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counters of a gateway. Cheap to clone.
#[derive(Debug, Clone)]
pub struct GatewayMetrics {
    budgets: Budgets,
    open_uploads: Gauge,
    open_downloads: Gauge,
    uploads: Family<Ended, Counter>,
    upload_bytes: Counter<u64, AtomicU64>,
    upload_seconds: Histogram,
    downloads: Family<Ended, Counter>,
    download_bytes: Counter<u64, AtomicU64>,
    chunks_saved: Family<By, Counter>,
    chunks_fetched: Family<By, Counter>,
    hedges: Family<Extra, Counter>,
    copy_repeats: Family<Extra, Counter>,
    master_repeats: Family<Extra, Counter>,
    copies_failed: Counter<u64, AtomicU64>,
    copies_reported: Counter<u64, AtomicU64>,
}

impl GatewayMetrics {
    /// Registers all counters.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            budgets: Budgets::default(),
            open_uploads: Gauge::default(),
            open_downloads: Gauge::default(),
            uploads: Family::default(),
            upload_bytes: Counter::default(),
            upload_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 18)),
            downloads: Family::default(),
            download_bytes: Counter::default(),
            chunks_saved: Family::default(),
            chunks_fetched: Family::default(),
            hedges: Family::default(),
            copy_repeats: Family::default(),
            master_repeats: Family::default(),
            copies_failed: Counter::default(),
            copies_reported: Counter::default(),
        };
        let registry = registry.sub_registry_with_prefix("cairn_gateway");
        metrics.budgets.register(registry);
        registry.register("open_uploads", "Uploads at work", metrics.open_uploads.clone());
        registry.register("open_downloads", "Downloads at work", metrics.open_downloads.clone());
        registry.register("uploads", "Uploads that ended", metrics.uploads.clone());
        registry.register_with_unit(
            "upload",
            "Bytes of files stored",
            Unit::Bytes,
            metrics.upload_bytes.clone(),
        );
        registry.register_with_unit(
            "upload_duration",
            "Time from a request to its stored file",
            Unit::Seconds,
            metrics.upload_seconds.clone(),
        );
        registry.register("downloads", "Downloads that ended", metrics.downloads.clone());
        registry.register_with_unit(
            "download",
            "Bytes of files sent",
            Unit::Bytes,
            metrics.download_bytes.clone(),
        );
        registry.register(
            "copies_replaced",
            "Copies that failed while they were written and were placed anew",
            metrics.copies_failed.clone(),
        );
        registry.register(
            "copies_reported",
            "Copies that a reader found missing or corrupt",
            metrics.copies_reported.clone(),
        );
        metrics.register_strategies(registry);
        metrics
    }

    fn register_strategies(&self, registry: &mut Registry) {
        let help = "Chunks saved, by the strategy that wrote their copies";
        registry.register("chunks_saved", help, self.chunks_saved.clone());
        let help = "Chunks fetched, by the strategy that read their copies";
        registry.register("chunks_fetched", help, self.chunks_fetched.clone());
        let help = "Second copies because the first took long: asked, won, and refused because there had been too many";
        registry.register("hedges", help, self.hedges.clone());
        let help = "Nodes that were away and were asked again for a copy, or not because there had been too many";
        registry.register("copy_repeats", help, self.copy_repeats.clone());
        let help = "Calls to the master that were repeated, or not because there had been too many";
        registry.register("master_repeats", help, self.master_repeats.clone());
        for outcome in ["asked", "won", "refused"] {
            let _at_zero = self.hedges.get_or_create(&Extra { outcome });
        }
        for outcome in ["sent", "refused"] {
            let _at_zero = self.copy_repeats.get_or_create(&Extra { outcome });
            let _at_zero = self.master_repeats.get_or_create(&Extra { outcome });
        }
    }

    /// The budget of uploads.
    pub(crate) fn upload_budget(&self) -> BudgetMetrics {
        self.budgets.of("upload")
    }

    /// The budget of downloads.
    pub(crate) fn download_budget(&self) -> BudgetMetrics {
        self.budgets.of("download")
    }

    pub(crate) fn upload_opened(&self) -> Open {
        Open::one_of(&self.open_uploads)
    }

    pub(crate) fn download_opened(&self) -> Open {
        Open::one_of(&self.open_downloads)
    }

    pub(crate) fn upload_ended(&self, outcome: &str) {
        self.uploads.get_or_create(&Ended { outcome: outcome.to_owned() }).inc();
    }

    pub(crate) fn stored(&self, bytes: u64, seconds: f64) {
        self.upload_ended("done");
        self.upload_bytes.inc_by(bytes);
        self.upload_seconds.observe(seconds);
    }

    pub(crate) fn download_ended(&self, outcome: &str) {
        self.downloads.get_or_create(&Ended { outcome: outcome.to_owned() }).inc();
    }

    pub(crate) fn sent(&self, bytes: u64) {
        self.download_bytes.inc_by(bytes);
    }

    /// A chunk was saved, and this many of its copies had failed before.
    pub(crate) fn saved(&self, strategy: SaveStrategy, failed: usize) {
        self.chunks_saved.get_or_create(&By { strategy: strategy.word() }).inc();
        self.copies_failed.inc_by(failed as u64);
    }

    /// A chunk is fetched.
    pub(crate) fn fetched(&self, strategy: ReadStrategy) {
        self.chunks_fetched.get_or_create(&By { strategy: strategy.word() }).inc();
    }

    /// A read did more than ask one copy.
    pub(crate) fn read_event(&self, event: ReadEvent) {
        let (counted, outcome) = match event {
            ReadEvent::Hedged => (&self.hedges, "asked"),
            ReadEvent::HedgeWon => (&self.hedges, "won"),
            ReadEvent::HedgeRefused => (&self.hedges, "refused"),
            ReadEvent::Repeated => (&self.copy_repeats, "sent"),
            ReadEvent::RepeatRefused => (&self.copy_repeats, "refused"),
        };
        counted.get_or_create(&Extra { outcome }).inc();
    }

    /// A call to the master may be repeated, or not.
    pub(crate) fn master_repeat(&self, sent: bool) {
        let outcome = if sent { "sent" } else { "refused" };
        self.master_repeats.get_or_create(&Extra { outcome }).inc();
    }

    pub(crate) fn reported(&self) {
        self.copies_reported.inc();
    }
}
