//! What a node counts. Names begin with `cairn_node_`.

use std::fmt;
use std::sync::Arc;

use cairn_chain::ChunkStore;
use cairn_proto::Reason;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

/// Which call failed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    rpc: &'static str,
    reason: &'static str,
}

/// The node's counters. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    pub(crate) chunks_written: Counter,
    pub(crate) bytes_written: Counter,
    pub(crate) chunks_read: Counter,
    pub(crate) bytes_read: Counter,
    pub(crate) chunks_deleted: Counter,
    pub(crate) corrupt_reads: Counter,
    pub(crate) registered: Gauge,
    open_reads: Gauge,
    failures: Family<Failure, Counter>,
}

impl Metrics {
    /// Registers the counters, and gauges of `store` that are read when asked for.
    pub(crate) fn register(registry: &mut Registry, store: Arc<dyn ChunkStore>) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("cairn_node");
        let counters = [
            ("chunks_written", "Chunks made durable", &metrics.chunks_written),
            ("chunks_read", "Chunks opened for reading", &metrics.chunks_read),
            ("chunks_deleted", "Chunks deleted", &metrics.chunks_deleted),
            ("corrupt_reads", "Reads that met a corrupt chunk", &metrics.corrupt_reads),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        let (written, read) = (metrics.bytes_written.clone(), metrics.bytes_read.clone());
        registry.register_with_unit("written", "Bytes made durable", Unit::Bytes, written);
        registry.register_with_unit("read", "Bytes handed out", Unit::Bytes, read);
        registry.register(
            "failures",
            "Calls that were refused or failed",
            metrics.failures.clone(),
        );
        let registered = metrics.registered.clone();
        registry.register("registered", "Masters that know the node", registered);
        let open_reads = metrics.open_reads.clone();
        registry.register("open_reads", "Chunks being read", open_reads);
        registry.register_collector(Box::new(Fullness { store }));
        metrics
    }

    /// Counts a chunk that is being read, until the answer is dropped.
    pub(crate) fn reading(&self) -> OpenRead {
        self.open_reads.inc();
        OpenRead { metrics: self.clone() }
    }

    /// Counts a call that failed.
    pub(crate) fn failed(&self, rpc: &'static str, reason: Reason) {
        let failure = Failure { rpc, reason: reason.as_str_name() };
        self.failures.get_or_create(&failure).inc();
    }
}

/// A chunk that is being read; no more when dropped.
#[derive(Debug)]
pub(crate) struct OpenRead {
    pub(crate) metrics: Metrics,
}

impl Drop for OpenRead {
    fn drop(&mut self) {
        self.metrics.open_reads.dec();
    }
}

/// How full the store is, asked when metrics are read.
#[derive(Debug)]
struct Fullness {
    store: Arc<dyn ChunkStore>,
}

impl Collector for Fullness {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let usage = self.store.usage();
        let gauges = [
            ("capacity_bytes", "Bytes that may be held", usage.capacity),
            ("used_bytes", "Bytes held", usage.used),
            ("reserved_bytes", "Bytes promised to open writes", usage.reserved),
            ("free_bytes", "Bytes that may still be promised", usage.free()),
            ("reclaimable_bytes", "Bytes of deleted chunks, not given back yet", usage.reclaimable),
            ("chunks", "Chunks held", usage.chunks),
            ("damaged_chunks", "Chunks in quarantine", usage.damaged),
            ("open_writes", "Chunks being written", usage.open_writes.into()),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let encoder = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(encoder)?;
        }
        Ok(())
    }
}
