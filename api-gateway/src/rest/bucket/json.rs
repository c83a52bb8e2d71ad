//! JSON of a bucket, and of the settings that a client sends.
#![expect(
    unused_qualifications,
    reason = "what utoipa derives for inlined fields names them in full"
)]

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use cairn_core::bucket::{
    BucketInfo, BucketPolicy, BucketSettings, BucketState, DurabilityLevel, EffectivePolicy,
    Setting,
};
use cairn_core::quota::{Amount, Limits};
use cairn_core::strategy::UnknownStrategy;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{PartialSchema, ToSchema};

use super::super::operation::Sent;
use super::super::problem::Problem;

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Durability)]
pub(super) enum LevelJson {
    /// After the fsync of every copy that the receipt names.
    Synced,
}

/// What a bucket asks for; what is absent or null is the cluster's default, and no quota.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = BucketSettings)]
pub(super) struct SettingsJson {
    /// Copies of each chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 8)]
    copies: Option<u32>,
    /// Least zones that the copies of a chunk are in, where the cluster has that many; at most the copies.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 8)]
    zones: Option<u32>,
    /// Least copies with which a write is accepted when nodes are short; at most the copies. The missing ones are made
    /// when there are nodes again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 8)]
    least_copies: Option<u32>,
    /// When a write is acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    durability: Option<LevelJson>,
    /// Whether the SHA-256 of files is computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<bool>,
    /// How long replaced and deleted files can come back, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 315_360_000)]
    retention_seconds: Option<u64>,
    /// How copies are written when a request says nothing, as in the header `Cairn-Write`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(sequential|parallel(; (all|fail_fast|quorum=[1-8]))?)$")]
    write: Option<String>,
    /// How copies are read when a request says nothing, as in the header `Cairn-Read`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(ordered|race|hedged)$")]
    read: Option<String>,
    /// Most bytes in the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    quota_bytes: Option<u64>,
    /// Most files in the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    quota_objects: Option<u64>,
}

/// The body of requests that set something.
pub(super) const SETTINGS: Sent = Sent {
    about: "Settings; nothing for the defaults.",
    json: Some(|| ("BucketSettings", SettingsJson::schema())),
};

/// A bucket.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Bucket)]
pub(super) struct BucketJson {
    /// Its name.
    bucket: String,
    /// `live`, or `deleting` while it goes with its contents.
    #[schema(inline)]
    state: StateJson,
    /// When it was created, as an HTTP date.
    created: String,
    /// What was set.
    settings: SettingsJson,
    /// What counts: the settings, and the cluster's defaults where nothing is set.
    effective: SettingsJson,
    /// What it holds.
    #[schema(inline)]
    usage: UsageJson,
}

/// Whether a bucket can be used.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum StateJson {
    Live,
    Deleting,
}

/// What a bucket holds; bytes are not times copies.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsageJson {
    /// Files.
    #[schema(inline)]
    used: AmountJson,
    /// Open uploads.
    #[schema(inline)]
    reserved: AmountJson,
    /// Replaced and deleted files that can come back.
    #[schema(inline)]
    condemned: AmountJson,
}

/// Bytes and a number.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AmountJson {
    bytes: u64,
    objects: u64,
}

impl From<Amount> for AmountJson {
    fn from(Amount { bytes, objects }: Amount) -> Self {
        Self { bytes, objects }
    }
}

impl From<DurabilityLevel> for LevelJson {
    fn from(level: DurabilityLevel) -> Self {
        match level {
            DurabilityLevel::Synced => Self::Synced,
        }
    }
}

impl From<LevelJson> for DurabilityLevel {
    fn from(level: LevelJson) -> Self {
        match level {
            LevelJson::Synced => Self::Synced,
        }
    }
}

impl From<BucketSettings> for SettingsJson {
    fn from(BucketSettings { policy, limits }: BucketSettings) -> Self {
        Self {
            copies: policy.copies,
            zones: policy.zones,
            least_copies: policy.least_copies,
            durability: policy.durability.map(Into::into),
            sha256: policy.sha256,
            retention_seconds: policy.retention_seconds,
            write: policy.write.map(|write| write.to_string()),
            read: policy.read.map(|read| read.to_string()),
            quota_bytes: limits.bytes,
            quota_objects: limits.objects,
        }
    }
}

impl TryFrom<SettingsJson> for BucketSettings {
    type Error = UnknownStrategy;

    fn try_from(json: SettingsJson) -> Result<Self, UnknownStrategy> {
        let policy = BucketPolicy {
            copies: json.copies,
            zones: json.zones,
            least_copies: json.least_copies,
            durability: json.durability.map(Into::into),
            sha256: json.sha256,
            retention_seconds: json.retention_seconds,
            write: json.write.map(|write| write.parse()).transpose()?,
            read: json.read.map(|read| read.parse()).transpose()?,
        };
        let limits = Limits { bytes: json.quota_bytes, objects: json.quota_objects };
        Ok(Self { policy, limits })
    }
}

fn effective(policy: &EffectivePolicy, limits: Limits) -> SettingsJson {
    SettingsJson {
        copies: Some(policy.copies),
        zones: Some(policy.zones),
        least_copies: Some(policy.least_copies),
        durability: Some(policy.durability.into()),
        sha256: Some(policy.sha256),
        retention_seconds: Some(policy.retention_ms / 1000),
        write: Some(policy.write.to_string()),
        read: Some(policy.read.to_string()),
        quota_bytes: limits.bytes,
        quota_objects: limits.objects,
    }
}

impl From<&BucketInfo> for BucketJson {
    fn from(info: &BucketInfo) -> Self {
        let created = SystemTime::UNIX_EPOCH + Duration::from_secs(info.created_ms / 1000);
        let state = match info.state {
            BucketState::Live => StateJson::Live,
            BucketState::Deleting => StateJson::Deleting,
        };
        Self {
            bucket: info.name.to_string(),
            state,
            created: httpdate::fmt_http_date(created),
            settings: info.settings.into(),
            effective: effective(&info.effective, info.settings.limits),
            usage: UsageJson {
                used: info.used.into(),
                reserved: info.reserved.into(),
                condemned: info.condemned.into(),
            },
        }
    }
}

/// Reads settings; an empty body is none.
pub(super) fn read_settings(body: &[u8]) -> Result<BucketSettings, Problem> {
    if body.is_empty() {
        return Ok(BucketSettings::default());
    }
    read_change(body).map(|(settings, _)| settings)
}

/// Reads a change as RFC 7396 has it: what is there is set, null goes back to the default, what is absent stays.
pub(super) fn read_change(body: &[u8]) -> Result<(BucketSettings, BTreeSet<Setting>), Problem> {
    let change: Map<String, Value> = serde_json::from_slice(body).map_err(|error| wrong(&error))?;
    let named = change.keys().filter_map(|name| Setting::of_name(name)).collect();
    let read = serde_json::from_value::<SettingsJson>(Value::Object(change));
    let settings = BucketSettings::try_from(read.map_err(|error| wrong(&error))?);
    Ok((settings.map_err(|error| Problem::bad_request(format!("settings: {error}")))?, named))
}

fn wrong(error: &serde_json::Error) -> Problem {
    let names = Setting::ALL.map(Setting::name).join(", ");
    Problem::bad_request(format!("settings: {error}: send a JSON object of {names}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_tells_null_from_absent() {
        let (settings, fields) =
            read_change(br#"{"copies":3,"quota_bytes":null}"#).expect("a change");
        assert_eq!(settings.policy.copies, Some(3));
        assert_eq!(fields, BTreeSet::from([Setting::Copies, Setting::QuotaBytes]));
        assert_eq!(read_change(b"{}").expect("nothing").1, BTreeSet::new());
        let (settings, fields) = read_change(br#"{"read":"race","write":null}"#).expect("a change");
        assert_eq!(
            (settings.policy.read, settings.policy.write),
            (Some("race".parse().expect("known")), None)
        );
        assert_eq!(fields, BTreeSet::from([Setting::Write, Setting::Read]));
    }

    #[test]
    fn settings_that_are_none_are_refused() {
        assert_eq!(read_settings(b"").expect("none"), BucketSettings::default());
        assert_eq!(read_settings(br#"{"copies":null}"#).expect("none"), BucketSettings::default());
        for body in [
            &b"[]"[..],
            b"7",
            b"{",
            b"\xff",
            br#"{"copies":-1}"#,
            br#"{"copies":"2"}"#,
            br#"{"copies":2.5}"#,
            br#"{"size":2}"#,
            br#"{"durability":"memory"}"#,
            br#"{"sha256":1}"#,
            br#"{"write":"first"}"#,
            br#"{"write":""}"#,
            br#"{"read":2}"#,
        ] {
            assert!(read_settings(body).is_err(), "{}", body.escape_ascii());
        }
        for body in [&b""[..], b"null", b"[]", br#"{"size":2}"#, br#"{"copies":"2"}"#] {
            assert!(read_change(body).is_err(), "{}", body.escape_ascii());
        }
    }
}
