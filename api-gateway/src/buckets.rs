//! Buckets: create, show, list, change and delete.

use std::collections::BTreeSet;

use cairn_core::bucket::{BucketInfo, BucketSettings, Setting};
use cairn_core::names::BucketName;
use cairn_proto::v1::master_client::MasterClient;
use cairn_proto::{convert, v1};
use cairn_runtime::PeerChannel;

use crate::master::{CallContext, Master};
use crate::namespace::NamespaceError;

type Client = MasterClient<PeerChannel>;

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct BucketQuery {
    /// Only names that begin with this.
    pub prefix: String,
    /// Only names after this.
    pub after: String,
    /// Most entries, 1 to [`crate::namespace::MAX_PAGE`].
    pub limit: u32,
}

/// A page of a list.
#[derive(Debug, Clone, Default)]
pub struct BucketPage {
    /// Buckets in byte order of their names.
    pub buckets: Vec<BucketInfo>,
    /// `after` for the next page.
    pub next_after: Option<String>,
}

/// The caller's buckets. Cheap to clone.
///
/// Every call fails with [`NamespaceError::Master`] when the master refuses or cannot be reached; a change may have
/// happened then. Changes are not repeated: after a lost answer a second try would be refused by the first one's effect.
#[derive(Debug, Clone)]
pub struct Buckets {
    master: Master,
}

impl Buckets {
    pub(crate) fn new(master: Master) -> Self {
        Self { master }
    }

    /// Creates a bucket.
    ///
    /// # Errors
    /// See [`Buckets`].
    pub async fn create(
        &self,
        context: &CallContext,
        bucket: &BucketName,
        settings: BucketSettings,
    ) -> Result<BucketInfo, NamespaceError> {
        let request = v1::MakeBucketRequest {
            caller: Some(context.caller()),
            bucket: bucket.to_string(),
            settings: Some(settings.into()),
        };
        let make = |mut client: Client, request| async move { client.make_bucket(request).await };
        let answer = self.master.once(context, request, make).await?;
        read(answer.bucket)
    }

    /// Shows a bucket, also while it is being deleted.
    ///
    /// # Errors
    /// See [`Buckets`].
    pub async fn show(
        &self,
        context: &CallContext,
        bucket: &BucketName,
    ) -> Result<BucketInfo, NamespaceError> {
        let principal = Some(context.principal());
        let request = v1::StatBucketRequest { principal, bucket: bucket.to_string() };
        let stat = |mut client: Client, request| async move { client.stat_bucket(request).await };
        let answer = self.master.call(context, request, stat).await?;
        read(answer.bucket)
    }

    /// Lists a page.
    ///
    /// # Errors
    /// See [`Buckets`].
    pub async fn list(
        &self,
        context: &CallContext,
        query: BucketQuery,
    ) -> Result<BucketPage, NamespaceError> {
        let BucketQuery { prefix, after, limit } = query;
        let principal = Some(context.principal());
        let request = v1::FindBucketsRequest { principal, prefix, after, limit };
        let find = |mut client: Client, request| async move { client.find_buckets(request).await };
        let answer = self.master.call(context, request, find).await?;
        Ok(BucketPage { buckets: convert::each(answer.buckets)?, next_after: answer.next_after })
    }

    /// Takes each of `fields` from `settings`.
    ///
    /// # Errors
    /// See [`Buckets`].
    pub async fn change(
        &self,
        context: &CallContext,
        bucket: &BucketName,
        settings: BucketSettings,
        fields: &BTreeSet<Setting>,
    ) -> Result<BucketInfo, NamespaceError> {
        let request = v1::ChangeBucketRequest {
            caller: Some(context.caller()),
            bucket: bucket.to_string(),
            settings: Some(settings.into()),
            fields: fields.iter().map(|setting| setting.name().to_owned()).collect(),
        };
        let change =
            |mut client: Client, request| async move { client.change_bucket(request).await };
        let answer = self.master.once(context, request, change).await?;
        read(answer.bucket)
    }

    /// Deletes a bucket; true when it is gone, false when its contents are being deleted.
    ///
    /// # Errors
    /// See [`Buckets`].
    pub async fn delete(
        &self,
        context: &CallContext,
        bucket: &BucketName,
        with_contents: bool,
    ) -> Result<bool, NamespaceError> {
        let request = v1::RemoveBucketRequest {
            caller: Some(context.caller()),
            bucket: bucket.to_string(),
            with_contents,
        };
        let remove =
            |mut client: Client, request| async move { client.remove_bucket(request).await };
        Ok(self.master.once(context, request, remove).await?.gone)
    }
}

fn read(bucket: Option<v1::BucketInfo>) -> Result<BucketInfo, NamespaceError> {
    Ok(convert::required("bucket", bucket)?.try_into()?)
}
