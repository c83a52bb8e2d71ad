//! `cairn admin tenant create | ls | rm`.

use cairn_core::names::TenantId;
use cairn_proto::v1::{
    CreateTenantRequest, DeleteTenantRequest, Limits, ListTenantsRequest, Tenant as Told,
};
use serde::Serialize;

use super::Operator;
use super::args::{CreateTenant, RemoveTenant, Show, Tenant};
use crate::client::error::ClientError;
use crate::human::{Side, Table, bytes_as};

#[derive(Serialize)]
struct Described<'a> {
    tenant: &'a str,
    created_ms: u64,
    used_bytes: u64,
    objects: u64,
    limit_bytes: Option<u64>,
    limit_objects: Option<u64>,
}

fn describe(tenant: &Told) -> Described<'_> {
    let account = tenant.account.clone().unwrap_or_default();
    let limits = account.limits.unwrap_or_default();
    Described {
        tenant: &tenant.name,
        created_ms: tenant.created_ms,
        used_bytes: account.used_bytes,
        objects: account.used_objects,
        limit_bytes: limits.bytes,
        limit_objects: limits.objects,
    }
}

pub(super) async fn run(operator: &Operator, what: &Tenant) -> Result<(), ClientError> {
    match what {
        Tenant::Create(create) => create_one(operator, create).await,
        Tenant::Ls(show) => list(operator, show).await,
        Tenant::Rm(remove) => remove_one(operator, remove).await,
    }
}

fn checked(doing: &str, name: &str) -> Result<String, ClientError> {
    let name = TenantId::new(name).map_err(|error| ClientError::usage(doing, error))?;
    Ok(name.to_string())
}

async fn create_one(operator: &Operator, create: &CreateTenant) -> Result<(), ClientError> {
    let doing = format!("create tenant {}", create.tenant);
    let limit = |limit: Option<super::args::Limit>| limit.and_then(Into::into);
    let limits = Limits { bytes: limit(create.bytes), objects: limit(create.objects) };
    let tenant = checked(&doing, &create.tenant)?;
    let request = CreateTenantRequest { tenant, limits: Some(limits) };
    let mut calls = operator.calls.clone();
    let answer = operator.answer(&doing, calls.create_tenant(request)).await?;
    operator.output.line(&format!("created {}", answer.tenant.unwrap_or_default().name))
}

async fn remove_one(operator: &Operator, remove: &RemoveTenant) -> Result<(), ClientError> {
    let doing = format!("delete tenant {}", remove.tenant);
    let request = DeleteTenantRequest { tenant: checked(&doing, &remove.tenant)? };
    let mut calls = operator.calls.clone();
    operator.answer(&doing, calls.delete_tenant(request)).await?;
    operator.output.line(&format!("deleted {}", remove.tenant))
}

async fn list(operator: &Operator, show: &Show) -> Result<(), ClientError> {
    let (mut tenants, mut after) = (Vec::new(), String::new());
    loop {
        let mut calls = operator.calls.clone();
        let call = calls.list_tenants(ListTenantsRequest { after, limit: 0 });
        let page = operator.answer("list tenants", call).await?;
        tenants.extend(page.tenants);
        match page.next_after {
            Some(next) => after = next,
            None => break,
        }
    }
    let mut shown = tenants.iter().map(describe);
    if show.json {
        return shown.try_for_each(|tenant| operator.output.json(&tenant));
    }
    let (left, right) = (Side::Left, Side::Right);
    let columns = [
        ("NAME", left),
        ("USED", right),
        ("LIMIT", right),
        ("FILES", right),
        ("FILE LIMIT", right),
    ];
    let mut table = Table::new(&columns);
    let none = || "none".to_owned();
    for tenant in shown {
        table.row(vec![
            tenant.tenant.to_owned(),
            bytes_as(tenant.used_bytes, show.bytes),
            tenant.limit_bytes.map_or_else(none, |bytes| bytes_as(bytes, show.bytes)),
            tenant.objects.to_string(),
            tenant.limit_objects.map_or_else(none, |objects| objects.to_string()),
        ]);
    }
    operator.table(&table)
}
