//! Create: a bucket comes to be, with its settings, in a tenant that exists.

use cairn_core::bucket::{BucketSettings, BucketState, ClusterDefaults};
use cairn_core::quota::Account;
use cairn_kv::Txn;

use super::show::Shown;
use crate::catalog::{Bucket, BucketKey, Scope, Tenant, record};
use crate::config::{Faults, SeededBug};
use crate::error::{
    BucketDeleting, BucketExists, CatalogError, SettingRefused, TenantNotFound, operation_error,
};

operation_error! {
    /// Why there is no new bucket.
    CreateError {
        Catalog(CatalogError),
        Tenant(TenantNotFound),
        Exists(BucketExists),
        Deleting(BucketDeleting),
        Setting(SettingRefused),
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Create {
    pub(crate) bucket: BucketKey,
    pub(crate) settings: BucketSettings,
    pub(crate) defaults: ClusterDefaults,
    pub(crate) now_ms: u64,
    pub(crate) faults: Faults,
}

/// Creates the bucket. While an older one of its name is being deleted, the name is taken.
pub(crate) fn create(txn: &mut Txn<'_>, request: &Create) -> Result<Shown, CreateError> {
    let Create { bucket: key, settings, defaults, now_ms, faults } = request;
    let name = || key.bucket.clone();
    if record::get::<Tenant>(txn, &key.tenant)?.is_none() {
        return Err(TenantNotFound(key.tenant.clone()).into());
    }
    match record::get::<Bucket>(txn, key)?.map(|bucket| bucket.state) {
        None => {}
        Some(BucketState::Live) => return Err(BucketExists(name()).into()),
        Some(BucketState::Deleting) if faults.has(SeededBug::CreateWhileDeleting) => {}
        Some(BucketState::Deleting) => return Err(BucketDeleting(name()).into()),
    }
    let BucketSettings { policy, limits } = *settings;
    policy.check(defaults).map_err(SettingRefused)?;
    let bucket = Bucket { policy, created_ms: *now_ms, ..Bucket::default() };
    record::put(txn, key, &bucket)?;
    let account = Account { limits, ..Account::default() };
    record::put(txn, &Scope::Bucket(key.tenant.clone(), name()), &account)?;
    Ok(Shown { name: name(), bucket, account })
}
