//! What a bucket asks for: its settings, and what they mean where they say nothing.

use crate::names::BucketName;
use crate::quota::{Amount, Limits};
use crate::strategy::{ReadStrategy, SaveStrategy};

/// Most copies of a chunk.
pub const MAX_COPIES: u32 = 8;
/// Longest wait of condemned data, in seconds: ten years.
pub const MAX_RETENTION_SECONDS: u64 = 10 * 365 * 24 * 60 * 60;

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DurabilityLevel {
    /// After the fsync of every copy that the receipt names.
    Synced,
}

/// What a bucket asks for. `None` means what the cluster does by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BucketPolicy {
    /// Copies of each chunk.
    pub copies: Option<u32>,
    /// Least zones that the copies of a chunk are in, where the cluster has that many.
    pub zones: Option<u32>,
    /// Least copies with which a write is accepted when nodes are short.
    pub least_copies: Option<u32>,
    /// When a write is acknowledged.
    pub durability: Option<DurabilityLevel>,
    /// Whether the SHA-256 of a file is computed.
    pub sha256: Option<bool>,
    /// How long replaced and deleted versions wait before they are purged, in seconds.
    pub retention_seconds: Option<u64>,
    /// How copies are written, where a request says nothing.
    pub write: Option<SaveStrategy>,
    /// How copies are read, where a request says nothing.
    pub read: Option<ReadStrategy>,
}

/// All settings of a bucket: its policy, and what it may hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BucketSettings {
    /// What it asks for.
    pub policy: BucketPolicy,
    /// What it may hold.
    pub limits: Limits,
}

/// What counts where a policy says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterDefaults {
    /// Copies of each chunk.
    pub copies: u32,
    /// Least copies with which a write is accepted; `None`: all of them.
    pub least_copies: Option<u32>,
    /// How long condemned versions wait, in milliseconds.
    pub retention_ms: u64,
}

/// A policy with nothing left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EffectivePolicy {
    /// Copies of each chunk.
    pub copies: u32,
    /// Least zones, where the cluster has that many; at most the copies.
    pub zones: u32,
    /// Least copies with which a write is accepted; at most the copies.
    pub least_copies: u32,
    /// When a write is acknowledged.
    pub durability: DurabilityLevel,
    /// Whether the SHA-256 of a file is computed.
    pub sha256: bool,
    /// How long condemned versions wait, in milliseconds.
    pub retention_ms: u64,
    /// How copies are written.
    pub write: SaveStrategy,
    /// How copies are read.
    pub read: ReadStrategy,
}

/// Whether a bucket can be used.
///
/// ```text
/// Live ── delete with contents ──► Deleting ── nothing is left ──► gone
///   └───────────── delete while empty ──────────────────────────►
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BucketState {
    /// It can.
    #[default]
    Live,
    /// Final: nothing begins, is committed or read in it any more.
    Deleting,
}

/// A bucket as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketInfo {
    /// Its name.
    pub name: BucketName,
    /// Whether it can be used.
    pub state: BucketState,
    /// When it was created, in milliseconds since 1970-01-01 UTC.
    pub created_ms: u64,
    /// What was set.
    pub settings: BucketSettings,
    /// What counts.
    pub effective: EffectivePolicy,
    /// Files.
    pub used: Amount,
    /// Open uploads.
    pub reserved: Amount,
    /// Condemned versions.
    pub condemned: Amount,
}

/// Names one setting, where some are changed and the others stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting {
    /// [`BucketPolicy::copies`].
    Copies,
    /// [`BucketPolicy::zones`].
    Zones,
    /// [`BucketPolicy::least_copies`].
    LeastCopies,
    /// [`BucketPolicy::durability`].
    Durability,
    /// [`BucketPolicy::sha256`].
    Sha256,
    /// [`BucketPolicy::retention_seconds`].
    RetentionSeconds,
    /// [`BucketPolicy::write`].
    Write,
    /// [`BucketPolicy::read`].
    Read,
    /// [`Limits::bytes`].
    QuotaBytes,
    /// [`Limits::objects`].
    QuotaObjects,
}

impl Setting {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Copies,
        Self::Zones,
        Self::LeastCopies,
        Self::Durability,
        Self::Sha256,
        Self::RetentionSeconds,
        Self::Write,
        Self::Read,
        Self::QuotaBytes,
        Self::QuotaObjects,
    ];

    /// The name in every interface.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Copies => "copies",
            Self::Zones => "zones",
            Self::LeastCopies => "least_copies",
            Self::Durability => "durability",
            Self::Sha256 => "sha256",
            Self::RetentionSeconds => "retention_seconds",
            Self::Write => "write",
            Self::Read => "read",
            Self::QuotaBytes => "quota_bytes",
            Self::QuotaObjects => "quota_objects",
        }
    }

    /// The setting of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.name() == name)
    }
}

/// A setting breaks its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSetting {
    /// See [`MAX_COPIES`].
    #[error("copies: {0}: use 1 to {MAX_COPIES}")]
    Copies(u32),
    /// More zones than copies cannot be reached.
    #[error("zones: {zones}: use 1 to the number of copies, {copies}")]
    Zones {
        /// Asked for.
        zones: u32,
        /// Copies of each chunk.
        copies: u32,
    },
    /// More than all copies cannot be asked for.
    #[error("least_copies: {least}: use 1 to the number of copies, {copies}")]
    LeastCopies {
        /// Asked for.
        least: u32,
        /// Copies of each chunk.
        copies: u32,
    },
    /// More copies than there are cannot be waited for.
    #[error("write: a quorum of {quorum}: use 1 to the number of copies, {copies}")]
    Quorum {
        /// Asked for.
        quorum: u32,
        /// Copies of each chunk.
        copies: u32,
    },
    /// See [`MAX_RETENTION_SECONDS`].
    #[error("retention_seconds: {0}: use 0 to {MAX_RETENTION_SECONDS}, ten years")]
    Retention(u64),
}

impl BucketPolicy {
    /// Checks the settings, by themselves and together.
    ///
    /// # Errors
    /// [`InvalidSetting`] for the first that does not fit.
    pub fn check(&self, defaults: &ClusterDefaults) -> Result<(), InvalidSetting> {
        let copies = self.copies.unwrap_or(defaults.copies);
        if !(1..=MAX_COPIES).contains(&copies) {
            return Err(InvalidSetting::Copies(copies));
        }
        if let Some(zones) = self.zones.filter(|zones| !(1..=copies).contains(zones)) {
            return Err(InvalidSetting::Zones { zones, copies });
        }
        if let Some(least) = self.least_copies.filter(|least| !(1..=copies).contains(least)) {
            return Err(InvalidSetting::LeastCopies { least, copies });
        }
        let quorum = self.write.and_then(SaveStrategy::quorum);
        if let Some(quorum) = quorum.filter(|quorum| *quorum > copies) {
            return Err(InvalidSetting::Quorum { quorum, copies });
        }
        let long = self.retention_seconds.filter(|seconds| *seconds > MAX_RETENTION_SECONDS);
        long.map_or(Ok(()), |seconds| Err(InvalidSetting::Retention(seconds)))
    }

    /// Fills in what is open. A default that has become smaller than what was asked for holds back the rest.
    pub fn effective(&self, defaults: &ClusterDefaults) -> EffectivePolicy {
        let copies = self.copies.unwrap_or(defaults.copies).max(1);
        let least_copies = self.least_copies.or(defaults.least_copies);
        let retention_ms = self.retention_seconds.map(|seconds| seconds.saturating_mul(1000));
        EffectivePolicy {
            copies,
            zones: self.zones.unwrap_or(1).clamp(1, copies),
            least_copies: least_copies.unwrap_or(copies).clamp(1, copies),
            durability: self.durability.unwrap_or(DurabilityLevel::Synced),
            sha256: self.sha256.unwrap_or(true),
            retention_ms: retention_ms.unwrap_or(defaults.retention_ms),
            write: self.write.unwrap_or_default().with_at_most(copies),
            read: self.read.unwrap_or_default(),
        }
    }
}

impl BucketSettings {
    /// Takes each of `changed` from `new`; the others stay.
    pub fn change(&mut self, new: &Self, changed: impl IntoIterator<Item = Setting>) {
        for setting in changed {
            match setting {
                Setting::Copies => self.policy.copies = new.policy.copies,
                Setting::Zones => self.policy.zones = new.policy.zones,
                Setting::LeastCopies => self.policy.least_copies = new.policy.least_copies,
                Setting::Durability => self.policy.durability = new.policy.durability,
                Setting::Sha256 => self.policy.sha256 = new.policy.sha256,
                Setting::RetentionSeconds => {
                    self.policy.retention_seconds = new.policy.retention_seconds;
                }
                Setting::Write => self.policy.write = new.policy.write,
                Setting::Read => self.policy.read = new.policy.read,
                Setting::QuotaBytes => self.limits.bytes = new.limits.bytes,
                Setting::QuotaObjects => self.limits.objects = new.limits.objects,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: ClusterDefaults =
        ClusterDefaults { copies: 2, least_copies: None, retention_ms: 7 };

    #[test]
    fn what_is_not_said_is_the_clusters_default() {
        let effective = BucketPolicy::default().effective(&DEFAULTS);
        let expected = EffectivePolicy {
            copies: 2,
            zones: 1,
            least_copies: 2,
            durability: DurabilityLevel::Synced,
            sha256: true,
            retention_ms: 7,
            write: SaveStrategy::default(),
            read: ReadStrategy::Hedged,
        };
        assert_eq!(effective, expected);
        let fewer = ClusterDefaults { least_copies: Some(1), ..DEFAULTS };
        assert_eq!(BucketPolicy::default().effective(&fewer).least_copies, 1);
        let now = BucketPolicy { retention_seconds: Some(0), ..BucketPolicy::default() };
        assert_eq!(now.effective(&DEFAULTS).retention_ms, 0);
    }

    #[test]
    fn settings_are_checked_by_themselves_and_together() {
        let open = BucketPolicy::default();
        let refused = [
            BucketPolicy { copies: Some(0), ..open },
            BucketPolicy { copies: Some(9), ..open },
            BucketPolicy { zones: Some(0), ..open },
            BucketPolicy { zones: Some(3), ..open },
            BucketPolicy { copies: Some(1), zones: Some(2), ..open },
            BucketPolicy { least_copies: Some(0), ..open },
            BucketPolicy { least_copies: Some(3), ..open },
            BucketPolicy { retention_seconds: Some(MAX_RETENTION_SECONDS + 1), ..open },
            BucketPolicy { write: Some("parallel; quorum=3".parse().expect("known")), ..open },
        ];
        for policy in refused {
            assert!(policy.check(&DEFAULTS).is_err(), "{policy:?}");
        }
        let fits = BucketPolicy {
            copies: Some(8),
            zones: Some(8),
            least_copies: Some(8),
            retention_seconds: Some(MAX_RETENTION_SECONDS),
            write: Some("parallel; quorum=8".parse().expect("known")),
            ..open
        };
        assert_eq!(fits.check(&DEFAULTS), Ok(()));
        assert_eq!(open.check(&DEFAULTS), Ok(()));
    }

    #[test]
    fn a_default_that_shrank_holds_back_what_was_asked_for() {
        let policy = BucketPolicy {
            zones: Some(2),
            least_copies: Some(2),
            write: Some("parallel; quorum=2".parse().expect("known")),
            ..Default::default()
        };
        let one = policy.effective(&ClusterDefaults { copies: 1, ..DEFAULTS });
        assert_eq!((one.copies, one.zones, one.least_copies), (1, 1, 1));
        assert_eq!(one.write, "parallel; quorum=1".parse().expect("known"));
    }

    #[test]
    fn a_change_touches_what_it_names_alone() {
        let policy = BucketPolicy { copies: Some(3), sha256: Some(false), ..Default::default() };
        let limits = Limits { bytes: Some(9), objects: Some(9) };
        let mut settings = BucketSettings { policy, limits };
        let new = BucketSettings {
            policy: BucketPolicy { copies: Some(1), zones: Some(1), ..Default::default() },
            limits: Limits::default(),
        };
        settings.change(&new, [Setting::Copies, Setting::QuotaBytes]);
        assert_eq!(settings.policy, BucketPolicy { copies: Some(1), ..policy });
        assert_eq!(settings.limits, Limits { bytes: None, objects: Some(9) });
        settings.change(&new, Setting::ALL);
        assert_eq!(settings, new);
        for setting in Setting::ALL {
            assert_eq!(Setting::of_name(setting.name()), Some(setting));
        }
    }
}
