//! What the gateway counts.

use std::sync::atomic::AtomicU64;

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
        metrics
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

    pub(crate) fn replaced(&self, copies: usize) {
        self.copies_failed.inc_by(copies as u64);
    }

    pub(crate) fn reported(&self) {
        self.copies_reported.inc();
    }
}
