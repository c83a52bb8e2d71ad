//! Traces to an OTLP collector (OpenTelemetry protocol 1.x over gRPC), in the background.
//!
//! ```text
//! span ends ─► queue of 4096 ─► export task: up to 512 at a time ─► collector
//!                └ full: dropped, counted
//! ```
//!
//! A request never waits for any of this. The SDK's own batch processor does not say how many spans it has lost, so
//! the queue is ours: what is lost is counted and told at a bounded rate, whether the queue was full, the collector
//! refused or nobody was there. Lost spans are the accepted loss.
//!
//! A trace begins at the edge (gateway, administration) or with a client's `traceparent`. Heartbeats and the sweep, which
//! nobody asked for, are not traced.

use std::mem;
use std::time::Duration;

use opentelemetry::trace::{Link, SpanContext, SpanKind, TraceContextExt, TraceId, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    Sampler, SamplingDecision, SamplingResult, SdkTracer, SdkTracerProvider, ShouldSample, Span,
    SpanData, SpanExporter as ExportSpans, SpanProcessor,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Endpoint, Uri};
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use crate::{Clock, Spawner};

/// Spans that may wait for the collector, some KiB each. What comes on top is dropped.
const QUEUE_SPANS: usize = 4096;
/// Spans sent at once.
const BATCH_SPANS: usize = 512;
/// How long a batch waits for more spans.
const LINGER: Duration = Duration::from_millis(500);
/// Bound on connecting to the collector, and on its answer to one batch.
const EXPORT_BOUND: Duration = Duration::from_secs(5);
/// Bound on sending what is left when the process ends.
const FLUSH_BOUND: Duration = Duration::from_secs(2);
/// Shortest time between two log lines about lost spans.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// Services at which a trace begins; the names are those in [`crate::request::Guard`].
const EDGE_SERVICES: [&str; 2] = ["gateway", "admin"];

/// Where traces go, and under which name.
#[derive(Debug, Clone, PartialEq)]
pub struct TracesConfig {
    /// The collector's gRPC address, `http://HOST:PORT`.
    pub endpoint: String,
    /// Share of the traces that begin here and are kept, 0 to 1. A trace that a client began is kept when the client
    /// says so.
    pub sample: f64,
    /// `service.name` of the resource.
    pub service: String,
    /// `service.instance.id` of the resource.
    pub instance: String,
}

/// Traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The collector's address cannot be dialled.
    #[error("{0:?} is no address of a collector: use http://HOST:PORT, its gRPC port (4317)")]
    Endpoint(String),
    /// The share is none.
    #[error("{0} is no share of traces: use 0 to 1")]
    Sample(f64),
    /// The exporter cannot be made.
    #[error("set up the exporter of traces: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// What became of spans.
#[derive(Debug, Clone, Default)]
pub struct SpanCounts {
    exported: Counter,
    dropped: Counter,
}

impl SpanCounts {
    /// Registers the counts; they stay 0 while traces are off.
    pub fn register(registry: &mut Registry) -> Self {
        let counts = Self::default();
        let registry = registry.sub_registry_with_prefix("cairn_trace_spans");
        let help = "Spans that the collector took";
        registry.register("exported", help, counts.exported.clone());
        let help = "Spans lost: the queue was full, or the collector refused or was away";
        registry.register("dropped", help, counts.dropped.clone());
        counts
    }
}

/// Sends spans until [`Self::end`].
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    export: JoinHandle<()>,
    stop: CancellationToken,
    clock: Clock,
}

impl Traces {
    /// Starts sending, on `spawner`'s runtime. Does not wait for the collector.
    ///
    /// # Errors
    /// [`TracesError`] when `config` cannot be.
    pub fn start(
        config: &TracesConfig,
        counts: SpanCounts,
        clock: Clock,
        spawner: &Spawner,
    ) -> Result<Self, TracesError> {
        if !(0.0..=1.0).contains(&config.sample) {
            return Err(TracesError::Sample(config.sample));
        }
        let resource = resource(config);
        let mut exporter = spawner.within(|| exporter(&config.endpoint))?;
        exporter.set_resource(&resource);
        let (spans, queue) = mpsc::channel(QUEUE_SPANS);
        let stop = CancellationToken::new();
        let export = Export {
            exporter,
            queue,
            counts: counts.clone(),
            clock: clock.clone(),
            stop: stop.clone(),
            told: None,
        };
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Queue { spans, counts })
            .with_sampler(FromTheEdge(Sampler::TraceIdRatioBased(config.sample)))
            .with_resource(resource)
            .build();
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        Ok(Self { provider, export: spawner.spawn(export.run()), stop, clock })
    }

    /// Makes spans out of those of `tracing`.
    pub(super) fn layer<S>(&self) -> OpenTelemetryLayer<S, SdkTracer>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("cairn"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
    }

    /// Sends what waits, for at most two seconds. Spans that end later are lost.
    pub async fn end(self) {
        self.stop.cancel();
        let abort = self.export.abort_handle();
        if self.clock.timeout(FLUSH_BOUND, self.export).await.is_err() {
            abort.abort();
            tracing::warn!(waited = ?FLUSH_BOUND, "the collector is slow: the last spans are lost");
        }
    }
}

/// Who sends: the words are those of OpenTelemetry's semantic conventions for resources.
fn resource(config: &TracesConfig) -> Resource {
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", config.service.clone()),
            KeyValue::new("service.namespace", "cairn"),
            KeyValue::new("service.instance.id", config.instance.clone()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ])
        .build()
}

fn exporter(endpoint: &str) -> Result<SpanExporter, TracesError> {
    let invalid = || TracesError::Endpoint(endpoint.to_owned());
    let uri: Uri = endpoint.parse().map_err(|_| invalid())?;
    if uri.scheme_str() != Some("http") || uri.host().is_none() {
        return Err(invalid());
    }
    let channel = Endpoint::from(uri).connect_timeout(EXPORT_BOUND).connect_lazy();
    Ok(SpanExporter::builder().with_tonic().with_channel(channel).build()?)
}

/// Keeps what the parent keeps; begins traces at the edge alone.
#[derive(Debug, Clone)]
struct FromTheEdge(Sampler);

impl ShouldSample for FromTheEdge {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let parent_span = parent.map(|context| context.span().span_context().clone());
        let decision = match parent_span.filter(SpanContext::is_valid) {
            Some(parent) if parent.is_sampled() => SamplingDecision::RecordAndSample,
            Some(_) => SamplingDecision::Drop,
            None if is_edge(attributes) => {
                return self.0.should_sample(parent, trace, name, kind, attributes, links);
            }
            None => SamplingDecision::Drop,
        };
        let trace_state = parent.map(|context| context.span().span_context().trace_state().clone());
        let trace_state = trace_state.unwrap_or_default();
        SamplingResult { decision, attributes: Vec::new(), trace_state }
    }
}

fn is_edge(attributes: &[KeyValue]) -> bool {
    let service = attributes.iter().find(|attribute| attribute.key.as_str() == "service");
    service.is_some_and(|service| EDGE_SERVICES.contains(&service.value.as_str().as_ref()))
}

/// Takes spans that have ended; never waits.
#[derive(Debug)]
struct Queue {
    spans: mpsc::Sender<SpanData>,
    counts: SpanCounts,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.counts.dropped.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Sends batches to the collector.
#[derive(Debug)]
struct Export {
    exporter: SpanExporter,
    queue: mpsc::Receiver<SpanData>,
    counts: SpanCounts,
    clock: Clock,
    stop: CancellationToken,
    /// When the last line about losses was written, and how many it told.
    told: Option<(Duration, u64)>,
}

impl Export {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_SPANS);
        while !self.stop.is_cancelled() {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                _ = self.queue.recv_many(&mut batch, BATCH_SPANS) => {}
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                () = self.clock.sleep(LINGER) => {}
            }
            self.fill(&mut batch);
            // One that hangs is given up when the process ends.
            self.send(&mut batch).await;
        }
        self.flush(batch).await;
    }

    /// Sends what is left, until the collector fails.
    async fn flush(mut self, mut batch: Vec<SpanData>) {
        self.fill(&mut batch);
        while !batch.is_empty() {
            if !self.send(&mut batch).await {
                break;
            }
            self.fill(&mut batch);
        }
        self.counts.dropped.inc_by(self.queue.len() as u64);
        self.tell("the process ends");
    }

    fn fill(&mut self, batch: &mut Vec<SpanData>) {
        while batch.len() < BATCH_SPANS {
            let Ok(span) = self.queue.try_recv() else { return };
            batch.push(span);
        }
    }

    /// Sends a batch and empties it; true when the collector took it.
    async fn send(&mut self, batch: &mut Vec<SpanData>) -> bool {
        let spans = mem::replace(batch, Vec::with_capacity(BATCH_SPANS));
        let count = spans.len() as u64;
        let problem = match self.clock.timeout(EXPORT_BOUND, self.exporter.export(spans)).await {
            Ok(Ok(())) => {
                self.counts.exported.inc_by(count);
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(elapsed) => Some(elapsed.to_string()),
        };
        if problem.is_some() {
            self.counts.dropped.inc_by(count);
        }
        let due = |(at, _)| self.clock.monotonic().saturating_sub(at) >= TELL_EVERY;
        if self.told.is_none_or(due) {
            self.tell(problem.as_deref().unwrap_or("more spans ended than could be sent"));
        }
        problem.is_none()
    }

    /// Tells of losses since the last time.
    fn tell(&mut self, problem: &str) {
        let lost = self.counts.dropped.get();
        let before = self.told.map_or(0, |(_, before)| before);
        if lost > before {
            let spans = lost - before;
            tracing::warn!(target: "cairn", spans, problem, "spans of traces were lost");
            self.told = Some((self.clock.monotonic(), lost));
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceFlags, TraceState};

    use super::*;

    fn decide(parent: Option<TraceFlags>, service: &str) -> SamplingDecision {
        let sampler = FromTheEdge(Sampler::AlwaysOn);
        let trace = TraceId::from_bytes([7; 16]);
        let parent = parent.map(|flags| {
            let span = SpanId::from_bytes([7; 8]);
            let remote = SpanContext::new(trace, span, flags, true, TraceState::default());
            Context::new().with_remote_span_context(remote)
        });
        let attributes = [KeyValue::new("service", service.to_owned())];
        let kind = SpanKind::Server;
        sampler.should_sample(parent.as_ref(), trace, "x", &kind, &attributes, &[]).decision
    }

    #[test]
    fn traces_begin_at_the_edge_and_follow_their_parents() {
        assert_eq!(decide(None, "gateway"), SamplingDecision::RecordAndSample);
        assert_eq!(decide(None, "master"), SamplingDecision::Drop);
        assert_eq!(decide(Some(TraceFlags::SAMPLED), "master"), SamplingDecision::RecordAndSample);
        assert_eq!(decide(Some(TraceFlags::default()), "gateway"), SamplingDecision::Drop);
    }

    #[test]
    fn only_plain_http_addresses_are_taken() {
        for wrong in ["", "collector:4317", "https://collector:4317", "http://"] {
            assert!(matches!(exporter(wrong), Err(TracesError::Endpoint(_))), "{wrong:?}");
        }
    }
}
