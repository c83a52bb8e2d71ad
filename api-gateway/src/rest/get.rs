//! GET and HEAD: the whole file, one range, or several as `multipart/byteranges`.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cairn_core::ids::NodeId;
use cairn_core::object::ObjectInfo;
use cairn_core::range::ByteRange;
use cairn_core::strategy::ReadStrategy;
use futures_util::{StreamExt, stream};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::conditions::{Verdict, range_counts, read_verdict};
use super::fields;
use super::file::{content_type, headers as file_headers, validators};
use super::operation::{Answer, Call, Content, Field, Operation};
use super::problem::{Kind, Problem};
use super::ranges::Ranges;
use super::strategies::{CAIRN_READ, CAIRN_WAIT, SERVER_TIMING, asked, server_timing};
use crate::download::{DownloadError, Downloads, Located, Opened};
use crate::master::CallContext;

/// The node that served the first byte.
const SERVED_BY: HeaderName = HeaderName::from_static("cairn-served-by");

pub(super) const GET: Operation = Operation {
    method: Method::GET,
    id: "getFile",
    summary: "Fetch a file or a part of it",
    description: "When the rest of a file cannot be read from any copy, the connection is broken: a short body never \
                  ends cleanly.",
    query: &[],
    headers: &[
        fields::RANGE,
        fields::IF_RANGE,
        fields::CAIRN_READ,
        fields::CAIRN_WAIT,
        fields::IF_MATCH,
        fields::IF_NONE_MATCH_READ,
        fields::IF_MODIFIED_SINCE,
        fields::IF_UNMODIFIED_SINCE,
    ],
    body: None,
    answers: &[
        Answer {
            status: StatusCode::OK,
            about: "The file.",
            headers: OF_FILE,
            content: Content::File,
        },
        Answer {
            status: StatusCode::PARTIAL_CONTENT,
            about: "The parts that `Range` asks for.",
            headers: OF_PARTS,
            content: Content::File,
        },
        UNCHANGED,
    ],
    problems: &[
        Kind::InvalidName,
        Kind::InvalidRequest,
        Kind::BucketNotFound,
        Kind::FileNotFound,
        Kind::PreconditionFailed,
        Kind::RangeNotSatisfiable,
        Kind::Busy,
        Kind::Unavailable,
        Kind::Stopping,
    ],
    run: |call| Box::pin(get(call)),
};

pub(super) const HEAD: Operation = Operation {
    method: Method::HEAD,
    id: "headFile",
    summary: "Tell what is known of a file",
    description: "As GET, without the body and without ranges.",
    query: &[],
    headers: &[
        fields::IF_MATCH,
        fields::IF_NONE_MATCH_READ,
        fields::IF_MODIFIED_SINCE,
        fields::IF_UNMODIFIED_SINCE,
    ],
    body: None,
    answers: &[
        Answer {
            status: StatusCode::OK,
            about: "What is known of it.",
            headers: OF_HEAD,
            content: Content::Nothing,
        },
        UNCHANGED_HEAD,
    ],
    problems: &[
        Kind::InvalidName,
        Kind::InvalidRequest,
        Kind::BucketNotFound,
        Kind::FileNotFound,
        Kind::PreconditionFailed,
        Kind::Busy,
        Kind::Unavailable,
        Kind::Stopping,
    ],
    run: |call| Box::pin(head(call)),
};

/// What comes with parts of a file.
const OF_PARTS: &[Field] = &[
    fields::CONTENT_RANGE,
    fields::SERVED_BY,
    fields::READ_TIMING,
    fields::ETAG,
    fields::LAST_MODIFIED,
    fields::REPR_DIGEST,
    fields::CAIRN_ROOT,
    fields::CAIRN_CHUNKS,
    fields::ACCEPT_RANGES,
    fields::NO_SNIFFING,
    fields::META,
    fields::CONTENT_LENGTH,
];
/// What comes with a whole file: all but the range.
const OF_FILE: &[Field] = OF_PARTS.split_at(1).1;
/// What is told without its bytes: nor the node that served them, and its time.
const OF_HEAD: &[Field] = OF_FILE.split_at(2).1;

const UNCHANGED: Answer = Answer {
    status: StatusCode::NOT_MODIFIED,
    about: "The client has it.",
    headers: &[fields::ETAG, fields::LAST_MODIFIED],
    content: Content::Nothing,
};

/// As [`UNCHANGED`], with the length that GET would send.
const UNCHANGED_HEAD: Answer =
    Answer { headers: &[fields::ETAG, fields::LAST_MODIFIED, fields::CONTENT_LENGTH], ..UNCHANGED };

async fn head(call: Call) -> Result<Response, Problem> {
    let Call { files, context, names, request } = call;
    let place = names.place()?;
    let object = files.downloads.stat(&context, &place.bucket, &place.key).await;
    let object = object.map_err(|error| Problem::of(&error))?;
    if read_verdict(request.headers(), &object)? == Verdict::NotModified {
        // The length of what GET would send, or none at all (RFC 9110, section 8.6): an empty body would say 0.
        let length = [(CONTENT_LENGTH, object.length)];
        return Ok((length, not_modified(&object)).into_response());
    }
    let mut answer = file_headers(&object);
    answer.insert(CONTENT_LENGTH, object.length.into());
    Ok((answer, Body::empty()).into_response())
}

async fn get(call: Call) -> Result<Response, Problem> {
    let Call { files, context, names, request } = call;
    let (place, headers) = (names.place()?, request.headers());
    let (strategy, wait) = (asked(headers, &CAIRN_READ)?, asked(headers, &CAIRN_WAIT)?);
    let located = files.downloads.locate(&context, &place.bucket, &place.key, wait).await;
    let located = located.map_err(|error| Problem::of(&error))?;
    let object = located.object.clone();
    if read_verdict(headers, &object)? == Verdict::NotModified {
        return Ok(not_modified(&object));
    }
    let field = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let field = field.filter(|_| range_counts(headers, &object));
    let read = Read { downloads: files.downloads, context, strategy };
    let answer = match Ranges::read(field, object.length) {
        Ranges::Malformed => {
            let rule = "no range: use bytes=FIRST-LAST, bytes=FIRST- or bytes=-LENGTH, commas between several";
            return Err(Problem::bad_request(rule));
        }
        Ranges::Unsatisfiable => return Err(Problem::range(object.length)),
        Ranges::Whole => whole(&read, located).await,
        Ranges::Parts(parts) => match parts[..] {
            [range] => single(&read, located, range).await,
            _ => multiple(&read, located, parts).await,
        },
    };
    answer.map_err(|error| {
        tracing::warn!(%error, "cannot be read");
        Problem::of(&error)
    })
}

fn not_modified(object: &ObjectInfo) -> Response {
    (StatusCode::NOT_MODIFIED, validators(object)).into_response()
}

/// Who reads, and how.
#[derive(Clone)]
struct Read {
    downloads: Downloads,
    context: CallContext,
    strategy: Option<ReadStrategy>,
}

impl Read {
    async fn open(&self, located: Located, range: ByteRange) -> Result<Opened, DownloadError> {
        self.downloads.open(self.context.clone(), located, range, self.strategy).await
    }
}

async fn whole(read: &Read, located: Located) -> Result<Response, DownloadError> {
    let headers = file_headers(&located.object);
    let range = ByteRange::whole(located.object.length);
    body(read, located, range, StatusCode::OK, headers).await
}

async fn single(
    read: &Read,
    located: Located,
    range: ByteRange,
) -> Result<Response, DownloadError> {
    let mut headers = file_headers(&located.object);
    if let Ok(value) = HeaderValue::from_str(&content_range(range, located.object.length)) {
        headers.insert(CONTENT_RANGE, value);
    }
    body(read, located, range, StatusCode::PARTIAL_CONTENT, headers).await
}

async fn body(
    read: &Read,
    located: Located,
    range: ByteRange,
    status: StatusCode,
    mut headers: HeaderMap,
) -> Result<Response, DownloadError> {
    headers.insert(CONTENT_LENGTH, range.length.into());
    let opened = read.open(located, range).await?;
    served_by(&mut headers, opened.served_by);
    Ok((status, headers, Body::from_stream(opened.body)).into_response())
}

/// Tells of the node that served the first bytes.
fn served_by(headers: &mut HeaderMap, served: Option<(NodeId, Duration)>) {
    if let Some(Ok(node)) = served.map(|(node, _)| HeaderValue::from_str(&node.to_string())) {
        headers.insert(SERVED_BY, node);
    }
    if let Some(timing) = server_timing(served) {
        headers.insert(SERVER_TIMING, timing);
    }
}

fn content_range(range: ByteRange, length: u64) -> String {
    format!("bytes {}-{}/{length}", range.offset, range.end() - 1)
}

/// RFC 9110, section 14.6. The parts are opened one after another; the first one before the head is sent.
async fn multiple(
    read: &Read,
    located: Located,
    ranges: Vec<ByteRange>,
) -> Result<Response, DownloadError> {
    // The version's id can be no part of the content by chance.
    let boundary = format!("cairn-{}", located.object.version);
    let object = located.object.clone();
    let part_head = |range: &ByteRange| {
        let (kind, place) = (content_type(&object), content_range(*range, object.length));
        format!("\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: {place}\r\n\r\n")
    };
    let heads: Vec<String> = ranges.iter().map(part_head).collect();
    let tail = format!("\r\n--{boundary}--\r\n");
    let parts = ranges.iter().map(|range| range.length).sum::<u64>();
    let length =
        parts + heads.iter().map(|head| head.len() as u64).sum::<u64>() + tail.len() as u64;

    let mut headers = file_headers(&located.object);
    let kind = format!("multipart/byteranges; boundary={boundary}");
    if let Ok(kind) = HeaderValue::from_str(&kind) {
        headers.insert(CONTENT_TYPE, kind);
    }
    headers.insert(CONTENT_LENGTH, length.into());
    let mut sections = heads.into_iter().zip(ranges);
    let Some((first_head, first_range)) = sections.next() else {
        return Err(DownloadError::Internal("a multipart answer without parts"));
    };
    let first = read.open(located.clone(), first_range).await?;
    served_by(&mut headers, first.served_by);
    let read = read.clone();
    let text = |text: String| stream::iter([Ok::<_, DownloadError>(Bytes::from(text))]);
    let rest = stream::iter(sections).then(move |(head, range)| {
        let (read, located) = (read.clone(), located.clone());
        async move {
            let part = match read.open(located, range).await {
                Ok(opened) => opened.body,
                Err(error) => stream::iter([Err(error)]).boxed(),
            };
            stream::iter([Ok(Bytes::from(head))]).chain(part)
        }
    });
    let all = text(first_head).chain(first.body).chain(rest.flatten()).chain(text(tail));
    Ok((StatusCode::PARTIAL_CONTENT, headers, Body::from_stream(all)).into_response())
}
