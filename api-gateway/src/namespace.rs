//! Names: list and delete.

use cairn_core::names::{BucketName, ObjectKey};
use cairn_core::object::{ObjectInfo, WriteCondition};
use cairn_proto::v1::master_client::MasterClient;
use cairn_proto::{InvalidField, Reason, RemoteError, WireError, convert, v1};
use cairn_runtime::PeerChannel;

use crate::master::{CallContext, Master};

/// Most entries of a page.
pub const MAX_PAGE: u32 = 1000;

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Keys that hold this after the prefix are shown once. Empty: none.
    pub delimiter: String,
    /// Only what comes after this.
    pub after: String,
    /// Most entries, 1 to [`MAX_PAGE`].
    pub limit: u32,
}

/// A page of a list.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Files in byte order of their keys.
    pub files: Vec<ObjectInfo>,
    /// What several keys have in common.
    pub prefixes: Vec<String>,
    /// `after` for the next page.
    pub next_after: Option<String>,
}

/// Why names cannot be listed or deleted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NamespaceError {
    /// The master refused, or could not be reached.
    #[error(transparent)]
    Master(#[from] RemoteError),
    /// The master answered with what does not fit.
    #[error("read the master's answer: {0}")]
    Answer(#[from] InvalidField),
}

impl WireError for NamespaceError {
    fn reason(&self) -> Reason {
        match self {
            Self::Master(error) => error.reason,
            Self::Answer(_) => Reason::Unspecified,
        }
    }
}

/// The names of all buckets. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Namespace {
    master: Master,
}

impl Namespace {
    pub(crate) fn new(master: Master) -> Self {
        Self { master }
    }

    /// Lists a page.
    ///
    /// # Errors
    /// [`NamespaceError::Master`] when the bucket does not exist or the master cannot be reached.
    pub async fn list(
        &self,
        context: &CallContext,
        bucket: &BucketName,
        query: ListQuery,
    ) -> Result<Page, NamespaceError> {
        let request = v1::ListObjectsRequest {
            principal: Some(context.principal()),
            bucket: bucket.to_string(),
            prefix: query.prefix,
            delimiter: query.delimiter,
            after: query.after,
            limit: query.limit,
        };
        let list = |mut client: MasterClient<PeerChannel>, request| async move {
            client.list_objects(request).await
        };
        let answer = self.master.call(context, request, list).await?;
        let mut page = Page { next_after: answer.next_after, ..Page::default() };
        for entry in answer.entries {
            match convert::required("entry", entry.entry)? {
                v1::list_entry::Entry::Object(object) => page.files.push(object.try_into()?),
                v1::list_entry::Entry::CommonPrefix(prefix) => page.prefixes.push(prefix),
            }
        }
        Ok(page)
    }

    /// Deletes a file.
    ///
    /// # Errors
    /// [`NamespaceError::Master`] when it does not exist, a condition does not hold, or the master cannot be reached;
    /// in the last case it may have happened.
    pub async fn delete(
        &self,
        context: &CallContext,
        bucket: &BucketName,
        key: &ObjectKey,
        condition: WriteCondition,
    ) -> Result<(), NamespaceError> {
        let request = v1::DeleteObjectRequest {
            caller: Some(self.master.caller_once(context)),
            bucket: bucket.to_string(),
            key: key.to_string(),
            condition: Some(condition.into()),
        };
        let delete = |mut client: MasterClient<PeerChannel>, request| async move {
            client.delete_object(request).await
        };
        self.master.call(context, request, delete).await?;
        Ok(())
    }
}
