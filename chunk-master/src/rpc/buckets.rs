//! MakeBucket, StatBucket, FindBuckets, ChangeBucket and RemoveBucket.

use cairn_core::bucket::{BucketInfo, BucketSettings, ClusterDefaults};
use cairn_kv::{Durability, Snapshot, Txn};
use cairn_proto::v1::{
    ChangeBucketRequest, ChangeBucketResponse, FindBucketsRequest, FindBucketsResponse,
    MakeBucketRequest, MakeBucketResponse, RemoveBucketRequest, RemoveBucketResponse,
    StatBucketRequest, StatBucketResponse,
};
use cairn_proto::{InvalidField, convert, v1};
use tonic::Status;

use super::{bucket_key, caller, invalid};
use crate::bucket::change::{Change, change};
use crate::bucket::create::{Create, create};
use crate::bucket::delete::{Delete, delete};
use crate::bucket::show::{self, Page, Shown};
use crate::master::Master;

/// Most entries of one answer.
const MAX_ENTRIES: usize = 1000;
/// Longest bucket name.
const MAX_NAME_BYTES: usize = 63;

fn tell(shown: Shown, defaults: &ClusterDefaults) -> v1::BucketInfo {
    let Shown { name, bucket, account } = shown;
    let info = BucketInfo {
        name,
        state: bucket.state,
        created_ms: bucket.created_ms,
        settings: BucketSettings { policy: bucket.policy, limits: account.limits },
        effective: bucket.policy.effective(defaults),
        used: account.used,
        reserved: account.reserved,
        condemned: account.condemned,
    };
    (&info).into()
}

pub(super) async fn make_bucket(
    master: &Master,
    request: MakeBucketRequest,
) -> Result<MakeBucketResponse, Status> {
    let parse = |request: MakeBucketRequest| -> Result<Create, InvalidField> {
        let (principal, _) = caller(request.caller)?;
        Ok(Create {
            bucket: bucket_key(&principal, &request.bucket)?,
            settings: convert::bucket_settings(request.settings)?,
            defaults: master.defaults(),
            now_ms: master.time.wall_ms(),
            faults: master.config.faults(),
        })
    };
    let request = parse(request).map_err(|field| invalid(&field))?;
    let closure = move |txn: &mut Txn<'_>| create(txn, &request);
    let shown = master.transact(Durability::Synced, closure).await?;
    tracing::info!(target: "cairn", bucket = %shown.name, "bucket created");
    Ok(MakeBucketResponse { bucket: Some(tell(shown, &master.defaults())) })
}

pub(super) async fn stat_bucket(
    master: &Master,
    request: StatBucketRequest,
) -> Result<StatBucketResponse, Status> {
    let key = convert::principal(request.principal)
        .and_then(|principal| bucket_key(&principal, &request.bucket));
    let key = key.map_err(|field| invalid(&field))?;
    let shown = master.view(move |view: &Snapshot<'_>| show::show(view, &key)).await?;
    Ok(StatBucketResponse { bucket: Some(tell(shown, &master.defaults())) })
}

/// A part of a name, which need not follow the rule of names: it is only compared.
fn part(field: &'static str, text: String) -> Result<String, InvalidField> {
    if text.len() > MAX_NAME_BYTES || text.contains('\0') {
        let problem = format!("send at most {MAX_NAME_BYTES} bytes without NUL");
        return Err(InvalidField::new(field, problem));
    }
    Ok(text)
}

fn parse_page(request: FindBucketsRequest) -> Result<Page, InvalidField> {
    let limit = match request.limit as usize {
        0 => MAX_ENTRIES,
        limit if limit <= MAX_ENTRIES => limit,
        limit => {
            let problem = format!("{limit}: ask for at most {MAX_ENTRIES}");
            return Err(InvalidField::new("limit", problem));
        }
    };
    Ok(Page {
        tenant: convert::principal(request.principal)?.tenant,
        prefix: part("prefix", request.prefix)?,
        after: part("after", request.after)?,
        limit,
    })
}

pub(super) async fn find_buckets(
    master: &Master,
    request: FindBucketsRequest,
) -> Result<FindBucketsResponse, Status> {
    let page = parse_page(request).map_err(|field| invalid(&field))?;
    let (shown, more) = master.view(move |view: &Snapshot<'_>| show::page(view, &page)).await?;
    let defaults = master.defaults();
    let last = shown.last().filter(|_| more);
    Ok(FindBucketsResponse {
        next_after: last.map(|shown| shown.name.to_string()),
        buckets: shown.into_iter().map(|shown| tell(shown, &defaults)).collect(),
    })
}

pub(super) async fn change_bucket(
    master: &Master,
    request: ChangeBucketRequest,
) -> Result<ChangeBucketResponse, Status> {
    let parse = |request: ChangeBucketRequest| -> Result<Change, InvalidField> {
        let (principal, _) = caller(request.caller)?;
        Ok(Change {
            bucket: bucket_key(&principal, &request.bucket)?,
            settings: convert::bucket_settings(request.settings)?,
            fields: convert::setting_names(&request.fields)?,
            defaults: master.defaults(),
        })
    };
    let request = parse(request).map_err(|field| invalid(&field))?;
    let closure = move |txn: &mut Txn<'_>| change(txn, &request);
    let shown = master.transact(Durability::Synced, closure).await?;
    // A raised limit may be what somebody waits for.
    master.gave_back();
    tracing::info!(target: "cairn", bucket = %shown.name, "bucket changed");
    Ok(ChangeBucketResponse { bucket: Some(tell(shown, &master.defaults())) })
}

pub(super) async fn remove_bucket(
    master: &Master,
    request: RemoveBucketRequest,
) -> Result<RemoveBucketResponse, Status> {
    let with_contents = request.with_contents;
    let parsed = caller(request.caller).and_then(|(principal, _)| {
        let bucket = bucket_key(&principal, &request.bucket)?;
        let job = master.jobs.beginning(master.time.wall_ms());
        Ok(Delete { bucket, with_contents, job, faults: master.config.faults() })
    });
    let request = parsed.map_err(|field| invalid(&field))?;
    let name = request.bucket.bucket.clone();
    let closure = move |txn: &mut Txn<'_>| delete(txn, &request);
    let gone = master.transact(Durability::Synced, closure).await?;
    tracing::info!(target: "cairn", bucket = %name, gone, "bucket deleted");
    Ok(RemoveBucketResponse { gone })
}
