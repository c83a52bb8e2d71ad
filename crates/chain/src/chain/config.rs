//! How a chain and its tiers are set.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::settings;

/// When a tier takes what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WriteMode {
    /// Before the write is answered.
    #[default]
    Sync,
    /// In the background, after the write was answered.
    Behind,
}

/// What a failure of a synchronous, durable tier means for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// The write fails.
    #[default]
    Fail,
    /// A later durable tier's success suffices; one that is written behind takes over at once when the write has not begun.
    /// The tier that failed lacks the chunk until it is read.
    Next,
}

/// What becomes of a write that failed half way in the tiers that took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// It is taken back, unless the tier had the chunk before.
    #[default]
    Remove,
    /// It stays where it is, and the answer is an error all the same.
    Keep,
}

/// How one tier is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TierConfig {
    /// What errors, metrics and logs call it; unique in the chain.
    pub name: String,
    /// When it takes what is written.
    #[serde(default)]
    pub write: WriteMode,
    /// Whether what it has answered survives a loss of power. False for a cache: its failures never fail a write, and
    /// its copies are not counted.
    #[serde(default = "yes")]
    pub durable: bool,
    /// What its failure means for a write.
    #[serde(default)]
    pub on_error: OnError,
    /// Whether what is read further down is put into it.
    #[serde(default = "yes")]
    pub promote: bool,
}

fn yes() -> bool {
    true
}

impl TierConfig {
    /// A synchronous, durable tier.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            write: WriteMode::Sync,
            durable: true,
            on_error: OnError::Fail,
            promote: true,
        }
    }

    /// The same, written behind.
    pub fn behind(self) -> Self {
        Self { write: WriteMode::Behind, ..self }
    }

    /// The same as a cache.
    pub fn cache(self) -> Self {
        Self { durable: false, ..self }
    }
}

/// How a chain is set, apart from its tiers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ChainConfig {
    /// What becomes of a write that failed half way.
    pub on_failure: OnFailure,
    /// How tiers are written behind.
    pub behind: BehindConfig,
    /// How what is read is put into the tiers before.
    pub promote: PromoteConfig,
}

/// How tiers are written behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct BehindConfig {
    /// Copies at a time.
    pub workers: usize,
    /// Chunks that may wait to be copied; a write that finds so many waits, then is refused. More ride out a longer
    /// failure of the tier behind, and stay on the disk so much longer.
    pub queue: usize,
    /// How long such a write waits.
    #[serde(with = "settings::time")]
    pub wait: Duration,
    /// Wait after the first failure of a copy; doubled at each further one.
    #[serde(with = "settings::time")]
    pub first_retry: Duration,
    /// The longest wait between two tries.
    #[serde(with = "settings::time")]
    pub last_retry: Duration,
    /// The longest that one copy may take.
    #[serde(with = "settings::time")]
    pub deadline: Duration,
    /// How long closing waits for what is still to be copied; the rest is copied after the next opening.
    #[serde(with = "settings::time")]
    pub drain: Duration,
}

impl Default for BehindConfig {
    fn default() -> Self {
        Self {
            workers: 4,
            queue: 1024,
            wait: Duration::from_secs(5),
            first_retry: Duration::from_millis(500),
            last_retry: Duration::from_secs(60),
            deadline: Duration::from_secs(300),
            drain: Duration::from_secs(20),
        }
    }
}

/// How what is read is put into the tiers before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct PromoteConfig {
    /// Promotions at a time.
    pub workers: usize,
    /// Promotions that run or wait; what comes on top is not promoted.
    pub queue: usize,
    /// The longest that one may take.
    #[serde(with = "settings::time")]
    pub deadline: Duration,
    /// The largest part of a tier's capacity that a chunk may have to be promoted into it, in percent: so that one
    /// reader of a large chunk does not empty a small cache.
    pub admit_percent: u8,
}

impl Default for PromoteConfig {
    fn default() -> Self {
        Self { workers: 2, queue: 64, deadline: Duration::from_secs(60), admit_percent: 25 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_an_operator_writes_them_and_what_is_unknown_is_refused() {
        let tier: TierConfig = toml::from_str("name = 'far'\nwrite = 'behind'").expect("a tier");
        assert_eq!(tier, TierConfig::named("far").behind());
        let text = "on-failure = 'keep'\n[behind]\nqueue = 5\nlast-retry = '2m'";
        let chain: ChainConfig = toml::from_str(text).expect("a chain");
        assert_eq!((chain.on_failure, chain.behind.queue), (OnFailure::Keep, 5));
        assert_eq!(chain.behind.last_retry, Duration::from_secs(120));
        assert_eq!(chain.promote, PromoteConfig::default());
        toml::from_str::<TierConfig>("name = 'far'\nwrites = 'behind'").expect_err("unknown");
        toml::from_str::<ChainConfig>("[behind]\nlast-retry = 'soon'").expect_err("no time");
    }
}
