//! What every request gets, whichever protocol it speaks: an id, a span, a contained panic and, for gRPC, its
//! deadline.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use cairn_proto::REQUEST_ID;
use futures_util::FutureExt;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use tonic::Status;
use tracing::Instrument;
use tracing::field::Empty;

use crate::{Clock, Entropy, trace};

/// The id under which a request is found in the logs of all services. An extension of every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// Longest id taken from a client, in bytes.
    const MAX_BYTES: usize = 64;

    /// The client's own id when it is a plain token, else a new one.
    fn of(headers: &HeaderMap, clock: &Clock, entropy: &Entropy) -> Self {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        let given = headers
            .get(REQUEST_ID)
            .and_then(|value| value.to_str().ok())
            .filter(|text| (1..=Self::MAX_BYTES).contains(&text.len()) && text.bytes().all(plain));
        Self(given.map_or_else(|| entropy.uuid_v7(clock).to_string(), str::to_owned))
    }

    /// The id of work that no request asked for.
    pub fn background(what: &str) -> Self {
        Self(what.to_owned())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What [`guard`] needs.
#[derive(Debug, Clone)]
pub struct Guard {
    /// The service's name in spans.
    pub service: &'static str,
    /// Measures deadlines.
    pub clock: Clock,
    /// Draws request ids.
    pub entropy: Entropy,
}

/// True for requests that speak gRPC.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/grpc"))
}

/// Middleware: see the module.
pub async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers(), &guard.clock, &guard.entropy);
    let grpc = is_grpc(request.headers());
    let deadline = deadline(request.headers()).filter(|_| grpc);
    let span = tracing::info_span!(
        "request", service = guard.service, request_id = %id, method = %request.method(),
        path = request.uri().path(), otel.name = name(&request, grpc), otel.kind = "server",
        status = Empty, grpc_status = Empty,
        otel.status_code = Empty, otel.status_description = Empty,
    );
    trace::continue_trace(&span, request.headers());
    request.extensions_mut().insert(id.clone());
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone());
    let answer = match deadline {
        None => Some(answer.await),
        Some(bound) => guard.clock.timeout(bound, answer).await.ok(),
    };
    let mut response = match answer {
        Some(Ok(response)) => response,
        Some(Err(panic)) => {
            let panic = panic_text(&*panic);
            span.in_scope(|| tracing::error!(panic, "request panicked"));
            failed(grpc, &id, &Status::internal("internal error: report it with the request id"))
        }
        None => {
            failed(grpc, &id, &Status::deadline_exceeded("the deadline of the request has passed"))
        }
    };
    if let Ok(id) = id.as_str().parse() {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    trace::answered(&span, response)
}

/// A span's name, one of few: the call of gRPC, the method of HTTP.
fn name(request: &Request, grpc: bool) -> &str {
    if grpc { request.uri().path().trim_start_matches('/') } else { request.method().as_str() }
}

fn failed(grpc: bool, id: &RequestId, status: &Status) -> Response {
    if grpc {
        return status.clone().into_http();
    }
    // RFC 9457. Neither the message nor an id holds what JSON would have to escape.
    let problem = format!(
        r#"{{"type":"urn:cairn:problem:internal","title":"Internal Server Error","status":500,"detail":"{}","request_id":"{id}"}}"#,
        status.message(),
    );
    let mut response = Response::new((problem + "\n").into());
    *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
    let json = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown")
}

/// The header `grpc-timeout`: up to 8 digits and a unit (gRPC over HTTP/2, "Requests"). It bounds the time to the
/// response headers; a stream after them is bounded by whoever reads it.
fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::post;
    use tower::ServiceExt;

    use super::*;

    /// What a call is answered whose handler never answers.
    async fn answered(content_type: &str, timeout: &str) -> Response {
        let (clock, entropy) = (Clock::system(), Entropy::seeded(1));
        let guarded = Guard { service: "test", clock, entropy };
        let routes = Router::new()
            .route("/call", post(std::future::pending::<()>))
            .layer(from_fn_with_state(guarded, guard));
        let request = http::Request::post("/call")
            .header(CONTENT_TYPE, content_type)
            .header("grpc-timeout", timeout)
            .body(Body::empty())
            .expect("a request");
        routes.oneshot(request).await.expect("an answer")
    }

    #[tokio::test]
    async fn a_call_is_given_up_when_the_deadline_of_its_client_has_passed() {
        let answer = answered("application/grpc", "1m").await;
        let status = answer.headers().get("grpc-status").expect("a status");
        assert_eq!(status, "4", "DEADLINE_EXCEEDED");
        assert!(answer.headers().contains_key(REQUEST_ID));
    }

    #[tokio::test]
    async fn plain_http_has_no_such_deadline() {
        assert!(answered("text/plain", "0m").now_or_never().is_none());
    }

    #[test]
    fn a_grpc_timeout_is_digits_and_a_unit() {
        let read = |text: &str| {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-timeout"),
                text.parse().expect("a header value"),
            )]);
            deadline(&headers)
        };
        assert_eq!(read("100m"), Some(Duration::from_millis(100)));
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        for wrong in ["", "m", "100", "-1S", "123456789S", "1x", "ü"] {
            assert_eq!(read(wrong), None, "{wrong:?} was taken");
        }
    }
}
