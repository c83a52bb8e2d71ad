//! CreateTenant, ListTenants and DeleteTenant.

use cairn_core::names::{InvalidName, TenantId};
use cairn_core::quota::Limits;
use cairn_kv::{Durability, Snapshot, Txn};
use cairn_proto::v1::{
    CreateTenantRequest, CreateTenantResponse, DeleteTenantRequest, DeleteTenantResponse,
    ListTenantsRequest, ListTenantsResponse,
};
use cairn_proto::{InvalidField, WireError, v1};
use tonic::Status;

use super::limit;
use super::quota::tell_account;
use crate::catalog::Scope;
use crate::master::Master;
use crate::tenant::{self, Shown};

/// Unlike elsewhere, empty is no tenant: who creates or deletes one names it.
fn named(field: &'static str, name: String) -> Result<TenantId, InvalidField> {
    let wrong = |problem: InvalidName| InvalidField::new(field, problem.to_string());
    TenantId::new(name).map_err(wrong)
}

fn tell(shown: &Shown) -> v1::Tenant {
    let Shown { name, tenant, account } = shown;
    v1::Tenant {
        name: name.to_string(),
        created_ms: tenant.created_ms,
        account: Some(tell_account(&Scope::Tenant(name.clone()), account)),
    }
}

pub(super) async fn create_tenant(
    master: &Master,
    request: CreateTenantRequest,
) -> Result<CreateTenantResponse, Status> {
    let name = named("tenant", request.tenant).map_err(|field| field.to_status())?;
    let limits = Limits::from(request.limits.unwrap_or_default());
    let now_ms = master.time.wall_ms();
    let closure = move |txn: &mut Txn<'_>| tenant::create(txn, &name, limits, now_ms);
    let shown = master.transact(Durability::Synced, closure).await?;
    tracing::info!(target: "cairn", tenant = %shown.name, "tenant created");
    Ok(CreateTenantResponse { tenant: Some(tell(&shown)) })
}

pub(super) async fn list_tenants(
    master: &Master,
    request: ListTenantsRequest,
) -> Result<ListTenantsResponse, Status> {
    let parse = |request: ListTenantsRequest| {
        let after = Some(request.after).filter(|after| !after.is_empty());
        let after = after.map(|after| named("after", after)).transpose()?;
        Ok::<_, InvalidField>((after, limit(request.limit)?))
    };
    let (after, limit) = parse(request).map_err(|field| field.to_status())?;
    let closure = move |view: &Snapshot<'_>| tenant::page(view, after.as_ref(), limit);
    let (shown, more) = master.view(closure).await?;
    let last = shown.last().filter(|_| more);
    Ok(ListTenantsResponse {
        next_after: last.map(|shown| shown.name.to_string()),
        tenants: shown.iter().map(tell).collect(),
    })
}

pub(super) async fn delete_tenant(
    master: &Master,
    request: DeleteTenantRequest,
) -> Result<DeleteTenantResponse, Status> {
    let name = named("tenant", request.tenant).map_err(|field| field.to_status())?;
    loop {
        let whom = name.clone();
        let closure = move |txn: &mut Txn<'_>| tenant::delete(txn, &whom);
        if master.transact(Durability::Synced, closure).await? {
            tracing::info!(target: "cairn", tenant = %name, "tenant deleted");
            return Ok(DeleteTenantResponse {});
        }
    }
}
