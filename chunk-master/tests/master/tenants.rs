//! Tenants are created, listed and deleted by operators; their names keep buckets apart.

use cairn_proto::{Reason, RemoteError, v1};

use crate::cluster::{Cluster, reason};

async fn create(cluster: &mut Cluster, tenant: &str) -> Result<v1::Tenant, RemoteError> {
    let limits = Some(v1::Limits { bytes: Some(100), objects: None });
    let request = v1::CreateTenantRequest { tenant: tenant.into(), limits };
    Ok(cluster.admin.create_tenant(request).await?.into_inner().tenant.unwrap())
}

async fn delete(cluster: &mut Cluster, tenant: &str) -> Result<(), RemoteError> {
    let request = v1::DeleteTenantRequest { tenant: tenant.into() };
    Ok(cluster.admin.delete_tenant(request).await.map(drop)?)
}

fn caller(tenant: &str) -> Option<v1::Caller> {
    let principal = Some(v1::Principal { tenant: tenant.into(), user: "ada".into() });
    Some(v1::Caller { principal, ..Default::default() })
}

async fn make_bucket(cluster: &mut Cluster, tenant: &str) -> Result<(), RemoteError> {
    let caller = caller(tenant);
    let request = v1::MakeBucketRequest { caller, bucket: "photos".into(), settings: None };
    Ok(cluster.client.make_bucket(request).await.map(drop)?)
}

async fn names(cluster: &mut Cluster, limit: u32) -> Vec<String> {
    let (mut names, mut after) = (Vec::new(), String::new());
    loop {
        let request = v1::ListTenantsRequest { after, limit };
        let page = cluster.admin.list_tenants(request).await.unwrap().into_inner();
        names.extend(page.tenants.into_iter().map(|tenant| tenant.name));
        let Some(next) = page.next_after else { return names };
        after = next;
    }
}

#[tokio::test(start_paused = true)]
async fn tenants_are_created_once_listed_by_name_and_limited() {
    let mut cluster = Cluster::small().await;
    for tenant in ["beta", "alpha", "Gamma"] {
        create(&mut cluster, tenant).await.unwrap();
    }
    assert_eq!(reason(create(&mut cluster, "alpha").await), Reason::TenantExists);
    assert_eq!(reason(create(&mut cluster, "default").await), Reason::TenantExists);
    for limit in [1, 2, 0] {
        assert_eq!(names(&mut cluster, limit).await, ["Gamma", "alpha", "beta", "default"]);
    }
    make_bucket(&mut cluster, "alpha").await.unwrap();
    let mut request = cluster.begin_request("k", Some(101));
    (request.caller, request.bucket) = (caller("alpha"), "photos".into());
    assert_eq!(reason(cluster.begin_with(request.clone()).await), Reason::QuotaExceeded);
    request.length = Some(100);
    cluster.begin_with(request).await.unwrap();
    assert_eq!(cluster.audit().await.differences, []);
}

#[tokio::test(start_paused = true)]
async fn the_same_bucket_name_in_two_tenants_is_two_buckets() {
    let mut cluster = Cluster::small().await;
    create(&mut cluster, "alpha").await.unwrap();
    make_bucket(&mut cluster, "alpha").await.unwrap();
    assert_eq!(reason(cluster.stat_bucket("photos").await), Reason::BucketNotFound);
    make_bucket(&mut cluster, "").await.unwrap();
    let mut request = cluster.begin_request("k", Some(0));
    (request.caller, request.bucket) = (caller("alpha"), "photos".into());
    let upload = cluster.begin_with(request).await.unwrap();
    let request = v1::CommitUploadRequest {
        caller: caller("alpha"),
        upload_id: upload.id,
        blob_id: upload.blob,
        root: vec![9; 32].into(),
        ..Default::default()
    };
    cluster.client.commit_upload(request).await.unwrap();
    assert_eq!(cluster.stat_bucket("photos").await.unwrap().usage.unwrap().used_objects, 0);
    assert!(cluster.remove_bucket("photos", false).await.unwrap(), "ours is empty");
}

#[tokio::test(start_paused = true)]
async fn a_tenant_goes_when_its_buckets_are_gone() {
    let mut cluster = Cluster::small().await;
    assert_eq!(reason(make_bucket(&mut cluster, "alpha").await), Reason::TenantNotFound);
    assert_eq!(reason(delete(&mut cluster, "alpha").await), Reason::TenantNotFound);
    assert_eq!(reason(delete(&mut cluster, "default").await), Reason::InvalidField);
    for name in ["", "a b"] {
        assert_eq!(reason(create(&mut cluster, name).await), Reason::InvalidField);
        assert_eq!(reason(delete(&mut cluster, name).await), Reason::InvalidField);
    }
    create(&mut cluster, "alpha").await.unwrap();
    for n in 0..1200 {
        let (kind, tenant) = (v1::ScopeKind::User.into(), "alpha".into());
        let scope = Some(v1::Scope { kind, tenant, name: format!("user-{n}") });
        let limits = Some(v1::Limits { bytes: Some(1), objects: None });
        cluster.admin.set_quota(v1::SetQuotaRequest { scope, limits }).await.unwrap();
    }
    make_bucket(&mut cluster, "alpha").await.unwrap();
    assert_eq!(reason(delete(&mut cluster, "alpha").await), Reason::TenantNotEmpty);
    let request = v1::RemoveBucketRequest {
        caller: caller("alpha"),
        bucket: "photos".into(),
        with_contents: false,
    };
    assert!(cluster.client.remove_bucket(request).await.unwrap().into_inner().gone);
    delete(&mut cluster, "alpha").await.unwrap();
    assert_eq!(names(&mut cluster, 0).await, ["default"]);
    assert!(cluster.usage().await.is_empty(), "no account is left behind");
    create(&mut cluster, "alpha").await.unwrap();
    let scope = v1::Scope { kind: v1::ScopeKind::Tenant.into(), ..Default::default() };
    let scope = Some(v1::Scope { tenant: "absent".into(), ..scope });
    let request = v1::SetQuotaRequest { scope, limits: Some(v1::Limits::default()) };
    let refused = cluster.admin.set_quota(request).await.map_err(RemoteError::from);
    assert_eq!(reason(refused), Reason::TenantNotFound);
}
