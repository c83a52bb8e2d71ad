//! GET and HEAD: the whole file, one range, or several as `multipart/byteranges`.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cairn_core::object::ObjectInfo;
use cairn_core::range::ByteRange;
use futures_util::{StreamExt, stream};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::conditions::{Verdict, range_counts, read_verdict};
use super::file::{content_type, headers as file_headers, validators};
use super::path::Place;
use super::problem::Problem;
use super::ranges::Ranges;
use crate::download::{DownloadError, Located};
use crate::files::Files;
use crate::master::CallContext;

/// The node that served the first byte.
const SERVED_BY: HeaderName = HeaderName::from_static("cairn-served-by");

pub(super) async fn head(
    files: &Files,
    context: CallContext,
    place: Place,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let object = files.downloads.stat(&context, &place.bucket, &place.key).await;
    let object = object.map_err(|error| Problem::of(&error))?;
    if read_verdict(headers, &object)? == Verdict::NotModified {
        return Ok(not_modified(&object));
    }
    let mut answer = file_headers(&object);
    answer.insert(CONTENT_LENGTH, object.length.into());
    Ok((answer, Body::empty()).into_response())
}

pub(super) async fn get(
    files: &Files,
    context: CallContext,
    place: Place,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let located = files.downloads.locate(&context, &place.bucket, &place.key).await;
    let located = located.map_err(|error| Problem::of(&error))?;
    let object = located.object.clone();
    if read_verdict(headers, &object)? == Verdict::NotModified {
        return Ok(not_modified(&object));
    }
    let field = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let field = field.filter(|_| range_counts(headers, &object));
    let answer = match Ranges::read(field, object.length) {
        Ranges::Malformed => {
            let rule = "no range: use bytes=FIRST-LAST, bytes=FIRST- or bytes=-LENGTH, commas between several";
            return Err(Problem::bad_request(rule));
        }
        Ranges::Unsatisfiable => return Err(Problem::range(object.length)),
        Ranges::Whole => whole(files, context, located).await,
        Ranges::Parts(parts) => match parts[..] {
            [range] => single(files, context, located, range).await,
            _ => multiple(files, context, located, parts).await,
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

async fn whole(
    files: &Files,
    context: CallContext,
    located: Located,
) -> Result<Response, DownloadError> {
    let headers = file_headers(&located.object);
    let range = ByteRange::whole(located.object.length);
    body(files, context, located, range, StatusCode::OK, headers).await
}

async fn single(
    files: &Files,
    context: CallContext,
    located: Located,
    range: ByteRange,
) -> Result<Response, DownloadError> {
    let mut headers = file_headers(&located.object);
    if let Ok(value) = HeaderValue::from_str(&content_range(range, located.object.length)) {
        headers.insert(CONTENT_RANGE, value);
    }
    body(files, context, located, range, StatusCode::PARTIAL_CONTENT, headers).await
}

async fn body(
    files: &Files,
    context: CallContext,
    located: Located,
    range: ByteRange,
    status: StatusCode,
    mut headers: HeaderMap,
) -> Result<Response, DownloadError> {
    headers.insert(CONTENT_LENGTH, range.length.into());
    let opened = files.downloads.open(context, located, range).await?;
    let node = opened.served_by.map(|node| HeaderValue::from_str(&node.to_string()));
    if let Some(Ok(node)) = node {
        headers.insert(SERVED_BY, node);
    }
    Ok((status, headers, Body::from_stream(opened.body)).into_response())
}

fn content_range(range: ByteRange, length: u64) -> String {
    format!("bytes {}-{}/{length}", range.offset, range.end() - 1)
}

/// RFC 9110, section 14.6. The parts are opened one after another; the first one before the head is sent.
async fn multiple(
    files: &Files,
    context: CallContext,
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
    let downloads = files.downloads.clone();
    let first = downloads.open(context.clone(), located.clone(), first_range).await?;
    let text = |text: String| stream::iter([Ok::<_, DownloadError>(Bytes::from(text))]);
    let rest = stream::iter(sections).then(move |(head, range)| {
        let (downloads, context, located) = (downloads.clone(), context.clone(), located.clone());
        async move {
            let part = match downloads.open(context, located, range).await {
                Ok(opened) => opened.body,
                Err(error) => stream::iter([Err(error)]).boxed(),
            };
            stream::iter([Ok(Bytes::from(head))]).chain(part)
        }
    });
    let all = text(first_head).chain(first.body).chain(rest.flatten()).chain(text(tail));
    Ok((StatusCode::PARTIAL_CONTENT, headers, Body::from_stream(all)).into_response())
}
