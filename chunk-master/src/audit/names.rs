//! Accounts, buckets, names and versions, with the queues of what waits to be purged.

use cairn_core::bucket::BucketState;
use cairn_core::lifecycle::BlobState;
use cairn_core::names::{BucketName, TenantId};
use cairn_core::object::VersionId;
use cairn_core::quota::{Account, Amount};
use cairn_kv::Read;

use super::difference::{Found, REPORT, RESTORE};
use super::judge::Judged;
use crate::catalog::{
    Blob, Bucket, BucketCondemned, BucketCondemnedKey, BucketKey, Condemned, CondemnedKey, Head,
    HeadKey, Job, JobKey, ReadLease, Scope, Tenant, Version, VersionKey, VersionState, record,
};
use crate::error::CatalogError;
use crate::object::head;

fn bucket_of(tenant: &TenantId, bucket: &BucketName) -> BucketKey {
    BucketKey { tenant: tenant.clone(), bucket: bucket.clone() }
}

/// An account is of a tenant and a bucket that are there; users need no record.
impl Judged for Account {
    fn judge(
        &self,
        scope: &Scope,
        read: &impl Read,
        found: &mut Found,
    ) -> Result<(), CatalogError> {
        let tenant = scope.tenant();
        let mut owned = record::get::<Tenant>(read, tenant)?.is_some();
        if let Scope::Bucket(tenant, bucket) = scope {
            owned &= record::get::<Bucket>(read, &bucket_of(tenant, bucket))?.is_some();
        }
        let holds = [self.used, self.reserved, self.condemned] != [Amount::ZERO; 3];
        let what = format!("the account of {scope} of tenant {tenant} has no owner");
        match (owned, holds) {
            (true, _) => {}
            (false, false) => found.dangling::<Self>(scope, what),
            (false, true) => found.contradiction(what, RESTORE),
        }
        Ok(())
    }
}

/// A bucket is of a tenant that is there, and has a job while it is being deleted.
impl Judged for Bucket {
    fn judge(
        &self,
        key: &BucketKey,
        read: &impl Read,
        found: &mut Found,
    ) -> Result<(), CatalogError> {
        let BucketKey { tenant, bucket } = key;
        if record::get::<Tenant>(read, tenant)?.is_none() {
            let advice = "left: create the tenant again: cairn admin tenant create";
            let what = format!("bucket {bucket} is of tenant {tenant}, and there is none");
            found.contradiction(what, advice);
        }
        let deletion = JobKey::DeleteBucket(key.clone());
        let job = record::get::<Job>(read, &deletion)?;
        if self.state == BucketState::Deleting
            && job.as_ref().is_none_or(|job| job.state.has_ended())
        {
            let what = format!("bucket {bucket} is being deleted, and there is no job for it");
            found.index(&deletion, &Job::new(0, job.as_ref()), what);
        }
        Ok(())
    }
}

/// A head is the only one of its name, in its bucket's order, and shows a current version of that name.
impl Judged for Head {
    fn judge(
        &self,
        key: &HeadKey,
        read: &impl Read,
        found: &mut Found,
    ) -> Result<(), CatalogError> {
        let HeadKey { tenant, bucket, key: name, sequence } = key;
        let place = bucket_of(tenant, bucket);
        match record::get::<Bucket>(read, &place)? {
            None => found.contradiction(
                format!("the name {name} is in bucket {bucket}, and there is none"),
                RESTORE,
            ),
            Some(held) if held.next_sequence <= *sequence => {
                let next_sequence = sequence.saturating_add(1);
                let what = format!("bucket {bucket} would give the place of {name} once more");
                found.index(&place, &Bucket { next_sequence, ..held }, what);
            }
            Some(_) => {}
        }
        if head::current(read, &place, name)?.is_some_and(|(newest, _)| newest != *key) {
            let what = format!("the name {name} has several current versions");
            found.contradiction(what, REPORT);
        }
        let version = VersionKey { tenant: tenant.clone(), version: self.version };
        let version = record::get::<Version>(read, &version)?.filter(|version| {
            version.state == VersionState::Current
                && (&version.info.bucket, &version.info.key) == (bucket, name)
        });
        match version {
            None => found.contradiction(
                format!("the name {name} points at {}, which is not so", self.version),
                RESTORE,
            ),
            Some(version) if Self::of(&version.info) != *self => found.index(
                key,
                &Self::of(&version.info),
                format!("the name {name} is shown otherwise than version {} is", self.version),
            ),
            Some(_) => {}
        }
        Ok(())
    }
}

/// A version is as long as its extents, has its blobs, and is where its state says: under its name, or in both queues.
impl Judged for Version {
    fn judge(
        &self,
        key: &VersionKey,
        read: &impl Read,
        found: &mut Found,
    ) -> Result<(), CatalogError> {
        let id = key.version;
        if self.extents.iter().map(|extent| extent.length).sum::<u64>() != self.info.length {
            let what = format!("version {id} is longer or shorter than its extents");
            found.contradiction(what, RESTORE);
        }
        for extent in &self.extents {
            let blob = record::get::<Blob>(read, &extent.blob)?;
            if !blob.is_some_and(|blob| counts_on(self.state, &blob)) {
                let what = format!("version {id} has blob {}, which is not so", extent.blob);
                found.contradiction(what, RESTORE);
            }
        }
        let bucket = bucket_of(&key.tenant, &self.info.bucket);
        match self.state {
            VersionState::Current => {
                let head = head::current(read, &bucket, &self.info.key)?;
                if head.is_none_or(|(_, head)| head.version != id) {
                    let name = &self.info.key;
                    let what = format!("version {id} is current, and {name} does not point at it");
                    found.contradiction(what, RESTORE);
                }
            }
            VersionState::Condemned { until_ms, .. } => {
                queued(read, bucket, until_ms, id, found)?;
            }
        }
        Ok(())
    }
}

fn counts_on(state: VersionState, blob: &Blob) -> bool {
    match state {
        VersionState::Current => blob.state == BlobState::Live && blob.current_refs > 0,
        VersionState::Condemned { .. } => {
            matches!(blob.state, BlobState::Live | BlobState::Condemned) && blob.condemned_refs > 0
        }
    }
}

fn queued(
    read: &impl Read,
    bucket: BucketKey,
    until_ms: u64,
    version: VersionId,
    found: &mut Found,
) -> Result<(), CatalogError> {
    let key = CondemnedKey { until_ms, tenant: bucket.tenant.clone(), version };
    if record::get::<Condemned>(read, &key)?.is_none() {
        found.index(&key, &Condemned, format!("version {version} is condemned, and not queued"));
    }
    let key = BucketCondemnedKey { bucket, until_ms, version };
    if record::get::<BucketCondemned>(read, &key)?.is_none() {
        let what = format!("version {version} is condemned, and not in its bucket's queue");
        found.index(&key, &BucketCondemned, what);
    }
    Ok(())
}

/// Whether the version waits until then, in that bucket if one is named.
fn waits(
    read: &impl Read,
    key: &CondemnedKey,
    bucket: Option<&BucketName>,
) -> Result<bool, CatalogError> {
    let version = VersionKey { tenant: key.tenant.clone(), version: key.version };
    let version: Option<Version> = record::get(read, &version)?;
    Ok(version.is_some_and(|version| {
        let until = match version.state {
            VersionState::Current => None,
            VersionState::Condemned { until_ms, .. } => Some(until_ms),
        };
        until == Some(key.until_ms) && bucket.is_none_or(|bucket| version.info.bucket == *bucket)
    }))
}

impl Judged for Condemned {
    fn judge(
        &self,
        key: &CondemnedKey,
        read: &impl Read,
        found: &mut Found,
    ) -> Result<(), CatalogError> {
        if !waits(read, key, None)? {
            let what = format!("version {} is queued to be purged, and does not wait", key.version);
            found.dangling::<Self>(key, what);
        }
        Ok(())
    }
}

impl Judged for BucketCondemned {
    fn judge(
        &self,
        key: &BucketCondemnedKey,
        read: &impl Read,
        found: &mut Found,
    ) -> Result<(), CatalogError> {
        let BucketCondemnedKey { bucket: BucketKey { tenant, bucket }, until_ms, version } = key;
        let of_all =
            CondemnedKey { until_ms: *until_ms, tenant: tenant.clone(), version: *version };
        if !waits(read, &of_all, Some(bucket))? {
            let what = format!("version {version} is in the queue of {bucket}, and does not wait");
            found.dangling::<Self>(key, what);
        }
        Ok(())
    }
}

impl Judged for ReadLease {
    fn judge(
        &self,
        key: &VersionKey,
        read: &impl Read,
        found: &mut Found,
    ) -> Result<(), CatalogError> {
        if record::get::<Version>(read, key)?.is_none() {
            let what = format!("somebody reads version {}, and there is none", key.version);
            found.dangling::<Self>(key, what);
        }
        Ok(())
    }
}
