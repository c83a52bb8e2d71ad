//! A disk that tells how long it takes to make things durable.

use std::fmt;
use std::io;
use std::sync::Arc;

use cairn_chain::disk::{Disk, DiskEntry, DiskFile, DiskLock, DiskSpace};
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

    fn measured(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let begun = self.clock.monotonic();
        let synced = sync();
        self.seconds.observe(self.clock.monotonic().saturating_sub(begun).as_secs_f64());
        if synced.is_err() {
            self.failures.inc();
        }
        synced
    }
}

/// Measures what another disk does.
#[derive(Debug)]
pub struct MeteredDisk {
    disk: Arc<dyn Disk>,
    metrics: DiskMetrics,
}

impl MeteredDisk {
    /// Measures `disk`.
    pub fn new(disk: Arc<dyn Disk>, metrics: DiskMetrics) -> Self {
        Self { disk, metrics }
    }
}

impl Disk for MeteredDisk {
    fn create_new(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.create_new(path)?;
        Ok(Box::new(MeteredFile { file, metrics: self.metrics.clone() }))
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        // Opened for reading: nothing to make durable.
        self.disk.open(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn create_folder(&self, path: &str) -> io::Result<()> {
        self.disk.create_folder(path)
    }

    fn list_folder(&self, path: &str) -> io::Result<Vec<DiskEntry>> {
        self.disk.list_folder(path)
    }

    fn sync_folder(&self, path: &str) -> io::Result<()> {
        self.metrics.measured(|| self.disk.sync_folder(path))
    }

    fn sync_all(&self) -> io::Result<()> {
        self.disk.sync_all()
    }

    fn space(&self) -> io::Result<DiskSpace> {
        self.disk.space()
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path)
    }
}

#[derive(Debug)]
struct MeteredFile {
    file: Box<dyn DiskFile>,
    metrics: DiskMetrics,
}

impl DiskFile for MeteredFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.file.read_at(offset, length)
    }

    fn sync(&self) -> io::Result<()> {
        self.metrics.measured(|| self.file.sync())
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn uncache(&self, offset: u64, length: u64) {
        self.file.uncache(offset, length);
    }
}

#[cfg(test)]
mod tests {
    use cairn_chain::disk::memory::{DiskOp, MemoryDisk};
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[tokio::test]
    async fn each_fsync_is_timed_and_failures_are_counted() {
        let memory = MemoryDisk::new(1 << 20);
        let metrics = DiskMetrics::new(Clock::system());
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let disk = MeteredDisk::new(Arc::new(memory.clone()), metrics);
        let file = disk.create_new("a").expect("made");
        file.sync().expect("synced");
        disk.sync_folder("").expect("synced");
        memory.fail(DiskOp::Sync, 0, io::ErrorKind::Other);
        file.sync().expect_err("on purpose");
        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        assert!(text.contains("cairn_node_fsync_duration_seconds_count 3"), "{text}");
        assert!(text.contains("cairn_node_fsync_failures_total 1"), "{text}");
    }
}
