//! PUT stores or replaces; POST stores a new name or answers 409.

use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse, Response};
use cairn_core::chunking::Chunking;
use cairn_core::digest::Sha256;
use cairn_core::object::{ObjectMeta, WriteCondition};
use futures_util::StreamExt;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, EXPECT};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use utoipa::PartialSchema;

use super::conditions::{text, write_condition};
use super::fields;
use super::file::{FileJson, META_PREFIX, REPR_DIGEST, json, read_repr_digest, validators};
use super::operation::{Answer, Call, Content, Operation, Sent};
use super::path::Place;
use super::problem::{Kind, Problem};
use super::strategies::{CAIRN_DURABILITY, CAIRN_WRITE, SERVER_TIMING, asked, server_timing};
use crate::upload::{BodyError, NewFile, StoredFile};

/// What the acknowledgement means.
const CAIRN_RECEIPT: HeaderName = HeaderName::from_static("cairn-receipt");

/// How the file is to be cut.
const CAIRN_CHUNKING: HeaderName = HeaderName::from_static("cairn-chunking");

pub(super) const PUT: Operation = Operation {
    method: Method::PUT,
    id: "putFile",
    summary: "Store or replace a file",
    description: "`Content-Length` announces the length: quota is reserved whole before the body is read. Without it \
                  quota is reserved as the body arrives. Conditions are decided in the transaction that stores.",
    query: &[],
    headers: &[
        fields::EXPECT,
        fields::REPR_DIGEST_WRITE,
        fields::META,
        fields::CAIRN_CHUNKING,
        fields::CAIRN_WRITE,
        fields::CAIRN_DURABILITY,
        fields::IF_MATCH,
        fields::IF_NONE_MATCH_WRITE,
        fields::IF_UNMODIFIED_SINCE,
    ],
    body: Some(BODY),
    answers: &[
        stored(StatusCode::CREATED, "The name is new."),
        stored(StatusCode::OK, "The file of this name is replaced."),
    ],
    problems: &[
        Kind::InvalidName,
        Kind::InvalidRequest,
        Kind::BodyMismatch,
        Kind::BucketNotFound,
        Kind::PreconditionFailed,
        Kind::FileTooLarge,
        Kind::TooFewNodes,
        Kind::Busy,
        Kind::Unavailable,
        Kind::UploadLost,
        Kind::Stopping,
        Kind::OutcomeUnknown,
        Kind::QuotaExceeded,
    ],
    run: |call| Box::pin(put(call)),
};

pub(super) const POST: Operation = Operation {
    method: Method::POST,
    id: "createFile",
    summary: "Store a file under a new name",
    description: "As PUT, but never replaces. Conditions are not heeded.",
    query: &[],
    headers: &[
        fields::EXPECT,
        fields::REPR_DIGEST_WRITE,
        fields::META,
        fields::CAIRN_CHUNKING,
        fields::CAIRN_WRITE,
        fields::CAIRN_DURABILITY,
    ],
    body: Some(BODY),
    answers: &[stored(StatusCode::CREATED, "It is stored.")],
    problems: &[
        Kind::InvalidName,
        Kind::InvalidRequest,
        Kind::BodyMismatch,
        Kind::BucketNotFound,
        Kind::FileExists,
        Kind::FileTooLarge,
        Kind::TooFewNodes,
        Kind::Busy,
        Kind::Unavailable,
        Kind::UploadLost,
        Kind::Stopping,
        Kind::OutcomeUnknown,
        Kind::QuotaExceeded,
    ],
    run: |call| Box::pin(post(call)),
};

const BODY: Sent = Sent { about: "The file. Its `Content-Type` is kept with it.", json: None };

const fn stored(status: StatusCode, about: &'static str) -> Answer {
    Answer {
        status,
        about,
        headers: &[
            fields::RECEIPT,
            fields::WRITE_TIMING,
            fields::ETAG,
            fields::LAST_MODIFIED,
            fields::REPR_DIGEST,
            fields::CAIRN_ROOT,
            fields::CAIRN_CHUNKS,
            fields::CONTENT_LENGTH,
        ],
        content: Content::Json(|| ("File", FileJson::schema())),
    }
}

async fn put(call: Call) -> Result<Response, Problem> {
    let place = call.names.place()?;
    let condition = write_condition(call.request.headers())?;
    // `If-None-Match: *` is a condition of the client: 412, where POST's own rule is a conflict.
    let create_only = condition.must_not_exist;
    let stored = store(call, place, condition).await;
    stored.map_err(|problem| if create_only { problem.exists_as_precondition() } else { problem })
}

async fn post(call: Call) -> Result<Response, Problem> {
    let place = call.names.place()?;
    store(call, place, WriteCondition::create_only()).await
}

async fn store(call: Call, place: Place, condition: WriteCondition) -> Result<Response, Problem> {
    let (head, body) = call.request.into_parts();
    let mut file = new_file(&head, place, condition)?;
    if body.is_end_stream() {
        // Nothing follows the head (RFC 9112, section 6.3): that announces it as well.
        file.length = file.length.or(Some(0));
    }
    let waits_for_continue = head
        .headers
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let body = pieces(body);
    let stored = call.files.uploads.store(call.context, file, body, waits_for_continue).await;
    stored.map(|stored| answer(&stored)).map_err(|error| {
        tracing::info!(%error, "not stored");
        Problem::of(&error)
    })
}

fn new_file(head: &Parts, place: Place, condition: WriteCondition) -> Result<NewFile, Problem> {
    // A part that were taken for the whole would replace what it is a part of (RFC 9110, section 14.5).
    if head.headers.contains_key(CONTENT_RANGE) {
        return Err(Problem::bad_request("Content-Range: a file is stored whole, not in parts"));
    }
    Ok(NewFile {
        bucket: place.bucket,
        key: place.key,
        length: length(&head.headers)?,
        chunking: chunking(&head.headers)?,
        sha256: announced_digest(&head.headers)?,
        meta: meta(&head.headers)?,
        condition,
        write: asked(&head.headers, &CAIRN_WRITE)?,
        durability: asked(&head.headers, &CAIRN_DURABILITY)?.unwrap_or_default(),
    })
}

fn pieces(body: Body) -> crate::upload::Body {
    let broken = |error: axum::Error| BodyError(error.to_string());
    body.into_data_stream().map(move |piece| piece.map_err(broken)).boxed()
}

/// The announced length. HTTP/1 has refused contradictory ones before this.
fn length(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    let wrong = || Problem::bad_request("Content-Length: give the number of bytes of the body");
    length.map(Some).ok_or_else(wrong)
}

fn chunking(headers: &HeaderMap) -> Result<Chunking, Problem> {
    let Some(value) = headers.get(CAIRN_CHUNKING) else { return Ok(Chunking::Standard) };
    let read = value.to_str().unwrap_or_default().parse::<Chunking>();
    read.map_err(|error| Problem::bad_request(format!("Cairn-Chunking: {error}")))
}

fn announced_digest(headers: &HeaderMap) -> Result<Option<Sha256>, Problem> {
    let Some(text) = text(headers, &REPR_DIGEST)? else { return Ok(None) };
    read_repr_digest(&text).map_err(Problem::bad_request)
}

/// `Content-Type` and `Cairn-Meta-…`.
fn meta(headers: &HeaderMap) -> Result<ObjectMeta, Problem> {
    let text = |name: &HeaderName, value: &HeaderValue| {
        let text = std::str::from_utf8(value.as_bytes()).map(str::to_owned);
        text.map_err(|_| Problem::bad_request(format!("{name}: use UTF-8")))
    };
    let content_type =
        headers.get(CONTENT_TYPE).map(|value| text(&CONTENT_TYPE, value)).transpose()?;
    let mut user = Vec::new();
    for (name, value) in headers {
        if let Some(own) = name.as_str().strip_prefix(META_PREFIX) {
            user.push((own.to_owned(), text(name, value)?));
        }
    }
    Ok(ObjectMeta::new(content_type, user)?)
}

fn answer(stored: &StoredFile) -> Response {
    let status = if stored.replaced { StatusCode::OK } else { StatusCode::CREATED };
    let mut headers = validators(&stored.object);
    if let Ok(receipt) = HeaderValue::from_str(&stored.durability.to_string()) {
        headers.insert(CAIRN_RECEIPT, receipt);
    }
    if let Some(timing) = server_timing(stored.nodes.iter().map(|(node, took)| (*node, *took))) {
        headers.insert(SERVER_TIMING, timing);
    }
    let mut described = super::file::headers(&stored.object);
    for name in [REPR_DIGEST, HeaderName::from_static("cairn-root")] {
        if let Some(value) = described.remove(&name) {
            headers.insert(name, value);
        }
    }
    (status, headers, json(&FileJson::from(&stored.object))).into_response()
}
