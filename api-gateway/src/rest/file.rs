//! Headers and JSON of a file.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cairn_core::digest::Sha256;
use cairn_core::object::ObjectInfo;
use http::header::{ACCEPT_RANGES, CONTENT_TYPE, ETAG, LAST_MODIFIED, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use utoipa::ToSchema;

/// Prefix of the headers that carry user metadata.
pub(super) const META_PREFIX: &str = "cairn-meta-";
/// Digest of the whole representation (RFC 9530).
pub(super) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
/// The lengths of the chunks, over which the file root is computed.
const CAIRN_CHUNKS: HeaderName = HeaderName::from_static("cairn-chunks");
/// File root.
const CAIRN_ROOT: HeaderName = HeaderName::from_static("cairn-root");

/// A file as clients see it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = File)]
pub(super) struct FileJson {
    /// The bucket.
    bucket: String,
    /// The key.
    key: String,
    /// Bytes of content.
    length: u64,
    /// The entity tag, without quotes.
    etag: String,
    /// SHA-256 of the content in hex, when it was computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sha256: Option<String>,
    /// As in the header `Cairn-Root`.
    root: String,
    /// The lengths of its chunks, as in the header `Cairn-Chunks`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    chunks: Option<String>,
    /// When it was committed, as an HTTP date.
    modified: String,
    /// The media type that was stated with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    content_type: Option<String>,
    /// The version, a UUID.
    version: String,
}

impl From<&ObjectInfo> for FileJson {
    fn from(object: &ObjectInfo) -> Self {
        Self {
            bucket: object.bucket.to_string(),
            key: object.key.to_string(),
            length: object.length,
            etag: object.etag.clone(),
            sha256: object.sha256.map(|sha256| sha256.to_string()),
            root: object.root.to_string(),
            chunks: object.chunks.as_ref().map(ToString::to_string),
            modified: httpdate::fmt_http_date(modified(object)),
            content_type: object.meta.content_type().map(str::to_owned),
            version: object.version.to_string(),
        }
    }
}

/// A JSON body that ends its line, for those who read it in a terminal.
pub(super) fn json(value: &impl Serialize) -> ([(HeaderName, &'static str); 1], String) {
    // Structs of texts and numbers always become JSON.
    let text = serde_json::to_string(value).unwrap_or_default() + "\n";
    ([(CONTENT_TYPE, "application/json")], text)
}

/// When a version was committed, to the second that HTTP dates carry.
pub(super) fn modified(object: &ObjectInfo) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(object.committed_ms / 1000)
}

/// The digest in the form of `Repr-Digest`.
pub(super) fn repr_digest(sha256: &Sha256) -> String {
    format!("sha-256=:{}:", STANDARD.encode(sha256.0))
}

/// Reads the SHA-256 out of a `Repr-Digest` field; nothing when the field has other digests alone.
pub(super) fn read_repr_digest(field: &str) -> Result<Option<Sha256>, String> {
    let named = field.split(',').find_map(|item| item.trim().strip_prefix("sha-256="));
    let Some(value) = named else { return Ok(None) };
    let inner = value.strip_prefix(':').and_then(|value| value.strip_suffix(':'));
    let bytes = inner.and_then(|text| STANDARD.decode(text).ok());
    let sha256 = bytes.and_then(|bytes| Sha256::try_from(&bytes[..]).ok());
    sha256
        .map(Some)
        .ok_or_else(|| "Repr-Digest: sha-256 must be 32 bytes in base64 between colons".to_owned())
}

/// The validators of a file.
pub(super) fn validators(object: &ObjectInfo) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut set = |name: HeaderName, text: &str| {
        // What cannot be a header was refused when the file was stored.
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            headers.insert(name, value);
        }
    };
    set(ETAG, &format!("\"{}\"", object.etag));
    set(LAST_MODIFIED, &httpdate::fmt_http_date(modified(object)));
    headers
}

/// All headers of a file, but those of its length.
pub(super) fn headers(object: &ObjectInfo) -> HeaderMap {
    let mut headers = validators(object);
    let mut set = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            headers.insert(name, value);
        }
    };
    set(CONTENT_TYPE, content_type(object));
    // Browsers must not guess a type that the owner did not state.
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(ACCEPT_RANGES, "bytes");
    set(CAIRN_ROOT, &object.root.to_string());
    // An empty list is no field (RFC 9651, section 3.1).
    if let Some(chunks) = object.chunks.as_ref().filter(|chunks| !chunks.runs().is_empty()) {
        set(CAIRN_CHUNKS, &chunks.to_string());
    }
    if let Some(sha256) = &object.sha256 {
        set(REPR_DIGEST, &repr_digest(sha256));
    }
    for (name, value) in object.meta.user() {
        if let Ok(name) = HeaderName::try_from(format!("{META_PREFIX}{name}")) {
            set(name, value);
        }
    }
    headers
}

/// The type that the owner stated, else what the key's extension stands for.
pub(super) fn content_type(object: &ObjectInfo) -> &str {
    let guessed = || mime_guess::from_path(object.key.as_str()).first_raw();
    let stated = object.meta.content_type();
    stated.or_else(guessed).unwrap_or("application/octet-stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_field_is_read_and_written_alike() {
        let sha256 = Sha256([7; 32]);
        let field = repr_digest(&sha256);
        assert_eq!(read_repr_digest(&field), Ok(Some(sha256)));
        assert_eq!(read_repr_digest(&format!("md5=:AA==:, {field}")), Ok(Some(sha256)));
        assert_eq!(read_repr_digest("md5=:AA==:"), Ok(None));
        assert!(read_repr_digest("sha-256=:AA==:").is_err());
        assert!(read_repr_digest("sha-256=deadbeef").is_err());
    }
}
