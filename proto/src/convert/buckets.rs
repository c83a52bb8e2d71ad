//! Buckets, their settings and limits.

use std::collections::BTreeSet;
use std::str::FromStr;

use cairn_core::bucket::{
    BucketInfo, BucketPolicy, BucketSettings, BucketState, DurabilityLevel, EffectivePolicy,
    Setting,
};
use cairn_core::quota::{Amount, Limits, ScopeKind};
use cairn_core::strategy::UnknownStrategy;

use super::{InvalidField, Read, at_most, bucket, required};
use crate::v1;

impl From<ScopeKind> for v1::ScopeKind {
    fn from(kind: ScopeKind) -> Self {
        match kind {
            ScopeKind::Tenant => Self::Tenant,
            ScopeKind::User => Self::User,
            ScopeKind::Bucket => Self::Bucket,
        }
    }
}

/// Reads the kind of an account.
///
/// # Errors
/// [`InvalidField`] when it is not said.
pub fn scope_kind(kind: v1::ScopeKind) -> Read<ScopeKind> {
    match kind {
        v1::ScopeKind::Tenant => Ok(ScopeKind::Tenant),
        v1::ScopeKind::User => Ok(ScopeKind::User),
        v1::ScopeKind::Bucket => Ok(ScopeKind::Bucket),
        v1::ScopeKind::Unspecified => Err(InvalidField::new("scope.kind", "missing")),
    }
}

impl From<v1::Limits> for Limits {
    fn from(limits: v1::Limits) -> Self {
        let v1::Limits { bytes, objects } = limits;
        Self { bytes, objects }
    }
}

impl From<Limits> for v1::Limits {
    fn from(limits: Limits) -> Self {
        let Limits { bytes, objects } = limits;
        Self { bytes, objects }
    }
}

impl From<DurabilityLevel> for v1::DurabilityLevel {
    fn from(level: DurabilityLevel) -> Self {
        match level {
            DurabilityLevel::Synced => Self::Synced,
        }
    }
}

impl From<BucketSettings> for v1::BucketSettings {
    fn from(settings: BucketSettings) -> Self {
        let BucketSettings { policy, limits } = settings;
        let durability = policy.durability.map(v1::DurabilityLevel::from);
        Self {
            copies: policy.copies,
            zones: policy.zones,
            least_copies: policy.least_copies,
            durability: durability.unwrap_or_default().into(),
            sha256: policy.sha256,
            retention_seconds: policy.retention_seconds,
            quota_bytes: limits.bytes,
            quota_objects: limits.objects,
            write: policy.write.map(|write| write.to_string()),
            read: policy.read.map(|read| read.to_string()),
        }
    }
}

/// Reads a strategy by its name; an empty one is none.
///
/// # Errors
/// [`InvalidField`] with the names that there are.
pub fn strategy<S: FromStr<Err = UnknownStrategy>>(
    field: &'static str,
    name: &str,
) -> Read<Option<S>> {
    let read = |name: &str| {
        name.parse().map_err(|error: UnknownStrategy| InvalidField::new(field, error.to_string()))
    };
    Some(name).filter(|name| !name.is_empty()).map(read).transpose()
}

/// Reads the settings of a bucket; absent is the cluster's default of all.
///
/// # Errors
/// [`InvalidField`] when the durability or a strategy is none. The other rules need the cluster's defaults and are the master's.
pub fn bucket_settings(settings: Option<v1::BucketSettings>) -> Read<BucketSettings> {
    let settings = settings.unwrap_or_default();
    let durability = match v1::DurabilityLevel::try_from(settings.durability) {
        Ok(v1::DurabilityLevel::Unspecified) => None,
        Ok(v1::DurabilityLevel::Synced) => Some(DurabilityLevel::Synced),
        Err(_) => return Err(InvalidField::new("durability", "use SYNCED, or leave it out")),
    };
    let policy = BucketPolicy {
        copies: settings.copies,
        zones: settings.zones,
        least_copies: settings.least_copies,
        durability,
        sha256: settings.sha256,
        retention_seconds: settings.retention_seconds,
        write: strategy("write", settings.write.as_deref().unwrap_or_default())?,
        read: strategy("read", settings.read.as_deref().unwrap_or_default())?,
    };
    let limits = Limits { bytes: settings.quota_bytes, objects: settings.quota_objects };
    Ok(BucketSettings { policy, limits })
}

/// Reads which settings are changed.
///
/// # Errors
/// [`InvalidField`] with the names that there are.
pub fn setting_names(fields: &[String]) -> Read<BTreeSet<Setting>> {
    let read = |name: &String| {
        let names = || Setting::ALL.map(Setting::name).join(", ");
        let known = Setting::of_name(name);
        known.ok_or_else(|| InvalidField::new("fields", format!("{name:?}: use {}", names())))
    };
    at_most("fields", Setting::ALL.len(), fields.to_vec())?.iter().map(read).collect()
}

/// A policy that leaves nothing open.
fn closed(effective: &EffectivePolicy) -> BucketPolicy {
    BucketPolicy {
        copies: Some(effective.copies),
        zones: Some(effective.zones),
        least_copies: Some(effective.least_copies),
        durability: Some(effective.durability),
        sha256: Some(effective.sha256),
        retention_seconds: Some(effective.retention_ms / 1000),
        write: Some(effective.write),
        read: Some(effective.read),
    }
}

/// Reads a policy that leaves nothing open.
fn effective(policy: &BucketPolicy) -> Read<EffectivePolicy> {
    let field = "effective";
    let retention_seconds = required(field, policy.retention_seconds)?;
    Ok(EffectivePolicy {
        copies: required(field, policy.copies)?,
        zones: required(field, policy.zones)?,
        least_copies: required(field, policy.least_copies)?,
        durability: required(field, policy.durability)?,
        sha256: required(field, policy.sha256)?,
        retention_ms: retention_seconds.saturating_mul(1000),
        write: required(field, policy.write)?,
        read: required(field, policy.read)?,
    })
}

impl From<&BucketInfo> for v1::BucketInfo {
    fn from(info: &BucketInfo) -> Self {
        let state = match info.state {
            BucketState::Live => v1::BucketState::Live,
            BucketState::Deleting => v1::BucketState::Deleting,
        };
        let limits = info.settings.limits;
        Self {
            name: info.name.to_string(),
            state: state.into(),
            created_ms: info.created_ms,
            settings: Some(info.settings.into()),
            effective: Some(BucketSettings { policy: closed(&info.effective), limits }.into()),
            usage: Some(v1::BucketUsage {
                used_bytes: info.used.bytes,
                used_objects: info.used.objects,
                reserved_bytes: info.reserved.bytes,
                reserved_objects: info.reserved.objects,
                condemned_bytes: info.condemned.bytes,
                condemned_objects: info.condemned.objects,
            }),
        }
    }
}

impl TryFrom<v1::BucketInfo> for BucketInfo {
    type Error = InvalidField;

    fn try_from(info: v1::BucketInfo) -> Read<Self> {
        let usage = info.usage.unwrap_or_default();
        let amount = |bytes, objects| Amount { bytes, objects };
        let state = match info.state() {
            v1::BucketState::Live => BucketState::Live,
            v1::BucketState::Deleting => BucketState::Deleting,
            v1::BucketState::Unspecified => return Err(InvalidField::new("state", "missing")),
        };
        Ok(Self {
            name: bucket(&info.name)?,
            state,
            created_ms: info.created_ms,
            settings: bucket_settings(info.settings)?,
            effective: effective(&bucket_settings(info.effective)?.policy)?,
            used: amount(usage.used_bytes, usage.used_objects),
            reserved: amount(usage.reserved_bytes, usage.reserved_objects),
            condemned: amount(usage.condemned_bytes, usage.condemned_objects),
        })
    }
}
