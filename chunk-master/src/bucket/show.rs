//! Show: one bucket, or a page of a tenant's, with what they hold.

use cairn_core::names::{BucketName, TenantId};
use cairn_core::quota::Account;
use cairn_kv::Read;

use crate::catalog::{Bucket, BucketKey, Scope, record};
use crate::error::{BucketNotFound, CatalogError, operation_error};

operation_error! {
    /// Why nothing is shown.
    ShowError {
        Catalog(CatalogError),
        NotFound(BucketNotFound),
    }
}

/// A bucket with its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) name: BucketName,
    pub(crate) bucket: Bucket,
    pub(crate) account: Account,
}

fn account(read: &impl Read, key: &BucketKey) -> Result<Account, CatalogError> {
    let scope = Scope::Bucket(key.tenant.clone(), key.bucket.clone());
    Ok(record::get(read, &scope)?.unwrap_or_default())
}

/// A bucket, also while it is being deleted.
pub(crate) fn show(read: &impl Read, key: &BucketKey) -> Result<Shown, ShowError> {
    let name = key.bucket.clone();
    let bucket = record::get(read, key)?.ok_or(BucketNotFound::Absent(name.clone()))?;
    Ok(Shown { name, bucket, account: account(read, key)? })
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) tenant: TenantId,
    pub(crate) prefix: String,
    /// Empty: from the beginning.
    pub(crate) after: String,
    pub(crate) limit: usize,
}

/// Buckets in byte order of their names, and whether there are more.
pub(crate) fn page(read: &impl Read, request: &Page) -> Result<(Vec<Shown>, bool), ShowError> {
    let mut range = record::prefixed::<Bucket>(|parts| {
        parts.text(request.tenant.as_str()).start_of_text(&request.prefix);
    });
    if !request.after.is_empty() {
        range = range.after(record::raw_key::<Bucket>(|parts| {
            parts.text(request.tenant.as_str()).text(&request.after);
        }));
    }
    let mut found = record::scan::<Bucket>(read, &range, request.limit + 1)?;
    let more = found.len() > request.limit;
    found.truncate(request.limit);
    let shown = found.into_iter().map(|(key, bucket)| {
        let account = account(read, &key)?;
        Ok(Shown { name: key.bucket, bucket, account })
    });
    Ok((shown.collect::<Result<_, CatalogError>>()?, more))
}
