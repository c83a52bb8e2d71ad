//! Chunks in order, fetched ahead.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_core::copies::{ChunkLocation, CopyReport};
use cairn_core::ids::NodeId;
use cairn_core::names::{BucketName, ObjectKey};
use cairn_core::object::ObjectInfo;
use cairn_core::range::ByteRange;
use cairn_core::strategy::ReadStrategy;
use cairn_proto::WireError;
use cairn_replicas::{Fetch, Pace, Run, fetch};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use tokio::sync::Semaphore;

use super::ahead::{Ahead, FRAMES_AHEAD, Taking};
use super::lease::Lease;
use super::locate::{What, locate, stat};
use super::moved::Moved;
use super::wait::{MAX_WAITING, Wait, pending, until_over};
use super::{DownloadError, Located};
use crate::budget::{Budget, Share};
use crate::config::DownloadConfig;
use crate::master::{CallContext, Master};
use crate::metrics::Open;
use crate::nodes::Nodes;
use crate::reports::Reports;
use crate::seams::Seams;

/// Largest frame.
const FRAME_BYTES: u64 = cairn_proto::MAX_FRAME_BYTES as u64;

struct Shared {
    config: DownloadConfig,
    master: Master,
    nodes: Nodes,
    reports: Reports,
    budget: Budget,
    pace: Pace,
    /// Reads that may wait for uploads.
    waiting: Semaphore,
    seams: Seams,
}

/// Reads files. Cheap to clone.
#[derive(Clone)]
pub struct Downloads(Arc<Shared>);

impl std::fmt::Debug for Downloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Downloads").field("config", &self.0.config).finish_non_exhaustive()
    }
}

/// A body whose first bytes have been read.
pub struct Opened {
    /// The node that served the first bytes, and the time until they were there and proven; nothing for an empty range.
    pub served_by: Option<(NodeId, Duration)>,
    /// All bytes of the range, in order.
    pub body: BoxStream<'static, Result<Bytes, DownloadError>>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("served_by", &self.served_by).finish_non_exhaustive()
    }
}

impl Downloads {
    pub(crate) fn new(
        config: DownloadConfig,
        master: Master,
        nodes: Nodes,
        reports: Reports,
        seams: Seams,
    ) -> Self {
        let budget =
            Budget::new(config.budget_bytes, seams.clock.clone(), seams.metrics.download_budget());
        let Seams { clock, entropy, metrics, .. } = &seams;
        let metrics = metrics.clone();
        let count = move |event| metrics.read_event(event);
        let pace = Pace::new(config.pace, clock.clone(), entropy.clone(), count);
        let waiting = Semaphore::new(MAX_WAITING);
        Self(Arc::new(Shared { config, master, nodes, reports, budget, pace, waiting, seams }))
    }

    /// What is known of a file.
    ///
    /// # Errors
    /// [`DownloadError::Master`] when it does not exist or the master cannot be reached.
    pub async fn stat(
        &self,
        context: &CallContext,
        bucket: &BucketName,
        key: &ObjectKey,
    ) -> Result<ObjectInfo, DownloadError> {
        stat(&self.0.master, context, bucket, key).await
    }

    /// What is known of a file, and where it begins. With `wait`, first for the end of an upload that is open.
    ///
    /// # Errors
    /// As [`Self::stat`]; [`DownloadError::Waiting`] when too many wait.
    pub async fn locate(
        &self,
        context: &CallContext,
        bucket: &BucketName,
        key: &ObjectKey,
        wait: Option<Wait>,
    ) -> Result<Located, DownloadError> {
        let Shared { master, seams, waiting, .. } = &*self.0;
        let locate = || {
            let what = What { bucket, key, version: None };
            locate(master, context, what, ByteRange::whole(0))
        };
        let Some(wait) = wait else { return locate().await };
        let _waiting = waiting.try_acquire().map_err(|_| DownloadError::Waiting)?;
        let pending = || pending(master, context, bucket, key);
        until_over(wait, (&seams.clock, &seams.entropy), pending, locate).await
    }

    /// Opens a range of a located version and waits for its first bytes. Without a `strategy` copies are read as the bucket
    /// says.
    ///
    /// # Errors
    /// [`DownloadError`] when the first bytes cannot be read.
    pub async fn open(
        &self,
        context: CallContext,
        located: Located,
        range: ByteRange,
        strategy: Option<ReadStrategy>,
    ) -> Result<Opened, DownloadError> {
        let begun = self.0.seams.clock.monotonic();
        let strategy = strategy.or(located.read).unwrap_or(self.0.config.strategy);
        let mut reading = Reading::new(Arc::clone(&self.0), context, located, range, strategy);
        let first = match reading.next().await {
            Ok(first) => first,
            Err(error) => {
                reading.ended(error.reason().as_str_name());
                return Err(error);
            }
        };
        let took = self.0.seams.clock.monotonic().saturating_sub(begun);
        let served_by = first.as_ref().map(|run| (run.node, took));
        let first = stream::iter(first.map(|run| Ok(run.bytes)));
        let rest = stream::unfold(Some(reading), |reading| async {
            let mut reading = reading?;
            match reading.next().await {
                Ok(Some(run)) => Some((Ok(run.bytes), Some(reading))),
                Ok(None) => None,
                Err(error) => {
                    let id = &reading.context.request_id;
                    tracing::warn!(request_id = %id, %error, "download broken off");
                    reading.ended(error.reason().as_str_name());
                    Some((Err(error), None))
                }
            }
        });
        Ok(Opened { served_by, body: first.chain(rest).boxed() })
    }
}

struct Reading {
    shared: Arc<Shared>,
    context: CallContext,
    object: ObjectInfo,
    range: ByteRange,
    strategy: ReadStrategy,
    /// Located and not yet fetched.
    located: VecDeque<ChunkLocation>,
    /// Where the next page begins.
    next_page: Option<u64>,
    /// Next byte to be fetched.
    position: u64,
    ahead: VecDeque<Ahead>,
    taking: Taking,
    /// Bytes that were not handed out yet.
    left: u64,
    /// How it ended was counted.
    counted: bool,
    /// The version is not purged while this lives.
    _lease: Lease,
    _open: Open,
}

impl Reading {
    fn new(
        shared: Arc<Shared>,
        context: CallContext,
        located: Located,
        range: ByteRange,
        strategy: ReadStrategy,
    ) -> Self {
        let Located { object, chunks, next_offset, lease, .. } = located;
        let lease = Lease::keep(
            &shared.seams.spawner,
            shared.seams.clock.clone(),
            shared.master.clone(),
            context.clone(),
            object.clone(),
            lease,
        );
        let open = shared.seams.metrics.download_opened();
        let taking = Taking::new(shared.seams.clock.clone(), shared.config.client_idle);
        let mut reading = Self {
            shared,
            context,
            object,
            range,
            strategy,
            located: chunks.into(),
            next_page: next_offset,
            position: range.offset,
            ahead: VecDeque::new(),
            taking,
            left: range.length,
            counted: false,
            _lease: lease,
            _open: open,
        };
        reading.skip_to_range();
        reading
    }

    /// The first page begins at the start of the file; a range may begin elsewhere.
    fn skip_to_range(&mut self) {
        let start = self.range.offset;
        self.located.retain(|chunk| chunk.offset + chunk.length > start);
        if self.located.is_empty() && self.next_page.is_some() {
            self.next_page = Some(start);
        }
    }

    fn ended(&mut self, outcome: &str) {
        self.counted = true;
        self.shared.seams.metrics.download_ended(outcome);
    }

    /// The next bytes; nothing at the end.
    async fn next(&mut self) -> Result<Option<Run>, DownloadError> {
        loop {
            self.fetch_ahead().await?;
            let Some(current) = self.ahead.front_mut() else { return Ok(None) };
            match current.next().await? {
                Some(run) => {
                    let bytes = run.bytes.len() as u64;
                    self.shared.seams.metrics.sent(bytes);
                    self.left = self.left.saturating_sub(bytes);
                    return Ok(Some(run));
                }
                None => drop(self.ahead.pop_front()),
            }
        }
    }

    /// Starts fetching until the window is full.
    async fn fetch_ahead(&mut self) -> Result<(), DownloadError> {
        while self.position < self.range.end()
            && self.ahead.len() < self.shared.config.window_chunks
        {
            let Some(location) = self.next_chunk().await? else {
                return Err(DownloadError::Gap { offset: self.position });
            };
            let within = ByteRange::within(
                self.position - location.offset,
                self.range.end() - self.position,
                location.length,
            );
            let bytes = within.length.min(FRAME_BYTES * (FRAMES_AHEAD as u64 + 1));
            let bytes = bytes + self.raced(&location, within.length);
            let bytes = bytes.min(self.shared.config.budget_bytes);
            let config = &self.shared.config;
            let share = match self.shared.budget.try_take(bytes) {
                Some(share) => share,
                None if self.ahead.is_empty() => {
                    self.shared.budget.take(bytes, config.budget_wait).await?
                }
                // Only what is needed now is waited for; fetching ahead is a luxury.
                None => {
                    self.located.push_front(location);
                    return Ok(());
                }
            };
            self.position += within.length;
            let ahead = self.start(location, within, share);
            self.ahead.push_back(ahead);
        }
        Ok(())
    }

    /// The chunk that holds the current position.
    async fn next_chunk(&mut self) -> Result<Option<ChunkLocation>, DownloadError> {
        if self.located.is_empty() && self.next_page.is_some() {
            let (bucket, key) = (&self.object.bucket, &self.object.key);
            let what = What { bucket, key, version: Some(self.object.version) };
            let (offset, length) = (self.position, self.range.end() - self.position);
            let range = ByteRange { offset, length };
            let page = locate(&self.shared.master, &self.context, what, range).await?;
            self.located = page.chunks.into();
            self.next_page = page.next_offset;
        }
        let position = self.position;
        let holds =
            |chunk: &ChunkLocation| (chunk.offset..chunk.offset + chunk.length).contains(&position);
        Ok(self.located.pop_front().filter(holds))
    }

    /// What the copies that lose a race may hold: a frame each.
    fn raced(&self, location: &ChunkLocation, length: u64) -> u64 {
        match self.strategy {
            ReadStrategy::Race => {
                length.min(FRAME_BYTES) * (location.places.len() as u64).saturating_sub(1)
            }
            // One that is hedged holds two frames for a moment, and seldom: the allowance sees to that.
            ReadStrategy::Ordered | ReadStrategy::Hedged => 0,
        }
    }

    fn start(&self, location: ChunkLocation, range: ByteRange, share: Share) -> Ahead {
        let reports = self.shared.reports.clone();
        self.shared.seams.metrics.fetched(self.strategy);
        let moved = Moved {
            master: self.shared.master.clone(),
            context: self.context.clone(),
            object: self.object.clone(),
            offset: location.offset,
        };
        let runs = fetch(Fetch {
            location,
            elsewhere: Arc::new(moved),
            range,
            strategy: Arc::new(self.strategy),
            replicas: Arc::new(self.shared.nodes.for_request(&self.context)),
            report: Arc::new(move |report: CopyReport| reports.push(report)),
            stall: self.shared.config.stall,
            pace: self.shared.pace.clone(),
            hashing: self.shared.seams.hashing.clone(),
        });
        let runs = runs.map(|run| run.map_err(DownloadError::from));
        let spawner = &self.shared.seams.spawner;
        Ahead::begin(spawner, &self.taking, share, range.length, runs)
    }
}

/// Nobody asks for the end of a body whose length was announced, so what was handed out decides.
impl Drop for Reading {
    fn drop(&mut self) {
        if !self.counted {
            self.ended(if self.left == 0 { "done" } else { "cancelled" });
        }
    }
}
