//! What can be set, and what it costs.

use std::time::Duration;

use cairn_core::strategy::ReadStrategy;
use cairn_replicas::{PaceBounds, SaveBounds};
use cairn_transport::Transport;

/// Settings of uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadConfig {
    /// Memory for chunks in flight, all uploads together. A chunk takes its full size, whatever the number of
    /// copies. More lets more uploads run at full speed; what has no share waits. At least 64 MiB, the size of
    /// a large chunk. Default 128 MiB.
    pub budget_bytes: u64,
    /// Longest wait for a share of the budget before 503. Default 30 s.
    pub budget_wait: Duration,
    /// Chunks of one upload in flight. More hides slower fsyncs and costs memory. Default 3.
    pub window_chunks: usize,
    /// How much of a body of unknown length is read before the master is asked. Default 8 MiB, one chunk.
    pub gather_bytes: u64,
    /// Longest silence of a client within a body. Longer bears worse networks; shorter frees memory and quota
    /// sooner. Default 30 s.
    pub body_idle: Duration,
    /// How much of a refused body is read on, so that its client reads the answer. Default 8 MiB.
    pub refused_bytes: u64,
    /// How long a refused body is read on. Default 2 s.
    pub refused_time: Duration,
    /// Bounds on saving one chunk.
    pub save: SaveBounds,
}

impl Default for UploadConfig {
    fn default() -> Self {
        Self {
            budget_bytes: 128 << 20,
            budget_wait: Duration::from_secs(30),
            window_chunks: 3,
            gather_bytes: 8 << 20,
            body_idle: Duration::from_secs(30),
            refused_bytes: 8 << 20,
            refused_time: Duration::from_secs(2),
            save: SaveBounds::default(),
        }
    }
}

/// Settings of downloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownloadConfig {
    /// Memory for bytes on their way to clients, all downloads together. Default 64 MiB.
    pub budget_bytes: u64,
    /// Longest wait for a share of the budget before 503. Default 30 s.
    pub budget_wait: Duration,
    /// Chunks of one download fetched at once, the one being sent included. Default 2.
    pub window_chunks: usize,
    /// Longest wait for a node's answer, and between its frames, before the next copy is asked. Default 10 s.
    pub stall: Duration,
    /// How copies are read where neither request nor bucket say it. Default `hedged`.
    pub strategy: ReadStrategy,
    /// When a second copy is asked, and how often.
    pub pace: PaceBounds,
    /// Longest time a client may take no byte before its connection is broken. Default 60 s.
    pub client_idle: Duration,
}

impl Default for DownloadConfig {
    fn default() -> Self {
        Self {
            budget_bytes: 64 << 20,
            budget_wait: Duration::from_secs(30),
            window_chunks: 2,
            stall: Duration::from_secs(10),
            strategy: ReadStrategy::default(),
            pace: PaceBounds::default(),
            client_idle: Duration::from_secs(60),
        }
    }
}

/// Settings of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the chunk masters are reached, e.g. `http://127.0.0.1:7000`: at least one. They share one catalog: any of
    /// them answers, and when the one that was asked is away, the next is.
    pub masters: Vec<String>,
    /// How chunk bytes travel to and from nodes. Default the lane, which does less work for each byte; gRPC where a proxy
    /// between gateway and nodes speaks nothing else.
    pub transport: Transport,
    /// Uploads.
    pub upload: UploadConfig,
    /// Downloads.
    pub download: DownloadConfig,
}

impl Config {
    /// Defaults, with these masters.
    pub fn with_masters(masters: Vec<String>) -> Self {
        let (upload, download) = (UploadConfig::default(), DownloadConfig::default());
        Self { masters, transport: Transport::Lane, upload, download }
    }
}
