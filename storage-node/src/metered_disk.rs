//! How long disks take to make things durable.

use std::fmt;
use std::io;

use cairn_chain::disk::{DiskWatch, WatchedDisk};
use cairn_runtime::Clock;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Bounds of the histogram in seconds: from a disk with a cache that survives power cuts to one that is failing.
const SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// What is measured. Cheap to clone.
#[derive(Clone)]
pub struct DiskMetrics {
    seconds: Histogram,
    failures: Counter,
    clock: Clock,
}

impl fmt::Debug for DiskMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiskMetrics")
    }
}

impl DiskMetrics {
    /// Measures with `clock`.
    pub fn new(clock: Clock) -> Self {
        Self { seconds: Histogram::new(SECONDS), failures: Counter::default(), clock }
    }

    /// Makes the numbers visible.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("cairn_node");
        let help = "Time to make a file or the names in a folder durable";
        let seconds = self.seconds.clone();
        registry.register_with_unit("fsync_duration", help, Unit::Seconds, seconds);
        let help = "Files and folders that could not be made durable";
        registry.register("fsync_failures", help, self.failures.clone());
    }
}

impl DiskWatch for DiskMetrics {
    fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let begun = self.clock.monotonic();
        let synced = sync();
        self.seconds.observe(self.clock.monotonic().saturating_sub(begun).as_secs_f64());
        if synced.is_err() {
            self.failures.inc();
        }
        synced
    }
}

/// A disk of which [`DiskMetrics`] tell how long it takes to make things durable.
pub type MeteredDisk = WatchedDisk<DiskMetrics>;
