//! What the gateway counts.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// How an upload or download ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    /// `done`, or the reason in the words of the proto.
    outcome: String,
}

/// Counters of a gateway. Cheap to clone.
#[derive(Debug, Clone)]
pub struct GatewayMetrics {
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
            uploads: Family::default(),
            upload_bytes: Counter::default(),
            upload_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 18)),
            downloads: Family::default(),
            download_bytes: Counter::default(),
            copies_failed: Counter::default(),
            copies_reported: Counter::default(),
        };
        let registry = registry.sub_registry_with_prefix("cairn_gateway");
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
