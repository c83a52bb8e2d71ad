//! Every error of the REST interface: `application/problem+json` (RFC 9457) with the request id and what to do next.

use axum::response::{IntoResponse, Response};
use cairn_core::names::InvalidName;
use cairn_core::object::InvalidMeta;
use cairn_proto::{Reason, WireError};
use cairn_runtime::RequestId;
use http::header::{ALLOW, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

/// Seconds after which a client may try again.
const RETRY_AFTER_SECONDS: &str = "1";

/// An error on its way to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    kind: &'static str,
    detail: String,
    request_id: Option<String>,
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

#[derive(Serialize)]
struct Wire<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, detail: detail.into(), request_id: None, header: None }
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-request", detail)
    }

    pub(super) fn no_route() -> Self {
        let detail = "no such path: use /v1/files/KEY or /v1/buckets/BUCKET/files/KEY";
        Self::new(StatusCode::NOT_FOUND, "no-such-path", detail)
    }

    pub(super) fn no_key() -> Self {
        Self::bad_request("the key is empty: name the file after /v1/files/")
    }

    pub(super) fn method(allowed: &'static str) -> Self {
        let detail = format!("this path takes {allowed}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
            .with(ALLOW, HeaderValue::from_static(allowed))
    }

    pub(super) fn precondition(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", detail)
    }

    pub(super) fn range(length: u64) -> Self {
        let detail = format!("no byte of the range exists: the file has {length} bytes");
        let problem = Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "range-not-satisfiable", detail);
        match HeaderValue::from_str(&format!("bytes */{length}")) {
            Ok(value) => problem.with(CONTENT_RANGE, value),
            Err(_) => problem,
        }
    }

    /// An existing name, where the client made its absence a condition.
    pub(super) fn exists_as_precondition(self) -> Self {
        if self.status == StatusCode::CONFLICT { Self::precondition(self.detail) } else { self }
    }

    pub(super) fn with_request_id(mut self, id: &RequestId) -> Self {
        self.request_id = Some(id.to_string());
        self
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    /// The only place where a reason becomes an HTTP status.
    pub(super) fn of(error: &impl WireError) -> Self {
        let (status, kind) = match error.reason() {
            Reason::InvalidField => (StatusCode::BAD_REQUEST, "invalid-request"),
            Reason::BodyMismatch => (StatusCode::BAD_REQUEST, "body-mismatch"),
            Reason::BucketNotFound => (StatusCode::NOT_FOUND, "bucket-not-found"),
            Reason::ObjectNotFound => (StatusCode::NOT_FOUND, "file-not-found"),
            Reason::ObjectExists => (StatusCode::CONFLICT, "file-exists"),
            Reason::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, "precondition-failed"),
            Reason::FileTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "file-too-large"),
            Reason::QuotaExceeded => (StatusCode::INSUFFICIENT_STORAGE, "quota-exceeded"),
            Reason::TooFewNodes | Reason::NodeFull => {
                (StatusCode::SERVICE_UNAVAILABLE, "too-few-nodes")
            }
            Reason::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Reason::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            Reason::Unreachable
            | Reason::StorageFailed
            | Reason::NodeUnknown
            | Reason::ChunkNotFound
            | Reason::ChunkCorrupt => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Reason::OutcomeUnknown => (StatusCode::SERVICE_UNAVAILABLE, "outcome-unknown"),
            Reason::UploadNotFound | Reason::UploadAborted | Reason::UploadIncomplete => {
                (StatusCode::SERVICE_UNAVAILABLE, "upload-lost")
            }
            Reason::ChunkConflict
            | Reason::ChunkErased
            | Reason::UploadCommitted
            | Reason::ForeignCatalog
            | Reason::Unspecified => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        let problem = Self::new(status, kind, error.client_message());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            problem.with(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS))
        } else {
            problem
        }
    }
}

impl From<InvalidName> for Problem {
    fn from(error: InvalidName) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-name", error.to_string())
    }
}

impl From<InvalidMeta> for Problem {
    fn from(error: InvalidMeta) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let wire = Wire {
            r#type: format!("urn:cairn:problem:{}", self.kind),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            request_id: self.request_id.as_deref(),
        };
        // A struct of texts and a number always becomes JSON.
        let body = serde_json::to_string(&wire).unwrap_or_default() + "\n";
        let mut response = (self.status, body).into_response();
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        if let Some((name, value)) = self.header.map(|header| *header) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
