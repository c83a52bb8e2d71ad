//! What every service counts of its requests, gRPC and HTTP alike.
//!
//! The labels are few whatever clients send: paths become routes, unknown methods and calls become `other`.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::{Router, body::Body};
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, Uri};
use http_body::{Body as HttpBody, Frame, SizeHint};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tonic::Code;

use crate::Clock;
use crate::request::is_grpc;
use crate::trace::grpc_code;

/// Bounds of the latency histogram in seconds: from an answer out of memory to the longest wait for a budget.
const SECONDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Routes and methods that the service does not have.
const OTHER: &str = "other";
/// The status of a request whose client left before it was answered in full.
const CANCELLED: &str = "cancelled";
/// The status of an answer that the service broke off.
const BROKEN: &str = "broken";

/// Whose requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Service {
    service: &'static str,
}

/// Which requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    service: &'static str,
    method: &'static str,
    route: String,
}

/// Which requests, and how they ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    service: &'static str,
    method: &'static str,
    route: String,
    status: String,
}

/// The numbers of all services of a process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RequestMetrics {
    ended: Family<Ended, Counter>,
    seconds: Family<Kind, Histogram, fn() -> Histogram>,
    in_flight: Family<Service, Gauge>,
    received: Family<Service, Counter>,
    sent: Family<Service, Counter>,
}

impl RequestMetrics {
    /// Registers the numbers.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            ended: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            in_flight: Family::default(),
            received: Family::default(),
            sent: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix("cairn");
        let help = "Requests that ended, their answers' bodies included";
        registry.register("requests", help, metrics.ended.clone());
        let help = "Time from a request to the head of its answer";
        let seconds = metrics.seconds.clone();
        registry.register_with_unit("request_duration", help, Unit::Seconds, seconds);
        let help = "Requests at work, their answers' bodies included";
        registry.register("requests_in_flight", help, metrics.in_flight.clone());
        let help = "Bytes of requests' bodies received";
        registry.register_with_unit("request_body", help, Unit::Bytes, metrics.received.clone());
        let help = "Bytes of answers' bodies sent";
        registry.register_with_unit("response_body", help, Unit::Bytes, metrics.sent.clone());
        metrics
    }

    /// Puts counting around `routes`. `route` names the route of a plain HTTP request, one of few.
    pub fn around(
        &self,
        service: &'static str,
        route: fn(&Uri) -> &'static str,
        clock: Clock,
        routes: Router,
    ) -> Router {
        let measure = Measure { metrics: self.clone(), service, route, clock };
        routes.layer(from_fn_with_state(measure, measured))
    }
}

/// The routes that [`crate::ops::routes`] has.
pub fn operations_route(uri: &Uri) -> &'static str {
    match uri.path() {
        "/healthz" => "/healthz",
        "/readyz" => "/readyz",
        "/metrics" => "/metrics",
        _ => OTHER,
    }
}

#[derive(Debug, Clone)]
struct Measure {
    metrics: RequestMetrics,
    service: &'static str,
    route: fn(&Uri) -> &'static str,
    clock: Clock,
}

async fn measured(State(measure): State<Measure>, request: Request, next: Next) -> Response {
    let begun = measure.clock.monotonic();
    let head_only = request.method() == Method::HEAD;
    let mut ending = Ending::of(&measure, &request);
    let of = Service { service: measure.service };
    let received = measure.metrics.received.get_or_create(&of).clone();
    let request = request.map(|body| Body::new(Counted { body, bytes: received, ending: None }));
    let response = next.run(request).await;
    ending.answered(&response, measure.clock.monotonic().saturating_sub(begun));
    if head_only || response.body().is_end_stream() {
        ending.complete = true;
        return response;
    }
    let sent = measure.metrics.sent.get_or_create(&of).clone();
    response.map(|body| Body::new(Counted { body, bytes: sent, ending: Some(ending) }))
}

/// The methods that have a name of their own.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => OTHER,
    }
}

/// How long the body will be, as the protocol or the body itself says.
fn announced_length(response: &Response) -> Option<u64> {
    let header = response.headers().get(CONTENT_LENGTH);
    let header = header.and_then(|length| length.to_str().ok()?.parse().ok());
    header.or_else(|| response.body().size_hint().exact())
}

/// A request at work; counted when it is dropped, whoever drops it.
#[derive(Debug)]
struct Ending {
    metrics: RequestMetrics,
    kind: Kind,
    grpc: bool,
    status: Option<String>,
    /// The answer went out in full.
    complete: bool,
    /// Bytes of the answer that are still to come, when they are known.
    left: Option<u64>,
}

impl Ending {
    fn of(measure: &Measure, request: &Request) -> Self {
        let grpc = is_grpc(request.headers());
        let (method, route) = match grpc {
            true => ("grpc", request.uri().path().trim_start_matches('/')),
            false => (method(request.method()), (measure.route)(request.uri())),
        };
        let kind = Kind { service: measure.service, method, route: route.to_owned() };
        let metrics = measure.metrics.clone();
        metrics.in_flight.get_or_create(&Service { service: kind.service }).inc();
        Self { metrics, kind, grpc, status: None, complete: false, left: None }
    }

    fn answered(&mut self, response: &Response, took: Duration) {
        self.left = announced_length(response);
        if self.grpc {
            self.grpc_status(grpc_code(response.headers()));
        } else {
            self.status = Some(response.status().as_str().to_owned());
        }
        self.metrics.seconds.get_or_create(&self.kind).observe(took.as_secs_f64());
    }

    fn grpc_status(&mut self, code: Option<Code>) {
        let Some(code) = code else { return };
        if code == Code::Unimplemented {
            OTHER.clone_into(&mut self.kind.route);
        }
        self.status = Some(format!("{code:?}"));
        self.complete = true;
    }

    /// What a poll of the answer's body gave.
    fn note<E>(&mut self, polled: &Poll<Option<Result<Frame<Bytes>, E>>>) {
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.grpc_status(grpc_code(trailers));
                }
                let sent = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.left = self.left.map(|left| left.saturating_sub(sent));
                // Nobody asks for the end of a body whose length was announced.
                self.complete |= self.left == Some(0);
            }
            Poll::Ready(Some(Err(_))) => {
                self.status = Some(BROKEN.to_owned());
                self.complete = true;
            }
            Poll::Ready(None) => self.complete = true,
            Poll::Pending => {}
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Kind { service, method, route } = self.kind.clone();
        let status = self.status.take().filter(|_| self.complete);
        let status = status.unwrap_or_else(|| CANCELLED.to_owned());
        self.metrics.ended.get_or_create(&Ended { service, method, route, status }).inc();
        self.metrics.in_flight.get_or_create(&Service { service }).dec();
    }
}

/// A body whose bytes are counted.
#[derive(Debug)]
struct Counted {
    body: Body,
    bytes: Counter,
    ending: Option<Ending>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            this.bytes.inc_by(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        if let Some(ending) = &mut this.ending {
            ending.note(&polled);
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

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use futures_util::{StreamExt, stream};
    use prometheus_client::encoding::text::encode;
    use tower::ServiceExt;

    use super::*;

    /// Sends a request and reads the answer as far as `read` says; what is counted then.
    async fn counted(request: http::request::Builder, body: &'static str, frames: usize) -> String {
        let streamed = || async {
            let parts = stream::iter(["six ", "more"]).map(Ok::<_, std::io::Error>);
            ([(CONTENT_LENGTH, "8")], Body::from_stream(parts))
        };
        let half = || async {
            let ends = stream::iter([Ok("half"), Err(std::io::Error::other("no more"))]);
            Body::from_stream(ends)
        };
        let routes = Router::new()
            .route("/files", get(|| async { "twelve bytes" }))
            .route("/stream", get(streamed))
            .route("/files", post(|body: String| async move { body }))
            .route("/half", get(half));
        let mut registry = Registry::default();
        let metrics = RequestMetrics::register(&mut registry);
        let route = |uri: &Uri| if uri.path() == "/files" { "/files" } else { OTHER };
        let routes = metrics.around("test", route, Clock::system(), routes);
        let request = request.body(Body::from(body)).expect("a request");
        let answer = routes.oneshot(request).await.expect("an answer");
        let mut body = answer.into_body().into_data_stream();
        for _ in 0..frames {
            let _ = body.next().await;
        }
        drop(body);
        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        text
    }

    #[tokio::test]
    async fn a_request_is_counted_by_route_and_status_with_its_bytes() {
        let text = counted(Request::post("/files"), "abcde", 1).await;
        let line = "cairn_requests_total{service=\"test\",method=\"POST\",route=\"/files\",status=\"200\"} 1";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("cairn_request_body_bytes_total{service=\"test\"} 5"), "{text}");
        assert!(text.contains("cairn_response_body_bytes_total{service=\"test\"} 5"), "{text}");
        assert!(text.contains("cairn_requests_in_flight{service=\"test\"} 0"), "{text}");
    }

    #[tokio::test]
    async fn what_clients_make_up_has_one_label() {
        let odd = Method::from_bytes(b"ODD").expect("a method");
        let text = counted(Request::builder().method(odd).uri("/x/y"), "", 1).await;
        assert!(text.contains("method=\"other\",route=\"other\",status=\"404\""), "{text}");
    }

    #[tokio::test]
    async fn an_answer_that_ends_early_is_no_success() {
        let text = counted(Request::get("/half"), "", 2).await;
        assert!(text.contains("status=\"broken\"} 1"), "{text}");
        let text = counted(Request::get("/half"), "", 1).await;
        assert!(text.contains("status=\"cancelled\"} 1"), "{text}");
        assert!(!text.contains("status=\"200\""), "{text}");
    }

    #[tokio::test]
    async fn an_answer_of_known_length_has_ended_with_its_last_byte() {
        for (path, frames) in [("/files", 1), ("/stream", 2)] {
            let text = counted(Request::get(path), "", frames).await;
            assert!(text.contains("status=\"200\"} 1"), "{path}: {text}");
        }
    }
}
