//! `cairn admin deleted` and `cairn admin undelete`.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use cairn_proto::v1::{CondemnedVersion, ListCondemnedRequest, ObjectInfo, UndeleteRequest};
use serde::Serialize;
use uuid::Uuid;

use super::args::{Deleted, Undelete};
use super::{Operator, id};
use crate::client::error::{ClientError, Kind};
use crate::human::{Side, Table, bytes_as};

#[derive(Serialize)]
struct Version<'a> {
    bucket: &'a str,
    key: &'a str,
    version: String,
    length: u64,
    since_ms: u64,
    until_ms: u64,
}

fn version<'a>(object: &'a ObjectInfo, told: &CondemnedVersion) -> Version<'a> {
    Version {
        bucket: &object.bucket,
        key: &object.key,
        version: id(&object.version_id),
        length: object.length,
        since_ms: told.since_ms,
        until_ms: told.until_ms,
    }
}

/// A point in time as people read it, in UTC.
fn time(ms: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(ms));
    time.map_or_else(|| "–".to_owned(), |t| humantime::format_rfc3339_seconds(t).to_string())
}

pub(super) async fn list(operator: &Operator, args: &Deleted) -> Result<(), ClientError> {
    let all = all(operator, &args.bucket, args.prefix.as_deref().unwrap_or_default()).await?;
    let told = all.iter().filter_map(|told| Some(version(told.object.as_ref()?, told)));
    if args.show.json {
        return { told }.try_for_each(|version| operator.output.json(&version));
    }
    let (left, right) = (Side::Left, Side::Right);
    let mut table = Table::new(&[
        ("DELETED", left),
        ("KEPT UNTIL", left),
        ("LENGTH", right),
        ("VERSION", left),
        ("KEY", left),
    ]);
    for version in told {
        table.row(vec![
            time(version.since_ms),
            time(version.until_ms),
            bytes_as(version.length, args.show.bytes),
            version.version,
            version.key.to_owned(),
        ]);
    }
    operator.table(&table)
}

pub(super) async fn undelete(operator: &Operator, args: &Undelete) -> Result<(), ClientError> {
    let doing = format!("undelete {}", args.key);
    let version_id = match &args.version {
        Some(version) => parse(&doing, version)?,
        None => newest(operator, &doing, args).await?,
    };
    let request = UndeleteRequest { tenant: String::new(), version_id };
    let mut calls = operator.calls.clone();
    let answer = operator.answer(&doing, calls.undelete(request)).await?;
    let object = answer.object.unwrap_or_default();
    operator.output.line(&format!("{} is back, {} bytes", object.key, object.length))
}

fn parse(doing: &str, version: &str) -> Result<Bytes, ClientError> {
    let id = Uuid::parse_str(version);
    let id = id.map_err(|error| ClientError::usage(doing, format!("--version: {error}")))?;
    Ok(Bytes::copy_from_slice(id.as_bytes()))
}

/// The version of the key that was deleted last.
async fn newest(operator: &Operator, doing: &str, args: &Undelete) -> Result<Bytes, ClientError> {
    let versions = all(operator, &args.bucket, &args.key).await?;
    let objects = versions.into_iter().filter_map(|told| told.object);
    let last = objects.filter(|object| object.key == args.key).last();
    let none = || {
        let problem = format!("no deleted version of it is kept in bucket {}", args.bucket);
        ClientError::new(Kind::NotFound, doing, problem)
            .advise("see what is kept: cairn admin deleted")
    };
    Ok(last.ok_or_else(none)?.version_id)
}

/// All kept versions of keys that begin with `prefix`, oldest first.
async fn all(
    operator: &Operator,
    bucket: &str,
    prefix: &str,
) -> Result<Vec<CondemnedVersion>, ClientError> {
    let mut versions = Vec::new();
    let mut after = Bytes::new();
    loop {
        let request = ListCondemnedRequest {
            tenant: String::new(),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            after,
            limit: 0,
        };
        let mut calls = operator.calls.clone();
        let page = operator.answer("list deleted files", calls.list_condemned(request)).await?;
        versions.extend(page.versions);
        if page.next_after.is_empty() {
            // They come in the order in which they are purged.
            versions.sort_by_key(|version| version.since_ms);
            return Ok(versions);
        }
        after = page.next_after;
    }
}
