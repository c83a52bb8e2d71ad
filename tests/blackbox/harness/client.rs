//! What a client can do, whichever protocol it speaks.

use std::collections::BTreeMap;

use super::Content;

/// A condition on the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    MustNotExist,
    MustExist,
    Match(String),
    NoneMatch(String),
}

/// Why a client is refused, told alike by both protocols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    BucketNotFound,
    FileNotFound,
    Exists,
    Precondition,
    Invalid,
    Quota,
    Other(String),
}

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileInfo {
    pub(crate) length: u64,
    pub(crate) etag: String,
    pub(crate) sha256: [u8; 32],
    pub(crate) content_type: String,
    pub(crate) meta: BTreeMap<String, String>,
}

/// What a write is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) replaced: bool,
    pub(crate) etag: String,
    pub(crate) receipt: String,
}

/// A page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Key, length, SHA-256 in hex.
    pub(crate) files: Vec<(String, u64, String)>,
    pub(crate) prefixes: Vec<String>,
    pub(crate) next_after: Option<String>,
}

/// One table of operations runs over every implementation of this.
pub(crate) trait Client {
    async fn put(
        &mut self,
        bucket: &str,
        key: &str,
        content: Content,
        meta: &[(&str, &str)],
        condition: Condition,
    ) -> Result<Stored, Refusal>;

    /// `length` 0 is all from `offset`.
    async fn get(
        &mut self,
        bucket: &str,
        key: &str,
        offset: u64,
        length: u64,
    ) -> Result<(u64, [u8; 32]), Refusal>;

    async fn stat(&mut self, bucket: &str, key: &str) -> Result<FileInfo, Refusal>;

    async fn list(
        &mut self,
        bucket: &str,
        prefix: &str,
        delimiter: &str,
        after: &str,
        limit: u32,
    ) -> Result<Listed, Refusal>;

    async fn delete(
        &mut self,
        bucket: &str,
        key: &str,
        condition: Condition,
    ) -> Result<(), Refusal>;
}
