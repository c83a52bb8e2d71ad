//! The lane: `PUT` and `GET /chunks/{id}` as plain HTTP/1.1. See [`cairn_transport::lane`].

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::put;
use bytes::Bytes;
use cairn_chain::Frame;
use cairn_core::ids::ChunkId;
use cairn_proto::{InvalidField, Reason, WireError};
use cairn_runtime::request::{Guard, guard};
use cairn_transport::lane::{self, Event, Frames, MEDIA_TYPE};
use futures_util::{Stream, StreamExt, stream};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Deserialize;

use crate::node::Node;
use crate::rpc::read::{self, Opened, ReadRefused, Wanted};
use crate::rpc::write::{self, Part, Parts, WriteRefused};
use crate::rpc::write_response;

/// What a writer still sends after a refusal is read for this long, so that it sees the answer instead of a reset.
const DRAIN_BOUND: Duration = Duration::from_secs(2);

pub(crate) fn routes(node: Arc<Node>, guarded: Guard) -> Router {
    Router::new()
        .route(&format!("{}{{id}}", lane::CHUNKS), put(write).get(read))
        .layer(from_fn_with_state(guarded, guard))
        .with_state(node)
}

#[derive(Debug, Deserialize)]
struct WriteQuery {
    reserve: u64,
}

#[derive(Debug, Deserialize)]
struct ReadQuery {
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    length: u64,
}

async fn write(
    State(node): State<Arc<Node>>,
    Path(id): Path<String>,
    query: Result<Query<WriteQuery>, QueryRejection>,
    request: Request,
) -> Response {
    let mut parts = LaneParts { header: None, frames: Frames::new(request.into_body()) };
    let written = match write_header(&id, query) {
        Ok(header) => {
            parts.header = Some(header);
            write::write(&node, &mut parts).await
        }
        Err(error) => Err(WriteRefused::Field(error)),
    };
    match written {
        Ok(receipt) => {
            let receipt = lane::receipt(write_response(receipt));
            answer(StatusCode::OK, Body::from(receipt))
        }
        Err(error) => {
            let (status, refusal) = refused(&node, "write", &error);
            let clock = node.clock.clone();
            let drained = stream::once(async move {
                let _ = clock.timeout(DRAIN_BOUND, parts.frames.drain()).await;
                Bytes::new()
            });
            let body = stream::iter([refusal]).chain(drained);
            answer(status, Body::from_stream(body.map(Ok::<_, Broken>)))
        }
    }
}

fn write_header(
    id: &str,
    query: Result<Query<WriteQuery>, QueryRejection>,
) -> Result<Part, InvalidField> {
    let Query(WriteQuery { reserve }) =
        query.map_err(|error| InvalidField::new("reserve", error.body_text()))?;
    Ok(Part::Header { chunk: chunk_id(id)?, reserve })
}

async fn read(
    State(node): State<Arc<Node>>,
    Path(id): Path<String>,
    query: Result<Query<ReadQuery>, QueryRejection>,
) -> Response {
    let opened = match wanted(&id, query) {
        Ok(wanted) => read::read(&node, wanted).await,
        Err(error) => Err(ReadRefused::Field(error)),
    };
    match opened {
        Ok(opened) => answer(StatusCode::OK, Body::from_stream(read_body(opened))),
        Err(error) => {
            let (status, refusal) = refused(&node, "read", &error);
            answer(status, Body::from(refusal))
        }
    }
}

fn wanted(
    id: &str,
    query: Result<Query<ReadQuery>, QueryRejection>,
) -> Result<Wanted, InvalidField> {
    let Query(ReadQuery { offset, length }) =
        query.map_err(|error| InvalidField::new("offset", error.body_text()))?;
    Ok(Wanted { chunk: chunk_id(id)?, offset, length })
}

fn chunk_id(id: &str) -> Result<ChunkId, InvalidField> {
    id.parse()
        .map_err(|error: cairn_core::ids::InvalidId| InvalidField::new("chunk", error.to_string()))
}

/// Why a body ends without its end: never, since a failure is a frame of its own.
type Broken = std::convert::Infallible;

fn read_body(opened: Opened) -> impl Stream<Item = Result<Bytes, Broken>> {
    let header = lane::read_header(opened.header);
    let frames = opened.frames.flat_map(|frame| {
        stream::iter(match frame {
            Ok(Frame { bytes, block_crcs }) => {
                [Some(lane::data(bytes.len(), block_crcs)), Some(bytes)]
            }
            Err(error) => [Some(lane::refusal(&error)), None],
        })
    });
    stream::iter([Some(header)]).chain(frames).filter_map(async |part| part.map(Ok))
}

fn refused(node: &Node, call: &'static str, error: &dyn WireError) -> (StatusCode, Bytes) {
    node.metrics.failed(call, error.reason());
    tracing::debug!(call, %error, "refused");
    (status(error.reason()), lane::refusal(error))
}

/// For people and proxies; the frame says it exactly.
fn status(reason: Reason) -> StatusCode {
    match reason {
        Reason::InvalidField | Reason::BodyMismatch => StatusCode::BAD_REQUEST,
        Reason::ChunkNotFound => StatusCode::NOT_FOUND,
        Reason::ChunkConflict | Reason::ChunkErased => StatusCode::CONFLICT,
        Reason::NodeFull => StatusCode::INSUFFICIENT_STORAGE,
        Reason::Busy | Reason::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn answer(status: StatusCode, body: Body) -> Response {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let kind = http::HeaderValue::from_static(MEDIA_TYPE);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// The parts of a chunk: the header from the request's head, the rest from its body.
struct LaneParts {
    header: Option<Part>,
    frames: Frames<Body>,
}

impl Parts for LaneParts {
    async fn next(&mut self) -> Result<Option<Part>, InvalidField> {
        if let Some(header) = self.header.take() {
            return Ok(Some(header));
        }
        match self.frames.next().await {
            Ok(Some(Event::Data { bytes, block_crcs, .. })) => {
                Ok(Some(Part::Data { bytes, block_crcs }))
            }
            Ok(Some(Event::Finish(finish))) => {
                write::end(&finish).map(|end| Some(Part::Finish(end)))
            }
            Ok(None) => Ok(None),
            Ok(Some(Event::Read(_) | Event::Receipt(_) | Event::Refusal(_))) => {
                Err(InvalidField::new("part", "a write is data and a finish"))
            }
            Err(lane::FramesError::BrokenOff(problem)) => {
                tracing::debug!(problem, "the body of a chunk broke off");
                Ok(None)
            }
            Err(lane::FramesError::Malformed(problem)) => Err(InvalidField::new("body", problem)),
        }
    }
}
