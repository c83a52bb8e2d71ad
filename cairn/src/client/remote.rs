//! What the server knows of files: one by HEAD, many by lists.

use std::collections::BTreeMap;

use cairn_core::digest::Sha256;
use cairn_core::lengths::ChunkLengths;
use cairn_core::names::ObjectKey;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};

use super::Client;
use super::digest;
use super::error::ClientError;
use super::http::{empty, read_json, text};
use super::proof::Proof;

/// A file of the server, as its JSON describes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Described {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) length: u64,
    /// Without quotes.
    pub(super) etag: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) root: Option<String>,
    /// The lengths of the chunks under the root, as in `Cairn-Chunks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) chunks: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) modified: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) meta: BTreeMap<String, String>,
}

/// A page of names.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) files: Vec<Described>,
    pub(super) prefixes: Vec<String>,
    #[serde(default)]
    pub(super) next_after: Option<String>,
}

impl Page {
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.prefixes.is_empty()
    }
}

/// One version of a file that is to be fetched.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) key: ObjectKey,
    pub(super) length: u64,
    pub(super) etag: String,
    pub(super) sha256: Option<Sha256>,
    /// Nothing when the server tells nothing that it can be compared with.
    pub(super) proof: Option<Proof>,
}

impl Version {
    pub(super) fn of(doing: &str, file: Described) -> Result<Self, ClientError> {
        let key = ObjectKey::new(file.key).map_err(|error| ClientError::failed(doing, error))?;
        let sha256 = file.sha256.as_deref().and_then(digest::from_hex);
        let root = file.root.as_deref().and_then(digest::root_from_hex);
        let chunks = file.chunks.as_deref().and_then(|text| text.parse::<ChunkLengths>().ok());
        let chunks = chunks.filter(|chunks| chunks.bytes() == file.length);
        let proof = Proof::of(root, chunks, sha256);
        Ok(Self { key, length: file.length, etag: file.etag, sha256, proof })
    }
}

/// Looks at one file.
pub(super) async fn stat(
    client: &Client,
    doing: &str,
    key: &ObjectKey,
) -> Result<Described, ClientError> {
    let request = || client.api.file(Method::HEAD, key).body(empty());
    let answer = client.api.ask(doing, true, request).await?;
    described(client.api.bucket(), key, answer.headers()).ok_or_else(|| {
        let problem = "the answer lacks ETag or Content-Length, so it is not one of Cairn's";
        ClientError::failed(doing, problem).advise("see that --url names a gateway of Cairn")
    })
}

fn described(bucket: &str, key: &ObjectKey, headers: &HeaderMap) -> Option<Described> {
    let own = |name: &str| text(headers, name).map(str::to_owned);
    let etag = text(headers, ETAG.as_str())?.trim_matches('"').to_owned();
    let length: u64 = text(headers, CONTENT_LENGTH.as_str())?.parse().ok()?;
    // An empty list is no field.
    let chunks = own("cairn-chunks").or((length == 0).then(String::new));
    let meta = headers.keys().filter_map(|name| {
        let name = name.as_str();
        Some((name.strip_prefix("cairn-meta-")?.to_owned(), own(name)?))
    });
    Some(Described {
        bucket: bucket.to_owned(),
        key: key.to_string(),
        length,
        etag,
        sha256: digest::stated(headers).map(|sha256| sha256.to_string()),
        root: own("cairn-root"),
        chunks,
        modified: own(LAST_MODIFIED.as_str()),
        content_type: own(CONTENT_TYPE.as_str()),
        version: None,
        meta: meta.collect(),
    })
}

/// Reads one page of names.
pub(super) async fn page(
    client: &Client,
    prefix: &str,
    delimiter: &str,
    after: &str,
) -> Result<Page, ClientError> {
    let doing = format!("list {}", if prefix.is_empty() { "the bucket" } else { prefix });
    let request = || client.api.list(prefix, delimiter, after).body(empty());
    let answer = client.api.ask(&doing, true, request).await?;
    let body = client.api.all(&doing, answer.into_body()).await?;
    read_json(&doing, &body)
}

/// All files whose key begins with `prefix`.
pub(super) async fn all(client: &Client, prefix: &str) -> Result<Vec<Described>, ClientError> {
    let (mut files, mut after) = (Vec::new(), String::new());
    loop {
        let page = page(client, prefix, "", &after).await?;
        files.extend(page.files);
        match page.next_after {
            Some(next) => after = next,
            None => return Ok(files),
        }
    }
}
