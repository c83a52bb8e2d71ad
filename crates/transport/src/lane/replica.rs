//! Copies behind the lane.

use std::collections::VecDeque;

use bytes::Bytes;
use cairn_core::copies::{CopyReceipt, Place};
use cairn_core::ids::ChunkId;
use cairn_core::range::ByteRange;
use cairn_proto::{REQUEST_ID, RemoteError, convert};
use cairn_replicas::{BufferReader, CopyError, CopyRead, Frame, Replica, Source};
use cairn_runtime::{PeerChannel, RequestId};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode, request};
use http_body_util::StreamBody;
use tonic::body::Body;
use tower::ServiceExt;

use super::blocks::Blocks;
use super::frames::{self, Event, Frames, FramesError};
use super::{CHUNKS, GRANT, MEDIA_TYPE, encode_grant};
use crate::answer::{copy_error, protocol, receipt, write_finish};

pub(crate) struct LaneReplica {
    channel: PeerChannel,
    place: Place,
    request_id: Option<HeaderValue>,
}

impl LaneReplica {
    pub(crate) fn new(channel: PeerChannel, place: Place, request: &RequestId) -> Self {
        Self { channel, place, request_id: request.as_str().parse().ok() }
    }

    fn request(&self, method: Method, chunk: ChunkId, query: &str) -> request::Builder {
        let mut request = Request::builder().method(method).uri(format!("{CHUNKS}{chunk}?{query}"));
        if let Some(id) = &self.request_id {
            request = request.header(REQUEST_ID, id);
        }
        if !self.place.grant.is_empty() {
            request = request.header(GRANT, encode_grant(&self.place.grant));
        }
        request
    }
}

impl Replica for LaneReplica {
    fn write(
        &self,
        chunk: ChunkId,
        reserve: u64,
        source: BufferReader,
    ) -> BoxFuture<'static, Result<CopyReceipt, CopyError>> {
        let (channel, node) = (self.channel.clone(), self.place.node);
        let watched = source.clone();
        let request = self
            .request(Method::PUT, chunk, &format!("reserve={reserve}"))
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .body(Body::new(StreamBody::new(body(source))));
        Box::pin(async move {
            let broken = |error: CopyError| match watched.is_broken() {
                true => CopyError::SourceBroken,
                false => error,
            };
            let mut answer = call(channel, request).await.map_err(broken)?;
            match answer.next().await.map_err(broken_off).map_err(broken)? {
                Some(Event::Receipt(answer)) => receipt(answer, node),
                Some(Event::Refusal(_)) if watched.is_broken() => Err(CopyError::SourceBroken),
                Some(Event::Refusal(refusal)) => Err(copy_error(RemoteError::from(refusal))),
                other => Err(unexpected(other.as_ref())),
            }
        })
    }

    fn read(
        &self,
        chunk: ChunkId,
        range: ByteRange,
    ) -> BoxFuture<'static, Result<CopyRead, CopyError>> {
        let channel = self.channel.clone();
        let query = format!("offset={}&length={}", range.offset, range.length);
        let request = self.request(Method::GET, chunk, &query).body(Body::empty());
        Box::pin(async move {
            let mut answer = call(channel, request).await?;
            match answer.next().await.map_err(broken_off)? {
                Some(Event::Read(header)) => {
                    let hash = convert::chunk_hash(&header.hash).map_err(|e| protocol(&e))?;
                    let frames = blocks(answer);
                    Ok(CopyRead { length: header.length, hash, offset: header.offset, frames })
                }
                Some(Event::Refusal(refusal)) => Err(copy_error(RemoteError::from(refusal))),
                other => Err(unexpected(other.as_ref())),
            }
        })
    }
}

/// The writer of a chunk went away: the body is broken off, so that nothing is stored.
#[derive(Debug, thiserror::Error)]
#[error("the chunk was broken off by its writer")]
struct SourceBroken;

/// The body of a write. A piece is a head and its own bytes.
fn body(source: BufferReader) -> impl Stream<Item = Result<http_body::Frame<Bytes>, SourceBroken>> {
    let parts = stream::unfold(Some(source), async |source| {
        let mut source = source?;
        Some(match source.next().await {
            Source::Piece(piece) => {
                let head = frames::data(piece.data.len(), piece.block_crcs);
                ([Some(Ok(head)), Some(Ok(piece.data))], Some(source))
            }
            Source::End(end) => ([Some(Ok(frames::finish(write_finish(&end)))), None], None),
            Source::Broken => ([Some(Err(SourceBroken)), None], None),
        })
    });
    parts
        .flat_map(|parts| stream::iter(parts.into_iter().flatten()))
        .map(|part| part.map(http_body::Frame::data))
}

/// Sends a request and looks whether the answer is one of the lane.
async fn call(
    channel: PeerChannel,
    request: http::Result<Request<Body>>,
) -> Result<Frames<Body>, CopyError> {
    let request = request.map_err(|error| CopyError::Protocol(error.to_string()))?;
    let answer = channel.oneshot(request).await;
    let answer = answer.map_err(|error| CopyError::Unreachable(error.to_string()))?;
    if speaks_lane(&answer) {
        return Ok(Frames::new(answer.into_body()));
    }
    let problem = format!("HTTP status {} and no frames", answer.status());
    Err(match answer.status() {
        status if status.is_server_error() => CopyError::Refused(problem),
        StatusCode::TOO_MANY_REQUESTS => CopyError::Refused(problem),
        _ => CopyError::Protocol(problem),
    })
}

fn speaks_lane(answer: &Response<Body>) -> bool {
    answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == MEDIA_TYPE)
}

/// An answer under way.
struct Answer {
    frames: Frames<Body>,
    blocks: Blocks,
    ready: VecDeque<Frame>,
}

/// The blocks of an answer to a read, until it ends or something is wrong.
fn blocks(frames: Frames<Body>) -> BoxStream<'static, Result<Frame, CopyError>> {
    let answer = Answer { frames, blocks: Blocks::default(), ready: VecDeque::new() };
    stream::unfold(Some(answer), async |answer| {
        let mut answer = answer?;
        match answer.next().await {
            Ok(Some(frame)) => Some((Ok(frame), Some(answer))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

impl Answer {
    async fn next(&mut self) -> Result<Option<Frame>, CopyError> {
        while self.ready.is_empty() {
            match self.frames.next().await.map_err(broken_off)? {
                None => return Ok(None),
                Some(Event::Data { bytes, block_crcs, ends_frame }) => {
                    self.ready.extend(self.blocks.push(bytes, block_crcs, ends_frame));
                }
                Some(Event::Refusal(refusal)) => {
                    return Err(copy_error(RemoteError::from(refusal)));
                }
                other => return Err(unexpected(other.as_ref())),
            }
        }
        Ok(self.ready.pop_front())
    }
}

fn broken_off(error: FramesError) -> CopyError {
    match error {
        FramesError::BrokenOff(problem) => CopyError::Unreachable(problem),
        FramesError::Malformed(problem) => CopyError::Protocol(problem),
    }
}

fn unexpected(event: Option<&Event>) -> CopyError {
    let what = match event {
        None => "nothing",
        Some(Event::Read(_)) => "the beginning of a read",
        Some(Event::Data { .. }) => "data",
        Some(Event::Finish(_)) => "the end of a write",
        Some(Event::Receipt(_)) => "a receipt",
        Some(Event::Refusal(_)) => "a refusal",
    };
    CopyError::Protocol(format!("it answered {what} where something else must be"))
}
