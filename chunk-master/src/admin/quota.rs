//! GetUsage and SetQuota.

use cairn_core::names::{BucketName, InvalidName, UserId};
use cairn_core::quota::{Account, Limits, ScopeKind};
use cairn_kv::{Durability, Snapshot, Txn};
use cairn_proto::v1::{GetUsageRequest, GetUsageResponse, SetQuotaRequest, SetQuotaResponse};
use cairn_proto::{InvalidField, WireError, convert, v1};
use tonic::Status;

use super::{MAX_ENTRIES, tenant};
use crate::bucket::{self, NoBucket};
use crate::catalog::{BucketKey, Scope, Tenant, record};
use crate::error::{CatalogError, TenantNotFound, operation_error};
use crate::master::Master;

operation_error! {
    /// Why an account is not read or changed.
    QuotaError {
        Catalog(CatalogError),
        Bucket(NoBucket),
        Tenant(TenantNotFound),
    }
}

fn scope(read: v1::Scope) -> Result<Scope, InvalidField> {
    let tenant = tenant("scope.tenant", &read.tenant)?;
    let wrong = |problem: InvalidName| InvalidField::new("scope.name", problem.to_string());
    Ok(match convert::scope_kind(read.kind())? {
        ScopeKind::Tenant => Scope::Tenant(tenant),
        ScopeKind::User => Scope::User(tenant, UserId::new(read.name).map_err(wrong)?),
        ScopeKind::Bucket => Scope::Bucket(tenant, BucketName::new(read.name).map_err(wrong)?),
    })
}

pub(super) fn tell_scope(scope: &Scope) -> v1::Scope {
    v1::Scope {
        kind: v1::ScopeKind::from(scope.kind()).into(),
        tenant: scope.tenant().to_string(),
        name: scope.name().to_owned(),
    }
}

pub(super) fn tell_account(scope: &Scope, account: &Account) -> v1::Account {
    v1::Account {
        scope: Some(tell_scope(scope)),
        limits: Some(account.limits.into()),
        used_bytes: account.used.bytes,
        used_objects: account.used.objects,
        reserved_bytes: account.reserved.bytes,
        reserved_objects: account.reserved.objects,
        condemned_bytes: account.condemned.bytes,
        condemned_objects: account.condemned.objects,
    }
}

pub(super) async fn get_usage(
    master: &Master,
    request: GetUsageRequest,
) -> Result<GetUsageResponse, Status> {
    let only = request.scope.map(scope).transpose();
    let only = only.map_err(|field| field.to_status())?;
    let closure = move |view: &Snapshot<'_>| -> Result<Vec<(Scope, Account)>, QuotaError> {
        match &only {
            Some(scope) => {
                let account = record::get(view, scope)?.unwrap_or_default();
                Ok(vec![(scope.clone(), account)])
            }
            None => Ok(record::scan(view, &record::all::<Account>(), MAX_ENTRIES)?),
        }
    };
    let accounts = master.view(closure).await?;
    Ok(GetUsageResponse {
        accounts: accounts.iter().map(|(scope, account)| tell_account(scope, account)).collect(),
    })
}

/// Users may be limited before they store anything; a tenant or bucket that is not there is a slip of the pen.
fn set(txn: &mut Txn<'_>, scope: &Scope, limits: Limits) -> Result<Account, QuotaError> {
    let tenant = scope.tenant();
    record::get::<Tenant>(txn, tenant)?.ok_or_else(|| TenantNotFound(tenant.clone()))?;
    if let Scope::Bucket(tenant, bucket) = scope {
        let key = BucketKey { tenant: tenant.clone(), bucket: bucket.clone() };
        bucket::live(txn, &key)?;
    }
    let account: Account = record::get(txn, scope)?.unwrap_or_default();
    let account = Account { limits, ..account };
    record::put(txn, scope, &account)?;
    Ok(account)
}

pub(super) async fn set_quota(
    master: &Master,
    request: SetQuotaRequest,
) -> Result<SetQuotaResponse, Status> {
    let scope = convert::required("scope", request.scope).and_then(scope);
    let scope = scope.map_err(|field| field.to_status())?;
    let limits = convert::required("limits", request.limits);
    let limits = Limits::from(limits.map_err(|field| field.to_status())?);
    let whose = scope.clone();
    let closure = move |txn: &mut Txn<'_>| set(txn, &whose, limits);
    let account = master.transact(Durability::Synced, closure).await?;
    // A raised limit may be what somebody waits for.
    master.gave_back();
    tracing::info!(target: "cairn", %scope, ?limits, "quota set");
    Ok(SetQuotaResponse { account: Some(tell_account(&scope, &account)) })
}
