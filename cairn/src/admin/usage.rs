//! `cairn admin usage` and `cairn admin quota set`.

use cairn_core::names::BucketName;
use cairn_proto::v1::{Account, GetUsageRequest, Limits, Scope, ScopeKind, SetQuotaRequest};
use serde::Serialize;

use super::Operator;
use super::args::{SetQuota, ShowUsage};
use crate::client::error::ClientError;
use crate::human::{Side, Table, bytes_as};

/// Whose it is: the name of the field says what kind.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Whose<'a> {
    Bucket(&'a str),
    User(&'a str),
    Tenant(&'a str),
}

impl<'a> Whose<'a> {
    pub(super) fn of(scope: &'a Scope) -> Option<Self> {
        match scope.kind() {
            ScopeKind::Bucket => Some(Self::Bucket(&scope.name)),
            ScopeKind::User => Some(Self::User(&scope.name)),
            ScopeKind::Tenant => Some(Self::Tenant(&scope.tenant)),
            ScopeKind::Unspecified => None,
        }
    }

    pub(super) const fn kind_and_name(self) -> (&'static str, &'a str) {
        match self {
            Self::Bucket(name) => ("bucket", name),
            Self::User(name) => ("user", name),
            Self::Tenant(name) => ("tenant", name),
        }
    }
}

#[derive(Serialize)]
struct Usage<'a> {
    #[serde(flatten)]
    whose: Whose<'a>,
    used_bytes: u64,
    reserved_bytes: u64,
    condemned_bytes: u64,
    objects: u64,
    limit_bytes: Option<u64>,
    limit_objects: Option<u64>,
}

fn usage(account: &Account) -> Option<Usage<'_>> {
    let limits = account.limits.unwrap_or_default();
    Some(Usage {
        whose: Whose::of(account.scope.as_ref()?)?,
        used_bytes: account.used_bytes,
        reserved_bytes: account.reserved_bytes,
        condemned_bytes: account.condemned_bytes,
        objects: account.used_objects,
        limit_bytes: limits.bytes,
        limit_objects: limits.objects,
    })
}

pub(super) async fn run(operator: &Operator, args: &ShowUsage) -> Result<(), ClientError> {
    let accounts = accounts(operator, "read usage", None).await?;
    let mut shown: Vec<Usage<'_>> = accounts.iter().filter_map(usage).collect();
    shown.retain(|usage| args.all || matches!(usage.whose, Whose::Bucket(_)));
    shown.sort_by_key(|usage| usage.whose.kind_and_name());
    if args.show.json {
        return shown.iter().try_for_each(|usage| operator.output.json(usage));
    }
    tell(operator, &shown, args.show.bytes)
}

pub(super) async fn set(operator: &Operator, set: &SetQuota) -> Result<(), ClientError> {
    let doing = format!("set the quota of {}", set.bucket);
    let bucket = BucketName::new(set.bucket.as_str());
    let bucket = bucket.map_err(|error| ClientError::usage(&doing, error))?;
    let scope = Scope {
        kind: ScopeKind::Bucket.into(),
        tenant: String::new(),
        name: bucket.as_str().to_owned(),
    };
    // The call replaces both limits: the one that is not named is given as it is.
    let before = accounts(operator, &doing, Some(scope.clone())).await?;
    let before = before.first().and_then(|account| account.limits).unwrap_or_default();
    let limits = Limits {
        bytes: set.bytes.map_or(before.bytes, Into::into),
        objects: set.objects.map_or(before.objects, Into::into),
    };
    let request = SetQuotaRequest { scope: Some(scope), limits: Some(limits) };
    let mut calls = operator.calls.clone();
    let call = calls.set_quota(request);
    let account = operator.answer(&doing, call).await?.account.unwrap_or_default();
    let Some(usage) = usage(&account) else {
        return Err(ClientError::failed(&doing, "the answer names no account"));
    };
    if set.json {
        return operator.output.json(&usage);
    }
    tell(operator, &[usage], false)
}

async fn accounts(
    operator: &Operator,
    doing: &str,
    scope: Option<Scope>,
) -> Result<Vec<Account>, ClientError> {
    let mut calls = operator.calls.clone();
    let call = calls.get_usage(GetUsageRequest { scope });
    Ok(operator.answer(doing, call).await?.accounts)
}

fn tell(operator: &Operator, shown: &[Usage<'_>], exact: bool) -> Result<(), ClientError> {
    let (left, right) = (Side::Left, Side::Right);
    let mut table = Table::new(&[
        ("KIND", left),
        ("NAME", left),
        ("USED", right),
        ("RESERVED", right),
        ("CONDEMNED", right),
        ("LIMIT", right),
        ("OBJECTS", right),
        ("OBJECT LIMIT", right),
    ]);
    for usage in shown {
        let (kind, name) = usage.whose.kind_and_name();
        table.row(vec![
            kind.to_owned(),
            name.to_owned(),
            bytes_as(usage.used_bytes, exact),
            bytes_as(usage.reserved_bytes, exact),
            bytes_as(usage.condemned_bytes, exact),
            usage.limit_bytes.map_or_else(none, |bytes| bytes_as(bytes, exact)),
            usage.objects.to_string(),
            usage.limit_objects.map_or_else(none, |objects| objects.to_string()),
        ]);
    }
    operator.table(&table)
}

fn none() -> String {
    "none".to_owned()
}
