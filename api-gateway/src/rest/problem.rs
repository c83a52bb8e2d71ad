//! Every error of the REST interface: `application/problem+json` (RFC 9457) with the request id and what to do next.

use axum::response::{IntoResponse, Response};
use cairn_core::names::InvalidName;
use cairn_core::object::InvalidMeta;
use cairn_proto::{Reason, WireError};
use cairn_runtime::RequestId;
use http::header::{ALLOW, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

/// Seconds after which a client may try again.
const RETRY_AFTER_SECONDS: &str = "1";

/// Defines [`Kind`] with what is known of each, so that none can be left out.
macro_rules! kinds {
    ($($kind:ident $status:ident $name:literal $when:literal $next:literal)*) => {
        /// What went wrong: the `type` of a problem. Names are part of the interface; they are never reused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind {
            $(#[doc = $when] $kind,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The HTTP status.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)* }
            }

            /// The last part of the `type`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// When it is answered.
            pub const fn when(self) -> &'static str {
                match self { $(Self::$kind => $when,)* }
            }

            /// What the client can do next.
            pub const fn next_step(self) -> &'static str {
                match self { $(Self::$kind => $next,)* }
            }
        }
    };
}

kinds! {
    InvalidName BAD_REQUEST "invalid-name"
        "The key or the bucket breaks its rule."
        "Choose another name; the detail tells the rule."
    InvalidRequest BAD_REQUEST "invalid-request"
        "A header or a parameter breaks its rule."
        "Correct what the detail names."
    BodyMismatch BAD_REQUEST "body-mismatch"
        "The body broke off, stayed silent, or has another length or digest than announced. Nothing is stored."
        "Send the body as it is announced, whole."
    BucketNotFound NOT_FOUND "bucket-not-found"
        "There is no such bucket, or it is being deleted."
        "Use a bucket that exists, or create it."
    BucketExists CONFLICT "bucket-exists"
        "A bucket of this name exists."
        "Choose another name, or use the bucket as it is."
    BucketNotEmpty CONFLICT "bucket-not-empty"
        "The bucket holds files, open uploads or deleted files that can come back."
        "Delete what is in it and wait until nothing can come back, or ask for `contents=delete`."
    BucketDeleting CONFLICT "bucket-deleting"
        "The bucket is being deleted with its contents: it cannot change, and its name is not free yet."
        "Wait until it is gone, or use another name."
    FileNotFound NOT_FOUND "file-not-found"
        "There is no such file."
        "List the bucket to see its names."
    NoSuchPath NOT_FOUND "no-such-path"
        "The path belongs to no endpoint."
        "Use a path of `/openapi.json`."
    MethodNotAllowed METHOD_NOT_ALLOWED "method-not-allowed"
        "The path does not take this method."
        "Use a method that `Allow` names."
    FileExists CONFLICT "file-exists"
        "POST on a name that exists."
        "Choose another name, or replace the file with PUT."
    PreconditionFailed PRECONDITION_FAILED "precondition-failed"
        "A condition of the request does not hold."
        "Read the file again, then decide anew."
    FileTooLarge PAYLOAD_TOO_LARGE "file-too-large"
        "The file is larger than 50 TiB."
        "Store it in parts."
    RangeNotSatisfiable RANGE_NOT_SATISFIABLE "range-not-satisfiable"
        "No byte of the range exists."
        "Ask within the length that `Content-Range` tells."
    QuotaExceeded INSUFFICIENT_STORAGE "quota-exceeded"
        "A quota of tenant, user or bucket would be exceeded. Nothing is stored."
        "Delete something, or ask the operator for a higher limit."
    TooFewNodes SERVICE_UNAVAILABLE "too-few-nodes"
        "Fewer nodes take chunks than copies are asked for. Nothing is stored."
        "Try again after `Retry-After`; when it lasts, tell the operator."
    Busy SERVICE_UNAVAILABLE "busy"
        "Too much is in flight. Nothing was changed."
        "Try again after `Retry-After`."
    Unavailable SERVICE_UNAVAILABLE "unavailable"
        "A service or the copies of a chunk cannot be reached. Nothing was changed."
        "Try again after `Retry-After`; when it lasts, tell the operator."
    UploadLost SERVICE_UNAVAILABLE "upload-lost"
        "The upload was given up: it made no progress, or its chunks are gone. Nothing is stored."
        "Send the file again."
    Stopping SERVICE_UNAVAILABLE "stopping"
        "This gateway is stopping. Nothing was changed."
        "Try again, at another gateway when there is one."
    OutcomeUnknown SERVICE_UNAVAILABLE "outcome-unknown"
        "The change may or may not stand."
        "Look, or repeat it: PUT of the same content is safe to repeat."
    Internal INTERNAL_SERVER_ERROR "internal"
        "A defect of Cairn."
        "Report it with the request id."
}

impl Kind {
    /// The `type` as it is sent.
    pub fn urn(self) -> String {
        format!("urn:cairn:problem:{}", self.name())
    }

    /// True when the same request can succeed later without a change.
    pub fn is_retryable(self) -> bool {
        self.status() == StatusCode::SERVICE_UNAVAILABLE
    }

    /// The only place where a reason becomes a problem.
    pub const fn of(reason: Reason) -> Self {
        match reason {
            Reason::InvalidField => Self::InvalidRequest,
            Reason::BodyMismatch => Self::BodyMismatch,
            Reason::BucketNotFound => Self::BucketNotFound,
            Reason::BucketExists => Self::BucketExists,
            Reason::BucketNotEmpty => Self::BucketNotEmpty,
            Reason::BucketDeleting => Self::BucketDeleting,
            Reason::ObjectNotFound => Self::FileNotFound,
            Reason::ObjectExists => Self::FileExists,
            Reason::PreconditionFailed => Self::PreconditionFailed,
            Reason::FileTooLarge => Self::FileTooLarge,
            Reason::QuotaExceeded => Self::QuotaExceeded,
            Reason::TooFewNodes | Reason::NodeFull => Self::TooFewNodes,
            Reason::Busy => Self::Busy,
            Reason::Stopping => Self::Stopping,
            Reason::Unreachable
            | Reason::StorageFailed
            | Reason::NodeUnknown
            | Reason::ChunkNotFound
            | Reason::ChunkCorrupt => Self::Unavailable,
            Reason::OutcomeUnknown => Self::OutcomeUnknown,
            Reason::UploadNotFound | Reason::UploadAborted | Reason::UploadIncomplete => {
                Self::UploadLost
            }
            Reason::ChunkConflict
            | Reason::ChunkErased
            | Reason::UploadCommitted
            | Reason::ForeignCatalog
            | Reason::NodeRemoved
            | Reason::NodeNeeded
            | Reason::TenantNotFound
            | Reason::TenantExists
            | Reason::TenantNotEmpty
            | Reason::JobNotFound
            | Reason::JobRefuses
            | Reason::Unspecified => Self::Internal,
        }
    }
}

/// An error on its way to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    kind: Kind,
    detail: String,
    request_id: Option<String>,
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

/// An error (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemJson<'a> {
    /// What went wrong; stays the same for ever.
    r#type: String,
    /// The status in words.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What happened and what can be done, for people.
    detail: &'a str,
    /// The id under which all services log the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl Problem {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let problem = Self { kind, detail: detail.into(), request_id: None, header: None };
        if kind.is_retryable() {
            problem.with(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS))
        } else {
            problem
        }
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> u16 {
        self.kind.status().as_u16()
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(Kind::InvalidRequest, detail)
    }

    pub(super) fn no_route() -> Self {
        let detail = "no such path: use /v1/files/KEY or /v1/buckets/BUCKET/files/KEY";
        Self::new(Kind::NoSuchPath, detail)
    }

    pub(super) fn method(allowed: &str) -> Self {
        let problem = Self::new(Kind::MethodNotAllowed, format!("this path takes {allowed}"));
        match HeaderValue::from_str(allowed) {
            Ok(value) => problem.with(ALLOW, value),
            Err(_) => problem,
        }
    }

    pub(super) fn precondition(detail: impl Into<String>) -> Self {
        Self::new(Kind::PreconditionFailed, detail)
    }

    pub(super) fn range(length: u64) -> Self {
        let detail = format!("no byte of the range exists: the file has {length} bytes");
        let problem = Self::new(Kind::RangeNotSatisfiable, detail);
        match HeaderValue::from_str(&format!("bytes */{length}")) {
            Ok(value) => problem.with(CONTENT_RANGE, value),
            Err(_) => problem,
        }
    }

    /// An existing name, where the client made its absence a condition.
    pub(super) fn exists_as_precondition(self) -> Self {
        if self.kind == Kind::FileExists { Self::precondition(self.detail) } else { self }
    }

    pub(super) fn with_request_id(mut self, id: &RequestId) -> Self {
        self.request_id = Some(id.to_string());
        self
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    pub(super) fn of(error: &impl WireError) -> Self {
        Self::new(Kind::of(error.reason()), error.client_message())
    }
}

impl From<InvalidName> for Problem {
    fn from(error: InvalidName) -> Self {
        Self::new(Kind::InvalidName, error.to_string())
    }
}

impl From<InvalidMeta> for Problem {
    fn from(error: InvalidMeta) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let wire = ProblemJson {
            r#type: self.kind.urn(),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: &self.detail,
            request_id: self.request_id.as_deref(),
        };
        // A struct of texts and a number always becomes JSON.
        let body = serde_json::to_string(&wire).unwrap_or_default() + "\n";
        let mut response = (status, body).into_response();
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        if let Some((name, value)) = self.header.map(|header| *header) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
