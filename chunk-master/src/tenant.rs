//! Tenants: created, listed and deleted by operators, as bounded closures over one transaction.

use cairn_core::names::TenantId;
use cairn_core::quota::{Account, Limits};
use cairn_kv::{Read, Txn};

use crate::catalog::{Bucket, Scope, Tenant, record};
use crate::error::{
    CatalogError, TenantExists, TenantNotEmpty, TenantNotFound, TenantStays, operation_error,
};

/// Accounts of one transaction.
const ACCOUNTS_PER_STEP: usize = 500;

operation_error! {
    /// Why tenants stay as they are.
    TenantError {
        Catalog(CatalogError),
        Exists(TenantExists),
        NotFound(TenantNotFound),
        NotEmpty(TenantNotEmpty),
        Stays(TenantStays),
    }
}

/// A tenant with its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) name: TenantId,
    pub(crate) tenant: Tenant,
    pub(crate) account: Account,
}

/// Creates a tenant.
pub(crate) fn create(
    txn: &mut Txn<'_>,
    name: &TenantId,
    limits: Limits,
    created_ms: u64,
) -> Result<Shown, TenantError> {
    if record::get::<Tenant>(txn, name)?.is_some() {
        return Err(TenantExists(name.clone()).into());
    }
    let tenant = Tenant { created_ms };
    record::put(txn, name, &tenant)?;
    let account = Account { limits, ..Account::default() };
    record::put(txn, &Scope::Tenant(name.clone()), &account)?;
    Ok(Shown { name: name.clone(), tenant, account })
}

/// A page of tenants by name, and whether there are more.
pub(crate) fn page(
    read: &impl Read,
    after: Option<&TenantId>,
    limit: usize,
) -> Result<(Vec<Shown>, bool), TenantError> {
    let mut range = record::all::<Tenant>();
    if let Some(after) = after {
        range = range.after(record::key_of::<Tenant>(after));
    }
    let mut found = record::scan::<Tenant>(read, &range, limit + 1)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let shown = found.into_iter().map(|(name, tenant)| {
        let account = record::get(read, &Scope::Tenant(name.clone()))?.unwrap_or_default();
        Ok(Shown { name, tenant, account })
    });
    Ok((shown.collect::<Result<_, CatalogError>>()?, more))
}

/// Deletes a tenant without buckets, and a bounded part of its accounts: false while some are left. The tenant itself
/// goes with the last. Without buckets there is nothing that an account could hold.
pub(crate) fn delete(txn: &mut Txn<'_>, name: &TenantId) -> Result<bool, TenantError> {
    if *name == TenantId::standard() {
        return Err(TenantStays.into());
    }
    record::get::<Tenant>(txn, name)?.ok_or_else(|| TenantNotFound(name.clone()))?;
    let buckets = record::prefixed::<Bucket>(|parts| {
        parts.text(name.as_str());
    });
    if let Some((bucket, _)) = record::scan::<Bucket>(txn, &buckets, 1)?.pop() {
        return Err(TenantNotEmpty(name.clone(), bucket.bucket).into());
    }
    let accounts = record::prefixed::<Account>(|parts| {
        parts.text(name.as_str());
    });
    let accounts = record::scan::<Account>(txn, &accounts, ACCOUNTS_PER_STEP)?;
    for (scope, _) in &accounts {
        record::delete::<Account>(txn, scope)?;
    }
    if accounts.len() == ACCOUNTS_PER_STEP {
        return Ok(false);
    }
    record::delete::<Tenant>(txn, name)?;
    Ok(true)
}
