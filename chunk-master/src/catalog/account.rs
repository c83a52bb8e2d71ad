//! Account: what a tenant, user or bucket may hold, holds and has promised.
//!
//! Key: tenant, kind, name (empty for the tenant itself). Lifetime: from the first upload or limit on.

use std::fmt;

use cairn_core::names::{BucketName, TenantId, UserId};
use cairn_core::quota::{Account, Amount, Limits, ScopeKind};
use prost::Message;

use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};

/// Whose account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    Tenant(TenantId),
    User(TenantId, UserId),
    Bucket(TenantId, BucketName),
}

impl Scope {
    pub(crate) fn kind(&self) -> ScopeKind {
        match self {
            Self::Tenant(_) => ScopeKind::Tenant,
            Self::User(..) => ScopeKind::User,
            Self::Bucket(..) => ScopeKind::Bucket,
        }
    }

    pub(crate) fn tenant(&self) -> &TenantId {
        match self {
            Self::Tenant(tenant) | Self::User(tenant, _) | Self::Bucket(tenant, _) => tenant,
        }
    }

    /// The name within the tenant; empty for the tenant itself.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Tenant(_) => "",
            Self::User(_, user) => user.as_str(),
            Self::Bucket(_, bucket) => bucket.as_str(),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(tenant) => write!(f, "tenant {tenant}"),
            Self::User(_, user) => write!(f, "user {user}"),
            Self::Bucket(_, bucket) => write!(f, "bucket {bucket}"),
        }
    }
}

const TENANT: u8 = 1;
const USER: u8 = 2;
const BUCKET: u8 = 3;

#[derive(Message)]
struct AmountPayload {
    #[prost(uint64, tag = "1")]
    bytes: u64,
    #[prost(uint64, tag = "2")]
    objects: u64,
}

#[derive(Message)]
struct Payload {
    #[prost(uint64, optional, tag = "1")]
    limit_bytes: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    limit_objects: Option<u64>,
    #[prost(message, required, tag = "3")]
    used: AmountPayload,
    #[prost(message, required, tag = "4")]
    reserved: AmountPayload,
    #[prost(message, required, tag = "5")]
    condemned: AmountPayload,
}

impl From<Amount> for AmountPayload {
    fn from(Amount { bytes, objects }: Amount) -> Self {
        Self { bytes, objects }
    }
}

impl From<AmountPayload> for Amount {
    fn from(AmountPayload { bytes, objects }: AmountPayload) -> Self {
        Self { bytes, objects }
    }
}

impl Record for Account {
    type Key = Scope;
    const TABLE: Table = Table::Account;

    fn write_key(key: &Scope, parts: &mut KeyWriter) {
        let kind = match key.kind() {
            ScopeKind::Tenant => TENANT,
            ScopeKind::User => USER,
            ScopeKind::Bucket => BUCKET,
        };
        parts.text(key.tenant().as_str()).byte(kind).text(key.name());
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<Scope, Malformed> {
        let tenant = TenantId::new(parts.text()?)?;
        match (parts.byte()?, parts.text()?) {
            (TENANT, "") => Ok(Scope::Tenant(tenant)),
            (USER, name) => Ok(Scope::User(tenant, UserId::new(name)?)),
            (BUCKET, name) => Ok(Scope::Bucket(tenant, BucketName::new(name)?)),
            _ => Err(Malformed::new("the kind of account is not known")),
        }
    }

    fn to_payload(&self) -> Vec<u8> {
        Payload {
            limit_bytes: self.limits.bytes,
            limit_objects: self.limits.objects,
            used: self.used.into(),
            reserved: self.reserved.into(),
            condemned: self.condemned.into(),
        }
        .encode_to_vec()
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        let read = Payload::decode(payload)?;
        Ok(Self {
            limits: Limits { bytes: read.limit_bytes, objects: read.limit_objects },
            used: read.used.into(),
            reserved: read.reserved.into(),
            condemned: read.condemned.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::record::tests::round_trips;

    #[test]
    fn accounts_of_all_scopes_round_trip() {
        let account = Account {
            limits: Limits { bytes: Some(0), objects: None },
            used: Amount::object(1),
            reserved: Amount::object(2),
            condemned: Amount::bytes(3),
        };
        let tenant = TenantId::standard();
        for scope in [
            Scope::Tenant(tenant.clone()),
            Scope::User(tenant.clone(), UserId::standard()),
            Scope::Bucket(tenant, BucketName::standard()),
        ] {
            round_trips(&scope, &account);
        }
    }
}
