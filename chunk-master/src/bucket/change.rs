//! Change: settings of a bucket, for what comes later. What is stored or open stays as it was begun.

use std::collections::BTreeSet;

use cairn_core::bucket::{BucketSettings, BucketState, ClusterDefaults, Setting};
use cairn_core::quota::Account;
use cairn_kv::Txn;

use super::show::Shown;
use crate::catalog::{Bucket, BucketKey, Scope, record};
use crate::error::{BucketDeleting, BucketNotFound, CatalogError, SettingRefused, operation_error};

operation_error! {
    /// Why the settings stay as they are.
    ChangeError {
        Catalog(CatalogError),
        NotFound(BucketNotFound),
        Deleting(BucketDeleting),
        Setting(SettingRefused),
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) bucket: BucketKey,
    pub(crate) settings: BucketSettings,
    pub(crate) fields: BTreeSet<Setting>,
    pub(crate) defaults: ClusterDefaults,
}

/// Takes the named settings; all must fit together with those that stay.
pub(crate) fn change(txn: &mut Txn<'_>, request: &Change) -> Result<Shown, ChangeError> {
    let key = &request.bucket;
    let name = || key.bucket.clone();
    let bucket: Option<Bucket> = record::get(txn, key)?;
    let mut bucket = bucket.ok_or_else(|| BucketNotFound::Absent(name()))?;
    if bucket.state == BucketState::Deleting {
        return Err(BucketDeleting(name()).into());
    }
    let scope = Scope::Bucket(key.tenant.clone(), name());
    let mut account: Account = record::get(txn, &scope)?.unwrap_or_default();
    let mut settings = BucketSettings { policy: bucket.policy, limits: account.limits };
    settings.change(&request.settings, request.fields.iter().copied());
    settings.policy.check(&request.defaults).map_err(SettingRefused)?;
    bucket.policy = settings.policy;
    account.limits = settings.limits;
    record::put(txn, key, &bucket)?;
    record::put(txn, &scope, &account)?;
    Ok(Shown { name: name(), bucket, account })
}
