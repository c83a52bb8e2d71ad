//! `cairn admin usage` and `cairn admin quota set`.

use cairn_core::names::BucketName;
use cairn_proto::v1::{Account, GetUsageRequest, Limits, Scope, ScopeKind, SetQuotaRequest};
use serde::Serialize;

use super::Operator;
use super::args::{SetQuota, Show};
use crate::client::error::ClientError;
use crate::human::{Side, Table, bytes_as};

#[derive(Serialize)]
struct Usage<'a> {
    bucket: &'a str,
    used_bytes: u64,
    reserved_bytes: u64,
    condemned_bytes: u64,
    objects: u64,
    limit_bytes: Option<u64>,
    limit_objects: Option<u64>,
}

fn usage(account: &Account) -> Usage<'_> {
    let limits = account.limits.unwrap_or_default();
    Usage {
        bucket: account.scope.as_ref().map_or("", |scope| scope.name.as_str()),
        used_bytes: account.used_bytes,
        reserved_bytes: account.reserved_bytes,
        condemned_bytes: account.condemned_bytes,
        objects: account.used_objects,
        limit_bytes: limits.bytes,
        limit_objects: limits.objects,
    }
}

pub(super) async fn run(operator: &Operator, show: &Show) -> Result<(), ClientError> {
    let accounts = accounts(operator, "read usage", None).await?;
    let is_bucket = |account: &&Account| {
        account.scope.as_ref().is_some_and(|scope| scope.kind() == ScopeKind::Bucket)
    };
    let buckets: Vec<Usage<'_>> = accounts.iter().filter(is_bucket).map(usage).collect();
    if show.json {
        return buckets.iter().try_for_each(|usage| operator.output.json(usage));
    }
    tell(operator, &buckets, show.bytes)
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
    if set.json {
        return operator.output.json(&usage(&account));
    }
    tell(operator, &[usage(&account)], false)
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

fn tell(operator: &Operator, buckets: &[Usage<'_>], exact: bool) -> Result<(), ClientError> {
    let (left, right) = (Side::Left, Side::Right);
    let mut table = Table::new(&[
        ("BUCKET", left),
        ("USED", right),
        ("RESERVED", right),
        ("CONDEMNED", right),
        ("LIMIT", right),
        ("OBJECTS", right),
        ("OBJECT LIMIT", right),
    ]);
    for usage in buckets {
        table.row(vec![
            usage.bucket.to_owned(),
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
