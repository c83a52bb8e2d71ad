//! Reads all chunks again, again and again, and proves them: what rots is found before somebody needs it.
//!
//! ```text
//! position ─► next chunks of the list ─► read, blocks and hash ─ intact ─► wait ─┐
//!    ▲                                        └─ damaged ─► quarantine, report   │
//!    └── kept in the file `scrub`, so that a restart goes on ◄───────────────────┘
//! ```
//!
//! A round is spread over its period: an idle node reads a chunk now and then, a full one up to the set rate.

use std::sync::Arc;
use std::time::Duration;

use cairn_chain::disk::{durable_write, read_small};
use cairn_chain::{ChunkStore, Disk, ListChunks, ReadError, StoredChunk};
use cairn_core::digest::{ChunkHasher, plain_crc};
use cairn_core::ids::ChunkId;
use cairn_runtime::{Blocking, BlockingError, Clock, Drained, Phase};
use futures_util::StreamExt;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::reporter::Reporter;

/// Most bytes of that file.
const MOST_BYTES: usize = 256;
const TITLE: &str = "cairn scrub";
/// Chunks that are listed at a time; the position is kept after each page.
const PAGE: usize = 256;
/// Wait when there is nothing to read, or the store cannot say what it holds; a shorter period is one, too.
const IDLE: Duration = Duration::from_secs(60);

/// How a node scrubs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrubConfig {
    /// In which time all chunks are read once. Shorter finds rot sooner; longer leaves more of the disk to clients.
    pub period: Duration,
    /// Most bytes that are read in a second, however far behind the round is.
    pub rate: u64,
}

impl Default for ScrubConfig {
    fn default() -> Self {
        Self { period: Duration::from_secs(14 * 24 * 3600), rate: 64 << 20 }
    }
}

/// What a scrub has done, for metrics. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ScrubMetrics {
    bytes: Counter,
    damaged: Counter,
    failed: Counter,
    rounds: Counter,
    round_begun: Gauge,
}

impl ScrubMetrics {
    /// Makes the numbers visible.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("cairn_node_scrub");
        registry.register_with_unit("read", "Bytes read", Unit::Bytes, self.bytes.clone());
        let damaged = self.damaged.clone();
        registry.register("damaged", "Chunks that were found damaged and put aside", damaged);
        registry.register("failed", "Chunks that could not be read", self.failed.clone());
        registry.register("rounds", "Rounds that were ended", self.rounds.clone());
        let help = "When the present round was begun, since 1970 UTC";
        registry.register_with_unit("round_begun", help, Unit::Seconds, self.round_begun.clone());
    }
}

/// Scrubs one store.
#[derive(Debug)]
pub struct Scrub {
    /// What is read and proven: one disk, or what stands for one.
    pub store: Arc<dyn ChunkStore>,
    /// What puts a damaged chunk aside: the same, or the chain that it is a tier of.
    pub whole: Arc<dyn ChunkStore>,
    /// Tells of damaged chunks.
    pub reporter: Reporter,
    /// Keeps the position, in a file of this name.
    pub disk: Arc<dyn Disk>,
    /// That name.
    pub file: String,
    /// Where the position is written.
    pub blocking: Blocking,
    /// Where chunks are hashed.
    pub hashing: Blocking,
    /// Time.
    pub clock: Clock,
    /// Tells it to stop.
    pub drained: Drained,
    /// How it scrubs.
    pub config: ScrubConfig,
    /// What it has done.
    pub metrics: ScrubMetrics,
}

/// How far a round is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    /// When the round was begun, in ms since 1970 UTC.
    begun: u64,
    /// The last chunk that was read.
    after: Option<ChunkId>,
}

/// What became of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    Intact,
    /// Deleted since it was listed.
    Gone,
    Damaged,
    /// The disk did not answer; the next round looks again.
    Unread,
}

impl Scrub {
    /// Runs until the node is told to stop.
    pub async fn run(self) {
        let mut drained = self.drained.clone();
        tokio::select! {
            biased;
            () = drained.reached(Phase::Draining) => {}
            () = self.rounds() => {}
        }
    }

    async fn rounds(&self) {
        let mut position = self.load().await;
        loop {
            let begun = i64::try_from(position.begun / 1000).unwrap_or(i64::MAX);
            self.metrics.round_begun.set(begun);
            let from = self.clock.monotonic();
            let read = self.round(position).await;
            if read == 0 {
                self.clock.sleep(IDLE.min(self.config.period)).await;
                position = Position { begun: self.clock.wall_ms(), after: None };
                continue;
            }
            self.metrics.rounds.inc();
            tracing::info!(target: "cairn", chunks = read, damaged = self.metrics.damaged.get(), "a scrub has read all chunks");
            // What is put aside is part of what is used: a round can be over early.
            let took = self.clock.monotonic().saturating_sub(from);
            self.clock.sleep(self.config.period.saturating_sub(took)).await;
            position = Position { begun: self.clock.wall_ms(), after: None };
            self.keep(position).await;
        }
    }

    /// Reads all chunks from a position on; tells how many.
    async fn round(&self, mut position: Position) -> u64 {
        let mut read = 0;
        loop {
            let list = ListChunks { after: position.after, blob: None, limit: PAGE };
            let Ok(page) = self.store.list(list).await else {
                self.clock.sleep(IDLE.min(self.config.period)).await;
                continue;
            };
            for held in &page.chunks {
                self.chunk(held).await;
                read += 1;
                position.after = Some(held.chunk);
                self.clock.sleep(self.pace(held.length)).await;
            }
            if !page.more {
                return read;
            }
            self.keep(position).await;
        }
    }

    /// The wait after a chunk of `length` bytes, so that a round takes its period, unless the rate does not allow it.
    fn pace(&self, length: u64) -> Duration {
        let ScrubConfig { period, rate } = self.config;
        let used = self.store.usage().used.max(1);
        let share = period.as_nanos() * u128::from(length) / u128::from(used);
        let least = 1_000_000_000 * u128::from(length) / u128::from(rate.max(1));
        let wait = share.max(least).min(period.as_nanos());
        Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))
    }

    async fn chunk(&self, held: &StoredChunk) {
        match self.prove(held.chunk).await {
            Finding::Intact | Finding::Gone => {}
            Finding::Unread => drop(self.metrics.failed.inc()),
            Finding::Damaged => match self.whole.quarantine(held.chunk).await {
                Ok(true) => {
                    self.metrics.damaged.inc();
                    self.reporter.damaged(held.chunk);
                }
                // It was deleted, written again, or mended from another tier.
                Ok(false) => {}
                Err(error) => {
                    self.metrics.failed.inc();
                    tracing::error!(target: "cairn", chunk = %held.chunk, %error, "put a damaged chunk aside");
                }
            },
        }
    }

    async fn prove(&self, chunk: ChunkId) -> Finding {
        match self.read(chunk).await {
            Ok(true) => Finding::Intact,
            // Each block is what was written, and the whole is not what it was said to be: for the log, not for the
            // quarantine, which proves blocks.
            Ok(false) => {
                tracing::error!(target: "cairn", %chunk, "a chunk does not match its hash, though all of its blocks do");
                Finding::Unread
            }
            Err(ReadError::NotFound { .. }) => Finding::Gone,
            Err(ReadError::Corrupt { .. }) => Finding::Damaged,
            Err(error) => {
                tracing::warn!(target: "cairn", %chunk, %error, "a chunk cannot be read");
                Finding::Unread
            }
        }
    }

    /// Reads all of a chunk; tells whether its hash is what its description says.
    async fn read(&self, chunk: ChunkId) -> Result<bool, ReadError> {
        let mut reader = self.store.scrub(chunk).await?;
        let mut hasher = ChunkHasher::default();
        while let Some(frame) = reader.frames.next().await {
            let bytes = frame?.bytes;
            self.metrics.bytes.inc_by(bytes.len() as u64);
            let hashing = self.hashing.run(move || {
                hasher.update(&bytes);
                hasher
            });
            hasher = hashing.await?;
        }
        Ok(hasher.finish() == reader.header.hash)
    }

    /// Where an earlier run was; a new round where it cannot be told.
    async fn load(&self) -> Position {
        let (disk, file) = (Arc::clone(&self.disk), self.file.clone());
        let read = self.blocking.run(move || read_small(&*disk, &file, MOST_BYTES)).await;
        let known = match read {
            Ok(Ok(bytes)) => bytes.and_then(|bytes| Position::decode(&bytes)),
            Ok(Err(error)) => {
                tracing::warn!(target: "cairn", %error, "read the position of the scrub");
                None
            }
            Err(BlockingError::Panicked | BlockingError::Closed) => None,
        };
        known.unwrap_or(Position { begun: self.clock.wall_ms(), after: None })
    }

    async fn keep(&self, position: Position) {
        let (disk, file) = (Arc::clone(&self.disk), self.file.clone());
        let text = position.encode();
        let write = move || durable_write(&*disk, &file, text.as_bytes());
        let written = self.blocking.run(write).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(target: "cairn", %error, "keep the position of the scrub");
        }
    }
}

impl Position {
    fn encode(self) -> String {
        let after = self.after.map(|chunk| chunk.to_string()).unwrap_or_default();
        let text = format!("{TITLE}\nformat 1\nbegun {}\nafter {after}\n", self.begun);
        let crc = plain_crc(text.as_bytes());
        format!("{text}crc32c {crc:08x}\n")
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        let mut lines = text.lines().skip(2);
        let begun = lines.next()?.strip_prefix("begun ")?.parse().ok()?;
        let after = match lines.next()?.strip_prefix("after ")? {
            "" => None,
            chunk => Some(chunk.parse().ok()?),
        };
        let position = Self { begun, after };
        (position.encode() == text).then_some(position)
    }
}

#[cfg(test)]
mod tests {
    use cairn_chain::conformance::{blob, content, get_all, put};
    use cairn_chain::disk::memory::MemoryDisk;
    use cairn_chain::{FileStore, FileStoreConfig, FileStoreSeams};
    use cairn_runtime::{Drain, Entropy, Spawner};

    use super::*;

    const CHUNKS: u32 = 600;
    const BYTES: usize = 1000;

    struct Scrubbed {
        disk: MemoryDisk,
        store: Arc<dyn ChunkStore>,
        metrics: ScrubMetrics,
        drain: Drain,
        clock: Clock,
    }

    fn chunk(index: u32) -> ChunkId {
        ChunkId::new(blob(1), index)
    }

    impl Scrubbed {
        async fn open() -> Self {
            let disk = MemoryDisk::new(1 << 26);
            let clock = Clock::system();
            let seams = FileStoreSeams {
                disk: Arc::new(disk.clone()),
                blocking: Blocking::inline(),
                spawner: Spawner::current(),
                entropy: Entropy::seeded(1),
                clock: clock.clone(),
            };
            let config = FileStoreConfig { capacity: Some(1 << 25), keep_free: 0 };
            let store = Arc::new(FileStore::open(config, seams).await.expect("a store"));
            for index in 0..CHUNKS {
                put(&*store, chunk(index), &content(BYTES, 1)).await.expect("stored");
            }
            let (metrics, drain) = (ScrubMetrics::default(), Drain::default());
            Self { disk, store, metrics, drain, clock }
        }

        fn scrub(&self, period: Duration) -> Scrub {
            Scrub {
                store: Arc::clone(&self.store),
                whole: Arc::clone(&self.store),
                reporter: Reporter::new(),
                disk: Arc::new(self.disk.clone()),
                file: "scrub".to_owned(),
                blocking: Blocking::inline(),
                hashing: Blocking::inline(),
                clock: self.clock.clone(),
                drained: self.drain.watch(),
                config: ScrubConfig { period, rate: 1 << 30 },
                metrics: self.metrics.clone(),
            }
        }

        async fn until(&self, met: impl Fn(&ScrubMetrics) -> bool) {
            while !met(&self.metrics) {
                self.clock.sleep(Duration::from_millis(10)).await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_reads_all_chunks_within_its_period_and_puts_aside_what_rots() {
        let scrubbed = Scrubbed::open().await;
        let files = scrubbed.disk.files();
        let rotten = files.iter().find(|path| path.ends_with(&format!("/{}", chunk(77))));
        scrubbed.disk.edit(rotten.expect("the chunk's file"), |file| file[500] ^= 1);
        let period = Duration::from_secs(6000);
        let begun = scrubbed.clock.monotonic();
        let running = Spawner::current().spawn(scrubbed.scrub(period).run());
        scrubbed.until(|metrics| metrics.rounds.get() == 1).await;
        let took = scrubbed.clock.monotonic() - begun;
        assert!(took <= period && took > period / 20, "a round took {took:?}");
        assert_eq!(scrubbed.metrics.damaged.get(), 1);
        let gone = get_all(&*scrubbed.store, chunk(77)).await;
        assert!(matches!(gone, Err(ReadError::NotFound { .. })), "{gone:?}");
        assert_eq!(scrubbed.store.usage().chunks, u64::from(CHUNKS) - 1);
        running.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_scrub_goes_on_where_the_last_one_was() {
        let scrubbed = Scrubbed::open().await;
        let running = Spawner::current().spawn(scrubbed.scrub(Duration::from_secs(6000)).run());
        let page = (PAGE * BYTES) as u64;
        scrubbed.until(|metrics| metrics.bytes.get() > page + page / 2).await;
        running.abort();
        let before = scrubbed.metrics.bytes.get();
        let running = Spawner::current().spawn(scrubbed.scrub(Duration::from_secs(6000)).run());
        scrubbed.until(|metrics| metrics.rounds.get() == 1).await;
        let read = scrubbed.metrics.bytes.get() - before;
        let rest = u64::from(CHUNKS) * BYTES as u64 - page;
        // The next round may have begun.
        assert!((rest..=rest + BYTES as u64).contains(&read), "{read} bytes behind the first page");
        running.abort();
    }

    #[test]
    fn a_position_survives_its_text_and_every_flipped_bit_is_noticed() {
        for after in [None, Some(chunk(9))] {
            let position = Position { begun: 123_456, after };
            let text = position.encode();
            assert_eq!(Position::decode(text.as_bytes()), Some(position));
            for bit in 0..text.len() * 8 {
                let mut bytes = text.clone().into_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Position::decode(&bytes), None, "bit {bit} went unnoticed");
            }
        }
    }
}
