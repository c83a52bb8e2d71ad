//! One trace over processes: the W3C `traceparent` (Trace Context, level 1) is read from requests and goes along with
//! the calls that they lead to.
//!
//! ```text
//! request ─ traceparent ─► span of the request ─► span of each call ─ traceparent ─► the next service
//! ```
//!
//! Spans are for requests and calls, never for frames or blocks. While traces are off, dialers are not wrapped and
//! nothing is read or written here.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::response::Response as Answer;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use opentelemetry::global::get_text_map_propagator;
use opentelemetry::propagation::{Extractor, Injector};
use tonic::Code;
use tonic::body::Body;
use tower::util::{BoxCloneSyncService, ServiceExt, service_fn};
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::request::is_grpc;
use crate::{Dial, Dialer, InvalidAddress, PeerChannel};

/// Ties `span` to the trace that `headers` tell of.
pub(crate) fn continue_trace(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() {
        return;
    }
    let parent = get_text_map_propagator(|propagator| propagator.extract(&Headers(headers)));
    // An error means that traces are off.
    let _ = span.set_parent(parent);
}

/// Headers as the propagator reads them.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

/// Headers as the propagator writes them.
struct HeadersMut<'a>(&'a mut HeaderMap);

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(key, value);
        }
    }
}

/// Writes down how a request was answered, and keeps its span for the body: the span ends with it.
pub(crate) fn answered(span: &Span, answer: Answer) -> Answer {
    if span.is_disabled() {
        return answer;
    }
    let status = answer.status();
    span.record("status", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    note_grpc_status(span, answer.headers());
    answer.map(|body| axum::body::Body::new(WithSpan { body, span: span.clone() }))
}

/// The gRPC status among headers or trailers, when there is one.
pub(crate) fn grpc_code(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|status| Code::from_bytes(status.as_bytes()))
}

fn note_grpc_status(span: &Span, headers: &HeaderMap) {
    let Some(code) = grpc_code(headers) else { return };
    span.record("grpc_status", tracing::field::debug(code));
    let failed = match code {
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::Ok
        | Code::Cancelled
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unauthenticated => false,
    };
    if failed {
        span.record("otel.status_code", "ERROR");
    }
}

/// A body that is read within a span.
struct WithSpan<B> {
    body: B,
    span: Span,
}

impl<B> HttpBody for WithSpan<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        let _within = this.span.enter();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    note_grpc_status(&this.span, trailers);
                }
            }
            Poll::Ready(Some(Err(error))) => {
                this.span.record("otel.status_code", "ERROR");
                this.span.record("otel.status_description", tracing::field::display(error));
            }
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Gives each call that a request leads to a span, and the trace to whoever is called. Wrap a [`Dialer`] in it only
/// while traces are on.
#[derive(Debug)]
pub struct TracedDial(Dialer);

impl TracedDial {
    /// Dials through `dialer`.
    pub fn new(dialer: Dialer) -> Self {
        Self(dialer)
    }
}

impl Dial for TracedDial {
    fn dial(&self, address: &str) -> Result<PeerChannel, InvalidAddress> {
        Ok(traced(self.0.dial(address)?, address))
    }

    fn dial_http1(&self, address: &str) -> Result<PeerChannel, InvalidAddress> {
        Ok(traced(self.0.dial_http1(address)?, address))
    }
}

fn traced(channel: PeerChannel, address: &str) -> PeerChannel {
    let peer: Arc<str> = address.into();
    BoxCloneSyncService::new(service_fn(move |mut request: Request<Body>| {
        let span = call_span(&request, &peer);
        inject(&span, request.headers_mut());
        let called = channel.clone().oneshot(request).instrument(span.clone());
        async move {
            let answer = called.await;
            answer.map(|answer| called_back(&span, answer)).inspect_err(|error| {
                span.record("otel.status_code", "ERROR");
                span.record("otel.status_description", tracing::field::display(error));
            })
        }
    }))
}

/// The method of gRPC; else the HTTP method and the first part of the path, as what follows may be a chunk's id.
fn call_name(request: &Request<Body>) -> String {
    let path = request.uri().path().trim_start_matches('/');
    if is_grpc(request.headers()) {
        return path.to_owned();
    }
    let first = path.split('/').next().unwrap_or_default();
    format!("{} {first}", request.method())
}

/// The span of a call; none for calls that no request led to, as heartbeats are.
fn call_span(request: &Request<Body>, peer: &str) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    let name = call_name(request);
    tracing::info_span!(
        "call",
        otel.name = name,
        otel.kind = "client",
        peer,
        grpc_status = tracing::field::Empty,
        otel.status_code = tracing::field::Empty,
        otel.status_description = tracing::field::Empty,
    )
}

fn inject(span: &Span, headers: &mut HeaderMap) {
    if !span.is_disabled() {
        let context = span.context();
        get_text_map_propagator(|propagator| {
            propagator.inject_context(&context, &mut HeadersMut(headers));
        });
    }
}

fn called_back(span: &Span, answer: Response<Body>) -> Response<Body> {
    if span.is_disabled() {
        return answer;
    }
    note_grpc_status(span, answer.headers());
    answer.map(|body| Body::new(WithSpan { body, span: span.clone() }))
}
