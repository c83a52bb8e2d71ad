//! What the tiers of a node count. Names begin with `cairn_node_tier_`.

use std::fmt;
use std::sync::Arc;

use cairn_chain::wrap::{Call, LruStats, StoreObserver};
use cairn_chain::{ChunkStore, TierReport};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Bounds of the histogram in seconds: from memory to a bucket that is about to be given up.
const SECONDS: [f64; 13] =
    [0.00001, 0.0001, 0.00025, 0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    tier: String,
    op: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tier {
    tier: String,
}

impl Tier {
    fn of(report: &TierReport) -> Self {
        Self { tier: report.tier.to_string() }
    }
}

/// Counts and times the calls of tiers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TierMetrics {
    seconds: Family<Ended, Histogram, fn() -> Histogram>,
}

impl Default for TierMetrics {
    fn default() -> Self {
        Self { seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)) }
    }
}

impl StoreObserver for TierMetrics {
    fn called(&self, call: &Call<'_>) {
        let Call { tag, op, took, outcome, .. } = *call;
        let ended = Ended { tier: tag.to_owned(), op: op.name(), outcome: outcome.name() };
        self.seconds.get_or_create(&ended).observe(took.as_secs_f64());
    }
}

impl TierMetrics {
    /// Makes the numbers visible, and those that the tiers of `store` tell.
    pub fn register(&self, registry: &mut Registry, store: Arc<dyn ChunkStore>) {
        let tiers = registry.sub_registry_with_prefix("cairn_node_tier");
        let help = "Time of a call of a tier; of a read, until its first bytes can be asked for";
        tiers.register_with_unit("call_duration", help, Unit::Seconds, self.seconds.clone());
        registry.register_collector(Box::new(Tiers { store }));
    }
}

/// How the tiers are, asked when metrics are read.
#[derive(Debug)]
struct Tiers {
    store: Arc<dyn ChunkStore>,
}

impl Collector for Tiers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let tiers = self.store.tiers();
        if tiers.is_empty() {
            return Ok(());
        }
        let mut told = Told { encoder: &mut encoder, tiers: &tiers };
        told.gauge("capacity_bytes", "Bytes that it may hold", |tier| tier.usage.capacity)?;
        told.gauge("used_bytes", "Bytes that it holds", |tier| tier.usage.used)?;
        told.gauge("degraded", "1 when its last answer was a failure", |tier| {
            tier.degraded.into()
        })?;
        told.gauge("waiting_chunks", "Chunks that are still to be copied to it", |tier| {
            tier.waiting
        })?;
        told.counter("errors", "Failures", |tier| tier.errors)?;
        told.counter("hits", "Chunks that were read from it", |tier| tier.hits)?;
        told.counter("bypassed", "Writes that passed it by: it was too small or full", |tier| {
            tier.bypassed
        })?;
        let lru = |tier: &TierReport, part: fn(&LruStats) -> u64| tier.lru.as_ref().map_or(0, part);
        told.gauge(
            "lru_capacity_bytes",
            "Bytes of chunks that its LRU holds; 0 without one",
            |t| lru(t, |lru| lru.capacity),
        )?;
        told.gauge("lru_remaining_bytes", "Bytes that its LRU may still promise", |tier| {
            lru(tier, |lru| u64::try_from(lru.remaining).unwrap_or(0))
        })?;
        told.counter("lru_evicted", "Chunks that its LRU let go of", |tier| {
            lru(tier, |lru| lru.evicted)
        })
    }
}

/// Numbers of the same tiers.
struct Told<'a, 'e> {
    encoder: &'a mut DescriptorEncoder<'e>,
    tiers: &'a [TierReport],
}

impl Told<'_, '_> {
    /// One number of each tier, written by `write`.
    fn each(
        &mut self,
        (name, help, kind): (&str, &str, MetricType),
        write: impl Fn(MetricEncoder<'_>, &TierReport) -> Result<(), fmt::Error>,
    ) -> Result<(), fmt::Error> {
        let name = format!("cairn_node_tier_{name}");
        let mut family = self.encoder.encode_descriptor(&name, help, None, kind)?;
        self.tiers.iter().try_for_each(|tier| write(family.encode_family(&Tier::of(tier))?, tier))
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        value: impl Fn(&TierReport) -> u64,
    ) -> Result<(), fmt::Error> {
        self.each((name, help, MetricType::Gauge), |mut metric, tier| {
            metric.encode_gauge(&i64::try_from(value(tier)).unwrap_or(i64::MAX))
        })
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        value: impl Fn(&TierReport) -> u64,
    ) -> Result<(), fmt::Error> {
        self.each((name, help, MetricType::Counter), |mut metric, tier| {
            metric.encode_counter::<NoLabelSet, _, u64>(&value(tier), None)
        })
    }
}
