//! A collector of traces: takes what comes over OTLP and keeps it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::{hex, within};

/// Longest wait for a span.
const BOUND_SECONDS: u64 = 60;

/// A span as it arrived; ids in hex.
#[derive(Debug, Clone)]
pub(crate) struct SeenSpan {
    /// `service.name` of who sent it.
    pub(crate) service: String,
    /// `service.instance.id` of who sent it.
    pub(crate) instance: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) name: String,
    /// 2 for a server's, 3 for a client's.
    pub(crate) kind: i32,
    pub(crate) attributes: BTreeMap<String, String>,
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |attribute: KeyValue| {
        let value = match attribute.value.and_then(|value| value.value) {
            Some(any_value::Value::StringValue(text)) => text,
            other => format!("{other:?}"),
        };
        (attribute.key, value)
    };
    attributes.into_iter().map(text).collect()
}

fn seen(sent: ResourceSpans) -> Vec<SeenSpan> {
    let resource = texts(sent.resource.unwrap_or_default().attributes);
    let of = |key: &str| resource.get(key).cloned().unwrap_or_default();
    let spans = sent.scope_spans.into_iter().flat_map(|scope| scope.spans);
    let span = |span: Span| SeenSpan {
        service: of("service.name"),
        instance: of("service.instance.id"),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        name: span.name,
        kind: span.kind,
        attributes: texts(span.attributes),
    };
    spans.map(span).collect()
}

#[derive(Debug)]
struct Keep(watch::Sender<Vec<SeenSpan>>);

#[tonic::async_trait]
impl TraceService for Keep {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let spans = request.into_inner().resource_spans.into_iter().flat_map(seen);
        self.0.send_modify(|kept| kept.extend(spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A collector that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Collector {
    address: SocketAddr,
    spans: watch::Receiver<Vec<SeenSpan>>,
    serving: JoinHandle<()>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (keep, spans) = watch::channel(Vec::new());
        let service = TraceServiceServer::new(Keep(keep));
        let serving =
            Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener));
        let serving = tokio::spawn(async move { serving.await.expect("the collector serves") });
        Self { address, spans, serving }
    }

    /// What `--otlp-endpoint` takes.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans of a trace, once `enough` of them are there.
    pub(crate) async fn trace(
        &self,
        trace: &str,
        enough: impl Fn(&[SeenSpan]) -> bool,
    ) -> Vec<SeenSpan> {
        let of_trace = |all: &Vec<SeenSpan>| -> Vec<SeenSpan> {
            all.iter().filter(|span| span.trace == trace).cloned().collect()
        };
        let mut spans = self.spans.clone();
        let what = format!("the spans of trace {trace} arrive");
        let came = spans.wait_for(|all| enough(&of_trace(all)));
        let came = tokio::time::timeout(std::time::Duration::from_secs(BOUND_SECONDS), came).await;
        match came {
            Ok(all) => of_trace(&all.expect("the collector runs")),
            Err(_) => panic!("{what}: only {:#?}", of_trace(&self.spans.borrow())),
        }
    }

    /// The trace of the first span that `matches`.
    pub(crate) async fn trace_of(&self, matches: impl Fn(&SeenSpan) -> bool) -> String {
        let mut spans = self.spans.clone();
        let came = spans.wait_for(|all| all.iter().any(&matches));
        let all = within(BOUND_SECONDS, "a span arrives", came).await.expect("the collector runs");
        all.iter().find(|span| matches(span)).expect("just found").trace.clone()
    }

    /// All spans so far.
    pub(crate) fn all(&self) -> Vec<SeenSpan> {
        self.spans.borrow().clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
